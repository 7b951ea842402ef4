"""A tiny BERT and a tiny CLIP, saved and run by other libraries (see make_text_reference.py)."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from imagetext.encoders.text_tower import TextTower

REFERENCE = Path(__file__).with_name("text_reference.npz")
#: A BERT saved by Hugging Face; a BERT and a CLIP saved by keras-hub.
FOLDERS = ("hugging_face", "bert", "clip")


@functools.cache
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as file:
        return dict(file)


def texts() -> list[str]:
    return json.loads(reference()["texts"].tobytes())


def save_hugging_face_bert(folder: Path) -> None:
    for name, content in reference().items():
        if name.startswith("bert_folder/"):
            (folder / Path(name).name).write_bytes(content.tobytes())


def save_keras_hub_bert(source: Path, target: Path, with_pooler: Path) -> None:
    """Let keras-hub load the BERT in `source`, after a pooler is added, and save it."""
    from keras_hub.models import BertBackbone, BertTokenizer

    shutil.copytree(source, with_pooler, dirs_exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    pooler = {"pooler.dense.weight": np.zeros([12, 12]), "pooler.dense.bias": np.zeros(12)}
    tensors |= {f"bert.{name}": np.float32(value) for name, value in pooler.items()}
    save_file(tensors, with_pooler / "model.safetensors")
    BertBackbone.from_preset(str(with_pooler)).save_to_preset(str(target))
    tokens = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    BertTokenizer(list(tokens), lowercase=True).save_to_preset(str(target))


def save_keras_hub_clip(target: Path) -> None:
    from keras_hub.models import CLIPBackbone, CLIPTextEncoder, CLIPTokenizer, CLIPVisionEncoder

    weights = {
        name.removeprefix("clip/").removeprefix("text_model."): value
        for name, value in reference().items()
        if name.startswith("clip/")
    }
    photos = CLIPVisionEncoder(2, 4, 1, 1, 4, image_shape=(4, 4, 3), name="eyes")
    words = CLIPTextEncoder(523, 8, 8, 2, 2, 12, max_sequence_length=20, name="reader")
    backbone = CLIPBackbone(photos, words, 6)

    def dense(layer, name):
        layer.kernel.assign(weights[f"{name}.weight"].T.reshape(layer.kernel.shape))
        layer.bias.assign(weights[f"{name}.bias"].reshape(layer.bias.shape))

    def norm(layer, name):
        layer.set_weights([weights[f"{name}.weight"], weights[f"{name}.bias"]])

    embedding = words.embedding
    embedding.token_embedding.embeddings.assign(weights["embeddings.token_embedding.weight"])
    positions = weights["embeddings.position_embedding.weight"]
    embedding.position_embedding.position_embeddings.assign(positions)
    for number, layer in enumerate(words.encoder_layers):
        name = f"encoder.layers.{number}"
        norm(layer.layer_norm_1, f"{name}.layer_norm1")
        norm(layer.layer_norm_2, f"{name}.layer_norm2")
        dense(layer.dense_1, f"{name}.mlp.fc1")
        dense(layer.dense_2, f"{name}.mlp.fc2")
        for part in ("query", "key", "value", "output"):
            projection = "out_proj" if part == "output" else f"{part[0]}_proj"
            dense(getattr(layer.attention, f"{part}_dense"), f"{name}.self_attn.{projection}")
    norm(words.layer_norm, "final_layer_norm")
    backbone.text_projection.kernel.assign(weights["text_projection.weight"].T)
    backbone.save_to_preset(str(target))
    vocabulary = json.loads(reference()["clip_vocabulary"].tobytes())
    merges = reference()["clip_merges"].tobytes().decode().split("\n")
    CLIPTokenizer(vocabulary, merges).save_to_preset(str(target))


def encode(tower: TextTower, texts: list[str]) -> dict[str, np.ndarray]:
    """The outputs of a tower, and the mask of the texts."""
    ids, mask = tower.tokenize(tf.constant(texts))
    outputs = tower.model({"token_ids": ids, "mask": mask}, training=False)
    return {name: np.asarray(value) for name, value in outputs.items()} | {"mask": mask.numpy()}


def set_json(path: Path, **values) -> None:
    """Set values in a JSON file, which need not exist."""
    settings = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(settings | values))
