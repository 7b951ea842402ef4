"""AdamW with linear warm-up and decay, as BERT is trained.

    optimizer = adamw(learning_rate=3e-5, total_steps=1000, warmup_steps=100)

Follows `official.nlp.optimization.create_optimizer` of the TensorFlow Model Garden step for step
(tests/training/test_official_parity.py): the decay to zero counts from step 0, also during the
warm-up, and biases and norms are never decayed. That package's own optimizer is a legacy one that
Keras 3 refuses, hence this one.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

#: Variables so named are not decayed: biases, and the scale and shift of norms. Keras searches the
#: whole path, such as "beta_head/kernel:0" (":0" and "replica_1" are TensorFlow's), so only its
#: end may match: the kernel of a layer that happens to be called "beta_head" is decayed.
NOT_DECAYED = r"(bias|gamma|beta|logit_scale)(/replica_\d+)?(:\d+)?$"

#: Variables with their share of the learning rate.
Rates = Sequence[tuple[keras.Variable, float]]


@keras.saving.register_keras_serializable("imagetext")
class WarmUpThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """Rate at a step: peak * step / warmup_steps before, then peak * (1 - step / total_steps).

    At the step `warmup_steps` the rate therefore falls at once, from the peak it never quite
    reaches to peak * (1 - warmup_steps / total_steps): so does the Model Garden's.
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
    """Keras' AdamW that decays weights only, and moves some variables more slowly than others.

    A class, because Keras saves no exclusions: a plain AdamW read back from a .keras file would
    decay biases and norms as well. `rates` are variables that are pretrained, each with its share
    of the learning rate; those are not decayed either.
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
        """Means that forget quickly at first: after n steps they have seen at most the last tenth,
        so that the untrained weights they begin with are soon gone."""
        momentum, step = self.ema_momentum, ops.cast(self.iterations, "float32")
        self.ema_momentum = ops.minimum(momentum, (1 + step) / (10 + step))
        super()._update_model_variables_moving_average(trainable_variables)
        self.ema_momentum = momentum

    def finalize_variable_values(self, var_list):
        """Keras would overwrite the weights by their means after every `fit`, and go on from those;
        `imagetext.training.fit` puts the means in where they are scored and kept."""


def adamw(
    learning_rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    rates: Rates = (),
    averaging: float = 0.0,
) -> keras.optimizers.AdamW:
    """AdamW under the schedule, decaying weights only."""
    # The Model Garden subtracts the betas from 1 in float32, Keras before it rounds: 6.5 millionths
    # of a step apart. With betas rounded first the two agree to the last bit.
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
