"""What the results tables share: runs trained and scored in processes of their own, once each."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def parser(doc: str, root: str, runs: str, rows: Sequence[str]) -> argparse.ArgumentParser:
    """The options that all tables have; `root` says what folder is wanted."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--root", required=True, help=root)
    made.add_argument("--runs", type=Path, default=Path(runs))
    made.add_argument("--rows", nargs="+", default=list(rows), metavar="ROW")
    made.add_argument("--precision", default="float32", help="mixed_bfloat16 is quicker on some")
    return made


def train_and_report(
    configuration: str, name: str, keys: Mapping, runs: Path, splits: Sequence[str]
) -> dict[str, dict]:
    """Train `configs/<configuration>.yaml` as `runs/<name>`, unless that is done; returns the
    values of its reports by split."""
    keys = keys | {"run.name": name, "run.folder": runs}
    config = ROOT / "configs" / f"{configuration}.yaml"
    _imagetext("train", str(config), *(f"--{k}={v}" for k, v in keys.items()), "--resume")
    places = {
        split: runs / name / ("" if split == "test" else f"report-{split}") for split in splits
    }
    for split, place in places.items():
        if not (place / "report.json").is_file():
            _imagetext("evaluate", str(runs / name), "--split", split)
    return {split: json.loads((p / "report.json").read_text()) for split, p in places.items()}


def spread(values: Iterable[float | None], digits: int, scale: float = 1) -> str:
    """Median and, of several, the range in brackets; a dash where there is no value."""
    there = [scale * value for value in values if value is not None]
    if not there:
        return "-"
    middle = f"{statistics.median(there):.{digits}f}"
    if len(there) == 1:
        return middle
    return f"{middle} ({min(there):.{digits}f}–{max(there):.{digits}f})"


def minutes(report: Mapping) -> float:
    """Those that the training of a reported run took."""
    return report["about"]["training"]["minutes"]


def _imagetext(*words: str) -> None:
    print("imagetext", *words, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "imagetext", *words]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
