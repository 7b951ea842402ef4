"""What every task does with its network before and after training.

standardise(model, photos, numbers)     # measure pretrained features, once
save_model(run.model_file, model)
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from imagetext.files import replacing

#: Layers that bring features to mean 0 and variance 1 have names that begin so.
STANDARDISE = "standardise"


def standardise(model: keras.Model, photos: Any, numbers: np.ndarray, most: int = 512) -> None:
    """Let the model's `standardise` layers, if it has any, measure what comes to them from training
    photos: of those with these `numbers` in `photos`, at most `most`.

    A channel that is (nearly) the same for all of them tells nothing. Were it brought to variance 1
    like the others, the rounding of stored features would decide the answer: its deviation counts
    as no less than half floats can show.
    """
    numbers = np.unique(numbers)
    numbers = numbers[:: max(1, len(numbers) // most)]
    for layer in [layer for layer in model.layers if layer.name.startswith(STANDARDISE)]:
        seen, found = keras.Model(model.input["image"], layer.input), []
        for chosen in np.array_split(numbers, max(1, len(numbers) // 32)):
            image, good = photos.fetch(chosen)
            found.append(np.asarray(seen(image[good], training=False)))
        layer.adapt(np.concatenate(found))
        least = 1e-3 + np.abs(layer.adapt_mean) / 256
        layer.adapt_variance.assign(np.maximum(layer.adapt_variance, least**2))
        layer.finalize_state()


def save_model(path: Path, model: keras.Model) -> None:
    """Save without optimizer and metrics, so that the file opens with Keras alone."""
    bare = keras.Model(model.input, model.output, name=model.name)
    with replacing(path) as temporary:
        bare.save(temporary)
