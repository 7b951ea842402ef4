"""EfficientNet-Lite0, 1 and 2 in built-in Keras layers.

    model = network(VARIANTS["efficientnet_lite2"])     # uint8 [b, 260, 260, 3] -> [b, 9, 9, 1280]
    assign(model, tensors, origin="efficientnet-lite2.pth")

These are EfficientNets for mobile devices: without squeeze-and-excite, and with ReLU6. The model
includes the scaling of pixels: (x - 127) / 128.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from imagetext.encoders.tensors import (
    Target,
    as_is,
    assign_tensors,
    conv_kernel,
    dense_kernel,
    depthwise_kernel,
)
from imagetext.encoders.torch_file import read_torch_file
from imagetext.encoders.weights import loading


@dataclass(frozen=True, slots=True)
class Variant:
    """A member of the family.

    Args:
        size: Side of the photos in pixels.
        width: Factor of the number of channels, relative to EfficientNet-B0.
        depth: Factor of the number of blocks per stage.
    """

    size: int
    width: float
    depth: float


VARIANTS = {
    "efficientnet_lite0": Variant(224, 1.0, 1.0),
    "efficientnet_lite1": Variant(240, 1.0, 1.1),
    "efficientnet_lite2": Variant(260, 1.1, 1.2),
}
#: (expansion, kernel, stride, channels, blocks) of each stage of EfficientNet-B0
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
#: Suffix of the names of variants with the last three layers concatenated.
LAST3 = "_last3"


def network(
    variant: Variant, size: int | None = None, classifier: bool = False, name: str | None = None
) -> keras.Model:
    """Build a network with random weights.

    Args:
        variant: The variant.
        size: Side of the photos in pixels; that of the variant by default.
        classifier: Whether to end in the probabilities of ImageNet's classes.
        name: Name of the model.

    Returns:
        A model: photos uint8 [b, size, size, 3] -> grid [b, size / 32, size / 32, 1280], or with
        `classifier` -> probabilities [b, 1000].
    """
    size = size or variant.size
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(image)
    x = _relu6(_norm(_conv(x, STEM, 3, 2, "stem"), "stem"), "stem")
    number = 0
    for stage, (expand, kernel, stride, channels, blocks) in enumerate(STAGES):
        # The Lite variants scale neither the depth of the first and last stage nor stem and head.
        outer = stage in (0, len(STAGES) - 1)
        for repeat in range(blocks if outer else math.ceil(blocks * variant.depth)):
            out = _round_channels(channels * variant.width)
            x = _block(x, expand, kernel, stride if repeat == 0 else 1, out, f"block_{number}")
            number += 1
    x = _relu6(_norm(_conv(x, HEAD, 1, 1, "head"), "head"), "head")
    if classifier:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dense(CLASSES, activation="softmax", name="classes", dtype="float32")(x)
    else:
        x = ops.cast(x, "float32")
    return keras.Model(image, x, name=name or "efficientnet_lite")


def tower(name: str, size: int, weights: Path | None):
    """Build a tower.

    The cells of "efficientnet_lite2_last3" are the output (1280 channels) concatenated with the
    depthwise convolutions of the last two blocks. These still contain details that captions
    mention, but that the classification of ImageNet does not need.

    Args:
        name: A key of `VARIANTS`, also with `LAST3` appended.
        size: Side of the photos in pixels.
        weights: A PyTorch file; None for random weights.

    Returns:
        The symbolic input uint8 [b, size, size, 3], the grid [b, size / 32, size / 32, channels],
        and None: the vector is the mean of the grid.
    """
    variant = name.removesuffix(LAST3)
    model = network(VARIANTS[variant], size, name=name)
    if weights:
        with loading(weights, name):
            assign(model, read_torch_file(weights), origin=str(weights))
    if variant == name:
        return model.input, model.output, None
    wide = [layer.output for layer in model.layers if layer.name.endswith("_depthwise_relu6")]
    cells = [model.output, *(ops.cast(x, "float32") for x in wide[:-3:-1])]
    return model.input, ops.concatenate(cells, axis=-1), None


def _block(x, expand: int, kernel: int, stride: int, channels: int, name: str):
    """Inverted bottleneck: expansion, depthwise convolution, projection, perhaps a residual."""
    residual = x
    if expand > 1:
        x = _conv(x, x.shape[-1] * expand, 1, 1, f"{name}_expand")
        x = _relu6(_norm(x, f"{name}_expand"), f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _relu6(_norm(x, f"{name}_depthwise"), f"{name}_depthwise")
    x = _norm(_conv(x, channels, 1, 1, f"{name}_project"), f"{name}_project")
    if stride == 1 and residual.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([residual, x])
    return x


def _conv(x, filters: int, kernel: int, stride: int, name: str):
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)


def _norm(x, name: str):
    return layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_norm")(x)


def _relu6(x, name: str):
    return layers.Activation("relu6", name=f"{name}_relu6")(x)


def _round_channels(channels: float) -> int:
    """Round to the nearest multiple of 8, but never down by more than 10 %."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def assign(model: keras.Model, tensors: Mapping[str, np.ndarray], origin: str = "tensors") -> None:
    """Copy the tensors of a PyTorch checkpoint into a model of `network`.

    Args:
        model: The model.
        tensors: All tensors of the model, with or without those of the classifier if it has none.
        origin: Where the tensors come from, for messages.

    Example:
        assign(network(variant), read_torch_file(path), origin=str(path))
    """
    unused = {name for name in tensors if name.endswith("num_batches_tracked")}
    if model.layers[-1].name != "classes":
        unused |= {"_fc.weight", "_fc.bias"}
    assign_tensors(_targets(model), tensors, origin, model.name, unused)


def _targets(model: keras.Model) -> Iterator[Target]:
    def kernel(layer: str, name: str, convert=conv_kernel):
        yield model.get_layer(layer).kernel, [f"{name}.weight"], convert

    def norm(layer: str, name: str):
        batch_norm = model.get_layer(f"{layer}_norm")
        yield batch_norm.gamma, [f"{name}.weight"], as_is
        yield batch_norm.beta, [f"{name}.bias"], as_is
        yield batch_norm.moving_mean, [f"{name}.running_mean"], as_is
        yield batch_norm.moving_variance, [f"{name}.running_var"], as_is

    layer_names = {layer.name for layer in model.layers}
    yield from kernel("stem", "_conv_stem")
    yield from norm("stem", "_bn0")
    for number in range(sum(name.endswith("_depthwise") for name in layer_names)):
        block, name = f"block_{number}", f"_blocks.{number}"
        if f"{block}_expand" in layer_names:
            yield from kernel(f"{block}_expand", f"{name}._expand_conv")
            yield from norm(f"{block}_expand", f"{name}._bn0")
        yield from kernel(f"{block}_depthwise", f"{name}._depthwise_conv", depthwise_kernel)
        yield from norm(f"{block}_depthwise", f"{name}._bn1")
        yield from kernel(f"{block}_project", f"{name}._project_conv")
        yield from norm(f"{block}_project", f"{name}._bn2")
    yield from kernel("head", "_conv_head")
    yield from norm("head", "_bn1")
    if "classes" in layer_names:
        yield from kernel("classes", "_fc", dense_kernel)
        yield model.get_layer("classes").bias, ["_fc.bias"], as_is
