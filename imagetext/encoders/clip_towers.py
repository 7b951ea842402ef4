"""The two halves of a CLIP as towers, with its weights in whatever format they come.

image, cells, vector = tower("clip_vit_b32", 224, Path("clip-vit-base-patch32"))
text = text_tower(Path("ViT-B-32.pt"))
scale("clip_vit_b32", "ViT-B-32.pt")            # 100.0: cosines times this are its logits
"""

from pathlib import Path

import keras

from imagetext.encoders import clip, clip_files
from imagetext.encoders.clip import SHAPES, ClipShape
from imagetext.encoders.clip_vocabulary import pieces_beside
from imagetext.encoders.registry import RANDOM
from imagetext.encoders.text_presets import fetch_vocabulary
from imagetext.encoders.text_tower import TextTower, require_fit
from imagetext.errors import UserError

#: By which CLIP multiplied its cosines before it had learned anything.
UNTRAINED_SCALE = 1 / 0.07


def tower(network: str, size: int, source: Path | None):
    """Symbolic photos uint8 [b, size, size, 3], their cells and their vectors, for
    `imagetext.encoders.images`. `source` is a file or folder, random where none."""
    if source is None:
        return clip.sees(SHAPES[network])
    found = clip_files.read(source)
    require_named(network, found.shape, source)
    image, cells, vector = clip.sees(found.shape)
    clip.assign(keras.Model(image, [cells, vector]), found.tensors, str(found.origin))
    return image, cells, vector


def text_tower(source: Path, network: str | None = None, random: bool = False) -> TextTower:
    """The half that reads, of the CLIP in a file or folder; `network` is the name that it must
    deserve."""
    found = clip_files.read(source, weights=not random)
    if network:
        require_named(network, found.shape, source)
    pieces = pieces_beside(source, found.shape.positions)
    require_fit(source, pieces.size, found.shape.vocabulary)
    model = clip.reads(found.shape)
    if not random:
        clip.assign(model, found.tensors, str(found.origin))
    return TextTower(model, pieces)


def untrained_text_tower(network: str, preset: str) -> TextTower:
    """The tower of a name, with random weights and the vocabulary of its preset."""
    shape = SHAPES[network]
    pieces = pieces_beside(fetch_vocabulary(preset), shape.positions)
    require_fit(Path(preset), pieces.size, shape.vocabulary)
    return TextTower(clip.reads(shape), pieces)


def scale(preset: str, weights: str | Path | None = None) -> float:
    """By which the CLIP of a preset, or that of `weights`, learned to multiply cosines."""
    if weights == RANDOM:
        return UNTRAINED_SCALE
    return clip_files.read(clip_files.place(preset, weights)).scale


def require_named(network: str, shape: ClipShape, source: Path) -> None:
    """Refuse another CLIP than the one of this name."""
    if _told(shape) != _told(SHAPES[network]):
        raise UserError(
            f"{source}: not {network}: {_told(shape)}, instead of {_told(SHAPES[network])}"
        )


def _told(shape: ClipShape) -> str:
    photos, texts = shape.photos, shape.texts
    return (
        f"it sees photos of {shape.size} in patches of {shape.patch} with {photos.depth} blocks of "
        f"width {photos.width}, reads with {texts.depth} of width {texts.width}, and gives vectors "
        f"of {shape.vector}"
    )
