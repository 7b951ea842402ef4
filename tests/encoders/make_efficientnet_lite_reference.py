"""Write efficientnet_lite_reference.npz: the outputs of EfficientNet-Lite in PyTorch.

    python tests/encoders/make_efficientnet_lite_reference.py lite0.pth lite1.pth lite2.pth

Needs PyTorch, and nothing of this project: the networks are written down here once more, as
functions over their tensors.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

#: Kernel, stride and blocks of each stage; everything else follows from the tensors.
STAGES = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))
SIZES = (224, 240, 260)
DEEPER = (1.0, 1.1, 1.2)


def photos(size: int) -> np.ndarray:
    """Two images, uint8 [2, size, size, 3]: curved stripes, and squares of noise."""
    y, x, c = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
    stripes = (x * (c + 2) + y * y // (40 + 9 * c)) % 256
    squares = (x // 20 * 7919 + y // 20 * 104729 + c * 1299709) * 2654435761 % 2**32 // 2**24
    return np.stack([stripes, squares]).astype(np.uint8)


def convolved(x, kernel, stride=1, groups=1):
    """TensorFlow's "same" padding: an odd pixel goes to the right and bottom."""
    size, taps = x.shape[-1], kernel.shape[-1]
    lacking = max((math.ceil(size / stride) - 1) * stride + taps - size, 0)
    before, after = lacking // 2, lacking - lacking // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, None, stride, groups=groups)


def forward(tensors: dict, pictures: np.ndarray, deeper: float):
    """uint8 [b, h, w, 3] -> features [b, 1280] and probabilities [b, 1000]."""

    def norm(x, name):
        stored = (tensors[f"{name}.{part}"] for part in ("running_mean", "running_var"))
        return F.batch_norm(
            x, *stored, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-3
        )

    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
    x = F.relu6(norm(convolved(x, tensors["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for stage, (_, stride, blocks) in enumerate(STAGES):
        outer = stage in (0, len(STAGES) - 1)
        for repeat in range(blocks if outer else math.ceil(blocks * deeper)):
            block, entered = f"_blocks.{number}", x
            if f"{block}._expand_conv.weight" in tensors:
                x = F.relu6(
                    norm(convolved(x, tensors[f"{block}._expand_conv.weight"]), f"{block}._bn0")
                )
            step = stride if repeat == 0 else 1
            kernel = tensors[f"{block}._depthwise_conv.weight"]
            x = F.relu6(norm(convolved(x, kernel, step, groups=x.shape[1]), f"{block}._bn1"))
            x = norm(convolved(x, tensors[f"{block}._project_conv.weight"]), f"{block}._bn2")
            x = x + entered if x.shape == entered.shape else x
            number += 1
    x = F.relu6(norm(convolved(x, tensors["_conv_head.weight"]), "_bn1")).mean((2, 3))
    return x, F.softmax(F.linear(x, tensors["_fc.weight"], tensors["_fc.bias"]), -1)


if __name__ == "__main__":
    written = {}
    for variant, path in enumerate(sys.argv[1:]):
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        pictures = photos(SIZES[variant])
        with torch.no_grad():
            features, probabilities = forward(tensors, pictures, DEEPER[variant])
        written[f"features_{variant}"] = features.numpy()
        written[f"probabilities_{variant}"] = probabilities.numpy().astype(np.float16)
        print(path, pictures.sum(), probabilities.topk(3))
    np.savez_compressed(Path(__file__).with_name("efficientnet_lite_reference.npz"), **written)
