"""What encoders there are: a table, with the speed of those that were measured on this machine.

    measure("efficientnet_lite0")       # photos a second; kept for the table
    print(as_text(listed()))

Listing reads what is known beforehand and looks for files; it imports no TensorFlow.
"""

import json
import platform
import time
from pathlib import Path

from encoders import weight_files
from encoders.images import (
    IMAGE_ENCODERS,
    RANDOM,
    ImageEncoder,
    build,
    image_encoder,
    located,
)
from encoders.texts import TEXT_ENCODERS
from pipelines.files import cache_folder, write_text

#: Seconds of a batch that is long enough to go by; seconds after which no larger one is begun.
LONG_ENOUGH, LIMIT = 1.0, 10.0
LARGEST_BATCH = 512


def listed() -> list[dict[str, str]]:
    """A row for every encoder, column -> text; the speed is "-" where none was measured."""
    speeds = _read(_speed_file())
    rows = []
    for encoder in IMAGE_ENCODERS.values():
        found = speeds.get(encoder.name)
        rows.append(
            _row(
                encoder,
                kind="image",
                input=f"{encoder.size} x {encoder.size}",
                output=_output(encoder),
                speed=f"{found['speed']:,.1f} {found['device']}" if found else "-",
                path=located(encoder.name),
            )
        )
    for encoder in TEXT_ENCODERS.values():
        reads, path = f"{encoder.tokens} tokens", encoder.located()
        rows.append(_row(encoder, "text", reads, f"{encoder.width}", speed="-", path=path))
    return rows


def _output(encoder: ImageEncoder) -> str:
    channels = f" of {encoder.cell_width}" if encoder.cell_width else ""
    return f"{encoder.width}, grid {encoder.cells} x {encoder.cells}{channels}"


def _row(encoder, kind: str, input: str, output: str, speed: str, path: Path | None) -> dict:
    where = f"here: {path}" if path else f"no: {encoder.weights_from}"
    if path and not encoder.is_preset:
        # A hash would take seconds; a download that broke off shows by its size, too.
        megabytes = path.stat().st_size / 1e6
        expected = weight_files.KNOWN[encoder.weights].megabytes
        if abs(megabytes - expected) > 1:
            where = f"damaged: {path} ({megabytes:,.0f} MB instead of {expected:,})"
    return {
        "name": encoder.name,
        "kind": kind,
        "input": input,
        "output": output,
        "parameters": f"{encoder.parameters:,}",
        "licence": encoder.licence,
        "images/s": speed,
        "weights at hand": where.replace(str(Path.home()), "~"),
    }


def as_text(rows: list[dict[str, str]]) -> str:
    """Rows with their columns aligned, numbers to the right, below a line of headings."""
    rows = [dict(zip(rows[0], rows[0], strict=True)), *rows]
    widths = {column: max(len(row[column]) for row in rows) for column in rows[0]}
    to_the_right = ("parameters", "images/s")
    lines = [
        "  ".join(
            text.rjust(widths[column]) if column in to_the_right else text.ljust(widths[column])
            for column, text in row.items()
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def measure(name: str, limit: float = LIMIT) -> float:
    """Photos a second through an image encoder, in the largest batch that takes about a second.

    Its weights are random, which makes no difference; it is compiled as for an extraction, in
    float32. The result is kept in the cache for `listed`.
    """
    encoder = image_encoder(name)
    import numpy as np
    import tensorflow as tf

    from encoders.forward import FLOAT32, compiled

    run = compiled(lambda: build(name, weights=RANDOM), FLOAT32, "float16")
    side, random = encoder.size, np.random.default_rng(0)
    best, batch, until = 0.0, 1, time.perf_counter() + limit
    while batch <= LARGEST_BATCH:
        photos = tf.constant(random.integers(0, 256, [batch, side, side, 3], np.uint8))
        # A GPU looks for its quickest kernels the first time it sees a shape.
        seconds = min(_seconds(run, photos) for _ in range(2))
        best = max(best, batch / seconds)
        if seconds >= LONG_ENOUGH or time.perf_counter() + 4 * seconds > until:
            break
        batch *= 2
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    speeds = _read(_speed_file()) | {encoder.name: {"speed": round(best, 2), "device": device}}
    write_text(_speed_file(), json.dumps(speeds, indent=2) + "\n")
    return best


def _seconds(run, photos) -> float:
    start = time.perf_counter()
    run(photos).numpy()
    return time.perf_counter() - start


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
