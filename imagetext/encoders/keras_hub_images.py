"""Image towers of keras-hub, with the scaling each was trained with put before it.

image, grid, vector = tower("vit_b16", size=224, folder=None)
"""

import json
from pathlib import Path

import keras
from keras import layers, ops

from imagetext.encoders.presets import weight_file
from imagetext.encoders.weights import loading
from imagetext.errors import UserError

RESNET18 = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "use_pre_activation": False,
}
VIT_B16 = {
    "image_shape": (224, 224, 3),
    "patch_size": (16, 16),
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "mlp_dim": 3072,
}
#: Mean and deviation of red, green and blue, of numbers from 0 to 1, in training.
SCALING = {
    "resnet18": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "vit_b16": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def tower(network: str, size: int, folder: Path | None):
    """Symbolic photos uint8 [b, size, size, 3], their grid, and their vector or None.

    `folder` holds a preset of keras-hub or a checkpoint of Hugging Face's (random where none is
    given). ViT's grid are its patches, its vector is the class token; ResNet's vector is the mean
    of its grid, as of any other.
    """
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    mean, deviation = _scaling(network, folder)
    x = layers.Rescaling(
        [1 / (255 * d) for d in deviation],
        [-m / d for m, d in zip(mean, deviation, strict=True)],
        dtype="float32",
        name="scale",
    )(image)
    x = _backbone(network, folder)(x)
    if network == "resnet18":
        return image, x, None
    cells = size // VIT_B16["patch_size"][0]
    return image, ops.reshape(x[:, 1:], [-1, cells, cells, x.shape[-1]]), x[:, 0]


def _backbone(network: str, folder: Path | None) -> keras.Model:
    # Takes a second; nothing else in here needs it.
    from keras_hub.models import ResNetBackbone, ViTBackbone

    made, shape = {"resnet18": (ResNetBackbone, RESNET18), "vit_b16": (ViTBackbone, VIT_B16)}[
        network
    ]
    if folder is None:
        return made(**shape, name=f"{network}_backbone")
    with loading(weight_file(folder), network):
        backbone = made.from_preset(str(folder))
        wrong = {
            key: getattr(backbone, key)
            for key, value in shape.items()
            if _plain(getattr(backbone, key)) != _plain(value)
        }
        if wrong:
            told = ", ".join(f"{key} {value}" for key, value in wrong.items())
            raise UserError(f"{folder}: not a {network}: its {told}")
    return backbone


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def _scaling(network: str, folder: Path | None):
    """Mean and deviation, as the folder of a Hugging Face checkpoint tells, else as known."""
    told = folder / "preprocessor_config.json" if folder else None
    if told is None or not told.is_file():
        return SCALING[network]
    with loading(told, network):
        values = json.loads(told.read_text(encoding="utf-8"))
        return values["image_mean"], values["image_std"]
