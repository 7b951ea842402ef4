"""Where keras-hub presets are searched for, and the errors if they are missing."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from imagetext.encoders import presets
from imagetext.encoders.presets import fetch, locate
from imagetext.errors import UserError

NAME = "resnet_18_imagenet"


pytestmark = pytest.mark.usefixtures("no_kaggle")


def put(folder: Path, name: str = "model.weights.h5") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(b"weights")
    return folder


def test_locations_are_searched_by_priority(tmp_path, monkeypatch):
    assert locate(NAME) is None
    kaggle = tmp_path / "kagglehub_cache" / "models" / "keras" / "resnetv1" / "keras" / NAME / "3"
    for path in (
        kaggle,
        tmp_path / "imagetext_cache" / "weights" / NAME,
        tmp_path / "mine" / NAME,
    ):
        monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "mine"))
        put(path)
        assert locate(NAME) == fetch(NAME) == path
        assert presets.weight_file(path) == path / "model.weights.h5"
    folder = put(tmp_path / "given", "model.safetensors")
    assert (
        fetch(NAME, folder) == folder and fetch(NAME, tmp_path / "mine") == tmp_path / "mine" / NAME
    )


@pytest.mark.parametrize("absent", ["config.json", "model.weights.h5"])
def test_incomplete_folders_are_ignored(tmp_path, monkeypatch, absent):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    (put(tmp_path / NAME) / absent).unlink()
    assert locate(NAME) is None
    with pytest.raises(UserError, match=r"neither a keras-hub preset .* config\.json and model\.w"):
        fetch(NAME, tmp_path)


def test_a_preset_is_downloaded_weights_first(tmp_path, monkeypatch, capsys):
    handle, calls = presets.PRESETS[NAME].handle, []

    def download(requested: str, name: str) -> str:
        assert requested == handle
        calls.append(name)
        path = tmp_path / "kagglehub_cache" / "models" / handle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
        assert (locate(NAME) is None) == (name != "config.json")
        return str(path)

    monkeypatch.setattr("kagglehub.model_download", download)
    assert fetch(NAME) == tmp_path / "kagglehub_cache" / "models" / handle == locate(NAME)
    assert calls == ["model.weights.h5", "config.json"]
    assert "about 45 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.ConnectionError("Max retries"), OSError("Max retries"), KeyError()],
)
def test_failures_end_with_remedies(monkeypatch, error):
    def download(*_):
        raise error

    monkeypatch.setattr("kagglehub.model_download", download)
    with pytest.raises(
        UserError, match=r"could not be downloaded(?s:.)*Kaggle: (Max|KeyErr)"
    ) as caught:
        fetch(NAME)
    for part in (f"from_preset('{NAME}')", "IMAGETEXT_WEIGHTS", "model.safetensors", "45 MB"):
        assert part in str(caught.value)


def test_nothing_is_downloaded_offline(monkeypatch):
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")
    with pytest.raises(UserError, match="IMAGETEXT_OFFLINE forbids the network: resnet_18_imagen"):
        fetch(NAME)


def test_locating_imports_neither_keras_nor_kaggle():
    check = (
        "import sys; from imagetext.encoders.presets import locate; locate('resnet_18_imagenet');"
        "sys.exit(bool({'keras', 'tensorflow', 'kagglehub'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])
