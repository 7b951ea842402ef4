"""Features are brought to mean 0 and variance 1 before anything is trained."""

import keras
import numpy as np
from keras import layers

from imagetext.training.network import STANDARDISE, standardise


class Stored:
    def __init__(self, features: np.ndarray):
        self.features = features.astype(np.float16).astype(np.float32)

    def fetch(self, numbers):
        return self.features[numbers], np.ones(len(numbers), bool)


def network(width: int) -> keras.Model:
    image = keras.Input([width], name="image")
    return keras.Model({"image": image}, layers.Normalization(name=STANDARDISE)(image))


def test_a_channel_that_never_changes_does_not_blow_rounding_up():
    """In half floats it is one number for all photos, and the encoder's own is next to it."""
    features = np.random.default_rng(0).normal(
        [0.3, 0.5, 6.0, 0.0], [0.2, 1e-6, 1e-4, 0.0], (64, 4)
    )
    model, photos = network(4), Stored(features)
    assert np.ptp(photos.features[:, 1]) == 0 == np.ptp(photos.features[:, 3])
    standardise(model, photos, np.arange(64))
    stored, live = (np.asarray(model({"image": x})) for x in (photos.features, features))
    np.testing.assert_allclose(stored[:, 0].std(), 1, rtol=1e-3)
    np.testing.assert_allclose(stored[:, 0].mean(), 0, atol=1e-3)
    np.testing.assert_allclose(stored, live, atol=0.2)
