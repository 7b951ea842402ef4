"""Compile an image encoder in the precision that is fastest on this machine.

    build = lambda: images.build("efficientnet_lite2", "grid")
    result = probe(build, photos, "float16")          # photos uint8 [n, 260, 260, 3]
    rows = result.forward(tf.constant(photos))        # float16 [n, 9, 9, 1280]
    print(result.summary)

The fastest precision depends on the network and has to be measured: on CPUs that support it,
bfloat16 makes a ResNet 1.5 times as fast, but a MobileNet slower.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

# Not public API, but there is no other way, and converters to other formats use it as well.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from imagetext.errors import UserError

Forward = Callable[[tf.Tensor], tf.Tensor]
FLOAT32 = "float32"
ON_CPU = (FLOAT32, "mixed_bfloat16")
#: Not on CPUs, where XLA is ten times as slow for depthwise convolutions.
ON_GPU = (*ON_CPU, "mixed_float16", "float32+xla", "mixed_bfloat16+xla", "mixed_float16+xla")
#: Largest distance of any photo's features from those in float32, relative to their norm.
TOLERANCE = 1e-2
#: Speedup from which another precision is used instead of float32; less may be chance.
MIN_SPEEDUP = 1.05
#: Rounds of a probe, and the seconds after which no other round is started.
ROUNDS, MAX_SECONDS = 4, 10


@dataclass(frozen=True)
class Probe:
    """The result of a probe.

    Args:
        forward: The compiled forward pass in the fastest precision.
        precision: Name of that precision.
        summary: The speeds and errors of all precisions, as text.
    """

    forward: Forward
    precision: str
    summary: str


def has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def compile_encoder(build: Callable[[], keras.Model], precision: str, dtype: str) -> Forward:
    """Build and compile an encoder in a precision.

    Args:
        build: Builds the encoder.
        precision: One of `ON_GPU`: the name of a Keras policy, with "+xla" to compile it by XLA.
        dtype: Type of the features.

    Returns:
        A function: photos uint8 [n, size, size, 3] -> features [n, ...].
    """
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
    """Turn the weights of a function with one signature and one result into constants.

    TensorFlow then merges batch norms into convolutions, which makes it a sixth faster.
    """
    concrete = convert_variables_to_constants_v2(function.get_concrete_function())
    dummies = [tf.zeros([1, *spec.shape[1:]], spec.dtype) for spec in concrete.inputs]
    concrete(*dummies)  # the graph is optimized in the first call
    return lambda *photos: concrete(*photos)[0]


def probe(build: Callable[[], keras.Model], photos: np.ndarray, dtype: str) -> Probe:
    """Find the fastest precision whose features are within `TOLERANCE` of those in float32.

    Args:
        build: Builds the encoder.
        photos: Photos to try it with, uint8 [n, size, size, 3].
        dtype: Type of the features.
    """
    names = ON_GPU if has_gpu() else ON_CPU
    batch = tf.constant(photos)
    forwards = {name: compile_encoder(build, name, dtype) for name in names}
    features = {name: _rows(forward(batch)) for name, forward in forwards.items()}
    errors = {name: _largest_error(rows, features[FLOAT32]) for name, rows in features.items()}
    seconds = dict.fromkeys(names, float("inf"))
    first_start = time.perf_counter()
    for _ in range(ROUNDS):  # in turns, so that other load on the machine affects all of them
        for name, forward in forwards.items():
            start = time.perf_counter()
            forward(batch).numpy()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
        if time.perf_counter() - first_start > MAX_SECONDS:
            break
    accurate = (name for name in names if errors[name] <= TOLERANCE)
    fastest = min(accurate, key=seconds.get, default="")
    if not fastest or seconds[FLOAT32] < MIN_SPEEDUP * seconds[fastest]:
        fastest = FLOAT32
    summary = "; ".join(
        f"{name} {len(photos) / seconds[name]:.1f} images/s"
        + (f", error {100 * errors[name]:.2g} %" if name != FLOAT32 else "")
        for name in names
    )
    return Probe(forwards[fastest], fastest, summary)


def _rows(features: tf.Tensor) -> np.ndarray:
    """[n, ...] -> float32 [n, width]"""
    array = features.numpy().astype(np.float32)
    return array.reshape(len(array), -1)


def _largest_error(rows: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance of a row from the exact one, relative to its norm; infinity for NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.maximum(np.linalg.norm(exact, axis=1), np.finfo(np.float32).tiny)
        largest = (np.linalg.norm(rows - exact, axis=1) / norms).max()
    return float(largest) if np.isfinite(largest) else float("inf")
