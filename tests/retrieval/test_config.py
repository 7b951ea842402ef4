"""Configurations of retrieval runs: what is accepted, and how mistakes are reported."""

from pathlib import Path

import pytest

from imagetext.errors import UserError
from imagetext.retrieval.config import RetrievalConfig
from imagetext.training.config_files import load_config, load_run_config
from imagetext.training.run import new_run
from tests.tiny_clip import NAME

CONFIGS = Path(__file__).parents[2] / "configs" / "retrieval"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    config = load_config(RetrievalConfig, path)
    assert config.task == "retrieval" and config.train.monitor == "val_recall"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model.late": 0.5}, "needs the cells of photos; set data.image_output grid"),
        ({"data.image_cells": 5}, "needs stored grids, got 5; set data.image_output grid"),
        (
            {"loss.micro_batch": 7},
            r"data.batch_size \(256\) must be divisible by loss.micro_batch \(7\)",
        ),
        ({"loss.temperature": 0.001}, "must be from 0.01 to 10, got 0.001"),
        ({"loss.kind": "sigmoid", "loss.hardness": 0.1}, "applies to the contrastive loss only"),
        (
            {"data.fine_tune": True, "data.image_encoders": []},
            "needs exactly one image encoder, got 0",
        ),
        ({"data.image_encoders": ["resnet5"]}, "did you mean resnet50"),
        ({"text.heads": 3}, r"text.width \(256\) must be divisible by text.heads \(3\)"),
        ({"train.monitor": "val_auc"}, "expected one of val_loss, val_recall, got 'val_auc'"),
        ({"data.image_encoders": [], "data.image_size": 8}, "are too many for 8 pixels"),
        ({"data.batch_size": 1}, "must be at least 2"),
        ({"model.widht": 9}, "did you mean model.width"),
        ({"train.epochs": 0}, "must be at least 1, got 0"),
    ],
)
def test_invalid_values_are_refused(keys, message):
    with pytest.raises(UserError, match=message):
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


def test_a_renamed_key_is_read_in_old_runs_and_refused_elsewhere(tmp_path):
    run = new_run(tmp_path, "old", "")
    run.config_file.write_text("task: retrieval\ndata: {captions: 3}\n")
    assert load_run_config(RetrievalConfig, run).data.captions_per_epoch == 3
    with pytest.raises(UserError, match=r"use data\.captions_per_epoch"):
        load_config(RetrievalConfig, run.config_file)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"data.image_encoders": ["resnet18"]},
            "needs one CLIP for both towers, got data.image_enc",
        ),
        ({"data.image_encoders": []}, "needs one CLIP for both towers"),
        (
            {"text.encoder": "clip_vit_b16"},
            "clip_vit_b32 for photos and clip_vit_b16 for captions; set",
        ),
        ({"text.encoder": "scratch"}, "clip_vit_b32 for photos and scratch for captions"),
        ({"data.image_output": "grid"}, "needs one vector per photo"),
        ({"model.late": 0.3, "data.image_output": "grid"}, "must be 0 with model.own_vectors"),
        (
            {"model.own_vectors": False, "loss.temperature": None},
            "only a pretrained CLIP has a temp",
        ),
        (
            {"model.own_vectors": False, "model.tuned_shares": [0.5]},
            "needs a model without new layers",
        ),
        ({"model.tuned_shares": []}, "each must be from 0 to 1"),
        ({"model.tuned_shares": [1.5]}, "each must be from 0 to 1"),
        ({"model.layer_decay": 0}, "must be above 0, and at most 1"),
        ({"model.unfreeze": -1}, "must be at least 0, or null"),
    ],
)
def test_invalid_values_for_one_clip_are_refused(keys, message):
    base = {"data.image_encoders": [NAME], "text.encoder": NAME, "model.own_vectors": True}
    with pytest.raises(UserError, match=message):
        load_config(RetrievalConfig, None, base | keys)


def test_image_weights_serve_both_sides_of_a_clip(tmp_path):
    base = {"data.image_encoders": ["CLIP-ViT-B/32"], "text.encoder": "clip_vit_base_patch32"}
    given = base | {"model.own_vectors": True, "data.image_weights": "/clip"}
    assert load_config(RetrievalConfig, None, given).reader.weights == "/clip"
    other = given | {"text.weights": "/texts"}
    assert load_config(RetrievalConfig, None, other).reader.weights == "/texts"
    alone = given | {"model.own_vectors": False}
    assert load_config(RetrievalConfig, None, alone).reader.weights is None
    local = given | {"text.encoder": str(tmp_path)}
    assert load_config(RetrievalConfig, None, local).reader.weights is None
