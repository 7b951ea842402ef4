"""The two towers of a CLIP, with weights in any format.

image, cells, vector = tower("clip_vit_b32", 224, Path("clip-vit-base-patch32"))
text = load_text_tower(Path("ViT-B-32.pt"))
scale("clip_vit_b32", "ViT-B-32.pt")            # 100.0: logits are cosines times this
"""

from pathlib import Path

import keras

from imagetext.encoders import clip, clip_files, clip_vocabulary
from imagetext.encoders.byte_pairs import BytePairTokenizer
from imagetext.encoders.clip import SHAPES, ClipShape
from imagetext.encoders.registry import RANDOM
from imagetext.encoders.text_presets import fetch_vocabulary
from imagetext.encoders.text_tower import TextTower, require_matching_vocabulary
from imagetext.errors import UserError

#: Factor of the cosines in an untrained CLIP.
UNTRAINED_SCALE = 1 / 0.07


def tower(network: str, size: int, source: Path | None):
    """Build the tower for photos.

    Args:
        network: A key of `SHAPES`.
        size: Side of the photos in pixels.
        source: A CLIP file or folder; None for random weights.

    Returns:
        The symbolic input uint8 [b, size, size, 3], the cells [b, cells, cells, width], and the
        vectors [b, vector].
    """
    if source is None:
        return clip.image_network(SHAPES[network])
    contents = clip_files.read(source)
    require_network(network, contents.shape, source)
    image, cells, vector = clip.image_network(contents.shape)
    clip.assign(keras.Model(image, [cells, vector]), contents.tensors, str(contents.origin))
    return image, cells, vector


def load_text_tower(source: Path, network: str | None = None, random: bool = False) -> TextTower:
    """Load the tower for texts.

    Args:
        source: A CLIP file or folder.
        network: If set, the key of `SHAPES` whose sizes it must have.
        random: Whether to keep the weights random.
    """
    contents = clip_files.read(source, weights=not random)
    if network:
        require_network(network, contents.shape, source)
    tokenizer = _load_tokenizer(source, contents.shape)
    model = clip.text_network(contents.shape)
    if not random:
        clip.assign(model, contents.tensors, str(contents.origin))
    return TextTower(model, tokenizer)


def load_tokenizer(source: Path) -> BytePairTokenizer:
    """Load the tokenizer of a CLIP file or folder."""
    return _load_tokenizer(source, clip_files.read(source, weights=False).shape)


def _load_tokenizer(source: Path, shape: ClipShape) -> BytePairTokenizer:
    tokenizer = clip_vocabulary.load_tokenizer(source, shape.positions)
    require_matching_vocabulary(source, tokenizer.size, shape.vocabulary)
    return tokenizer


def untrained_text_tower(network: str, preset: str) -> TextTower:
    """The tower for texts with random weights and the vocabulary of a preset."""
    tokenizer = preset_tokenizer(network, preset)
    return TextTower(clip.text_network(SHAPES[network]), tokenizer)


def preset_tokenizer(network: str, preset: str) -> BytePairTokenizer:
    """The tokenizer of a preset, whose weights need not be on this machine."""
    shape = SHAPES[network]
    tokenizer = clip_vocabulary.load_tokenizer(fetch_vocabulary(preset), shape.positions)
    require_matching_vocabulary(Path(preset), tokenizer.size, shape.vocabulary)
    return tokenizer


def scale(preset: str, weights: str | Path | None = None) -> float:
    """The learned factor of cosine similarities of a CLIP, from its preset or `weights`."""
    if weights == RANDOM:
        return UNTRAINED_SCALE
    return clip_files.read(clip_files.resolve_source(preset, weights)).scale


def require_network(network: str, shape: ClipShape, source: Path) -> None:
    """Refuse a CLIP whose sizes are not those of a network in `SHAPES`."""
    expected, actual = _describe(SHAPES[network]), _describe(shape)
    if actual != expected:
        raise UserError(f"{source}: not {network}: expected {expected}; got {actual}")


def _describe(shape: ClipShape) -> str:
    photos, texts = shape.photos, shape.texts
    return (
        f"photos of {shape.size} x {shape.size} in patches of {shape.patch} x {shape.patch}, "
        f"{photos.depth} blocks of width {photos.width} for photos, {texts.depth} of width "
        f"{texts.width} for texts, and vectors of width {shape.vector}"
    )
