"""Runs side by side: what each configuration reaches, how sure that is, and what it costs.

    comparison = compare(["runs/cnn-seed0", "runs/cnn-seed1", "runs/joint-seed0"])
    print(comparison.summary)

Reads what `evaluate` wrote into the runs; writes `comparison.json`, `.md` and `.png` (of dev:
`comparison-dev`). Runs that differ in nothing but the seed are one row: their median and range.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from imagetext.errors import UserError
from imagetext.files import write_bytes, write_text
from imagetext.pipelines.records import SPLITS
from imagetext.reports.comparison.pages import files, page, picture, summary
from imagetext.reports.comparison.scored_runs import ScoredRun, read_runs
from imagetext.reports.comparison.spec import ComparisonSpec, common_spec, require_complete
from imagetext.reports.kit.tables import MODEL

#: Raised when the meaning of a key of comparison.json changes.
FORMAT = 1
#: How the name of a run's folder ends in its number or seed.
_NUMBER = re.compile(r"[-_.](?:seed[-_.]?|s)?\d+$", re.IGNORECASE)
#: Keys that say where data lie, not what is trained on them (which rows, the reports tell), and the
#: seed.
NO_RECIPE = {"train.seed", "data.root", "data.images", "data.cache", "data.features"}
_BOUNDS = ("value", "low", "high")


@dataclass(frozen=True)
class Comparison:
    """A written comparison."""

    summary: str  # for the terminal
    values: dict  # what comparison.json holds
    folder: Path


def compare(
    runs: Sequence[str | Path],
    split: str = "test",
    to: str | Path | None = None,
    ensemble: bool = False,
) -> Comparison:
    """Compare the runs' reports of a split; write into `to`, or the folder that holds the runs.

    `ensemble` adds the mean of all the runs' probabilities as a model of its own.
    """
    if split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    own = {file for each in SPLITS for file in files(each)}
    scored, left_out = read_runs(runs, split, require_complete, ignored=own)
    values = comparison_values(scored, split, ensemble=ensemble, left_out=left_out)
    folder = Path(to or os.path.commonpath([run.holder for run in scored]))
    as_json, as_markdown, as_picture = (folder / file for file in files(split))
    write_bytes(as_picture, picture(values))
    write_text(as_markdown, page(values))
    write_text(as_json, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
    return Comparison(summary(values, folder), values, folder)


def comparison_values(
    runs: Sequence[ScoredRun], split: str, *, ensemble: bool = False, left_out: Sequence[str] = ()
) -> dict:
    """All numbers of a comparison, ready for JSON. Writes nothing."""
    spec, report = common_spec(runs), runs[0].report
    spec.refuse_others(runs)
    rows = _configurations(sorted(runs, key=lambda run: (run.seeds[0] or 0, run.name)))
    rows.sort(key=lambda row: row["scores"][spec.sorted_by]["value"] or 0, reverse=True)
    return {
        "format": FORMAT,
        "task": runs[0].task,
        "split": split,
        **{key: report[key] for key in spec.size},
        "notices": list(dict.fromkeys(note for run in runs for note in run.report["notices"])),
        "left_out": list(left_out),
        "sorted_by": spec.sorted_by,
        "configurations": rows,
        spec.baseline: {"name": spec.baseline, "scores": report["scores"][spec.baseline]},
        "ensemble": _ensemble(runs, spec) if ensemble else None,
    }


def _configurations(runs: Sequence[ScoredRun]) -> list[dict]:
    """One row for all runs of the same recipe."""
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_recipe(run.config), sort_keys=True), []).append(run)
    recipes = [json.loads(recipe) for recipe in groups]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differ = [
        key for key in keys if any(r.get(key, "") != recipes[0].get(key, "") for r in recipes)
    ]
    names = [_joined(map(_recipe_name, group)) for group in groups.values()]
    for own in ("name", "folder"):
        # The numbered runs of one file may differ in what the command line said.
        names = [
            name if names.count(name) == 1 else _joined(getattr(run, own) for run in group)
            for name, group in zip(names, groups.values(), strict=True)
        ]
    return [
        {
            "name": name,
            "runs": [run.folder for run in group],
            "seeds": [seed for run in group for seed in run.seeds],
            "kind": "ensemble" if group[0].together > 1 else "model",
            **_scores_of([run.report["scores"][MODEL] for run in group]),
            **_costs_of([run.report for run in group]),
            # Only what tells this configuration from the others.
            "configuration": {key: recipe[key] for key in differ if key in recipe},
        }
        for name, recipe, group in zip(names, recipes, groups.values(), strict=True)
    ]


def _recipe_name(run: ScoredRun) -> str:
    return f"ensemble of {run.together}" if run.together > 1 else _NUMBER.sub("", run.name)


def _recipe(config: Mapping, inside: str = "") -> dict:
    """A configuration by dotted keys, without the seed and where files are kept."""
    found = {}
    for key, value in config.items():
        dotted = f"{inside}{key}"
        if isinstance(value, Mapping):
            found |= _recipe(value, f"{dotted}.")
        elif dotted not in NO_RECIPE and not dotted.startswith(("run.", "report.")):
            found[dotted] = value
    return found


def _scores_of(scores: Sequence[Mapping]) -> dict:
    """One run's scores with their intervals; of several runs the median, lowest and highest, and
    as `intervals`, of the luck of the photos, the middle one: the medians of their ends."""
    if len(scores) == 1:
        return {"spread": "interval", "scores": dict(scores[0])}
    common = [name for name in scores[0] if all(name in of_run for of_run in scores)]
    each = {name: [of_run[name]["value"] for of_run in scores] for name in common}
    spread = {
        name: dict.fromkeys(_BOUNDS)
        if None in values
        else {"value": median(values), "low": min(values), "high": max(values)}
        for name, values in each.items()
    }
    intervals = {
        name: {end: _middle([of_run[name] for of_run in scores], end) for end in ("low", "high")}
        for name in common
    }
    return {"spread": "seeds", "scores": spread, "each": each, "intervals": intervals}


def _costs_of(reports: Sequence[Mapping]) -> dict:
    """What runs of one recipe have in common, and the medians of what they do not."""
    abouts = [report["about"] for report in reports]
    model = abouts[0].get("model", {})
    trainings = [about.get("training", {}) for about in abouts]
    return {
        "parameters": model.get("parameters"),
        "trainable_parameters": model.get("trainable parameters"),
        "with_frozen_encoders": model.get("with frozen encoders"),
        "minutes": _middle(trainings, "minutes"),
        "images_per_second": _middle(trainings, "images per second"),
        "captioned_per_second": _middle(
            [about.get("decoding", {}) for about in abouts], "photos per second"
        ),
        "distinct": _middle(
            [report.get("captions", {}).get(MODEL, {}) for report in reports], "distinct"
        ),
        "extra_captions": abouts[0].get("extra captions"),
    }


def _middle(parts: Sequence[Mapping], key: str) -> float | None:
    known = [part[key] for part in parts if part.get(key) is not None]
    return median(known) if known else None


def _ensemble(runs: Sequence[ScoredRun], spec: ComparisonSpec) -> dict:
    """All runs together as one model; it costs what all cost."""
    if len(runs) < 2:
        raise UserError("--ensemble: needs at least two runs")
    if spec.ensemble is None:
        raise UserError(
            "--ensemble: only for matching; score the runs together with"
            " `imagetext evaluate RUN,RUN`, whose folder can be compared like a run"
        )
    costs = [_costs_of([run.report]) for run in runs]
    extra = [cost["extra_captions"] for cost in costs if cost["extra_captions"]]
    return {
        "name": f"ensemble of {len(runs)}",
        "runs": [run.folder for run in runs],
        "spread": "interval",
        "scores": spec.ensemble(runs),
        **{key: _sum(costs, key) for key in ("parameters", "trainable_parameters", "minutes")},
        # Seeds of one recipe had the same ones; of different recipes, the most that any had.
        "extra_captions": max(extra, key=lambda each: each["captions"]) if extra else None,
    }


def _sum(costs: Sequence[Mapping], key: str) -> float | None:
    values = [cost[key] for cost in costs]
    return None if None in values else sum(values)


def _joined(names: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(names))
