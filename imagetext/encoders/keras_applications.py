"""Image towers of `keras.applications`, including the scaling of pixels.

image, grid, _ = tower("ResNet50", size=224, weights=None)
"""

from pathlib import Path

import keras
from keras import layers, ops

from imagetext.encoders.weights import loading

#: ImageNet's mean and standard deviation (red, green, blue; pixels from 0 to 1).
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The mean that Caffe's networks subtract (blue, green, red; pixels from 0 to 255).
CAFFE_MEAN = (103.939, 116.779, 123.68)


def tower(network: str, size: int, weights: Path | None):
    """Build a tower.

    Args:
        network: Name of the function in keras.applications.
        size: Side of the photos in pixels.
        weights: The file that Keras publishes for the network without its classifier; None for
            random weights.

    Returns:
        The symbolic input uint8 [b, size, size, 3], the grid [b, cells, cells, width], and None:
        the vector is the mean of the grid.
    """
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    if network in ("MobileNetV2", "InceptionV3"):
        x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="scale")(image)
    elif network.startswith("EfficientNet"):
        x = image
    else:
        offset = [-mean for mean in CAFFE_MEAN]
        x = layers.Rescaling(1.0, offset, dtype="float32", name="scale")(ops.flip(image, axis=-1))
    build = getattr(keras.applications, network)
    model = build(include_top=False, weights=None, input_tensor=x)
    if weights:
        with loading(weights, network):
            model.load_weights(weights)
    if network.startswith("EfficientNet"):
        _set_normalization(model, pretrained=weights is not None)
    return image, model.output, None


def _set_normalization(model: keras.Model, pretrained: bool) -> None:
    """Correct the scaling inside an EfficientNet.

    The published files contain the standard deviation where the layer expects the variance. Keras
    corrects this with another layer, but only if it has downloaded the weights itself.
    """
    (layer,) = (each for each in model.layers if isinstance(each, layers.Normalization))
    if pretrained:
        layer.adapt_variance.assign(layer.adapt_variance * ops.convert_to_tensor(DEVIATION))
    else:
        layer.adapt_mean.assign(MEAN)
        layer.adapt_variance.assign([deviation**2 for deviation in DEVIATION])
    layer.finalize_state()
