"""Runs whose towers are the two halves of one pretrained CLIP.

require_one_clip(config)                # refuse halves of different CLIPs
start_temperature(config)               # 0.01: the temperature that the CLIP learned
"""

from pathlib import Path

from imagetext.encoders import clip_files, clip_towers, weights
from imagetext.encoders.registry import RANDOM, image_encoder
from imagetext.encoders.texts import local_encoder
from imagetext.errors import UserError
from imagetext.layers.contrastive import LARGEST_SCALE
from imagetext.retrieval.config import RetrievalConfig

#: CLIP's scale is the largest allowed. From exactly there it could not be trained: the gradient of
#: a clipped value is zero.
BELOW_LARGEST = 0.999


def require_one_clip(config: RetrievalConfig) -> None:
    """Refuse halves of different CLIPs: their vectors cannot be compared."""
    images, texts = _image_source(config), _text_source(config)
    if images == texts:
        return
    if RANDOM in (images, texts) or _digest(Path(images)) != _digest(Path(texts)):
        raise UserError(
            f"model.own_vectors: the image weights ({images}) and text weights ({texts}) must be"
            " halves of the same CLIP; set data.image_weights for both and leave text.weights null"
        )


def start_temperature(config: RetrievalConfig) -> float:
    """The initial temperature of the loss: that of the configuration, or what the CLIP learned."""
    if config.loss.temperature is not None:
        return config.loss.temperature
    encoder = image_encoder(config.data.image_encoders[0])
    scale = clip_towers.scale(encoder.weights, config.data.image_weights)
    return 1 / min(scale, BELOW_LARGEST * LARGEST_SCALE)


def _image_source(config: RetrievalConfig) -> Path | str:
    if config.data.image_weights == RANDOM:
        return RANDOM
    encoder = image_encoder(config.data.image_encoders[0])
    return clip_files.resolve_source(encoder.weights, config.data.image_weights)


def _text_source(config: RetrievalConfig) -> Path | str:
    reader = config.reader
    if reader.weights == RANDOM:
        return RANDOM
    preset = image_encoder(config.data.image_encoders[0]).weights
    return local_encoder(reader.encoder) or clip_files.resolve_source(preset, reader.weights)


def _digest(source: Path) -> str:
    return weights.digest(clip_files.weight_file(source))
