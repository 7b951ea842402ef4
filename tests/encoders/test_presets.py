"""Where keras-hub's presets are looked for, and what is said where they are not."""

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


def test_places_are_tried_best_first(tmp_path, monkeypatch):
    assert locate(NAME) is None
    kaggle = tmp_path / "kagglehub_cache" / "models" / "keras" / "resnetv1" / "keras" / NAME / "3"
    for place in (
        kaggle,
        tmp_path / "imagetext_cache" / "weights" / NAME,
        tmp_path / "mine" / NAME,
    ):
        monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "mine"))
        put(place)
        assert locate(NAME) == fetch(NAME) == place
        assert presets.weight_file(place) == place / "model.weights.h5"
    given = put(tmp_path / "given", "model.safetensors")
    assert (
        fetch(NAME, given) == given and fetch(NAME, tmp_path / "mine") == tmp_path / "mine" / NAME
    )


@pytest.mark.parametrize("absent", ["config.json", "model.weights.h5"])
def test_half_a_folder_is_none(tmp_path, monkeypatch, absent):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    (put(tmp_path / NAME) / absent).unlink()
    assert locate(NAME) is None
    with pytest.raises(UserError, match=r"neither a keras-hub preset .* config\.json and model\.w"):
        fetch(NAME, tmp_path)


def test_a_preset_is_downloaded_weights_first(tmp_path, monkeypatch, capsys):
    handle, asked = presets.PRESETS[NAME].handle, []

    def download(given: str, name: str) -> str:
        assert given == handle
        asked.append(name)
        path = tmp_path / "kagglehub_cache" / "models" / handle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
        assert (locate(NAME) is None) == (name != "config.json")
        return str(path)

    monkeypatch.setattr("kagglehub.model_download", download)
    assert fetch(NAME) == tmp_path / "kagglehub_cache" / "models" / handle == locate(NAME)
    assert asked == ["model.weights.h5", "config.json"]
    assert "about 45 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.ConnectionError("Max retries"), OSError("Max retries"), KeyError()],
)
def test_every_failure_ends_with_remedies(monkeypatch, error):
    def download(*_):
        raise error

    monkeypatch.setattr("kagglehub.model_download", download)
    with pytest.raises(
        UserError, match=r"could not be downloaded(?s:.)*Kaggle: (Max|KeyErr)"
    ) as told:
        fetch(NAME)
    for part in (f"from_preset('{NAME}')", "IMAGETEXT_WEIGHTS", "model.safetensors", "45 MB"):
        assert part in str(told.value)


def test_offline_asks_nobody(monkeypatch):
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")
    with pytest.raises(UserError, match="IMAGETEXT_OFFLINE forbids the network: resnet_18_imagen"):
        fetch(NAME)


def test_looking_imports_neither_keras_nor_kaggle():
    check = (
        "import sys; from imagetext.encoders.presets import locate; locate('resnet_18_imagenet');"
        "sys.exit(bool({'keras', 'tensorflow', 'kagglehub'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])
