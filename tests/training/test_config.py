"""Configuration: YAML and overrides, typed and checked, the mistake named by file and key."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from imagetext.errors import UserError
from imagetext.itm.config import ITMConfig
from imagetext.training.config import TrainConfig
from imagetext.training.config_files import describe_config, load_config, write_config

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/itm/*.yaml"))


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "try.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads_and_says_how_it_is_run(path):
    assert load_config(ITMConfig, path).task == "itm"
    assert f"imagetext train itm/{path.stem}" in path.read_text()


def test_file_and_overrides_are_laid_over_the_defaults(tmp_path):
    path = written(tmp_path, "train: {epochs: 3, learning_rate: 1e-4}\nmodel: {head: joint}")
    config = load_config(ITMConfig, path, {"train.epochs": "7", "model.filters": "[8, 16]"})
    assert config.train.epochs == 7
    assert config.train.learning_rate == 1e-4
    assert config.model.head == "joint"
    assert config.model.filters == [8, 16]
    assert config.data == ITMConfig().data
    assert config.train.monitor == "val_auc"  # the task's default, not TrainConfig's


def test_what_is_written_repeats_the_run(tmp_path):
    config = load_config(
        ITMConfig, None, {"train.patience": 2, "data.root": "a b/ü", "run.name": "x"}
    )
    write_config(tmp_path / "config.yaml", config)
    assert load_config(ITMConfig, tmp_path / "config.yaml") == config
    keys = {
        key
        for part in yaml.safe_load((tmp_path / "config.yaml").read_text()).values()
        if isinstance(part, dict)
        for key in part
    }
    assert {field.name for field in dataclasses.fields(TrainConfig)} <= keys


@pytest.mark.parametrize(
    ("text", "overrides", "told"),
    [
        ("train: {epoch: 3}", {}, ["try.yaml", "unknown key train.epoch", "train.epochs"]),
        ("trian: {epochs: 3}", {}, ["try.yaml", "unknown key trian", "train"]),
        ("train: {epochs: many}", {}, ["try.yaml", "train.epochs", "many"]),
        ("train: {epochs: 2.5}", {}, ["try.yaml", "train.epochs"]),
        ("train: 3", {}, ["try.yaml", "train", "expected a section"]),
        ("model: {head: transformer}", {}, ["try.yaml", "model.head", "additive"]),
        ("train: {epochs: -1}", {}, ["try.yaml", "train.epochs", "at least 0"]),
        ("train: {precision: float8}", {}, ["try.yaml", "train.precision", "mixed_float16"]),
        ("- a\n- b", {}, ["try.yaml", "not a configuration"]),
        ("train: {epochs: [", {}, ["try.yaml", "not YAML"]),
        ("task: itm", {"train.epohcs": "3"}, ["--train.epohcs", "train.epochs"]),
        ("task: itm", {"train.epochs": "x"}, ["command line", "train.epochs", "x"]),
        (
            "task: itm",
            {"train.learning_rate": "-1"},
            ["command line", "train.learning_rate", "above 0"],
        ),
        ("task: itm", {"train.seed": "-1"}, ["train.seed", "from 0"]),
        ("task: itm", {"train.epochs": "["}, ["--train.epochs", "cannot be read"]),
        ("task: itm", {"report.resamples": "0"}, ["report.resamples", "at least 1"]),
        ("train: {monitor: val_gain}", {}, ["try.yaml", "val_gain", "val_auc"]),
        ("task: itm", {"model.filters": "[4, 4, 4, 4, 4, 4, 4]"}, ["model.filters", "112 pixels"]),
        ("task: itm", {"data.image_size": "4"}, ["data.image_size", "at least 8"]),
    ],
)
def test_a_mistake_is_named_by_place_and_key(tmp_path, text, overrides, told):
    with pytest.raises(UserError) as caught:
        load_config(ITMConfig, written(tmp_path, text), overrides)
    for words in told:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("key", "given", "meant"),
    [
        ("train.xla", "on", "on"),
        ("train.xla", "off", "off"),
        ("run.name", "2024", "2024"),
        ("run.name", "null", None),
        ("data.root", "true", "true"),
        ("data.skip_bad", "true", True),
        ("train.patience", "null", None),
        ("train.learning_rate", "1e-4", 1e-4),
    ],
)
def test_words_from_the_command_line_are_taken_as_their_keys_mean_them(key, given, meant):
    part, name = key.split(".")
    config = load_config(ITMConfig, None, {key: given})
    assert getattr(getattr(config, part), name) == meant


def test_on_and_off_in_a_file_are_words(tmp_path):
    path = written(tmp_path, "train: {xla: on, deterministic: false}")
    config = load_config(ITMConfig, path)
    assert (config.train.xla, config.train.deterministic) == ("on", False)
    write_config(tmp_path / "again.yaml", config)
    assert load_config(ITMConfig, tmp_path / "again.yaml") == config


def test_a_missing_file_suggests_the_one_meant(tmp_path):
    written(tmp_path, "task: itm")
    with pytest.raises(UserError, match=r"did you mean .*try\.yaml"):
        load_config(ITMConfig, tmp_path / "trie.yaml")


def test_every_key_is_explained():
    assert ("train.monitor", "val_auc") in [row[:2] for row in describe_config(ITMConfig)]
    unexplained = [key for key, _, meaning in describe_config(ITMConfig) if not meaning]
    assert unexplained == []
