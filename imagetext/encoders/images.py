"""Build image encoders by name, including the scaling of pixels and the weights.

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

#: Settings next to the weights in a folder from Hugging Face.
SETTINGS = ("config.json", "preprocessor_config.json")


def build(name: str, output: str = "pooled", weights: str | Path | None = None) -> "keras.Model":
    """Build an image encoder as a functional Keras model.

    The input `image` is uint8 RGB; its scaling is part of the model. The pooled vector is the mean
    of the grid, the class token (ViT), or the vector that is compared with those of texts (CLIP).
    The grid of a CLIP is its patches after the last norm. With `trainable = False`, batch norm
    keeps its statistics; also call the model with `training=False`, because EfficientNets drop
    blocks in training even if they are frozen.

    Args:
        name: A name in `registry.IMAGE_ENCODERS`; "NAME@SIDE" for another input size.
        output: One of `registry.OUTPUTS`.
        weights: None for the pretrained weights, downloaded if necessary; a folder that contains
            them; any weight file that fits the network; or "random".

    Returns:
        The model, named like the encoder.

    Example:
        tower = build("resnet50", "grid")       # uint8 [b, 224, 224, 3] -> float32 [b, 7, 7, 2048]
    """
    encoder = image_encoder(name)
    encoder.shape(output)  # refuse an unknown output before downloading anything
    source = _resolve_source(encoder, weights)
    from keras import Model, layers

    module = importlib.import_module(f"imagetext.encoders.{encoder.module}")
    image, grid, vector = module.tower(encoder.network, encoder.size, source)
    # Always in float32, because later layers sum over the features.
    if output == "pooled" and vector is None:
        features = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(grid)
    else:
        features = vector if output == "pooled" else grid
        features = layers.Activation("linear", dtype="float32", name="float32")(features)
    if output == "flat":
        features = layers.Flatten(dtype="float32", name="flat")(features)
    return Model(image, features, name=encoder.name.replace("@", "_"))


def weights_digest(name: str, weights: str | Path | None = None) -> str:
    """SHA-256 of the weights that `build` would use, downloaded if necessary; or "random".

    For a folder from Hugging Face it includes the settings, such as the scaling of pixels.
    """
    encoder = image_encoder(name)
    source = _resolve_source(encoder, weights)
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
    """Whether the pretrained weights are on this machine, undamaged; never uses the network."""
    encoder = image_encoder(name)
    if encoder.is_preset:
        return locate(name) is not None
    return weight_files.is_available(encoder.weights)


def locate(name: str) -> Path | None:
    """Path of the pretrained weights on this machine, or None; the hash is not checked."""
    encoder = image_encoder(name)
    if encoder.is_clip:
        return text_presets.locate(encoder.weights)
    return (presets if encoder.is_preset else weight_files).locate(encoder.weights)


def _resolve_source(encoder: ImageEncoder, weights: str | Path | None) -> Path | None:
    """The weight file or the preset's folder; None for random weights."""
    if weights == RANDOM:
        return None
    if encoder.is_clip:
        from imagetext.encoders import clip_files

        return clip_files.resolve_source(encoder.weights, weights)
    if encoder.is_preset:
        return presets.fetch(encoder.weights, weights)
    if weights is None:
        return weight_files.fetch(encoder.weights)
    path = Path(weights).expanduser()
    if path.is_file():
        file = weight_files.WEIGHT_FILES.get(encoder.weights)
        is_published = file and path.name == Path(file.name).name
        return weight_files.verify(path, file) if is_published else path
    if not path.is_dir():
        raise UserError(f"{weights}: no such file or folder of weights for {encoder.name}")
    return weight_files.find(encoder.weights, path)
