"""How quickly image-text matching trains, against one row a sample.

    python benchmarks/itm_epoch.py --root flickr8k     # the course lists; else the sample

Opponent, written plainly below: every row is a sample of its own, its photo decoded and convolved
afresh, 16 rows a step. Ours encodes a photo once for all of its sentences and decodes it once for
all epochs. Both train the same network with the same optimizer for the same number of steps; what
is compared is rows (photo, sentence, label) trained on a second, and ROC AUC on dev afterwards.

Ours is measured twice: with about as many rows a step as the opponent, and with as many photos a
step (the course lists have six rows a photo), which costs the image tower the same.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

CONTENDERS = {
    "opponent": "one row a sample, 16 a step, photo decoded and convolved for each",
    "same rows a step": "grouped: as many photos as make about 16 rows",
    "same photos a step": "grouped: 16 photos, each with all its sentences",
    "streamed": "as above, photos decoded anew each time instead of kept",
    "floor, same rows": "the bare step on one batch that lies in memory",
    "floor, same photos": "the bare step on one batch that lies in memory",
}
ROWS_A_STEP, PHOTOS_A_STEP, UNTIMED = 16, 16, 20


def measure(contender: str, root: str | None, seed: int, steps: int, image_size: int) -> dict:
    """Train one contender in this process; returns rows a second, dev AUC and peak memory."""
    import numpy as np
    import tensorflow as tf

    from imagetext.itm import models
    from imagetext.itm.config import DataConfig, ITMConfig, ModelConfig
    from imagetext.itm.data import load
    from imagetext.itm.evaluate import predict_split
    from imagetext.itm.train import loss
    from imagetext.metrics.matching import measure as scores
    from imagetext.pipelines.batches import batches, shuffled
    from imagetext.pipelines.pixels import decode
    from imagetext.training.config import TrainConfig
    from imagetext.training.fit import building
    from imagetext.training.optimizer import adamw

    cache = "stream" if contender in ("streamed", "opponent") else "memory"
    photos_config = DataConfig(root=root, image_size=image_size, cache=cache)
    began = time.perf_counter()
    data = load(ITMConfig(data=photos_config), ("train", "dev"))
    loading = time.perf_counter() - began
    groups = data.groups["train"]
    sentences = groups.rows / len(groups)
    photos = PHOTOS_A_STEP if "photos" in contender else round(ROWS_A_STEP / sentences)
    photos = PHOTOS_A_STEP if contender == "streamed" else max(1, photos)
    rows_a_step = ROWS_A_STEP if contender == "opponent" else photos * sentences

    def one_row_a_sample(epoch: int) -> tf.data.Dataset:
        rows = groups.apart()
        order = shuffled(len(rows), seed, epoch)
        paths = np.array([str(data.photos.paths[number]) for number in rows.photo[order]])
        vectors = data.texts[rows.text[order, 0]][:, None]
        truth = np.eye(2, dtype=np.float32)[rows.label[order]]

        def example(path, texts, truth):
            image = decode(tf.io.read_file(path), (image_size, image_size))
            return {"image": image, "texts": texts}, truth

        samples = tf.data.Dataset.from_tensor_slices((paths, vectors, truth))
        samples = samples.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        return samples.batch(ROWS_A_STEP).prefetch(tf.data.AUTOTUNE)

    def grouped(epoch: int) -> tf.data.Dataset:
        order = shuffled(len(groups), seed, epoch)
        return batches(groups, data.photos, data.texts, photos, order)

    def one_batch_again_and_again(epoch: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(next(iter(grouped(0)))).repeat(steps)

    train = one_row_a_sample if contender == "opponent" else grouped
    train = one_batch_again_and_again if contender.startswith("floor") else train
    with building(TrainConfig(seed=seed, deterministic=False)):
        model = models.build(ModelConfig(), data.config.data)
    model.compile(adamw(1e-3, steps, steps // 10), loss())
    clock = _clock()
    for epoch in range(steps):
        if clock.done < steps:
            passed = train(epoch).take(steps - clock.done)
            model.fit(passed, verbose=0, shuffle=False, callbacks=[clock])
    seconds = clock.last - clock.first
    dev = predict_split(model, data, "dev")
    auc = scores(dev.probability, dev.is_match, dev.image, resamples=2)["roc_auc"].value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "contender": contender,
        "seed": seed,
        "steps": clock.done,
        "rows_a_step": rows_a_step,
        "rows_per_second": rows_a_step * (steps - UNTIMED) / seconds,
        "milliseconds_a_step": 1000 * seconds / (steps - UNTIMED),
        "loading_seconds": loading,
        "dev_auc": auc,
        "peak_memory_mb": peak / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    }


def _clock():
    """Counts steps; times them from the UNTIMED-th on, when all is compiled and warm."""
    import keras

    class Clock(keras.callbacks.Callback):
        done, first, last = 0, 0.0, 0.0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            self.last = time.perf_counter()
            if self.done == UNTIMED:
                self.first = self.last

    return Clock()


def table(results: list[dict]) -> str:
    """One line a contender: means over seeds, and the ratio to the opponent."""
    by_name = {name: [r for r in results if r["contender"] == name] for name in CONTENDERS}

    def mean(name: str, key: str) -> float:
        return sum(r[key] for r in by_name[name]) / len(by_name[name])

    opponent = mean("opponent", "rows_per_second")
    lines = [
        "| contender | rows a step | ms a step | rows/s | ratio | dev AUC (each seed) | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in CONTENDERS if by_name[name]):
        rows = mean(name, "rows_per_second")
        learned = not name.startswith("floor")
        peak, step = mean(name, "peak_memory_mb"), mean(name, "milliseconds_a_step")
        aucs = " ".join(f"{r['dev_auc']:.3f}" for r in by_name[name]) if learned else "-"
        lines.append(
            f"| {name} | {mean(name, 'rows_a_step'):.0f} | {step:.1f} | {rows:,.0f} "
            f"| {rows / opponent:.1f}x | {aucs} | {peak:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", default=os.environ.get("IMAGETEXT_DATA"), help="the course's folder"
    )
    parser.add_argument("--steps", type=int, default=1212, help="optimizer steps of each contender")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--json", default="itm_epoch.json", help="where the figures go")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        found = measure(options.only, options.root, options.seed, options.steps, options.image_size)
        print(json.dumps(found))
        return
    results = []
    for seed in range(options.seeds):
        for name in CONTENDERS:
            if seed and (name.startswith("floor") or name == "streamed"):
                continue
            # A process of its own: peak memory is a process's, and caches start cold for each.
            own = ["--only", name, "--seed", str(seed)]
            ran = subprocess.run(
                [sys.executable, *sys.argv, *own], stdout=subprocess.PIPE, text=True, check=True
            )
            results.append(json.loads(ran.stdout.splitlines()[-1]))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    about = {
        "data": options.root or "sample",
        "steps": options.steps,
        "image_size": options.image_size,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "contenders": CONTENDERS,
    }
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(table(results))


if __name__ == "__main__":
    main()
