"""How quickly features of photos are extracted, against the encoder's bare forward pass.

    python benchmarks/features.py --root flickr8k/images --encoder efficientnet_lite2 --output grid

Three contenders take turns over the same photos in one process, with the same weights:

- bare forward: the compiled encoder on photos that lie decoded in memory; nothing is kept
- extraction: files on disk -> hashed, decoded, encoded, written into a store, closed
- opponent: tf.data (map, batch, prefetch) -> Keras' `predict` in float32 -> np.save, as one
  would write it down

The first two run the same compiled pass, in the precision that a short trial finds the quickest.
What is compared is photos a second, medians over the repeats, ratios within each repeat. CPU time
is told because extraction and encoder share the cores: it is what decoding and writing cost.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NAMES = ("bare forward", "extraction", "opponent")


def contenders(options, folder: Path) -> tuple[dict[str, Callable[[], None]], dict]:
    """What each of them does with all the photos once, and what there is to know about them."""
    import numpy as np
    import tensorflow as tf

    from imagetext.encoders import images
    from imagetext.encoders.extraction import (
        BATCH_ON_CPU,
        BATCH_ON_GPU,
        PROBED,
        encode_lacking,
        identity,
    )
    from imagetext.encoders.forward import on_gpu, probe
    from imagetext.pipelines.feature_store import PLAIN, FeatureStore
    from imagetext.pipelines.features import find_photos
    from imagetext.pipelines.photo_stream import PhotoStream
    from imagetext.pipelines.pixels import decode
    from imagetext.pipelines.sample import write_sample

    def build():
        return images.build(options.encoder, options.output, options.weights)

    root = options.root or write_sample(folder / "sample")
    photos = find_photos(root)[0][: options.photos]
    meta = identity(options.encoder, options.output, options.weights)
    size, batch_size = meta["size"], BATCH_ON_GPU if on_gpu() else BATCH_ON_CPU
    stream = PhotoStream(photos, size, (PLAIN,))
    photos = [photo.path for photo, _ in stream.decoded(stream.lacking(None))]
    photos = photos[: len(photos) // batch_size * batch_size]
    stream = PhotoStream(photos, size, (PLAIN,))
    pixels = np.stack([array for _, array in stream.decoded(stream.lacking(None))])
    batches = [tf.constant(batch) for batch in np.split(pixels, len(pixels) // batch_size)]
    trial = probe(build, pixels[: batch_size if on_gpu() else PROBED], "float16")
    settings = {"dtype": "float16", "precision": trial.precision, "batch_size": batch_size}
    model = build()

    def bare_forward() -> None:
        for batch in batches:
            rows = trial.forward(batch)
        rows.numpy()

    def extraction() -> None:
        with (
            tempfile.TemporaryDirectory(dir=folder) as store_folder,
            FeatureStore.create(store_folder, meta | settings) as store,
        ):
            encode_lacking(store, PhotoStream(photos, size, (PLAIN,)), lambda: trial.forward)
            assert len(store) == len(photos)

    def opponent() -> None:
        def example(path):
            return decode(tf.io.read_file(path), (size, size))

        data = tf.data.Dataset.from_tensor_slices([str(path) for path in photos])
        data = data.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
        np.save(folder / "opponent.npy", model.predict(data.prefetch(2), verbose=0))

    about = {
        "encoder": options.encoder,
        "output": options.output,
        "photos": len(photos),
        "bytes_a_photo": sum(path.stat().st_size for path in photos) // len(photos),
        "batch_size": batch_size,
        "precision": trial.precision,
        "probed": trial.told,
    }
    return dict(zip(NAMES, (bare_forward, extraction, opponent), strict=True)), about


def machine() -> str:
    """Its processors in words, and how busy they were with other things."""
    import tensorflow as tf

    name = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    gpus = len(tf.config.list_physical_devices("GPU"))
    return f"{os.cpu_count()} cores of {name}, {gpus} GPUs, load {os.getloadavg()[0]:.1f} at start"


def table(results: list[dict]) -> str:
    lines = [
        "| contender | images/s | of the bare forward | CPU ms an image |",
        "|---|---|---|---|",
    ]
    for name in NAMES:

        def median(key: str, name: str = name) -> float:
            return statistics.median(result[name][key] for result in results)

        share = statistics.median(
            result[name]["images_per_second"] / result[NAMES[0]]["images_per_second"]
            for result in results
        )
        lines.append(
            f"| {name} | {median('images_per_second'):.1f} | {100 * share:.1f} % "
            f"| {median('cpu_milliseconds'):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", default=os.environ.get("IMAGETEXT_DATA"), help="folder of photos; else the sample"
    )
    parser.add_argument("--encoder", default="efficientnet_lite2")
    parser.add_argument("--output", default="grid", help="pooled, grid or flat")
    parser.add_argument("--weights", help="file or folder, or random, which is as quick")
    parser.add_argument("--photos", type=int, default=640, help="at most so many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", default="features.json", help="where the figures go")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        about = {"machine": machine()}
        runs, more = contenders(options, Path(folder))
        about |= more
        for repeat in range(-1, options.repeats):
            result = {}
            for name, run in runs.items():
                cpu, start = time.process_time(), time.perf_counter()
                run()
                seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
                result[name] = {
                    "images_per_second": about["photos"] / seconds,
                    "cpu_milliseconds": 1000 * cpu / about["photos"],
                }
            if repeat >= 0:  # the first round compiles and fills caches
                results.append(result)
                print(json.dumps(result), file=sys.stderr, flush=True)
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(f"{about}\n\n{table(results)}")


if __name__ == "__main__":
    main()
