"""What encoders there are: a table, with the speed of those that were measured on this machine.

    measure(IMAGE_ENCODERS["efficientnet_lite0"])       # photos a second; kept for the table
    print(as_text(listed()))

Listing reads what is known beforehand and looks for files; it imports no TensorFlow.
"""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

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

#: Seconds of a batch that is long enough to go by; seconds after which no larger one is begun.
LONG_ENOUGH, LIMIT = 1.0, 10.0
LARGEST_BATCH = 512
#: Word pieces of the texts that are measured: those of a caption.
TEXT_LENGTH = 16
EVERY = [*IMAGE_ENCODERS.values(), *TEXT_ENCODERS.values()]

Encoder = ImageEncoder | TextEncoder


def named(name: str) -> list[Encoder]:
    """The encoders of a name: of a CLIP both halves; an image encoder also at another side."""
    if "@" in name:
        return [image_encoder(name)]
    known = {encoder.name: encoder.name for encoder in EVERY}
    found = look_up(name, known, f"encoder is called {name!r}")
    return [encoder for encoder in EVERY if encoder.name == found]


def encodes(encoder: Encoder) -> str:
    return "texts" if isinstance(encoder, TextEncoder) else "images"


def listed() -> list[dict[str, str]]:
    """A row for every encoder, column -> text; the speed is "-" where none was measured."""
    speeds = _read(_speed_file())
    rows = []
    for encoder in EVERY:
        found = speeds.get(_key(encoder))
        speed = f"{found['speed']:,.1f} {found['device']}" if found else "-"
        if isinstance(encoder, TextEncoder):
            reads, path = f"{encoder.tokens} tokens", encoder.locate()
            rows.append(_row(encoder, "text", reads, f"{encoder.width}", speed, path))
        else:
            sees, path = f"{encoder.size} x {encoder.size}", locate(encoder.name)
            rows.append(_row(encoder, "image", sees, _output(encoder), speed, path))
    return rows


def _output(encoder: ImageEncoder) -> str:
    channels = f" of {encoder.cell_width}" if encoder.cell_width else ""
    return f"{encoder.width}, grid {encoder.cells} x {encoder.cells}{channels}"


def _row(
    encoder: Encoder, kind: str, input: str, output: str, speed: str, path: Path | None
) -> dict:
    where = f"here: {path}" if path else f"no: {encoder.weights_from}"
    if path and not encoder.is_preset:
        # A hash would take seconds; a download that broke off shows by its size, too.
        megabytes = path.stat().st_size / 1e6
        if abs(megabytes - encoder.megabytes) > 1:
            where = f"damaged: {path} ({megabytes:,.0f} MB instead of {encoder.megabytes:,})"
    return {
        "name": encoder.name,
        "kind": kind,
        "input": input,
        "output": output,
        "parameters": f"{encoder.parameters:,}",
        "MB": f"{encoder.megabytes:,}",
        "licence": encoder.licence,
        "per second": speed,
        "weights at hand": where.replace(str(Path.home()), "~"),
    }


def as_text(rows: list[dict[str, str]]) -> str:
    """Rows with their columns aligned, numbers to the right, below a line of headings."""
    rows = [dict(zip(rows[0], rows[0], strict=True)), *rows]
    widths = {column: max(len(row[column]) for row in rows) for column in rows[0]}
    to_the_right = ("parameters", "MB", "per second")
    lines = [
        "  ".join(
            text.rjust(widths[column]) if column in to_the_right else text.ljust(widths[column])
            for column, text in row.items()
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def measure(encoder: Encoder, limit: float = LIMIT) -> float:
    """Photos or texts a second through an encoder, in the largest batch that takes about a second.

    Its weights are random, which makes no difference; in float32. An image encoder is compiled as
    for an extraction. The result is kept in the cache for `listed`.
    """
    import numpy as np
    import tensorflow as tf

    run, shape, dtype = (_reader if isinstance(encoder, TextEncoder) else _viewer)(encoder)
    random = np.random.default_rng(0)
    best, batch, until = 0.0, 1, time.perf_counter() + limit
    while batch <= LARGEST_BATCH:
        inputs = tf.constant(random.integers(0, 256, [batch, *shape], dtype))
        # A GPU looks for its quickest kernels the first time it sees a shape.
        seconds = min(_seconds(run, inputs) for _ in range(2))
        best = max(best, batch / seconds)
        if seconds >= LONG_ENOUGH or time.perf_counter() + 4 * seconds > until:
            break
        batch *= 2
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    speeds = _read(_speed_file()) | {_key(encoder): {"speed": best, "device": device}}
    write_text(_speed_file(), json.dumps(speeds, indent=2) + "\n")
    return best


def _viewer(encoder: ImageEncoder) -> tuple[Callable, list[int], str]:
    """A function of photos, the shape of one, and the type of its numbers."""
    from imagetext.encoders.forward import FLOAT32, compile_encoder

    run = compile_encoder(lambda: build(encoder.name, weights=RANDOM), FLOAT32, "float16")
    return run, [encoder.size, encoder.size, 3], "uint8"


def _reader(encoder: TextEncoder) -> tuple[Callable, list[int], str]:
    """The same of texts, which come as word pieces."""
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


def _key(encoder: Encoder) -> str:
    """Under which the speed is kept; both halves of a CLIP have one name."""
    return f"{encoder.name} texts" if isinstance(encoder, TextEncoder) else encoder.name


def _speed_file() -> Path:
    # A cache may be shared by several machines.
    return cache_folder() / "encoders" / f"speed-{platform.node() or 'here'}.json"


def _read(path: Path) -> dict[str, dict]:
    """Speeds measured before; none where the file is absent or damaged: they are soon measured."""
    try:
        speeds = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {"speed": float(found["speed"]), "device": str(found["device"])}
            for name, found in speeds.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
