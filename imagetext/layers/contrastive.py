"""Contrastive learning of photos and captions: losses, a learned temperature and an AUC.

    similarities = Temperature(0.05)(ops.matmul(photos, ops.transpose(texts)))    # [b, b]
    model.compile(loss=Contrastive(), weighted_metrics=[PairAUC()])

The truth is a matrix [b, b]: 1 where photo i and caption j belong together (the diagonal and any
other known pair), 0 where they do not, and -1 where it is unknown, as for two captions of the same
photo. Unknown pairs are ignored.
"""

import math
from collections.abc import Callable

import keras
from keras import ops

#: Upper bound of the learned scale: exp() of larger similarities overflows in half precision.
LARGEST_SCALE = 100.0


def _at_most_largest(log_scale):
    return ops.minimum(log_scale, math.log(LARGEST_SCALE))


def l2_normalize(x):
    """Scale vectors [..., d] to length 1, in float32 under any precision policy."""
    x = ops.cast(x, "float32")
    return x / ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable("imagetext")
class Temperature(keras.layers.Layer):
    """Divides similarities by a learned temperature, in float32 under any precision policy.

    Args:
        start: Initial temperature.
        bias: Initial value of a learned bias, which the sigmoid loss needs; None for no bias.

    Example:
        Temperature(0.05)(cosines)      # [b, b] -> [b, b]
    """

    def __init__(self, start: float = 0.05, bias: float | None = None, **options):
        super().__init__(**{"dtype": "float32", **options})
        self.start, self.start_bias = start, bias

    def build(self, shape):
        self.log_scale = self._add_scalar("logit_scale", math.log(1 / self.start), _at_most_largest)
        if self.start_bias is not None:
            self.bias = self._add_scalar("logit_bias", self.start_bias)

    def _add_scalar(self, name: str, start: float, constraint: Callable | None = None):
        initializer = keras.initializers.Constant(start)
        return self.add_weight(name=name, shape=(), initializer=initializer, constraint=constraint)

    def call(self, cosines):
        # The constraint keeps the scale below its bound during training. A stored scale above the
        # bound is clamped, but with the gradient of the unclamped one: minimum() alone has no
        # gradient there, so that the scale could never come back.
        excess = self.log_scale - _at_most_largest(self.log_scale)
        scaled = cosines * ops.exp(self.log_scale - ops.stop_gradient(excess))
        return scaled if self.start_bias is None else scaled + self.bias

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "start": self.start, "bias": self.start_bias}


@keras.saving.register_keras_serializable("imagetext")
class Contrastive(keras.losses.Loss):
    """Mean of two cross-entropies: the caption of each photo, and the photo of each caption.

    Args:
        hardness: Above 0, negatives are weighted by exp(hardness * similarity), with a mean weight
            of 1, so that those most similar to the match count more (Robinson et al. 2021).

    Example:
        Contrastive()(truth, similarities)      # both [b, b]
    """

    def __init__(self, hardness: float = 0.0, **options):
        super().__init__(**options)
        self.hardness = hardness

    def call(self, truth, similarities):
        similarities = ops.cast(similarities, "float32")
        truth = ops.cast(truth, "float32")
        logits = ops.where(truth < 0, -1e9, similarities)
        photos, captions = (self._cross_entropy(truth, logits, axis) for axis in (1, 0))
        # A photo that could not be read has no match.
        return ops.where(ops.diagonal(truth) > 0, (photos + captions) / 2, 0.0)

    def _cross_entropy(self, truth, logits, axis: int):
        """Minus the log probability of the match, averaged over several matches: [b]."""
        positive = ops.cast(truth > 0, "float32")
        count = ops.maximum(ops.sum(positive, axis=axis), 1.0)
        match = ops.sum(positive * logits, axis=axis) / count
        if self.hardness:
            logits = logits + ops.stop_gradient(self._log_weights(truth, logits, axis))
        return ops.logsumexp(logits, axis=axis) - match

    def _log_weights(self, truth, logits, axis: int):
        """Log weights of the negatives, whose mean weight is 1; 0 elsewhere."""
        negative = truth == 0
        hard = ops.where(negative, self.hardness * logits, -1e9)
        count = ops.sum(ops.cast(negative, "float32"), axis=axis, keepdims=True)
        total = ops.logsumexp(hard, axis=axis, keepdims=True)
        return ops.where(negative, hard - total + ops.log(ops.maximum(count, 1.0)), 0.0)

    def get_config(self):
        return {**super().get_config(), "hardness": self.hardness}


@keras.saving.register_keras_serializable("imagetext")
class PairSigmoid(keras.losses.Loss):
    """Binary cross-entropy of each pair of photo and caption by itself (SigLIP, Zhai et al. 2023).

    Example:
        PairSigmoid()(truth, similarities)      # both [b, b]; similarities with a learned bias
    """

    def call(self, truth, similarities):
        similarities = ops.cast(similarities, "float32")
        truth = ops.cast(truth, "float32")
        signs = ops.where(truth > 0, 1.0, -1.0)
        losses = ops.softplus(-signs * similarities)
        return ops.sum(ops.where(truth < 0, 0.0, losses), axis=1)


@keras.saving.register_keras_serializable("imagetext")
class PairAUC(keras.metrics.AUC):
    """ROC AUC of separating the pairs that belong together from those that do not."""

    def __init__(self, name: str = "auc", num_thresholds: int = 1000, **options):
        super().__init__(**{"name": name, "num_thresholds": num_thresholds, **options})

    def update_state(self, truth, similarities, sample_weight=None):
        truth = ops.cast(truth, "float32")
        # AUC depends only on the order and needs numbers in (0, 1). Similarities go up to
        # LARGEST_SCALE, where a sigmoid is 1 long before; this function still separates them.
        similarities = ops.cast(similarities, "float32")
        squeezed = 0.5 + 0.5 * similarities / (10 + ops.abs(similarities))
        return super().update_state(
            ops.cast(truth > 0, "float32"), squeezed, ops.cast(truth >= 0, "float32")
        )
