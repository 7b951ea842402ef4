"""Image towers of keras-hub, including the scaling of pixels.

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
#: Mean and standard deviation (red, green, blue; pixels from 0 to 1).
SCALING = {
    "resnet18": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "vit_b16": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def tower(network: str, size: int, folder: Path | None):
    """Build a tower.

    Args:
        network: "resnet18" or "vit_b16".
        size: Side of the photos in pixels.
        folder: A keras-hub preset or a Hugging Face checkpoint; None for random weights.

    Returns:
        The symbolic input uint8 [b, size, size, 3], the grid [b, cells, cells, width], and the
        vector [b, width]: the class token of a ViT, and None for a ResNet, whose vector is the mean
        of the grid.
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
    # Imported here because it takes a second.
    from keras_hub.models import ResNetBackbone, ViTBackbone

    if network == "resnet18":
        backbone_class, options = ResNetBackbone, RESNET18
    else:
        backbone_class, options = ViTBackbone, VIT_B16
    if folder is None:
        return backbone_class(**options, name=f"{network}_backbone")
    with loading(weight_file(folder), network):
        backbone = backbone_class.from_preset(str(folder))
        for key, expected in options.items():
            value = getattr(backbone, key)
            if _as_list(value) != _as_list(expected):
                raise UserError(
                    f"{folder}: not a {network}: expected {key} {expected}, got {value}"
                )
    return backbone


def _as_list(value):
    return list(value) if isinstance(value, tuple) else value


def _scaling(network: str, folder: Path | None):
    """Mean and standard deviation, from a Hugging Face checkpoint if it contains them."""
    path = folder / "preprocessor_config.json" if folder else None
    if path is None or not path.is_file():
        return SCALING[network]
    with loading(path, network):
        settings = json.loads(path.read_text(encoding="utf-8"))
        return settings["image_mean"], settings["image_std"]
