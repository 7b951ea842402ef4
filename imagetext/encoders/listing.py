"""All encoders as records, and their speed on this machine.

    measure_speed(IMAGE_ENCODERS["efficientnet_lite0"])     # photos per second; saved in the cache
    list_encoders()[0]["speed"]                             # the saved speed

Listing only looks for files and does not import TensorFlow.
"""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagetext.encoders.images import build, locate
from imagetext.encoders.names import look_up
from imagetext.encoders.registry import (
    IMAGE_ENCODERS,
    RANDOM,
    TEXT_ENCODERS,
    ImageEncoder,
    TextEncoder,
    image_encoder,
)
from imagetext.encoders.texts import untrained_network
from imagetext.files import cache_folder, write_text

#: Seconds of a batch that is long enough, and seconds after which no larger batch is tried.
LONG_ENOUGH, LIMIT = 1.0, 10.0
LARGEST_BATCH = 512
#: Tokens of the texts in measurements, as in captions.
TEXT_LENGTH = 16
ENCODERS = [*IMAGE_ENCODERS.values(), *TEXT_ENCODERS.values()]

Encoder = ImageEncoder | TextEncoder


def find_encoders(name: str) -> list[Encoder]:
    """The encoders with a name: for a CLIP both towers. "NAME@SIDE" is another input size."""
    if "@" in name:
        return [image_encoder(name)]
    name = look_up(name, {encoder.name: encoder.name for encoder in ENCODERS}, "encoder")
    return [encoder for encoder in ENCODERS if encoder.name == name]


def list_encoders() -> list[dict[str, Any]]:
    """Describe all encoders.

    Returns:
        A dictionary for each encoder:

        - `name` and `kind` ("image" or "text")
        - `size`: side of the input image in pixels; None for texts
        - `tokens`: longest text; None for images
        - `width` of the vector, and `grid`: [cells, cells, channels]; None for texts
        - `parameters`; `megabytes` and `licence` of the weights
        - `speed` in photos or texts per second and `device` ("CPU" or "GPU"), as measured on this
          machine; None if not measured
        - `weights_from`: where the weights are published
        - `path` of the weights on this machine, or None
        - `actual_megabytes`: size of the file at `path` if it is damaged, else None
    """
    speeds = _read_speeds()
    return [_describe(encoder, speeds.get(_speed_key(encoder), {})) for encoder in ENCODERS]


def _describe(encoder: Encoder, speed: dict[str, Any]) -> dict[str, Any]:
    is_text = isinstance(encoder, TextEncoder)
    path = encoder.locate() if is_text else locate(encoder.name)
    return {
        "name": encoder.name,
        "kind": "text" if is_text else "image",
        "size": None if is_text else encoder.size,
        "tokens": encoder.tokens if is_text else None,
        "width": encoder.width,
        "grid": None if is_text else encoder.shape("grid"),
        "parameters": encoder.parameters,
        "megabytes": encoder.megabytes,
        "licence": encoder.licence,
        "speed": speed.get("speed"),
        "device": speed.get("device"),
        "weights_from": encoder.weights_from,
        "path": str(path) if path else None,
        "actual_megabytes": _damaged_size(encoder, path) if path else None,
    }


def _damaged_size(encoder: Encoder, path: Path) -> float | None:
    """The size of a file in MB if it is not the published size, as after an incomplete download.

    Verifying its hash would take seconds.
    """
    if encoder.is_preset:
        return None
    megabytes = path.stat().st_size / 1e6
    return megabytes if abs(megabytes - encoder.megabytes) > 1 else None


def measure_speed(encoder: Encoder, limit: float = LIMIT) -> float:
    """Measure photos or texts per second, and save the result in the cache for `list_encoders`.

    The batch is the largest one that takes about a second. Weights are random, and the precision is
    float32. Image encoders are compiled as for an extraction.
    """
    import numpy as np
    import tensorflow as tf

    prepare = _prepare_texts if isinstance(encoder, TextEncoder) else _prepare_images
    run, shape, dtype = prepare(encoder)
    random = np.random.default_rng(0)
    best, batch, until = 0.0, 1, time.perf_counter() + limit
    while batch <= LARGEST_BATCH:
        inputs = tf.constant(random.integers(0, 256, [batch, *shape], dtype))
        # A GPU searches for the fastest kernels when it gets a shape for the first time.
        seconds = min(_seconds(run, inputs) for _ in range(2))
        best = max(best, batch / seconds)
        if seconds >= LONG_ENOUGH or time.perf_counter() + 4 * seconds > until:
            break
        batch *= 2
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    speeds = _read_speeds() | {_speed_key(encoder): {"speed": best, "device": device}}
    write_text(_speed_file(), json.dumps(speeds, indent=2) + "\n")
    return best


def _prepare_images(encoder: ImageEncoder) -> tuple[Callable, list[int], str]:
    """A function of photos, and the shape and type of a photo."""
    from imagetext.encoders.forward import FLOAT32, compile_encoder

    run = compile_encoder(lambda: build(encoder.name, weights=RANDOM), FLOAT32, "float16")
    return run, [encoder.size, encoder.size, 3], "uint8"


def _prepare_texts(encoder: TextEncoder) -> tuple[Callable, list[int], str]:
    """A function of token ids, and the shape and type of a text."""
    import tensorflow as tf

    network = untrained_network(encoder.name)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def run(ids):
        return network({"token_ids": ids, "mask": tf.ones_like(ids)}, training=False)["sentence"]

    return run, [TEXT_LENGTH], "int32"


def _seconds(run: Callable, inputs) -> float:
    start = time.perf_counter()
    run(inputs).numpy()
    return time.perf_counter() - start


def _speed_key(encoder: Encoder) -> str:
    """Key of a saved speed; the towers of a CLIP have the same name."""
    return f"{encoder.name} texts" if isinstance(encoder, TextEncoder) else encoder.name


def _speed_file() -> Path:
    # Several machines may share a cache.
    return cache_folder() / "encoders" / f"speed-{platform.node() or 'here'}.json"


def _read_speeds() -> dict[str, dict[str, Any]]:
    """The saved speeds; empty if the file is missing or damaged."""
    try:
        speeds = json.loads(_speed_file().read_text(encoding="utf-8"))
        return {
            name: {"speed": float(entry["speed"]), "device": str(entry["device"])}
            for name, entry in speeds.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
