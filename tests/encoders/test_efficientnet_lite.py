"""EfficientNet-Lite equals a network in NumPy, and the one in PyTorch."""

import functools
import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from imagetext.encoders import efficientnet_lite, images, registry, weights
from imagetext.encoders.efficientnet_lite import VARIANTS, Variant, assign, network
from imagetext.encoders.torch_file import read_torch_file
from imagetext.errors import UserError

REFERENCE = Path(__file__).with_name("efficientnet_lite_reference.npz")
NARROW = Variant(size=32, width=0.25, depth=1.0)
#: Kernel, stride, expansion and channels of every block of `NARROW`.
BLOCKS = [
    *[(3, 1, 1, 8)],
    *[(3, 2, 6, 8), (3, 1, 6, 8)],
    *[(5, 2, 6, 16), (5, 1, 6, 16)],
    *[(3, 2, 6, 24), (3, 1, 6, 24), (3, 1, 6, 24)],
    *[(5, 1, 6, 32), (5, 1, 6, 32), (5, 1, 6, 32)],
    *[(5, 2, 6, 48), (5, 1, 6, 48), (5, 1, 6, 48), (5, 1, 6, 48)],
    *[(3, 1, 6, 80)],
]


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors of `NARROW` in PyTorch's layout: kernels are [out, in, height, width]."""
    random, tensors = np.random.default_rng(seed), {}

    def conv(name, out, into, kernel):
        scale = np.sqrt(2 / (into * kernel * kernel))
        tensors[f"{name}.weight"] = random.normal(0, scale, (out, into, kernel, kernel))

    def norm(name, channels):
        tensors[f"{name}.weight"] = random.uniform(0.5, 1, channels)
        tensors[f"{name}.bias"] = random.normal(0, 0.5, channels)
        tensors[f"{name}.running_mean"] = random.normal(0, 0.5, channels)
        tensors[f"{name}.running_var"] = random.uniform(0.5, 2, channels)
        tensors[f"{name}.num_batches_tracked"] = np.array(7)

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    channels = 32
    for number, (kernel, _, wider, out) in enumerate(BLOCKS):
        block = f"_blocks.{number}"
        if wider > 1:
            conv(f"{block}._expand_conv", wider * channels, channels, 1)
            norm(f"{block}._bn0", wider * channels)
        conv(f"{block}._depthwise_conv", wider * channels, 1, kernel)
        norm(f"{block}._bn1", wider * channels)
        conv(f"{block}._project_conv", out, wider * channels, 1)
        norm(f"{block}._bn2", out)
        channels = out
    conv("_conv_head", 1280, channels, 1)
    norm("_bn1", 1280)
    tensors["_bn1.weight"] *= 4  # so that many activations reach their upper bound
    tensors["_fc.weight"] = random.normal(0, 0.1, (1000, 1280))
    tensors["_fc.bias"] = random.normal(0, 0.1, 1000)
    return {name: np.float32(tensor) for name, tensor in tensors.items()}


def numpy_network(tensors: dict, photos: np.ndarray) -> tuple:
    """Compute the network in float64.

    Returns:
        The grid [b, h, w, 1280], probabilities [b, 1000], and the depthwise features of each block.
    """
    tensors = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}

    def conv(x, name, stride=1):
        kernel = tensors[f"{name}.weight"]
        each_alone = kernel.shape[1] == 1 != x.shape[-1]
        _, _, high, wide = kernel.shape
        size = -(-x.shape[1] // stride)
        # TensorFlow's "same" padding: an odd pixel goes to the right and bottom.
        padding = max((size - 1) * stride + high - x.shape[1], 0)
        before, after = padding // 2, padding - padding // 2
        x = np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
        total = 0
        for i in range(high):
            for j in range(wide):
                window = x[:, i : i + (size - 1) * stride + 1 : stride]
                window = window[:, :, j : j + (size - 1) * stride + 1 : stride]
                tap = kernel[:, :, i, j]
                total = total + (window * tap[:, 0] if each_alone else window @ tap.T)
        return total

    def norm(x, name):
        part = {key: tensors[f"{name}.{key}"] for key in ("weight", "bias")}
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        return (x - mean) / np.sqrt(variance + 1e-3) * part["weight"] + part["bias"]

    def relu6(x):
        return np.clip(x, 0, 6)

    x = (photos.astype(np.float64) - 127) / 128
    filtered = []
    x = relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    for number, (_, stride, wider, out) in enumerate(BLOCKS):
        block, entered = f"_blocks.{number}", x
        if wider > 1:
            x = relu6(norm(conv(x, f"{block}._expand_conv"), f"{block}._bn0"))
        x = relu6(norm(conv(x, f"{block}._depthwise_conv", stride), f"{block}._bn1"))
        filtered.append(x)
        x = norm(conv(x, f"{block}._project_conv"), f"{block}._bn2")
        if stride == 1 and entered.shape[-1] == out:
            x = x + entered
    x = relu6(norm(conv(x, "_conv_head"), "_bn1"))
    scores = x.mean((1, 2)) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return x, scores / scores.sum(-1, keepdims=True), filtered


@functools.cache
def narrow(classifier: bool = False) -> keras.Model:
    """A network of 32 x 32 pixels that several tests share."""
    return network(NARROW, classifier=classifier, name="narrow")


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return random_tensors()


@pytest.mark.parametrize("size", [64, 50, 33])
def test_it_equals_a_numpy_network(tensors, size):
    photos = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    grid, probabilities, _ = numpy_network(tensors, photos)
    # Both bounds of ReLU6 are reached.
    assert (grid == 0).mean() > 0.1 and (grid == 6).mean() > 0.01
    model = network(NARROW, size)
    assign(model, tensors)
    np.testing.assert_allclose(model(photos), grid, atol=1e-3)
    classifier = network(NARROW, size, classifier=True)
    assign(classifier, tensors)
    np.testing.assert_allclose(classifier(photos), probabilities, rtol=1e-2, atol=1e-6)


def test_the_last_three_layers_are_concatenated(tensors, monkeypatch):
    monkeypatch.setitem(VARIANTS, "narrow", NARROW)
    photos = np.random.default_rng(1).integers(0, 256, (2, 50, 50, 3), np.uint8)
    grid, _, filtered = numpy_network(tensors, photos)
    image, cells, vector = efficientnet_lite.tower("narrow_last3", 50, None)
    model = keras.Model(image, cells)
    assign(model, tensors)
    expected = np.concatenate([grid, filtered[-1], filtered[-2]], axis=-1)
    assert vector is None
    np.testing.assert_allclose(model(photos), expected, atol=1e-3)


def test_pixels_are_scaled_as_by_google():
    scale = narrow().get_layer("scale")
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(scale(every), (np.arange(256.0) - 127).reshape(every.shape) / 128)


def test_every_variable_is_assigned():
    for classifier in (False, True):
        model = narrow(classifier)
        named = [variable.path for variable, *_ in efficientnet_lite._targets(model)]
        assert sorted(named) == sorted(variable.path for variable in model.weights)


def test_missing_unexpected_and_misshapen_tensors_are_refused(tensors):
    model = narrow()
    absent = {k: v for k, v in tensors.items() if k != "_blocks.3._bn1.bias"}
    with pytest.raises(UserError, match=r"not the weights of narrow: missing _blocks\.3\._bn1\.bi"):
        assign(model, absent)
    with pytest.raises(UserError, match=r"unexpected _blocks\.16\._bn0\.weight"):
        assign(model, tensors | {"_blocks.16._bn0.weight": np.zeros(3)})
    before = model.get_weights()
    for name in ("_conv_stem.weight", "_blocks.2._depthwise_conv.weight", "_bn1.running_var"):
        wrong = np.zeros(tensors[name].T.shape + (1,) * (tensors[name].ndim == 1))
        with pytest.raises(UserError, match=rf"{name} has shape \("):
            assign(model, tensors | {name: wrong})
    with pytest.raises(UserError, match=r"missing .* and \d+ more"):
        assign(model, {})
    for then, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)
    with pytest.raises(UserError, match=r"missing _fc\.bias, _fc\.weight"):
        body = {name: tensor for name, tensor in tensors.items() if "_fc" not in name}
        assign(narrow(classifier=True), body)


def test_the_variants_are_those_of_google():
    """Channels and blocks of Lite2: 1.1 times as wide and 1.2 times as deep as B0."""
    model = network(VARIANTS["efficientnet_lite2"], size=32)
    actual = [layer.filters for layer in model.layers if layer.name.endswith("_project")]
    assert actual == [16] + [24] * 3 + [48] * 3 + [88] * 4 + [120] * 4 + [208] * 5 + [352]
    assert (model.get_layer("stem").filters, model.get_layer("head").filters) == (32, 1280)


def test_a_saved_model_is_loaded_without_this_package(tensors, tmp_path):
    model = narrow()
    assign(model, tensors)
    model.save(tmp_path / "lite.keras")
    opened = keras.saving.load_model(tmp_path / "lite.keras", safe_mode=True)
    photos = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(opened(photos), model(photos))
    assert "encoders" not in opened.to_json()


# --------------------------------------------------------------- with pretrained weights


def needs(name: str) -> Path:
    if not images.is_available(name):
        pytest.skip(f"the weights of {name} are not on this machine")
    return weights.find(registry.image_encoder(name).weights)


def classifier(name: str) -> keras.Model:
    model = network(VARIANTS[name], classifier=True, name=name)
    assign(model, read_torch_file(needs(name)))
    return model


def pictures(size: int) -> np.ndarray:
    """The same as `photos` in make_efficientnet_lite_reference.py."""
    y, x, c = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
    stripes = (x * (c + 2) + y * y // (40 + 9 * c)) % 256
    squares = (x // 20 * 7919 + y // 20 * 104729 + c * 1299709) * 2654435761 % 2**32 // 2**24
    return np.stack([stripes, squares]).astype(np.uint8)


@pytest.mark.weights
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_pretrained_networks_equal_those_of_pytorch(variant):
    name = f"efficientnet_lite{variant}"
    needs(name)
    photos = pictures(VARIANTS[name].size)
    with np.load(REFERENCE) as reference:
        features = reference[f"features_{variant}"]
        probabilities = reference[f"probabilities_{variant}"]
    np.testing.assert_allclose(images.build(name)(photos), features, atol=2e-4)
    np.testing.assert_allclose(classifier(name)(photos), probabilities, atol=2e-4)


#: Photo in scikit-image -> correct classes of ImageNet.
PHOTOGRAPHED = {
    "chelsea.png": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    "coffee.png": {504: "coffee mug", 967: "espresso", 968: "cup"},
    "camera.png": {872: "tripod"},
}


@pytest.mark.weights
@pytest.mark.parametrize("name", VARIANTS)
def test_pretrained_networks_recognise_photos(name):
    """Free photos in scikit-image, which is not imported."""
    package = importlib.util.find_spec("skimage")
    if package is None:
        pytest.skip("needs the photos in scikit-image: pip install --no-deps scikit-image")
    folder = Path(package.submodule_search_locations[0]) / "data"
    size = VARIANTS[name].size
    photos = []
    for file in PHOTOGRAPHED:
        photo = Image.open(folder / file).convert("RGB")
        side = min(photo.size)
        left, above = ((length - side) // 2 for length in photo.size)
        photo = photo.crop((left, above, left + side, above + side))
        photos.append(np.asarray(photo.resize((size, size), Image.Resampling.BICUBIC)))
    actual = np.asarray(classifier(name)(np.stack(photos))).argmax(-1)
    for file, best in zip(PHOTOGRAPHED, actual, strict=True):
        assert best in PHOTOGRAPHED[file], f"{file} is class {best}"
