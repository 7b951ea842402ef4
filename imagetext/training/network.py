"""Before and after training: standardise the features of frozen encoders, and save the model.

standardise(model, photos, numbers)
save_model(run.model_file, model)
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from imagetext.files import replacing

#: The names of normalisation layers that are to be adapted start with this.
STANDARDISE = "standardise"


def standardise(model: keras.Model, photos: Any, numbers: np.ndarray, most: int = 512) -> None:
    """Adapt the model's `standardise` layers, if it has any, to training photos.

    A channel that is (nearly) constant carries no information. Scaling it to variance 1 would
    amplify the rounding errors of stored features, so its deviation is taken to be at least the
    precision of float16.

    Args:
        model: The model; it is changed in place.
        photos: The photos, with `fetch`.
        numbers: The numbers of the training photos.
        most: How many of them to use.
    """
    numbers = np.unique(numbers)
    numbers = numbers[:: max(1, len(numbers) // most)]
    for layer in [layer for layer in model.layers if layer.name.startswith(STANDARDISE)]:
        inputs, batches = keras.Model(model.input["image"], layer.input), []
        for batch in np.array_split(numbers, max(1, len(numbers) // 32)):
            image, good = photos.fetch(batch)
            batches.append(np.asarray(inputs(image[good], training=False)))
        layer.adapt(np.concatenate(batches))
        least = 1e-3 + np.abs(layer.adapt_mean) / 256
        layer.adapt_variance.assign(np.maximum(layer.adapt_variance, least**2))
        layer.finalize_state()


def save_model(path: Path, model: keras.Model) -> None:
    """Save a model without optimizer and metrics, so that Keras alone can load it."""
    bare = keras.Model(model.input, model.output, name=model.name)
    with replacing(path) as temporary:
        bare.save(temporary)
