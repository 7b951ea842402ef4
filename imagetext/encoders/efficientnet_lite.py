"""EfficientNet-Lite0, 1 and 2: EfficientNets for small machines, in built-in Keras layers.

    tower = network(VARIANTS["efficientnet_lite2"])     # uint8 [b, 260, 260, 3] -> [b, 9, 9, 1280]
    assign(tower, tensors, origin="efficientnet-lite2.pth")

Unlike EfficientNet they have no squeeze-and-excite and clip their activations at 6 (ReLU6). The
photo's bytes are scaled inside: (x - 127) / 128.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from imagetext.encoders.torch_file import read_torch_file
from imagetext.encoders.weights import loading, require_all_placed


@dataclass(frozen=True, slots=True)
class Variant:
    """What sets one of the family apart: how much wider and deeper than EfficientNet-B0."""

    size: int
    wider: float
    deeper: float


VARIANTS = {
    "efficientnet_lite0": Variant(224, 1.0, 1.0),
    "efficientnet_lite1": Variant(240, 1.0, 1.1),
    "efficientnet_lite2": Variant(260, 1.1, 1.2),
}
#: (times wider within the block, kernel, stride, channels, blocks) of each stage of EfficientNet-B0
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
#: Behind a variant's name: its last three wide layers side by side.
LAST3 = "_last3"


def network(
    variant: Variant, size: int | None = None, classifier: bool = False, name: str | None = None
) -> keras.Model:
    """Photos uint8 [b, size, size, 3] -> grid [b, size / 32, size / 32, 1280].

    With `classifier` instead the probabilities of ImageNet's classes, [b, 1000].
    """
    size = size or variant.size
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(image)
    x = _relu6(_norm(_conv(x, STEM, 3, 2, "stem"), "stem"), "stem")
    number = 0
    for stage, (expand, kernel, stride, channels, blocks) in enumerate(STAGES):
        # The Lite variants scale neither the depth of the first and last stage nor stem and head.
        outer = stage in (0, len(STAGES) - 1)
        for repeat in range(blocks if outer else math.ceil(blocks * variant.deeper)):
            out = _rounded(channels * variant.wider)
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
    """Symbolic photos uint8 [b, size, size, 3], their grid [b, size / 32, size / 32, 1280], and
    None: the vector is the mean of the grid. `weights` is PyTorch's file, random where none.

    Of efficientnet_lite2_last3 a cell holds the last three layers that many channels pass: behind
    the 1280 also what the last two blocks have filtered, before they narrow it. Much of what a
    caption says and ImageNet's classes do not ask for is lost on the way from there.
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
    """Inverted bottleneck: widen, filter each channel by itself, narrow; added where it fits."""
    entered = x
    if expand > 1:
        x = _conv(x, x.shape[-1] * expand, 1, 1, f"{name}_expand")
        x = _relu6(_norm(x, f"{name}_expand"), f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _relu6(_norm(x, f"{name}_depthwise"), f"{name}_depthwise")
    x = _norm(_conv(x, channels, 1, 1, f"{name}_project"), f"{name}_project")
    if stride == 1 and entered.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([entered, x])
    return x


def _conv(x, filters: int, kernel: int, stride: int, name: str):
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)


def _norm(x, name: str):
    return layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_norm")(x)


def _relu6(x, name: str):
    return layers.Activation("relu6", name=f"{name}_relu6")(x)


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def assign(model: keras.Model, tensors: Mapping[str, np.ndarray], origin: str = "tensors") -> None:
    """Copy the tensors of the PyTorch checkpoint into a model of `network`.

    Every tensor must have its place; those of the classifier may be left over where the model has
    none.

        assign(network(variant), read_torch_file(path), origin=str(path))
    """
    left_over = {name for name in tensors if not name.endswith("num_batches_tracked")}
    absent, wrong, found = [], [], []
    for variable, name in _places(model):
        left_over.discard(name)
        if name not in tensors:
            absent.append(name)
            continue
        value = _as_keras(np.asarray(tensors[name], np.float32), variable)
        if value.shape != tuple(variable.shape):
            wrong.append(f"{name} has {value.shape} where {tuple(variable.shape)} belongs")
        found.append((variable, value))
    if model.layers[-1].name != "classes":
        left_over -= {"_fc.weight", "_fc.bias"}
    require_all_placed(origin, model.name, sorted(absent), sorted(left_over), sorted(wrong))
    for variable, value in found:
        variable.assign(value)


def _as_keras(tensor: np.ndarray, variable) -> np.ndarray:
    """PyTorch keeps [out, in, h, w], and dense kernels as [out, in]."""
    if tensor.ndim == 4 and "depthwise" in variable.path:
        return tensor.transpose(2, 3, 0, 1)
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T if tensor.ndim == 2 else tensor


def _places(model: keras.Model) -> Iterator[tuple[keras.Variable, str]]:
    """Every variable of the model, with the name of its tensor."""

    def norm(layer: str, source: str):
        found = model.get_layer(f"{layer}_norm")
        yield found.gamma, f"{source}.weight"
        yield found.beta, f"{source}.bias"
        yield found.moving_mean, f"{source}.running_mean"
        yield found.moving_variance, f"{source}.running_var"

    names = {layer.name for layer in model.layers}
    yield model.get_layer("stem").kernel, "_conv_stem.weight"
    yield from norm("stem", "_bn0")
    for number in range(sum(name.endswith("_depthwise") for name in names)):
        block, source = f"block_{number}", f"_blocks.{number}"
        if f"{block}_expand" in names:
            yield model.get_layer(f"{block}_expand").kernel, f"{source}._expand_conv.weight"
            yield from norm(f"{block}_expand", f"{source}._bn0")
        yield model.get_layer(f"{block}_depthwise").kernel, f"{source}._depthwise_conv.weight"
        yield from norm(f"{block}_depthwise", f"{source}._bn1")
        yield model.get_layer(f"{block}_project").kernel, f"{source}._project_conv.weight"
        yield from norm(f"{block}_project", f"{source}._bn2")
    yield model.get_layer("head").kernel, "_conv_head.weight"
    yield from norm("head", "_bn1")
    if "classes" in names:
        yield model.get_layer("classes").kernel, "_fc.weight"
        yield model.get_layer("classes").bias, "_fc.bias"
