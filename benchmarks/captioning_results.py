"""The captioning results in the documentation: every architecture on the dev split of Flickr8k.

    python -m benchmarks.captioning_results --root flickr8k --precision mixed_bfloat16

Trains each configuration with seed 0, and `best` with seeds 0, 1 and 2, on encoders whose weights
are available without an account, and scores the dev split with five beams. (Some copies of Flickr8k
lack the captions of the test photos.) Finished runs are reused and interrupted ones are resumed, so
the benchmark can be started again at any time. `imagetext compare` plots the same runs.
"""

from pathlib import Path

from benchmarks.common import (
    median_and_range,
    results_parser,
    train_and_report,
    training_minutes,
)

#: The configurations, with the values that differ from their files.
CONFIGURATIONS = {
    "gru_merge": {},
    "gru_attention": {},
    "transformer": {"data.image_encoders": "[efficientnet_lite0]"},
    "vit_bert": {"data.image_encoders": "[efficientnet_lite2]"},
    "best": {},
}
METRICS = {
    "bleu_1": "BLEU-1",
    "bleu_2": "2",
    "bleu_3": "3",
    "bleu_4": "4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
}
STATISTICS = {"distinct": "distinct", "in_training": "also in training"}


def format_table(results: dict[str, list[dict]]) -> str:
    """A row per configuration: scores in points, statistics of its captions, size and time."""
    heads = ["dev", *METRICS.values(), *STATISTICS.values(), "million parameters", "minutes"]
    lines = [_row(heads), "|" + "---|" * len(heads)]
    for name, reports in results.items():
        scores = [report["scores"]["model"] for report in reports]
        cells = [median_and_range((s[key]["value"] for s in scores), 1, 100) for key in METRICS]
        captions = [report["captions"]["model"] for report in reports]
        cells += [
            median_and_range((each[key] for each in captions), 0, 100) + " %" for key in STATISTICS
        ]
        sizes = (report["about"]["model"]["parameters"] for report in reports)
        cells += [
            median_and_range(sizes, 1, 1e-6),
            median_and_range(map(training_minutes, reports), 0),
        ]
        lines.append(_row([f"`{name}.yaml`", *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = results_parser(
        __doc__, "the folder of official Flickr8k", "runs/captioning", CONFIGURATIONS
    )
    parser.add_argument("--seeds", type=int, default=3, help="of best; the others have one")
    options = parser.parse_args()
    runs = options.runs.resolve()
    overrides = {
        "data.root": str(Path(options.root).resolve()),
        "train.precision": options.precision,
    }
    results: dict[str, list[dict]] = {}
    for row in options.rows:
        for seed in range(options.seeds if row == "best" else 1):
            values = overrides | CONFIGURATIONS[row] | {"train.seed": seed}
            name = f"{row}-seed{seed}"
            reports = train_and_report(f"captioning/{row}", name, values, runs, ("dev",))
            results.setdefault(row, []).append(reports["dev"])
    print(format_table(results))


if __name__ == "__main__":
    main()
