"""The table of results in the README: every matching configuration on real photos, three seeds.

    python benchmarks/itm_results.py --root flickr8k --captions flickr8k-captions

Trains every configuration with seeds 0, 1, 2, those that take seconds or few minutes each with its
text-only and image-only control, and reports dev and test. `best` is trained twice: on the course's
lists alone, and with the extra captions of --captions, official Flickr8k's folder. Runs that are
done are not done again, and one that was interrupted goes on: call it as often as you like.
`imagetext compare` draws the same runs, and their ensemble.
"""

from pathlib import Path

from trained_runs import parser, spread, train_and_report

#: Row of the table -> its configuration, and what is set on top of that.
CONFIGURATIONS = {
    "additive": ("additive", {}),
    "cnn": ("cnn", {}),
    "joint": ("joint", {}),
    "pretrained": ("pretrained", {}),
    "attention": ("attention", {"report.controls": "false"}),
    "best, course lists alone": ("best", {"report.controls": "false"}),
    "best": ("best", {"report.controls": "false"}),
}


def train_row(row: str, seed: int, keys: dict[str, str], runs: Path) -> dict[str, dict]:
    """One run of a row; returns the values of its reports by split."""
    configuration, own_keys = CONFIGURATIONS[row]
    name = f"{row.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    keys = keys | own_keys | {"train.seed": seed}
    return train_and_report(f"itm/{configuration}", name, keys, runs, ("dev", "test"))


def table(found: dict[str, list[dict]], split: str) -> str:
    """Median over seeds, and the range; the baselines beside it."""
    lines = [
        f"| {split} | accuracy | balanced accuracy | ROC AUC | text-only AUC | image-only AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, reports in found.items():
        scores = [report[split]["scores"] for report in reports]
        lines.append(
            f"| {name} | {_spread(scores, 'model', 'accuracy', 100)} "
            f"| {_spread(scores, 'model', 'balanced_accuracy', 100)} "
            f"| {_spread(scores, 'model', 'roc_auc')} | {_spread(scores, 'text-only', 'roc_auc')} "
            f"| {_spread(scores, 'image-only', 'roc_auc')} |"
        )
    majority = scores[0]["majority"]
    accuracy = 100 * majority["accuracy"]["value"]
    return "\n".join([*lines, f"| always the majority | {accuracy:.1f} | 50.0 | 0.500 | | |"])


def _spread(scores: list[dict], who: str, metric: str, scale: float = 1) -> str:
    values = [score[who][metric]["value"] if who in score else None for score in scores]
    return spread(values, 1 if scale == 100 else 3, scale)


def main() -> None:
    options = parser(__doc__, "the course's folder", "runs/results", CONFIGURATIONS)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--captions", help="official Flickr8k's folder, for best's extra captions")
    options = options.parse_args()
    runs = options.runs.resolve()
    keys = {"data.root": str(Path(options.root).resolve()), "train.precision": options.precision}
    found: dict[str, list[dict]] = {row: [] for row in options.rows}
    if not options.captions:
        found.pop("best", None)
    for seed in range(options.seeds):
        for row, reports in found.items():
            extra = (
                {"align.extra_captions": str(Path(options.captions).resolve())}
                if row == "best"
                else {}
            )
            reports.append(train_row(row, seed, keys | extra, runs))
    print(table(found, "dev"), "\n")
    print(table(found, "test"))


if __name__ == "__main__":
    main()
