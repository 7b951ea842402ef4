"""The wheel, used as by someone who has no checkout: `make wheel`."""

import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(pip, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Runs a command of the installed wheel in an empty folder."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "IMAGETEXT_CACHE": str(empty / "cache")}

    def start(*words: str, **options) -> subprocess.Popen:
        command = [sys.executable, "-P", "-m", "imagetext", *words]
        return subprocess.Popen(command, cwd=empty, env=environment, text=True, **options)

    def finish(*words: str) -> str:
        process = start(*words, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, words
        return out

    finish.start = start
    return finish


def test_it_holds_one_package_with_configurations_and_page(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"imagetext"}
    expected = ("configs/itm/cnn.yaml", "serving/page/index.html", "itm/train.py", "pipelines/")
    for part in expected:
        assert any(name.startswith(f"imagetext/{part}") for name in names), part


def test_configurations_are_listed_printed_and_trained(run):
    assert "retrieval/best" in run("configs")
    assert "task: itm" in run("configs", "itm/cnn")
    out = run("train", "itm/sample", "--train.epochs=1", "--report.controls=false")
    assert "Run: runs/sample-1" in out


def test_the_sample_is_served(run):
    process = run.start("serve", "--sample", "--port", "8765", stdout=subprocess.DEVNULL)
    try:
        for _ in range(240):
            time.sleep(0.5)
            assert process.poll() is None, "the server has ended"
            try:
                with urllib.request.urlopen("http://127.0.0.1:8765/", timeout=5) as page:
                    assert b"imagetext" in page.read()
                    return
            except OSError:
                continue
        raise AssertionError("no page within two minutes")
    finally:
        process.terminate()
        process.wait(timeout=30)
