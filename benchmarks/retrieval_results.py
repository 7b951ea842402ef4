"""The retrieval results in the documentation: dual encoders on the dev split of Flickr8k.

    python -m benchmarks.retrieval_results --root flickr8k --precision mixed_bfloat16

Trains `best` with seeds 0, 1 and 2 and `clip_scratch` with seed 0, and scores the dev split by the
1K protocol: 1,000 photos with all of their five captions. Finished runs are reused and interrupted
ones are resumed, so the benchmark can be started again at any time.
"""

from pathlib import Path

from benchmarks.common import (
    median_and_range,
    results_parser,
    train_and_report,
    training_minutes,
)

SEEDS = {"best": (0, 1, 2), "clip_scratch": (0,)}
DIRECTIONS = {"text": "text to photo", "photo": "photo to text"}
RECALLS = ("r1", "r5", "r10")


def format_table(results: dict[str, list[dict]], model: str = "model") -> str:
    """A row per configuration: recalls in % and median ranks in both directions, and the time."""
    heads = ["dev", *(f"{name}: R@1 / 5 / 10 | median" for name in DIRECTIONS.values()), "minutes"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * (len(heads) + len(DIRECTIONS))]
    for name, reports in results.items():
        scores = [report["scores"][model] for report in reports if model in report["scores"]]
        cells = [f"`{name}.yaml`"]
        for direction in DIRECTIONS:
            recalls = (
                median_and_range((s[f"{direction}_{f}"]["value"] for s in scores), 1, 100)
                for f in RECALLS
            )
            cells.append(" / ".join(recalls))
            cells.append(median_and_range((s[f"{direction}_median"]["value"] for s in scores), 0))
        lines.append(
            f"| {' | '.join([*cells, median_and_range(map(training_minutes, reports), 0)])} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = results_parser(__doc__, "the folder of official Flickr8k", "runs/retrieval", SEEDS)
    options = parser.parse_args()
    overrides = {
        "data.root": str(Path(options.root).resolve()),
        "train.precision": options.precision,
    }
    runs = options.runs.resolve()
    results = {
        row: [
            train_and_report(
                f"retrieval/{row}",
                f"{row}-seed{seed}",
                overrides | {"train.seed": seed},
                runs,
                ("dev",),
            )["dev"]
            for seed in SEEDS[row]
        ]
        for row in options.rows
    }
    print(format_table(results))


if __name__ == "__main__":
    main()
