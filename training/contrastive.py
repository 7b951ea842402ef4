"""Learning that each photo goes with its own caption, among all captions of the batch.

    similarities = Temperature(0.05)(ops.matmul(photos, ops.transpose(texts)))    # [b, b]
    model.compile(loss=Contrastive(), weighted_metrics=[PairAUC()])

The truth is a matrix: 1 where photo i and caption j belong together (the diagonal), 0 where they do
not, and -1 where nobody knows, as of two captions of one photo. Those pairs count for nothing.
"""

import math

import keras
from keras import ops

#: Similarities are multiplied by at most this, since exp() of more overflows in half precision.
LARGEST_SCALE = 100.0


@keras.saving.register_keras_serializable("imagetext")
class Temperature(keras.layers.Layer):
    """Divides by a temperature that is learned; in float32 whatever the precision.

    Temperature(0.05)(cosines)      # [b, b] -> [b, b]
    """

    def __init__(self, start: float = 0.05, **options):
        super().__init__(**{"dtype": "float32", **options})
        self.start = start

    def build(self, shape):
        self.log_scale = self.add_weight(
            name="logit_scale",
            shape=(),
            initializer=keras.initializers.Constant(math.log(1 / self.start)),
        )

    def call(self, cosines):
        return cosines * ops.minimum(ops.exp(self.log_scale), LARGEST_SCALE)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable("imagetext")
class Contrastive(keras.losses.Loss):
    """Cross-entropy of finding the caption of each photo, and the photo of each caption, halved.

    Contrastive()(truth, similarities)      # both [b, b]
    """

    def call(self, truth, similarities):
        similarities = ops.cast(similarities, "float32")
        truth = ops.cast(truth, "float32")
        known = ops.where(truth < 0, -1e9, similarities)
        own = ops.diagonal(known)
        photos = ops.logsumexp(known, axis=1) - own
        captions = ops.logsumexp(known, axis=0) - own
        # A photo that could not be read has no caption to find.
        return ops.where(ops.diagonal(truth) > 0, (photos + captions) / 2, 0.0)


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
