"""What the tests of image encoders share."""

import numpy as np

#: One encoder of every kind of tower.
KINDS = ["efficientnet_lite0", "efficientnet_b0", "vgg16", "resnet18", "vit_b16"]
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def photos(size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (2, size, size, 3), np.uint8)
