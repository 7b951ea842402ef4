"""Image encoders by name: photos in, a vector or a grid of cells out; scaling and weights inside.

    tower = build("efficientnet_lite0")                 # uint8 [b, 224, 224, 3] -> [b, 1280]
    tower = build("vit_b16", output="grid")             # -> [b, 14, 14, 768]
    tower = build("resnet50", "flat", weights="random") # -> [b, 7 * 7 * 2048]
    tower = build("efficientnet_lite2@384", "grid")     # photos of 384 x 384 -> [b, 12, 12, 1280]

`registry` describes them without importing TensorFlow.
"""

import hashlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from imagetext.encoders import presets, text_presets
from imagetext.encoders import weights as weight_files
from imagetext.encoders.registry import RANDOM, ImageEncoder, image_encoder
from imagetext.errors import UserError

if TYPE_CHECKING:
    import keras

#: What a folder of Hugging Face's says beside its weights.
SETTINGS = ("config.json", "preprocessor_config.json")


def build(name: str, output: str = "pooled", weights: str | Path | None = None) -> "keras.Model":
    """Build an image encoder as a functional Keras model.

    The input `image` is uint8 RGB; its scaling is part of the model. The pooled vector is the mean
    of the grid, for ViT its class token, and for CLIP the vector that is compared with a text's.
    The grid of a CLIP is its patches after the last norm. With `trainable = False`, batch norm
    keeps its statistics; also call the model with `training=False`, because EfficientNets drop
    blocks in training, frozen or not.

    Args:
        name: A name of `registry.IMAGE_ENCODERS`; "NAME@SIDE" for another input size.
        output: One of `registry.OUTPUTS`.
        weights: None for the pretrained weights, found or downloaded; a folder that holds them; a
            file of your own, which only has to fit; or "random".

    Returns:
        The model, named as the encoder.

    Example:
        tower = build("resnet50", "grid")       # uint8 [b, 224, 224, 3] -> float32 [b, 7, 7, 2048]
    """
    encoder = image_encoder(name)
    encoder.shape(output)  # an unknown one is refused before anything is fetched
    source = _source(encoder, weights)
    from keras import Model, layers

    module = importlib.import_module(f"imagetext.encoders.{encoder.module}")
    image, grid, vector = module.tower(encoder.network, encoder.size, source)
    # In float32 whatever the precision: what follows sums over them.
    if output == "pooled" and vector is None:
        made = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(grid)
    else:
        made = vector if output == "pooled" else grid
        made = layers.Activation("linear", dtype="float32", name="float32")(made)
    if output == "flat":
        made = layers.Flatten(dtype="float32", name="flat")(made)
    return Model(image, made, name=encoder.name.replace("@", "_"))


def weights_digest(name: str, weights: str | Path | None = None) -> str:
    """SHA-256 of the file that `build` takes the weights from, fetched if need be; or "random".

    Of a folder of Hugging Face's also of its settings, among them how pixels are scaled.
    """
    encoder = image_encoder(name)
    source = _source(encoder, weights)
    if source is None:
        return RANDOM
    if encoder.is_clip:
        from imagetext.encoders import clip_files

        file = clip_files.weight_file(source)
    else:
        file = presets.weight_file(source) if source.is_dir() else source
    settings = [file.parent / name for name in SETTINGS if (file.parent / name).is_file()]
    if not encoder.is_preset or file.suffix == ".h5" or not settings:
        return weight_files.digest(file)
    digests = " ".join(map(weight_files.digest, [file, *settings]))
    return hashlib.sha256(digests.encode()).hexdigest()


def is_available(name: str) -> bool:
    """Whether the pretrained weights are on this machine, whole; never touches the network."""
    encoder = image_encoder(name)
    if encoder.is_preset:
        return locate(name) is not None
    return weight_files.is_available(encoder.weights)


def locate(name: str) -> Path | None:
    """Where the pretrained weights lie on this machine, if they do; their hash is not checked."""
    encoder = image_encoder(name)
    if encoder.is_clip:
        return text_presets.locate(encoder.weights)
    return (presets if encoder.is_preset else weight_files).locate(encoder.weights)


def _source(encoder: ImageEncoder, weights: str | Path | None) -> Path | None:
    """The file or the preset's folder to load; None for random weights."""
    if weights == RANDOM:
        return None
    if encoder.is_clip:
        from imagetext.encoders import clip_files

        return clip_files.place(encoder.weights, weights)
    if encoder.is_preset:
        return presets.fetch(encoder.weights, weights)
    if weights is None:
        return weight_files.fetch(encoder.weights)
    path = Path(weights).expanduser()
    if path.is_file():
        known = weight_files.WEIGHT_FILES.get(encoder.weights)
        published = known and path.name == Path(known.name).name
        return weight_files.verified(path, known) if published else path
    if not path.is_dir():
        raise UserError(f"{weights}: no such file or folder of weights for {encoder.name}")
    return weight_files.find(encoder.weights, path)
