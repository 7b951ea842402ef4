"""An image encoder compiled for this machine, in the precision that is the quickest here.

    build = lambda: images.build("efficientnet_lite2", "grid")
    probed = probe(build, photos, "float16")          # photos uint8 [n, 260, 260, 3]
    rows = probed.forward(tf.constant(photos))        # float16 [n, 9, 9, 1280]
    print(probed.told)

Which precision that is cannot be told beforehand: bfloat16 makes a ResNet half as fast again on
CPUs that know it, and a MobileNet slower on the same. So it is tried.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

# Not public, and nothing public does it: exporters to other formats use it, too.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from imagetext.errors import UserError

Forward = Callable[[tf.Tensor], tf.Tensor]
FLOAT32 = "float32"
ON_CPU = (FLOAT32, "mixed_bfloat16")
#: XLA takes ten times as long on a CPU for depthwise convolutions.
ON_GPU = (*ON_CPU, "mixed_float16", "float32+xla", "mixed_bfloat16+xla", "mixed_float16+xla")
#: How far features may lie from float32's, as a share of their norm; worst photo of the probe.
TOLERANCE = 1e-2
#: A gain smaller than this may be the machine's mood, and float32 is the better bargain.
GAIN = 1.05
ROUNDS, ENOUGH_SECONDS = 4, 10


@dataclass(frozen=True)
class Probe:
    """What a probe found: the forward pass to use, its precision's name, and why, in words."""

    forward: Forward
    precision: str
    told: str


def has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def compile_encoder(build: Callable[[], keras.Model], precision: str, dtype: str) -> Forward:
    """Photos uint8 [n, size, size, 3] -> features [n, ...] in `dtype`."""
    if precision not in ON_GPU:
        raise UserError(f"unknown precision {precision!r}: expected auto, {', '.join(ON_GPU)}")
    policy, _, xla = precision.partition("+")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy(before)
    photos = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)

    @tf.function(input_signature=[photos], jit_compile=bool(xla))
    def forward(photos):
        return tf.cast(model(photos, training=False), dtype)

    if xla:
        return forward
    return freeze(forward)


def freeze(function: tf.types.experimental.PolymorphicFunction) -> Callable[..., tf.Tensor]:
    """A function of one signature and one result, photos uint8 [n, size, size, 3], with its weights
    as constants of the graph. So TensorFlow merges each normalization into the convolution before
    it, which makes the pass a sixth quicker."""
    concrete = convert_variables_to_constants_v2(function.get_concrete_function())
    first = [tf.zeros([1, *each.shape[1:]], each.dtype) for each in concrete.inputs]
    concrete(*first)  # it is optimized when it first runs
    return lambda *photos: concrete(*photos)[0]


def probe(build: Callable[[], keras.Model], photos: np.ndarray, dtype: str) -> Probe:
    """Try every precision on these photos uint8 [n, size, size, 3]; takes some seconds.

    The quickest is taken whose features lie within `TOLERANCE` of float32's.
    """
    names = ON_GPU if has_gpu() else ON_CPU
    batch = tf.constant(photos)
    forwards = {name: compile_encoder(build, name, dtype) for name in names}
    features = {name: _rows(forward(batch)) for name, forward in forwards.items()}
    off = {name: _worst(rows, features[FLOAT32]) for name, rows in features.items()}
    seconds = dict.fromkeys(names, float("inf"))
    began = time.perf_counter()
    for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine's hits all alike
        for name, forward in forwards.items():
            start = time.perf_counter()
            forward(batch).numpy()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
        if time.perf_counter() - began > ENOUGH_SECONDS:
            break
    chosen = min((name for name in names if off[name] <= TOLERANCE), key=seconds.get, default="")
    if not chosen or seconds[FLOAT32] < GAIN * seconds[chosen]:
        chosen = FLOAT32
    told = "; ".join(
        f"{name} {len(photos) / seconds[name]:.1f} images/s"
        + (f", off by {100 * off[name]:.2g} %" if name != FLOAT32 else "")
        for name in names
    )
    return Probe(forwards[chosen], chosen, told)


def _rows(features: tf.Tensor) -> np.ndarray:
    """float32 [n, numbers]."""
    array = features.numpy().astype(np.float32)
    return array.reshape(len(array), -1)


def _worst(rows: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance of a row, as a share of the exact one's norm; infinity for NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.maximum(np.linalg.norm(exact, axis=1), np.finfo(np.float32).tiny)
        worst = (np.linalg.norm(rows - exact, axis=1) / norms).max()
    return float(worst) if np.isfinite(worst) else float("inf")
