"""The speed of feature extraction, compared with the bare forward pass of the encoder.

    python -m benchmarks.features --root flickr8k/images --encoder efficientnet_lite2 --output grid

Three contenders take turns on the same photos in one process, with the same weights:

- bare forward: the compiled encoder on decoded photos in memory; the features are discarded
- extraction: files on disk -> hashed, decoded, encoded, written to a store, closed
- baseline: tf.data (map, batch, prefetch) -> `predict` of Keras in float32 -> np.save, written in
  the ordinary way

The first two run the same compiled pass, in the precision that a short trial finds fastest. The
benchmark compares photos per second: medians over the repetitions, and ratios within each of them.
CPU time is reported because extraction and encoder share the cores: it shows the cost of decoding
and writing.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import describe_machine, make_parser

NAMES = ("bare forward", "extraction", "baseline")


def contenders(options, folder: Path) -> tuple[dict[str, Callable[[], None]], dict]:
    """Functions that process all photos once, and a description of the measurement."""
    import numpy as np
    import tensorflow as tf

    from imagetext.encoders import images
    from imagetext.encoders.extraction import (
        BATCH_ON_CPU,
        BATCH_ON_GPU,
        PROBE_PHOTOS,
        encode_missing,
        identity,
    )
    from imagetext.encoders.forward import has_gpu, probe
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
    size, batch_size = meta["size"], BATCH_ON_GPU if has_gpu() else BATCH_ON_CPU
    stream = PhotoStream(photos, size, (PLAIN,))
    photos = [photo.path for photo, _ in stream.decode(stream.missing(None))]
    photos = photos[: len(photos) // batch_size * batch_size]
    stream = PhotoStream(photos, size, (PLAIN,))
    pixels = np.stack([array for _, array in stream.decode(stream.missing(None))])
    batches = [tf.constant(batch) for batch in np.split(pixels, len(pixels) // batch_size)]
    trial = probe(build, pixels[: batch_size if has_gpu() else PROBE_PHOTOS], "float16")
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
            encode_missing(store, PhotoStream(photos, size, (PLAIN,)), lambda: trial.forward)
            assert len(store) == len(photos)

    def baseline() -> None:
        def example(path):
            return decode(tf.io.read_file(path), (size, size))

        data = tf.data.Dataset.from_tensor_slices([str(path) for path in photos])
        data = data.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
        np.save(folder / "baseline.npy", model.predict(data.prefetch(2), verbose=0))

    about = {
        "encoder": options.encoder,
        "output": options.output,
        "photos": len(photos),
        "bytes_per_photo": sum(path.stat().st_size for path in photos) // len(photos),
        "batch_size": batch_size,
        "precision": trial.precision,
        "probed": trial.summary,
    }
    return dict(zip(NAMES, (bare_forward, extraction, baseline), strict=True)), about


def format_table(results: list[dict]) -> str:
    lines = [
        "| contender | images/s | share of the bare forward | CPU ms per image |",
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
    parser = make_parser(__doc__)
    parser.add_argument(
        "--root",
        default=os.environ.get("IMAGETEXT_DATA"),
        help="folder of photos; by default the sample",
    )
    parser.add_argument("--encoder", default="efficientnet_lite2", help="name of the encoder")
    parser.add_argument("--output", default="grid", help="pooled, grid or flat")
    parser.add_argument("--weights", help="a file, a folder, or random, which is as fast")
    parser.add_argument("--photos", type=int, default=640, help="most photos to use")
    parser.add_argument("--repeats", type=int, default=5, help="number of repetitions")
    parser.add_argument("--json", default="features.json", help="file to write the results to")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        import tensorflow as tf

        gpus = len(tf.config.list_physical_devices("GPU"))
        about = {"machine": f"{describe_machine()}, {gpus} GPUs"}
        runs, details = contenders(options, Path(folder))
        about |= details
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
    print(f"{about}\n\n{format_table(results)}")


if __name__ == "__main__":
    main()
