"""What a retrieval run may be told, and what it is refused."""

from pathlib import Path

import pytest

from imagetext.errors import UserError
from imagetext.retrieval.config import RetrievalConfig
from imagetext.training.config_files import load_config, load_run_config
from imagetext.training.run import new_run

CONFIGS = Path(__file__).parents[2] / "configs" / "retrieval"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_reads(path):
    config = load_config(RetrievalConfig, path)
    assert config.task == "retrieval" and config.train.monitor == "val_recall"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"model.late": 0.5}, "words need cells to look at -- set data.image_output grid"),
        ({"data.image_cells": 5}, "needs stored grids, got 5; set data.image_output grid"),
        ({"loss.micro_batch": 7}, "7 does not divide data.batch_size 256"),
        ({"loss.temperature": 0.001}, "as low as it may go"),
        ({"loss.kind": "sigmoid", "loss.hardness": 0.1}, "is for the contrastive loss"),
        (
            {"data.fine_tune": True, "data.image_encoders": []},
            "needs exactly one image encoder, got 0",
        ),
        ({"data.image_encoders": ["resnet5"]}, "did you mean resnet50"),
        ({"text.heads": 3}, "3 heads do not share 256 numbers"),
        ({"train.monitor": "val_auc"}, "expected one of val_loss, val_recall, got 'val_auc'"),
        ({"data.image_encoders": [], "data.image_size": 8}, "too many for 8 pixels"),
        ({"data.batch_size": 1}, "must be at least 2"),
        ({"model.widht": 9}, "did you mean model.width"),
        ({"train.epochs": 0}, "nothing is trained"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(keys, told):
    with pytest.raises(UserError, match=told):
        load_config(RetrievalConfig, None, keys)


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    keys = {"text.encoder": "bert", "data.root": "photos", "data.image_weights": "random"}
    config = load_config(RetrievalConfig, None, keys)
    assert config.text.absolute().encoder == str(tmp_path / "bert")
    assert config.data.absolute().root == str(tmp_path / "photos")
    assert config.data.absolute().image_weights == "random"
    assert load_config(RetrievalConfig, None).text.absolute().encoder == "all-MiniLM-L6-v2"


def test_the_former_name_of_a_key_is_read_in_a_run_and_refused_elsewhere(tmp_path):
    run = new_run(tmp_path, "old", "")
    run.config_file.write_text("task: retrieval\ndata: {captions: 3}\n")
    assert load_run_config(RetrievalConfig, run).data.captions_per_epoch == 3
    with pytest.raises(UserError, match=r"use data\.captions_per_epoch"):
        load_config(RetrievalConfig, run.config_file)
