"""The table of captioning results in the README: every architecture on official Flickr8k's dev.

    python benchmarks/captioning_results.py --root flickr8k --precision mixed_bfloat16

Trains each configuration with seed 0, `best` with seeds 0, 1, 2, on the encoders whose weights can
be had without an account, and scores dev with five beams; the captions of Flickr8k's test photos
are held back by some copies. Runs that are done are not done again, and one that was interrupted
goes on: call it as often as you like. `imagetext compare` draws the same runs.
"""

from pathlib import Path

from trained_runs import minutes, parser, spread, train_and_report

#: Row of the table -> its configuration, and what is set on top of that.
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
LIKE = {"distinct": "distinct", "in_training": "seen in training"}


def table(found: dict[str, list[dict]]) -> str:
    """A row a configuration: its scores in points, what its captions are like, size and time."""
    heads = ["dev", *METRICS.values(), *LIKE.values(), "million parameters", "minutes"]
    lines = [_row(heads), "|" + "---|" * len(heads)]
    for name, reports in found.items():
        scores = [report["scores"]["model"] for report in reports]
        cells = [spread((s[key]["value"] for s in scores), 1, 100) for key in METRICS]
        like = [report["captions"]["model"] for report in reports]
        cells += [spread((each[key] for each in like), 0, 100) + " %" for key in LIKE]
        sizes = (report["about"]["model"]["parameters"] for report in reports)
        cells += [spread(sizes, 1, 1e-6), spread(map(minutes, reports), 0)]
        lines.append(_row([f"`{name}.yaml`", *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    options = parser(__doc__, "official Flickr8k's folder", "runs/captioning", CONFIGURATIONS)
    options.add_argument("--seeds", type=int, default=3, help="of best; of the others one")
    options = options.parse_args()
    runs = options.runs.resolve()
    keys = {"data.root": str(Path(options.root).resolve()), "train.precision": options.precision}
    found: dict[str, list[dict]] = {}
    for row in options.rows:
        for seed in range(options.seeds if row == "best" else 1):
            told = keys | CONFIGURATIONS[row] | {"train.seed": seed}
            name = f"{row}-seed{seed}"
            reports = train_and_report(f"captioning/{row}", name, told, runs, ("dev",))
            found.setdefault(row, []).append(reports["dev"])
    print(table(found))


if __name__ == "__main__":
    main()
