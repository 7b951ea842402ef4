"""Learning that each photo goes with its own caption, among all captions of the batch.

    similarities = Temperature(0.05)(ops.matmul(photos, ops.transpose(texts)))    # [b, b]
    model.compile(loss=Contrastive(), weighted_metrics=[PairAUC()])

The truth is a matrix: 1 where photo i and caption j belong together (the diagonal, and what else is
known to), 0 where they do not, and -1 where nobody knows, as of two captions of one photo. Those
pairs count for nothing.
"""

import math
from collections.abc import Callable

import keras
from keras import ops

#: Similarities are multiplied by at most this, since exp() of more overflows in half precision.
LARGEST_SCALE = 100.0


def _at_most_largest(log_scale):
    return ops.minimum(log_scale, math.log(LARGEST_SCALE))


def l2_normalize(x):
    """[..., d] at length 1, in float32 whatever the precision."""
    x = ops.cast(x, "float32")
    return x / ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable("imagetext")
class Temperature(keras.layers.Layer):
    """Divides by a temperature that is learned; in float32 whatever the precision. With a `bias` to
    start from, one is learned and added, as the sigmoid loss needs.

    Temperature(0.05)(cosines)      # [b, b] -> [b, b]
    """

    def __init__(self, start: float = 0.05, bias: float | None = None, **options):
        super().__init__(**{"dtype": "float32", **options})
        self.start, self.start_bias = start, bias

    def build(self, shape):
        self.log_scale = self._number("logit_scale", math.log(1 / self.start), _at_most_largest)
        if self.start_bias is not None:
            self.bias = self._number("logit_bias", self.start_bias)

    def _number(self, name: str, start: float, constraint: Callable | None = None):
        initializer = keras.initializers.Constant(start)
        return self.add_weight(name=name, shape=(), initializer=initializer, constraint=constraint)

    def call(self, cosines):
        # The optimizer holds it below the largest. One that was stored above it counts as the
        # largest, but its gradient as if it did not: at a plain minimum it would stay for ever.
        excess = self.log_scale - _at_most_largest(self.log_scale)
        scaled = cosines * ops.exp(self.log_scale - ops.stop_gradient(excess))
        return scaled if self.start_bias is None else scaled + self.bias

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "start": self.start, "bias": self.start_bias}


@keras.saving.register_keras_serializable("imagetext")
class Contrastive(keras.losses.Loss):
    """Cross-entropy of finding the caption of each photo, and the photo of each caption, halved.

        Contrastive()(truth, similarities)      # both [b, b]

    With `hardness` above 0 those that are no match count by exp(hardness * similarity), on average
    once: the more a wrong one resembles the right one, the more (as Robinson et al. 2021).
    """

    def __init__(self, hardness: float = 0.0, **options):
        super().__init__(**options)
        self.hardness = hardness

    def call(self, truth, similarities):
        similarities = ops.cast(similarities, "float32")
        truth = ops.cast(truth, "float32")
        known = ops.where(truth < 0, -1e9, similarities)
        photos, captions = (self._surprise(truth, known, axis) for axis in (1, 0))
        # A photo that could not be read has no caption to find.
        return ops.where(ops.diagonal(truth) > 0, (photos + captions) / 2, 0.0)

    def _surprise(self, truth, known, axis: int):
        """Minus the log probability of what is right, on average where several are: [b]."""
        right = ops.cast(truth > 0, "float32")
        count = ops.maximum(ops.sum(right, axis=axis), 1.0)
        own = ops.sum(right * known, axis=axis) / count
        if self.hardness:
            known = known + ops.stop_gradient(self._log_weights(truth, known, axis))
        return ops.logsumexp(known, axis=axis) - own

    def _log_weights(self, truth, known, axis: int):
        """Of those that are no match, with a mean weight of 1; 0 for the others."""
        wrong = truth == 0
        hard = ops.where(wrong, self.hardness * known, -1e9)
        count = ops.sum(ops.cast(wrong, "float32"), axis=axis, keepdims=True)
        total = ops.logsumexp(hard, axis=axis, keepdims=True)
        return ops.where(wrong, hard - total + ops.log(ops.maximum(count, 1.0)), 0.0)

    def get_config(self):
        return {**super().get_config(), "hardness": self.hardness}


@keras.saving.register_keras_serializable("imagetext")
class PairSigmoid(keras.losses.Loss):
    """Each pair of photo and caption by itself, match or no match (SigLIP, Zhai et al. 2023).

    PairSigmoid()(truth, similarities)      # both [b, b]; similarities with a learned bias
    """

    def call(self, truth, similarities):
        similarities = ops.cast(similarities, "float32")
        truth = ops.cast(truth, "float32")
        sides = ops.where(truth > 0, 1.0, -1.0)
        each = ops.softplus(-sides * similarities)
        return ops.sum(ops.where(truth < 0, 0.0, each), axis=1)


@keras.saving.register_keras_serializable("imagetext")
class PairAUC(keras.metrics.AUC):
    """ROC AUC of telling the pairs that belong together from those that do not."""

    def __init__(self, name: str = "auc", num_thresholds: int = 1000, **options):
        super().__init__(**{"name": name, "num_thresholds": num_thresholds, **options})

    def update_state(self, truth, similarities, sample_weight=None):
        truth = ops.cast(truth, "float32")
        # AUC asks for the order alone, of numbers in (0, 1). This keeps apart what lies far out:
        # similarities go up to LARGEST_SCALE, where a sigmoid has long been 1.
        similarities = ops.cast(similarities, "float32")
        squeezed = 0.5 + 0.5 * similarities / (10 + ops.abs(similarities))
        return super().update_state(
            ops.cast(truth > 0, "float32"), squeezed, ops.cast(truth >= 0, "float32")
        )
