"""The matching results in the documentation: every configuration on real photos, three seeds.

    python -m benchmarks.itm_results --root flickr8k --captions flickr8k-captions

Trains every configuration with seeds 0, 1 and 2 and reports the dev and test splits. Configurations
that train within minutes also get their text-only and image-only controls. `best` is trained twice:
with the course lists alone, and with the extra captions of --captions, the folder of official
Flickr8k. Finished runs are reused and interrupted ones are resumed, so the benchmark can be started
again at any time. `imagetext compare` plots the same runs.
"""

from pathlib import Path

from benchmarks.common import median_and_range, results_parser, train_and_report

#: Row of the table -> its configuration, with the values that differ from its file.
CONFIGURATIONS = {
    "additive": ("additive", {}),
    "cnn": ("cnn", {}),
    "joint": ("joint", {}),
    "pretrained": ("pretrained", {}),
    "attention": ("attention", {"report.controls": "false"}),
    "best, course lists alone": ("best", {"report.controls": "false"}),
    "best": ("best", {"report.controls": "false"}),
}


def train_row(row: str, seed: int, overrides: dict[str, str], runs: Path) -> dict[str, dict]:
    """Train one run of a row and return the values of its reports by split."""
    configuration, values = CONFIGURATIONS[row]
    name = f"{row.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    values = overrides | values | {"train.seed": seed}
    return train_and_report(f"itm/{configuration}", name, values, runs, ("dev", "test"))


def format_table(results: dict[str, list[dict]], split: str) -> str:
    """Medians over the seeds with their ranges, and the majority baseline."""
    lines = [
        f"| {split} | accuracy | balanced accuracy | ROC AUC | text-only AUC | image-only AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, reports in results.items():
        scores = [report[split]["scores"] for report in reports]
        lines.append(
            f"| {name} | {_spread(scores, 'model', 'accuracy', 100)} "
            f"| {_spread(scores, 'model', 'balanced_accuracy', 100)} "
            f"| {_spread(scores, 'model', 'roc_auc')} | {_spread(scores, 'text-only', 'roc_auc')} "
            f"| {_spread(scores, 'image-only', 'roc_auc')} |"
        )
    majority = scores[0]["majority"]
    accuracy = 100 * majority["accuracy"]["value"]
    return "\n".join([*lines, f"| majority class | {accuracy:.1f} | 50.0 | 0.500 | | |"])


def _spread(scores: list[dict], model: str, metric: str, scale: float = 1) -> str:
    values = [score[model][metric]["value"] if model in score else None for score in scores]
    return median_and_range(values, 1 if scale == 100 else 3, scale)


def main() -> None:
    parser = results_parser(
        __doc__, "the folder of the course data", "runs/results", CONFIGURATIONS
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--captions", help="the folder of official Flickr8k, for the row best")
    options = parser.parse_args()
    runs = options.runs.resolve()
    overrides = {
        "data.root": str(Path(options.root).resolve()),
        "train.precision": options.precision,
    }
    results: dict[str, list[dict]] = {row: [] for row in options.rows}
    if not options.captions:
        results.pop("best", None)
    for seed in range(options.seeds):
        for row, reports in results.items():
            extra = (
                {"align.extra_captions": str(Path(options.captions).resolve())}
                if row == "best"
                else {}
            )
            reports.append(train_row(row, seed, overrides | extra, runs))
    print(format_table(results, "dev"), "\n")
    print(format_table(results, "test"))


if __name__ == "__main__":
    main()
