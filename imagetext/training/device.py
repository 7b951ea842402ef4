"""Precision, XLA and distribution by name, chosen for the machine at hand.

with strategy("mirrored").scope(), precision("auto"):
    model = build(...)
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.training.config import TrainConfig


def gpus() -> list:
    return tf.config.list_physical_devices("GPU")


def precision_name(asked: str) -> str:
    """The Keras dtype policy: `auto` is the GPU's 16-bit kind (bfloat16 since Ampere)."""
    if asked != "auto":
        return asked
    if not gpus():
        return "float32"
    capability = tf.config.experimental.get_device_details(gpus()[0]).get(
        "compute_capability", (0, 0)
    )
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


@contextlib.contextmanager
def precision(asked: str) -> Iterator[None]:
    """Build a model under a precision; the global policy is put back afterwards."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision_name(asked))
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def is_deterministic(config: TrainConfig) -> bool:
    """Whether every run of the same seed must give the same bits: by default on a CPU."""
    return not gpus() if config.deterministic is None else config.deterministic


def use_xla(config: TrainConfig, model: keras.Model) -> bool:
    """Whether to compile the training step.

    `auto` compiles on a GPU, except recurrent nets (they would lose the cuDNN kernel), and never on
    a CPU, where depthwise convolutions and recurrent nets were measured ten times slower for it.
    """
    if config.xla == "auto":
        recurrent = any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
        return bool(gpus()) and not recurrent and not is_deterministic(config)
    if config.xla == "on" and is_deterministic(config):
        raise UserError("train.xla: on is not deterministic; add --train.deterministic false")
    return config.xla == "on"


def strategy(name: str) -> tf.distribute.Strategy:
    """A TensorFlow distribution strategy; `none` is the one device there is."""
    if name == "none":
        return tf.distribute.get_strategy()
    try:
        if name == "mirrored":
            return tf.distribute.MirroredStrategy()
        if name == "multi_worker":
            return tf.distribute.MultiWorkerMirroredStrategy()
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(f"train.strategy: {name} cannot start here: {error}") from error


def describe() -> str:
    """The machine's processors in words, for reports."""
    import os
    import platform

    found = gpus()
    if found:
        names = [
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in found
        ]
        return ", ".join(names)
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
