"""The training speed of image-text matching, compared with an ordinary input pipeline.

    python -m benchmarks.itm_epoch --root flickr8k     # the course lists; by default the sample

The baseline, written in the ordinary way below, treats every row as a sample: its photo is decoded
and convolved each time, 16 rows per step. imagetext encodes a photo once for all of its sentences
and decodes it once for all epochs. Both train the same network with the same optimizer for the same
number of steps. The benchmark compares rows (photo, sentence, label) per second, and the ROC AUC on
the dev split afterwards.

imagetext is measured twice: with about as many rows per step as the baseline, and with as many
photos per step (the course lists have six rows per photo), which costs the image tower the same.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

from benchmarks.common import describe_machine, make_parser, run_child

CONTENDERS = {
    "baseline": "one row per sample, 16 per step, the photo decoded and convolved for each",
    "same rows per step": "grouped: as many photos as have about 16 rows",
    "same photos per step": "grouped: 16 photos, each with all its sentences",
    "streamed": "as above, with photos decoded each time instead of kept in memory",
    "floor, same rows": "the bare training step, on one batch in memory",
    "floor, same photos": "the bare training step, on one batch in memory",
}
ROWS_PER_STEP, PHOTOS_PER_STEP, WARM_UP_STEPS = 16, 16, 20


def measure(contender: str, root: str | None, seed: int, steps: int, image_size: int) -> dict:
    """Train one contender in this process; returns its speed, dev AUC and peak memory."""
    import numpy as np
    import tensorflow as tf

    from imagetext.itm import models
    from imagetext.itm.config import DataConfig, ITMConfig, ModelConfig
    from imagetext.itm.data import load
    from imagetext.itm.evaluate import predict_split
    from imagetext.itm.train import loss
    from imagetext.metrics.matching import measure as measure_scores
    from imagetext.pipelines.batches import batches, shuffle
    from imagetext.pipelines.pixels import decode
    from imagetext.training.config import TrainConfig
    from imagetext.training.fit import model_scope
    from imagetext.training.optimizer import adamw

    cache = "stream" if contender in ("streamed", "baseline") else "memory"
    photos_config = DataConfig(root=root, image_size=image_size, cache=cache)
    start = time.perf_counter()
    data = load(ITMConfig(data=photos_config), ("train", "dev"))
    loading = time.perf_counter() - start
    groups = data.groups["train"]
    sentences = groups.rows / len(groups)
    photos = PHOTOS_PER_STEP if "photos" in contender else round(ROWS_PER_STEP / sentences)
    photos = PHOTOS_PER_STEP if contender == "streamed" else max(1, photos)
    rows_per_step = ROWS_PER_STEP if contender == "baseline" else photos * sentences

    def ungrouped(epoch: int) -> tf.data.Dataset:
        rows = groups.ungroup()
        order = shuffle(len(rows), seed, epoch)
        paths = np.array([str(data.photos.paths[number]) for number in rows.photo[order]])
        vectors = data.texts[rows.text[order, 0]][:, None]
        truth = np.eye(2, dtype=np.float32)[rows.label[order]]

        def example(path, texts, truth):
            image = decode(tf.io.read_file(path), (image_size, image_size))
            return {"image": image, "texts": texts}, truth

        samples = tf.data.Dataset.from_tensor_slices((paths, vectors, truth))
        samples = samples.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        return samples.batch(ROWS_PER_STEP).prefetch(tf.data.AUTOTUNE)

    def grouped(epoch: int) -> tf.data.Dataset:
        order = shuffle(len(groups), seed, epoch)
        return batches(groups, data.photos, data.texts, photos, order)

    def one_batch(epoch: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(next(iter(grouped(0)))).repeat(steps)

    train = ungrouped if contender == "baseline" else grouped
    train = one_batch if contender.startswith("floor") else train
    with model_scope(TrainConfig(seed=seed, deterministic=False)):
        model = models.build(ModelConfig(), data.config.data)
    model.compile(adamw(1e-3, steps, steps // 10), loss())
    timer = _step_timer()
    for epoch in range(steps):
        if timer.done < steps:
            steps_left = train(epoch).take(steps - timer.done)
            model.fit(steps_left, verbose=0, shuffle=False, callbacks=[timer])
    seconds = timer.last - timer.first
    dev = predict_split(model, data, "dev")
    auc = measure_scores(dev.probability, dev.is_match, dev.image, resamples=2)["roc_auc"].value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "contender": contender,
        "seed": seed,
        "steps": timer.done,
        "rows_per_step": rows_per_step,
        "rows_per_second": rows_per_step * (steps - WARM_UP_STEPS) / seconds,
        "milliseconds_per_step": 1000 * seconds / (steps - WARM_UP_STEPS),
        "loading_seconds": loading,
        "dev_auc": auc,
        "peak_memory_mb": peak / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    }


def _step_timer():
    """A callback that counts steps, and times those after the warm-up."""
    import keras

    class StepTimer(keras.callbacks.Callback):
        done, first, last = 0, 0.0, 0.0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            self.last = time.perf_counter()
            if self.done == WARM_UP_STEPS:
                self.first = self.last

    return StepTimer()


def format_table(results: list[dict]) -> str:
    """A row per contender: means over the seeds, and the ratio to the baseline."""
    by_name = {name: [r for r in results if r["contender"] == name] for name in CONTENDERS}

    def mean(name: str, key: str) -> float:
        return sum(r[key] for r in by_name[name]) / len(by_name[name])

    baseline = mean("baseline", "rows_per_second")
    lines = [
        "| contender | rows/step | ms/step | rows/s | ratio | dev AUC (each seed) | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in CONTENDERS if by_name[name]):
        rows = mean(name, "rows_per_second")
        trained = not name.startswith("floor")
        peak, step = mean(name, "peak_memory_mb"), mean(name, "milliseconds_per_step")
        aucs = " ".join(f"{r['dev_auc']:.3f}" for r in by_name[name]) if trained else "-"
        lines.append(
            f"| {name} | {mean(name, 'rows_per_step'):.0f} | {step:.1f} | {rows:,.0f} "
            f"| {rows / baseline:.1f}x | {aucs} | {peak:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--root", default=os.environ.get("IMAGETEXT_DATA"), help="the folder of the course data"
    )
    parser.add_argument("--steps", type=int, default=1212, help="steps per contender")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--image-size", type=int, default=112, help="side of the photos")
    parser.add_argument("--json", default="itm_epoch.json", help="file to write the results to")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        result = measure(
            options.only, options.root, options.seed, options.steps, options.image_size
        )
        print(json.dumps(result))
        return
    results = []
    for seed in range(options.seeds):
        for name in CONTENDERS:
            if seed and (name.startswith("floor") or name == "streamed"):
                continue
            # A child process for each, so that peak memory and caches are its own.
            arguments = [*sys.argv[1:], "--only", name, "--seed", str(seed)]
            results.append(run_child("itm_epoch", arguments))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    about = {
        "data": options.root or "sample",
        "steps": options.steps,
        "image_size": options.image_size,
        "machine": describe_machine(),
        "contenders": CONTENDERS,
    }
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(format_table(results))


if __name__ == "__main__":
    main()
