"""Runs side by side: scores with intervals, and what each run takes.

    comparison = compare(["runs/cnn-seed0", "runs/cnn-seed1", "runs/joint-seed0"])
    print(comparison.summary)

Reads what `evaluate` wrote into the runs, and writes `comparison.json`, `.md` and `.png` (on dev:
`comparison-dev`). Runs that differ only in their seed form one row with their median and range.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from imagetext.errors import UserError
from imagetext.files import write_bytes, write_text
from imagetext.pipelines.records import SPLITS
from imagetext.reports.comparison.pages import file_names, page, picture, summary
from imagetext.reports.comparison.scored_runs import read_runs
from imagetext.reports.comparison.spec import (
    ComparisonSpec,
    ScoredRun,
    check_same_data,
    common_spec,
)
from imagetext.reports.kit.tables import MODEL

#: Raised when the meaning of a key of comparison.json changes.
FORMAT = 1
#: The number or seed at the end of a run's name.
_NUMBER = re.compile(r"[-_.](?:seed[-_.]?|s)?\d+$", re.IGNORECASE)
#: Keys that do not make another row: the seed, and where the data is. (Whether the data is the
#: same, the reports show.)
IGNORED_KEYS = {"train.seed", "data.root", "data.images", "data.cache", "data.features"}


@dataclass(frozen=True)
class Comparison:
    """A written comparison.

    Args:
        summary: The comparison for the terminal.
        values: All numbers, as in comparison.json.
        folder: Where its files are.
    """

    summary: str
    values: dict[str, Any]
    folder: Path


def compare(
    runs: Sequence[str | Path],
    split: str = "test",
    to: str | Path | None = None,
    ensemble: bool = False,
) -> Comparison:
    """Compare the reports of runs on a split.

    Args:
        runs: Folders of evaluated runs, of one task, and of ensembles of such runs.
        split: "train", "dev" or "test".
        to: Folder to write into; the folder that contains the runs by default.
        ensemble: Deprecated, for matching: add the mean of all predictions as a row.

    Returns:
        The comparison.
    """
    if split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    earlier = {name for each in SPLITS for name in file_names(each)}
    scored, left_out = read_runs(runs, split, ignored=earlier)
    values = comparison_values(scored, split, ensemble=ensemble, left_out=left_out)
    folder = Path(to or os.path.commonpath([run.parent for run in scored]))
    json_path, markdown_path, picture_path = (folder / name for name in file_names(split))
    write_bytes(picture_path, picture(values))
    write_text(markdown_path, page(values))
    write_text(json_path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
    return Comparison(summary(values, folder), values, folder)


def comparison_values(
    runs: Sequence[ScoredRun], split: str, *, ensemble: bool = False, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """All numbers of a comparison, ready for JSON."""
    spec, report = common_spec(runs), runs[0].report
    check_same_data(runs, spec)
    rows = _configurations(sorted(runs, key=lambda run: (run.seeds[0] or 0, run.name)), spec)
    rows.sort(
        key=lambda row: row["scores"][spec.sort_by]["value"] or 0,
        reverse=spec.figures[spec.sort_by].higher_is_better,
    )
    baseline = {
        "name": spec.baseline_name or spec.baseline,
        "scores": report["scores"][spec.baseline],
    }
    return {
        "format": FORMAT,
        "task": runs[0].task,
        "split": split,
        **{key: report[key] for key in spec.size},
        "notices": list(dict.fromkeys(note for run in runs for note in run.report["notices"])),
        "left_out": list(left_out),
        "sorted_by": spec.sort_by,
        "configurations": rows,
        spec.baseline: baseline,
        "ensemble": _ensemble(runs, spec) if ensemble else None,
    }


def _configurations(runs: Sequence[ScoredRun], spec: ComparisonSpec) -> list[dict[str, Any]]:
    """A row for each group of runs with the same settings."""
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_settings(run.config), sort_keys=True), []).append(run)
    settings = [json.loads(text) for text in groups]
    keys = dict.fromkeys(key for each in settings for key in each)
    differing = [
        key for key in keys if any(s.get(key, "") != settings[0].get(key, "") for s in settings)
    ]
    names = _group_names(list(groups.values()))
    return [
        {
            "name": name,
            "runs": [run.folder for run in group],
            "seeds": [seed for run in group for seed in run.seeds],
            "kind": "ensemble" if group[0].members > 1 else "model",
            **_summarize_scores([run.report["scores"][MODEL] for run in group]),
            **{cost.key: cost.read([run.report for run in group]) for cost in spec.costs},
            # Only what distinguishes this row from the others.
            "configuration": {key: each[key] for key in differing if key in each},
        }
        for name, each, group in zip(names, settings, groups.values(), strict=True)
    ]


def _group_names(groups: Sequence[Sequence[ScoredRun]]) -> list[str]:
    """The common name of each group's runs, without numbers if that is unambiguous."""
    names = [_join(map(_name_without_number, group)) for group in groups]
    for attribute in ("name", "folder"):
        # Numbered runs of one configuration file may differ in options of the command line.
        names = [
            name if names.count(name) == 1 else _join(getattr(run, attribute) for run in group)
            for name, group in zip(names, groups, strict=True)
        ]
    return names


def _name_without_number(run: ScoredRun) -> str:
    return f"ensemble of {run.members}" if run.members > 1 else _NUMBER.sub("", run.name)


def _join(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration by dotted keys, without the seed and the locations of files."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            settings |= _settings(value, f"{name}.")
        elif name not in IGNORED_KEYS and not name.startswith(("run.", "report.")):
            settings[name] = value
    return settings


def _summarize_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The scores of one run with their intervals; of several runs, the median, lowest and highest.

    For several runs, `intervals` are those over photos: from the median of the lower ends to the
    median of the upper ends.
    """
    if len(scores) == 1:
        return {"spread": "interval", "scores": dict(scores[0])}
    names = [name for name in scores[0] if all(name in each for each in scores)]
    values = {name: [each[name]["value"] for each in scores] for name in names}
    spread = {
        name: dict.fromkeys(("value", "low", "high"))
        if None in values[name]
        else {"value": median(values[name]), "low": min(values[name]), "high": max(values[name])}
        for name in names
    }
    intervals = {
        name: {end: _median([each[name][end] for each in scores]) for end in ("low", "high")}
        for name in names
    }
    return {"spread": "seeds", "scores": spread, "each": values, "intervals": intervals}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _ensemble(runs: Sequence[ScoredRun], spec: ComparisonSpec) -> dict[str, Any]:
    """All runs together as one model, which takes as much as all of them."""
    if spec.average is None:
        together = ",".join(run.folder for run in runs)
        raise UserError(
            "--ensemble: only for matching; score the runs together with"
            f" `imagetext evaluate {together}`, and compare the folder of its report like a run"
        )
    if len(runs) < 2:
        raise UserError("--ensemble: needs at least two runs")
    reports = [run.report for run in runs]
    return {
        "name": f"ensemble of {len(runs)}",
        "runs": [run.folder for run in runs],
        "spread": "interval",
        "scores": spec.average(runs),
        **{cost.key: cost.combine(reports) for cost in spec.costs},
    }
