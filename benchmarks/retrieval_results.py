"""The table of retrieval results in the README: dual encoders on official Flickr8k's dev.

    python benchmarks/retrieval_results.py --root flickr8k --precision mixed_bfloat16

Trains `best` with seeds 0, 1, 2 and `clip_scratch` with seed 0, and scores dev by the 1K protocol:
1,000 photos, each once, and all of their five captions. Runs that are done are not done again, and
one that was interrupted goes on: call it as often as you like.
"""

from pathlib import Path

from trained_runs import minutes, parser, spread, train_and_report

SEEDS = {"best": (0, 1, 2), "clip_scratch": (0,)}
SIDES = {"text": "text to photo", "photo": "photo to text"}
FIGURES = ("r1", "r5", "r10")


def table(found: dict[str, list[dict]], who: str = "model") -> str:
    """A row a configuration: recalls in %, both directions, the median rank, and the time."""
    heads = ["dev", *(f"{told}: R@1 / 5 / 10 | median" for told in SIDES.values()), "minutes"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * (len(heads) + len(SIDES))]
    for name, reports in found.items():
        scores = [report["scores"][who] for report in reports if who in report["scores"]]
        cells = [f"`{name}.yaml`"]
        for side in SIDES:
            recalls = (spread((s[f"{side}_{f}"]["value"] for s in scores), 1, 100) for f in FIGURES)
            cells.append(" / ".join(recalls))
            cells.append(spread((s[f"{side}_median"]["value"] for s in scores), 0))
        lines.append(f"| {' | '.join([*cells, spread(map(minutes, reports), 0)])} |")
    return "\n".join(lines)


def main() -> None:
    options = parser(__doc__, "official Flickr8k's folder", "runs/retrieval", SEEDS)
    options = options.parse_args()
    keys = {"data.root": str(Path(options.root).resolve()), "train.precision": options.precision}
    runs = options.runs.resolve()
    found = {
        row: [
            train_and_report(
                f"retrieval/{row}", f"{row}-seed{seed}", keys | {"train.seed": seed}, runs, ("dev",)
            )["dev"]
            for seed in SEEDS[row]
        ]
        for row in options.rows
    }
    print(table(found))


if __name__ == "__main__":
    main()
