"""Where presets of text encoders are searched for, including their vocabulary."""

from pathlib import Path

import pytest
import requests

from imagetext.encoders import text_presets
from imagetext.encoders.text_presets import fetch, fetch_vocabulary, locate, read_settings
from imagetext.errors import UserError

CLIP, BERT = "clip_vit_base_patch16", "bert_base_en_uncased"


pytestmark = pytest.mark.usefixtures("no_kaggle")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")
    return folder


def keras_hubs(folder: Path) -> Path:
    return put(folder, "config.json", "model.weights.h5", "assets/tokenizer/vocabulary.json")


def test_locations_are_searched_by_priority(tmp_path, monkeypatch):
    assert locate(CLIP) is None
    kaggle = tmp_path / "kagglehub_cache" / "models" / "keras" / "clip" / "keras" / CLIP / "3"
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "mine"))
    cache = tmp_path / "imagetext_cache" / "weights" / CLIP
    for path in (kaggle, cache, tmp_path / "mine" / CLIP):
        assert locate(CLIP) != path
        keras_hubs(path)
        assert locate(CLIP) == fetch(CLIP) == fetch_vocabulary(CLIP) == path
    assert fetch(CLIP, tmp_path / "mine") == tmp_path / "mine" / CLIP
    assert fetch(CLIP, kaggle) == kaggle


def test_incomplete_folders_are_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    # A network saved by keras-hub, without or with the settings of its tokenizer.
    put(tmp_path / CLIP, "config.json", "model.weights.h5", "tokenizer.json")
    assert locate(CLIP) is None
    put(tmp_path / CLIP, "assets/tokenizer/vocabulary.json")
    assert locate(CLIP) == tmp_path / CLIP
    put(tmp_path / BERT, "config.json", "model.safetensors")
    assert locate(BERT) is None
    put(tmp_path / BERT, "tokenizer.json")
    assert locate(BERT) == tmp_path / BERT
    # A CLIP saved by Hugging Face.
    for name in ("model.weights.h5", "tokenizer.json"):
        (tmp_path / CLIP / name).unlink()
    put(tmp_path / CLIP, "model.safetensors")
    assert locate(CLIP) is None
    put(tmp_path / CLIP, "vocab.json")
    assert locate(CLIP) == tmp_path / CLIP


@pytest.mark.parametrize(
    ("preset", "vocabulary"),
    [(CLIP, ["merges.txt", "vocabulary.json"]), (BERT, ["vocabulary.txt"])],
)
def test_a_preset_is_downloaded_vocabulary_last(preset, vocabulary, tmp_path, monkeypatch, capsys):
    handle, calls = text_presets.TEXT_PRESETS[preset].handle, []
    target = tmp_path / "kagglehub_cache" / "models" / handle

    def download(requested: str, name: str) -> str:
        assert requested == handle and locate(preset) is None
        calls.append(name)
        return str(put(target, name) / name)

    monkeypatch.setattr("kagglehub.model_download", download)
    vocabulary = [f"assets/tokenizer/{name}" for name in vocabulary]
    assert fetch_vocabulary(preset) == target and calls == vocabulary
    assert capsys.readouterr().err == "" and fetch_vocabulary(preset) == target
    (target / vocabulary[-1]).unlink()
    calls.clear()
    assert fetch(preset) == target == locate(preset)
    assert calls == ["model.weights.h5", "config.json", "tokenizer.json", *vocabulary]
    assert f"{text_presets.TEXT_PRESETS[preset].megabytes} MB" in capsys.readouterr().err


@pytest.mark.parametrize("error", [requests.exceptions.ConnectionError("Max retries"), KeyError()])
def test_failures_end_with_remedies(monkeypatch, error):
    def download(*_):
        raise error

    monkeypatch.setattr("kagglehub.model_download", download)
    with pytest.raises(
        UserError, match=r"could not be downloaded(?s:.)*Kaggle: (Max|KeyErr)"
    ) as caught:
        fetch(BERT)
    for part in (f"p='{BERT}'", "Backbone.from_preset(p).save_to_preset(p)", "IMAGETEXT_WEIGHTS"):
        assert part in str(caught.value)
    for part in ("Tokenizer.from_preset(p)", "a BERT from Hugging Face", "about 438 MB"):
        assert part in str(caught.value)


def test_nothing_is_downloaded_offline(monkeypatch):
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")
    with pytest.raises(UserError, match="weights not found, and IMAGETEXT_OFFLINE") as error:
        fetch(CLIP)
    assert "a CLIP from Hugging Face or OpenAI" in str(error.value)
    with pytest.raises(UserError, match="vocabulary not found, and IMAGETEXT_OFFLINE forbids"):
        fetch_vocabulary(CLIP)


def test_settings_are_read_or_refused(tmp_path):
    assert (
        read_settings(tmp_path, "config.json") == {} and read_settings(tmp_path, "m.json", []) == []
    )
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert read_settings(tmp_path, "config.json") == {"a": 1}
    for wrong in (b"{", b"\xff", b"[]", b"3"):
        (tmp_path / "config.json").write_bytes(wrong)
        with pytest.raises(UserError, match=r"config\.json: (cannot be read as JSON|expected an)"):
            read_settings(tmp_path, "config.json")


def test_the_suggested_command_is_valid_python():
    message = text_presets._describe_remedies(CLIP)
    command = message.split('python -c "')[1].split('"`')[0]
    compile(command, "command", "exec")
    import keras_hub

    for name in ("Backbone", "Tokenizer"):
        assert hasattr(getattr(keras_hub.models, name), "from_preset")
        assert hasattr(getattr(keras_hub.models, name), "save_to_preset")
