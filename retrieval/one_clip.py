"""What must hold, and what is known, where both towers are the halves of one pretrained CLIP.

require_one_clip(config)                # else one message
start_temperature(config)               # 0.01: as it was trained
"""

from pathlib import Path

from imagetext.encoders import clip_files, clip_towers, weights
from imagetext.encoders.images import RANDOM, image_encoder
from imagetext.encoders.texts import local
from imagetext.errors import UserError
from imagetext.layers.contrastive import LARGEST_SCALE
from imagetext.retrieval.config import RetrievalConfig

#: CLIP's own scale is the largest there may be. It would not learn from there on: what is cut off
#: has no gradient.
BELOW_LARGEST = 0.999


def require_one_clip(config: RetrievalConfig) -> None:
    """Refuse halves of different CLIPs, whose vectors have nothing to do with each other."""
    seen, read = _source(config), _reader_source(config)
    if seen == read:
        return
    if RANDOM in (seen, read) or _digest(seen) != _digest(read):
        raise UserError(
            f"model.own_vectors: {seen} sees the photos and {read} reads the captions: halves of "
            "different CLIPs -- name one for both in data.image_weights, and leave text.weights "
            "null"
        )


def start_temperature(config: RetrievalConfig) -> float:
    """Of the loss, to begin with: as given, or as the CLIP learned it."""
    if config.loss.temperature is not None:
        return config.loss.temperature
    encoder = image_encoder(config.data.image_encoders[0])
    scale = clip_towers.scale(encoder.weights, config.data.image_weights)
    return 1 / min(scale, BELOW_LARGEST * LARGEST_SCALE)


def _source(config: RetrievalConfig) -> Path | str:
    """Where the half that sees comes from."""
    if config.data.image_weights == RANDOM:
        return RANDOM
    encoder = image_encoder(config.data.image_encoders[0])
    return clip_files.place(encoder.weights, config.data.image_weights)


def _reader_source(config: RetrievalConfig) -> Path | str:
    reader = config.reader
    if reader.weights == RANDOM:
        return RANDOM
    preset = image_encoder(config.data.image_encoders[0]).weights
    return local(reader.encoder) or clip_files.place(preset, reader.weights)


def _digest(source: Path) -> str:
    return weights.digest(clip_files.weight_file(source))
