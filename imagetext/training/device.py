"""Precision, XLA and distribution strategy, by name or chosen for this machine.

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
    """The GPUs of this machine."""
    return tf.config.list_physical_devices("GPU")


def precision_name(name: str) -> str:
    """The Keras dtype policy; "auto" is the 16-bit type of the GPU (bfloat16 since Ampere)."""
    if name != "auto":
        return name
    if not gpus():
        return "float32"
    capability = tf.config.experimental.get_device_details(gpus()[0]).get(
        "compute_capability", (0, 0)
    )
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """A context in which models are built with this precision."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision_name(name))
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def is_deterministic(config: TrainConfig) -> bool:
    """Whether training must be reproducible bit for bit; by default only on a CPU."""
    return not gpus() if config.deterministic is None else config.deterministic


def use_xla(config: TrainConfig, model: keras.Model) -> bool:
    """Whether to compile the training step.

    "auto" compiles on a GPU, except recurrent networks (they would lose the cuDNN kernel), and
    never on a CPU, where depthwise convolutions and recurrent networks become ten times slower.
    """
    if config.xla == "auto":
        recurrent = any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
        return bool(gpus()) and not recurrent and not is_deterministic(config)
    if config.xla == "on" and is_deterministic(config):
        raise UserError("train.xla: on is not deterministic; add --train.deterministic false")
    return config.xla == "on"


def strategy(name: str) -> tf.distribute.Strategy:
    """A TensorFlow distribution strategy; "none" uses a single device."""
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
    """The processors of this machine, for reports."""
    import os
    import platform

    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus()
    ]
    if names:
        return ", ".join(names)
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
