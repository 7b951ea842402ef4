"""What the benchmarks share: options, child processes, and a description of the machine.

Run benchmarks from the root of the repository: `python -m benchmarks.itm_epoch --help`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def make_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help starts with the docstring of a benchmark."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run_child(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a benchmark in a child process; returns the JSON of its last line of output."""
    process = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env=child_environment(),
    )
    return json.loads(process.stdout.splitlines()[-1])


def child_environment() -> dict[str, str]:
    """The environment of a child process that can import imagetext, installed or not."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def describe_machine() -> str:
    """The processors of this machine, and its load."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} cores of {name}, load {os.getloadavg()[0]:.1f} at start"


# ---------------------------------------------------------------------- tables of trained runs


def results_parser(doc: str, root: str, runs: str, rows: Sequence[str]) -> argparse.ArgumentParser:
    """The options that all tables of results have; `root` describes the data folder."""
    parser = make_parser(doc)
    parser.add_argument("--root", required=True, help=root)
    parser.add_argument("--runs", type=Path, default=Path(runs), help="folder of the runs")
    parser.add_argument("--rows", nargs="+", default=list(rows), metavar="ROW")
    parser.add_argument(
        "--precision", default="float32", help="mixed_bfloat16 is faster on some machines"
    )
    return parser


def train_and_report(
    config: str, name: str, overrides: Mapping[str, Any], runs: Path, splits: Sequence[str]
) -> dict[str, dict]:
    """Train a configuration such as "itm/cnn" as `runs/<name>`, unless this has been done, and
    return the values of its reports by split."""
    overrides = {**overrides, "run.name": name, "run.folder": runs}
    _imagetext("train", config, *(f"--{k}={v}" for k, v in overrides.items()), "--resume")
    folders = {
        split: runs / name / ("" if split == "test" else f"report-{split}") for split in splits
    }
    for split, folder in folders.items():
        if not (folder / "report.json").is_file():
            _imagetext("evaluate", str(runs / name), "--split", split)
    return {
        split: json.loads((folder / "report.json").read_text()) for split, folder in folders.items()
    }


def _imagetext(*arguments: str) -> None:
    print("imagetext", *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "imagetext", *arguments]
    subprocess.run(
        command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=child_environment()
    )


def median_and_range(values: Iterable[float | None], digits: int, scale: float = 1) -> str:
    """The median and, of several values, their range: "71.2 (70.9–71.8)"; "-" if there are none."""
    scaled = [scale * value for value in values if value is not None]
    if not scaled:
        return "-"
    median = f"{statistics.median(scaled):.{digits}f}"
    if len(scaled) == 1:
        return median
    return f"{median} ({min(scaled):.{digits}f}–{max(scaled):.{digits}f})"


def training_minutes(report: Mapping) -> float:
    """The duration of the training of a reported run."""
    return report["about"]["training"]["minutes"]
