"""AdamW with linear warm-up and decay, as BERT is trained.

    optimizer = adamw(learning_rate=3e-5, total_steps=1000, warmup_steps=100)

Follows `official.nlp.optimization.create_optimizer` of the TensorFlow Model Garden step for step
(tests/training/test_official_parity.py): the linear decay is counted from step 0, and biases and
norms have no weight decay. The optimizer of that package is a legacy one that does not work with
Keras 3.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

#: Variables without weight decay: biases, and the scale and shift of norms. Keras searches the
#: whole path, such as "beta_head/kernel:0" (TensorFlow adds ":0" and "replica_1"), so only its end
#: may match: the kernel of a layer named "beta_head" is decayed.
NOT_DECAYED = r"(bias|gamma|beta|logit_scale)(/replica_\d+)?(:\d+)?$"

#: Variables with their share of the learning rate.
Rates = Sequence[tuple[keras.Variable, float]]


@keras.saving.register_keras_serializable("imagetext")
class WarmUpThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate: peak * step / warmup_steps, then peak * (1 - step / total_steps).

    As in the Model Garden, the rate therefore drops at the step `warmup_steps`, from nearly the
    peak to peak * (1 - warmup_steps / total_steps).
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int):
        self.peak, self.total_steps, self.warmup_steps = peak, total_steps, warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = self.peak * step / max(1, self.warmup_steps)
        falling = self.peak * ops.maximum(0.0, 1.0 - step / max(1, self.total_steps))
        return ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable("imagetext")
class AdamWeightDecay(keras.optimizers.AdamW):
    """Keras' AdamW without decay of biases and norms, and with lower rates for some variables.

    It is a class because Keras does not save exclusions: a plain AdamW loaded from a .keras file
    would decay biases and norms as well.

    Args:
        rates: Pretrained variables, each with its share of the learning rate; they are not decayed
            either.
    """

    def __init__(self, *args, rates: Rates = (), **kwargs):
        super().__init__(*args, **kwargs)
        self.share = {self._var_key(variable): share for variable, share in rates}
        pretrained = [variable for variable, _ in rates]
        self.exclude_from_weight_decay(var_list=pretrained, var_names=[NOT_DECAYED])

    def update_step(self, gradient, variable, learning_rate):
        share = self.share.get(self._var_key(variable))
        if share is not None:
            learning_rate = learning_rate * share
        super().update_step(gradient, variable, learning_rate)

    def _update_model_variables_moving_average(self, trainable_variables):
        """Use a lower momentum at first, so that the averages soon forget the untrained weights."""
        momentum, step = self.ema_momentum, ops.cast(self.iterations, "float32")
        self.ema_momentum = ops.minimum(momentum, (1 + step) / (10 + step))
        super()._update_model_variables_moving_average(trainable_variables)
        self.ema_momentum = momentum

    def finalize_variable_values(self, var_list):
        """Do nothing. Keras would overwrite the weights by their averages after every `fit` and
        continue from those; `imagetext.training.fit` only uses them for scores and checkpoints."""


def adamw(
    learning_rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    rates: Rates = (),
    averaging: float = 0.0,
) -> keras.optimizers.AdamW:
    """AdamW with warm-up and linear decay of the learning rate.

    Args:
        learning_rate: The peak.
        total_steps: Number of steps in training.
        warmup_steps: Number of steps in which the rate rises.
        weight_decay: Weight decay, except of biases, norms and pretrained variables.
        clip_norm: Gradients with a larger global norm are scaled down to it.
        rates: Pretrained variables, each with its share of the learning rate.
        averaging: Decay of a moving average of the weights; 0 for none.

    Returns:
        The optimizer.
    """
    # The Model Garden subtracts the betas from 1 in float32, Keras before rounding them, which
    # changes a step by 6.5 millionths. With betas that are rounded first, the two are identical.
    return AdamWeightDecay(
        WarmUpThenLinear(learning_rate, total_steps, warmup_steps),
        beta_1=float(np.float32(0.9)),
        beta_2=float(np.float32(0.999)),
        weight_decay=weight_decay,
        epsilon=1e-6,
        global_clipnorm=clip_norm,
        rates=rates,
        use_ema=averaging > 0,
        ema_momentum=averaging,
    )
