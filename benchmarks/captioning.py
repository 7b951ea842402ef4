"""The speed of captioning, compared with the way tutorials do it.

    python -m benchmarks.captioning --root flickr8k --torch ../torch/bin/python
    python -m benchmarks.captioning --parts training --rows gru_merge_flat

Training: the networks of configs/captioning, with 32 photos and all of their captions per step
(32 x 5 captions), including the input pipeline. The baseline of gru_merge is the textbook version:
a Python generator yields every prefix of every caption with a one-hot next word for the same
network, once with the same number of photos per step, and once with a single photo per step as in
the tutorials; and the same with tf.data, which is imagetext.captioning.textbook. gru_attention is
compared with a twin in PyTorch (captioning_twin.py), if there is one: with one caption per sample
and, more strictly, with the batches of imagetext.

gru_merge_flat is gru_merge on wide features: all 14 x 14 x 2,048 = 401,408 numbers that ResNet152
computes for a photo of 448 pixels, followed by a Dense layer of 256. Features and captions are
random, those of 32 photos repeated, whatever the root, because only speed is measured; a step of
the generator with 32 photos does not fit into 24 GB. The ratio has an upper bound: five captions of
eleven words, with their ends, are 60 samples, and for each of them the generator sends the photo
through the Dense layer. That is 4 x 60 x 401,408 x 256 = 24.7 GFLOP per photo for the forward pass
and the gradient of the weights; imagetext needs one pass per photo, 0.41 GFLOP. GRU and softmax add
3.8 GFLOP for the generator and, with the padding of a step, 0.7 for imagetext. AdamW reads weights,
gradients and two moments and writes all but the gradients: 7 x 411 MB = 2.9 GB per step, whether
for one photo or for 32. So compared with one photo per step, the ratio is 26x where arithmetic
decides (60x for the Dense layer alone), and 32x where memory bandwidth does, or 64x with 64 photos
per step; the copies that the generator makes in Python come on top.

Decoding: five beams for 32 photos in one graph, compared with the loop of the tutorials: greedy,
one photo at a time, with the whole prefix through `model.predict` for every word. Both produce
twelve words, because the weights are random and the end is made impossible before; with `--run`,
they produce what that run does.

Latency: a single photo, from its features and, with a root or a run, from the bytes of a JPEG.

The contenders take turns, each in a child process; results are medians over the repetitions. Ratios
are relative to the baseline of each group, marked 1.0x. CPU time is reported too, because other
processes disturb the clock. Without `--root`, features and captions are random with the same sizes.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.captioning_contenders import (
    DIFFERENT_PHOTOS,
    measure_decoding,
    measure_latency,
    measure_training,
)
from benchmarks.common import describe_machine, make_parser, run_child

#: Parts -> what is compared, the baseline first.
PARTS = {
    "training": {
        "gru_merge": ("generator", "generator, a photo per step", "tf.data", "float32", "bfloat16"),
        "gru_merge_flat": (
            "generator, a photo per step",
            "generator, 4 photos per step",
            "float32",
            "float32, 64 photos per step",
            "bfloat16",
        ),
        "gru_attention": ("torch", "torch, same batches", "float32", "bfloat16"),
    },
    "decoding": {
        "gru_merge": ("predict each word", "beam of 5"),
        "gru_attention": ("predict each word", "beam of 5"),
    },
    "latency": {"gru_attention": ("greedy", "beam of 5", "beam of 5, from JPEG")},
}
MEASURES = {
    "training": measure_training,
    "decoding": measure_decoding,
    "latency": measure_latency,
}
ROWS = list(dict.fromkeys(kind for kinds in PARTS.values() for kind in kinds))


def format_table(results: list[dict], part: str) -> str:
    """A row per contender: medians over the repetitions."""
    is_latency = part == "latency"
    heads = ["median ms", "p95 ms"] if is_latency else ["captions/s", "ratio"]
    lines = [f"| {part} | {' | '.join(heads)} | CPU s per 1,000 captions | by CPU time |"]
    lines.append("|---" * 5 + "|")
    for kind, names in PARTS[part].items():
        if not any((r["part"], r["kind"]) == (part, kind) for r in results):
            continue
        rows = {
            name: [r for r in results if (r["part"], r["kind"], r["name"]) == (part, kind, name)]
            for name in names
        }

        def median(name: str, value: Callable[[dict], float], rows: dict = rows) -> float:
            return statistics.median(map(value, rows[name]))

        def rate(row: dict) -> float:
            return row["captions"] / row["seconds"]

        def cost(row: dict) -> float:
            return 1000 * row["cpu_seconds"] / row["captions"]

        for name in (name for name in names if rows[name]):
            has_baseline = rows[names[0]] and not is_latency
            cells = [f"{median(name, rate):,.1f}"]
            cells.append(
                f"{median(name, rate) / median(names[0], rate):.1f}x" if has_baseline else "-"
            )
            if is_latency:
                cells = [f"{median(name, lambda row, k=k: row[k]):.1f}" for k in
                         ("median_ms", "p95_ms")]  # fmt: skip
            cells.append(f"{median(name, cost):.2f}")
            cells.append(
                f"{median(names[0], cost) / median(name, cost):.1f}x" if has_baseline else "-"
            )
            lines.append(f"| {kind}: {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--root", default=os.environ.get("IMAGETEXT_DATA"), help="the folder of Flickr8k"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="networks to measure")
    parser.add_argument("--run", help="a trained run to decode with, instead of random weights")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch, for the twin")
    parser.add_argument("--photos", type=int, default=320, help="photos in a training pass")
    parser.add_argument("--batch-size", type=int, default=32, help="photos per step")
    parser.add_argument("--repeats", type=int, default=3, help="number of repetitions")
    parser.add_argument("--json", default="captioning.json", help="file to write the results to")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        part, kind, name = options.only
        print(json.dumps(MEASURES[part](kind, name, options)))
        return
    about = {
        "machine": describe_machine(),
        "data": options.root or "random",
        "data of gru_merge_flat": f"random, {DIFFERENT_PHOTOS} photos repeated",
        "run": options.run,
        "photos": options.photos,
        "photos_per_step": options.batch_size,
        "repeats": options.repeats,
    }
    if "training" in options.parts and "gru_attention" in options.rows and not options.torch:
        print("--torch is not given: skipping the twin in PyTorch", file=sys.stderr)
    results = []
    for _ in range(options.repeats):
        for part in options.parts:
            for kind, names in PARTS[part].items():
                for name in names if kind in options.rows else ():
                    if name.startswith("torch") and not options.torch:
                        continue
                    arguments = [*sys.argv[1:], "--only", part, kind, name]
                    result = run_child("captioning", arguments)
                    if not result:
                        continue
                    results.append({"part": part, "kind": kind, "name": name} | result)
                    print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(f"{about['machine']}; data: {about['data']}")
    for part in options.parts:
        print(f"\n{format_table(results, part)}")
        if any((row["part"], row["kind"]) == (part, "gru_merge_flat") for row in results):
            print(f"\ngru_merge_flat: features and captions are {about['data of gru_merge_flat']}")


if __name__ == "__main__":
    main()
