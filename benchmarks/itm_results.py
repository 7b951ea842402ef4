"""The table of results in the README: every matching configuration on real photos, three seeds.

    python benchmarks/itm_results.py --root flickr8k --runs runs/results

Trains configs/itm/{additive,cnn,joint}.yaml with seeds 0, 1, 2 for their 10 epochs, each with its
text-only and image-only control, and reports dev and test. Runs that are done are not done again,
and one that was interrupted goes on: call it as often as you like.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

CONFIGURATIONS = ("additive", "cnn", "joint")
ROOT = Path(__file__).parents[1]


def train_and_report(configuration: str, seed: int, root: str, runs: Path) -> dict[str, dict]:
    """One run in a process of its own; returns the values of its reports by split."""
    name = f"{configuration}-seed{seed}"
    config = ROOT / "configs" / "itm" / f"{configuration}.yaml"
    words = [str(config), f"--data.root={root}", f"--train.seed={seed}", f"--run.name={name}"]
    _imagetext("train", *words, f"--run.folder={runs}", "--resume")
    places = {"dev": runs / name / "report-dev", "test": runs / name}
    for split, place in places.items():
        if not (place / "report.json").is_file():
            _imagetext("evaluate", str(runs / name), "--split", split)
    return {
        split: json.loads((place / "report.json").read_text()) for split, place in places.items()
    }


def _imagetext(*words: str) -> None:
    print("imagetext", *words, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "imagetext", *words]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def table(found: dict[str, list[dict]], split: str) -> str:
    """Median over seeds, and the range; the baselines beside it."""
    lines = [
        f"| {split} | accuracy | balanced accuracy | ROC AUC | text-only AUC | image-only AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, reports in found.items():
        scores = [report[split]["scores"] for report in reports]
        lines.append(
            f"| `{name}.yaml` | {_spread(scores, 'model', 'accuracy', 100)} "
            f"| {_spread(scores, 'model', 'balanced_accuracy', 100)} "
            f"| {_spread(scores, 'model', 'roc_auc')} | {_spread(scores, 'text-only', 'roc_auc')} "
            f"| {_spread(scores, 'image-only', 'roc_auc')} |"
        )
    majority = scores[0]["majority"]
    accuracy = 100 * majority["accuracy"]["value"]
    return "\n".join([*lines, f"| always the majority | {accuracy:.1f} | 50.0 | 0.500 | | |"])


def _spread(scores: list[dict], who: str, metric: str, scale: float = 1) -> str:
    values = [scale * score[who][metric]["value"] for score in scores]
    digits = 1 if scale == 100 else 3
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="the course's folder")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    runs = options.runs.resolve()
    found: dict[str, list[dict]] = {name: [] for name in CONFIGURATIONS}
    for seed in range(options.seeds):
        for name, reports in found.items():
            reports.append(train_and_report(name, seed, str(Path(options.root).resolve()), runs))
    print(table(found, "dev"), "\n")
    print(table(found, "test"))


if __name__ == "__main__":
    main()
