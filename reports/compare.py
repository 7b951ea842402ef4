"""Runs side by side: what each configuration reaches, how sure that is, and what it costs.

    comparison = compare(["runs/cnn-seed0", "runs/cnn-seed1", "runs/joint-seed0"])
    print(comparison.summary)

Reads what `evaluate` wrote into the runs; writes `comparison.json`, `.md` and `.png` (of dev:
`comparison-dev`). Runs that differ in nothing but the seed are one row: their median and range.
"""

import html
import json
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from pipelines.errors import UserError
from pipelines.files import write_bytes, write_text
from pipelines.records import SPLITS
from reports import plots
from reports.markdown import size, table
from reports.metrics import METRICS, measure
from reports.scored_runs import ScoredRun, evaluate_command, read_runs, refuse_other_rows
from reports.tables import MAJORITY, MODEL, aligned, interval, number, with_interval

#: The metrics that are shown; comparison.json has all. The best by SORTED_BY comes first.
SHOWN = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "roc_auc": "ROC AUC"}
SORTED_BY = "roc_auc"
#: Raised when the meaning of a key of comparison.json changes.
FORMAT = 1
#: How the name of a run's folder ends in its number or seed.
_NUMBER = re.compile(r"[-_.](?:seed[-_.]?|s)?\d+$", re.IGNORECASE)
_BOUNDS = ("value", "low", "high")
_UNKNOWN = "-"


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
        raise UserError(f"unknown split {split!r} -- one of {', '.join(SPLITS)}")
    own = {file for each in SPLITS for file in _files(each)}
    scored, left_out = read_runs(runs, split, ignored=own)
    values = comparison_values(scored, split, ensemble=ensemble, left_out=left_out)
    folder = Path(to or os.path.commonpath([run.holder for run in scored]))
    as_json, as_markdown, as_picture = (folder / file for file in _files(split))
    write_bytes(as_picture, picture(values))
    write_text(as_markdown, page(values))
    write_text(as_json, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
    return Comparison(summary(values, folder), values, folder)


def _files(split: str) -> list[str]:
    stem = "comparison" if split == "test" else f"comparison-{split}"
    return [f"{stem}.json", f"{stem}.md", f"{stem}.png"]


# ------------------------------------------------------------------------------------ the numbers


def comparison_values(
    runs: Sequence[ScoredRun], split: str, *, ensemble: bool = False, left_out: Sequence[str] = ()
) -> dict:
    """All numbers of a comparison, ready for JSON. Writes nothing."""
    refuse_other_rows(runs)
    report = runs[0].report
    rows = _configurations(sorted(runs, key=lambda run: (run.seed or 0, run.name)))
    rows.sort(key=lambda row: row["scores"][SORTED_BY]["value"] or 0, reverse=True)
    return {
        "format": FORMAT,
        "split": split,
        **{key: report[key] for key in ("rows", "images", "matches", "majority_label")},
        "notices": list(dict.fromkeys(note for run in runs for note in run.report["notices"])),
        "left_out": list(left_out),
        "sorted_by": SORTED_BY,
        "configurations": rows,
        MAJORITY: {"name": MAJORITY, "scores": report["scores"][MAJORITY]},
        "ensemble": _ensemble(runs, split) if ensemble else None,
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
    names = [_joined(_NUMBER.sub("", run.name) for run in group) for group in groups.values()]
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
            "seeds": [run.seed for run in group],
            **_scores_of([run.report["scores"][MODEL] for run in group]),
            **_costs_of([run.report["about"] for run in group]),
            # Only what tells this configuration from the others.
            "configuration": {key: recipe[key] for key in differ if key in recipe},
        }
        for name, recipe, group in zip(names, recipes, groups.values(), strict=True)
    ]


def _recipe(config: Mapping, inside: str = "") -> dict:
    """A configuration by dotted keys, without the seed and where the run is kept."""
    found = {}
    for key, value in config.items():
        dotted = f"{inside}{key}"
        if isinstance(value, Mapping):
            found |= _recipe(value, f"{dotted}.")
        elif dotted != "train.seed" and not dotted.startswith("run."):
            found[dotted] = value
    return found


def _scores_of(scores: Sequence[Mapping]) -> dict:
    """One run's scores with their intervals; of several runs the median, lowest and highest."""
    if len(scores) == 1:
        return {"spread": "interval", "scores": dict(scores[0])}
    each = {name: [of_run[name]["value"] for of_run in scores] for name in scores[0]}
    spread = {
        name: dict.fromkeys(_BOUNDS)
        if None in values
        else {"value": median(values), "low": min(values), "high": max(values)}
        for name, values in each.items()
    }
    return {"spread": "seeds", "scores": spread, "each": each}


def _costs_of(abouts: Sequence[Mapping]) -> dict:
    """What runs of one recipe have in common, and the medians of what they do not."""
    model = abouts[0].get("model", {})
    trainings = [about.get("training", {}) for about in abouts]
    return {
        "parameters": model.get("parameters"),
        "trainable_parameters": model.get("trainable parameters"),
        "minutes": _middle(trainings, "minutes"),
        "images_per_second": _middle(trainings, "images per second"),
        "extra_captions": abouts[0].get("extra captions"),
    }


def _middle(parts: Sequence[Mapping], key: str) -> float | None:
    known = [part[key] for part in parts if part.get(key) is not None]
    return median(known) if known else None


def _ensemble(runs: Sequence[ScoredRun], split: str) -> dict:
    """The mean of all runs' probabilities, measured as one model; it costs what all cost."""
    if len(runs) < 2:
        raise UserError("an ensemble needs two runs or more -- name them all")
    silent = [run.folder for run in runs if run.predictions is None]
    if silent:
        commands = [f"  {evaluate_command(folder, split)}" for folder in silent]
        told = "an ensemble needs each run's predictions.csv, which its evaluation writes -- run"
        raise UserError("\n".join([told, *commands]))
    answers = runs[0].predictions
    mean = np.mean([run.predictions.probability for run in runs], axis=0)
    measured = measure(mean, answers.is_match, answers.image)
    costs = [_costs_of([run.report["about"]]) for run in runs]
    return {
        "name": f"ensemble of {len(runs)}",
        "runs": [run.folder for run in runs],
        "spread": "interval",
        "scores": {name: value.as_dict() for name, value in measured.items()},
        **{key: _sum(costs, key) for key in ("parameters", "trainable_parameters", "minutes")},
    }


def _sum(costs: Sequence[Mapping], key: str) -> float | None:
    values = [cost[key] for cost in costs]
    return None if None in values else sum(values)


def _joined(names: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(names))


# -------------------------------------------------------------------------------------- the table


def table_rows(values: Mapping) -> list[list[str]]:
    """A heading, the configurations, the majority, and the ensemble where there is one."""
    rows = [*values["configurations"], values[MAJORITY]]
    rows += [values["ensemble"]] if values["ensemble"] else []
    columns = {
        "configuration": [row["name"] for row in rows],
        "seeds": [_seeds(row) for row in rows],
        **{title: [_score(name, row) for row in rows] for name, title in SHOWN.items()},
        "parameters": [_amount(row.get("parameters")) for row in rows],
        "trainable": [_amount(row.get("trainable_parameters")) for row in rows],
        "minutes": [_amount(row.get("minutes"), 1) for row in rows],
        "images/s": [_amount(row.get("images_per_second")) for row in rows],
        "extra captions": [_captions(row.get("extra_captions")) for row in rows],
    }
    for optional in ("trainable", "extra captions"):
        if set(columns[optional]) == {_UNKNOWN}:
            del columns[optional]
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def explained(values: Mapping) -> list[str]:
    """What the numbers mean, as far as there are such."""
    lines = []
    if any(row["spread"] == "seeds" for row in values["configurations"]):
        lines.append(
            "[a–b]: median of the seeds, with the lowest and the highest. How lucky the choice of "
            "photos was is not in that range; the interval in each run's own report has it."
        )
    lines.append("(a–b): one model; 95 % of the bootstrap resamples of whole photos lie in it.")
    lines.append(f'majority: always "{values["majority_label"]}".')
    if values["ensemble"]:
        lines.append(
            f"{values['ensemble']['name']}: the mean of all the runs' match probabilities, "
            "with the parameters and minutes of all."
        )
    if values["split"] == "test" and len(values["configurations"]) > 1:
        lines.append("To choose among configurations, compare them on dev: --split dev.")
    return lines


def _score(name: str, row: Mapping) -> str:
    measured = row["scores"][name]
    between = interval(name, measured)
    if row.get("spread") == "seeds" and between:
        return f"{number(name, measured['value'])} [{between}]"
    return with_interval(name, measured)


def _seeds(row: Mapping) -> str:
    seeds = row.get("seeds", [])
    if len(seeds) > 5:
        return f"{len(seeds)} seeds"
    return ", ".join(map(str, seeds)) or _UNKNOWN


def _amount(value: float | None, digits: int = 0) -> str:
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def _captions(extra: Mapping | None) -> str:
    if not extra:
        return _UNKNOWN
    return f"{extra['captions']:,} of {extra['photos']:,} photos"


# -------------------------------------------------------------------------------------- the files


def summary(values: Mapping, folder: Path) -> str:
    """The comparison for the terminal."""
    lines = [f"! {note}" for note in [*values["left_out"], *values["notices"]]]
    lines += [f"{values['split']}: {size(values)}", ""]
    rows = aligned(table_rows(values)).splitlines()
    if values["ensemble"]:
        rows.insert(-1, "  " + "─" * (max(map(len, rows)) - 2))
    lines += [*rows, ""]
    for sentence in explained(values):
        lines += textwrap.wrap(sentence, 98, initial_indent="- ", subsequent_indent="  ")
    written = ", ".join(_files(values["split"]))
    return "\n".join([*lines, "", f"Written into {folder}: {written}"])


def page(values: Mapping) -> str:
    """The whole comparison.md."""
    heading, *rows = table_rows(values)
    single = rows[:-1] if values["ensemble"] else rows
    parts = [f"# Comparison on {values['split']}", f"{size(values)}."]
    parts += [f"> **Note:** {_text(note)}" for note in values["notices"]]
    parts += [table([heading, *single])]
    if values["ensemble"]:
        parts += ["All of these runs together:", table([heading, rows[-1]])]
    parts += ["\n".join(f"- {line}" for line in explained(values))]
    parts += [f"![Scores of each configuration]({_files(values['split'])[-1]})"]
    told_apart = [row["configuration"] for row in values["configurations"]]
    keys = dict.fromkeys(key for configuration in told_apart for key in configuration)
    if keys:
        names = [row["name"] for row in values["configurations"]]
        cells = [[key, *(_value(each, key) for each in told_apart)] for key in keys]
        parts += ["## Where the configurations differ", table([["key", *names], *cells])]
    if values["left_out"]:
        parts += ["## Left out", "\n".join(f"- {_text(line)}" for line in values["left_out"])]
    return "\n\n".join(parts) + "\n"


def picture(values: Mapping) -> bytes:
    """comparison.png: a panel a metric, a row a configuration."""
    rows = [(row, "model") for row in values["configurations"]] + [(values[MAJORITY], "baseline")]
    rows += [(values["ensemble"], "ensemble")] if values["ensemble"] else []
    drawn = [
        plots.DotRow(row["name"], tuple(_dots(row, name) for name in SHOWN), kind)
        for row, kind in rows
    ]
    written = {True: ("{} (%)", ".1f"), False: ("{}", ".3f")}
    forms = {title: written[METRICS[name].percent] for name, title in SHOWN.items()}
    panels = {heading.format(title): form for title, (heading, form) in forms.items()}
    return plots.dot_plot(drawn, panels)


def _dots(row: Mapping, name: str) -> plots.Dots:
    scale = 100 if METRICS[name].percent else 1
    measured, each = row["scores"][name], row.get("each", {}).get(name, [])
    shown = [None if measured[key] is None else scale * measured[key] for key in _BOUNDS]
    return plots.Dots(*shown, tuple(scale * value for value in each if value is not None))


def _value(configuration: Mapping, key: str) -> str:
    value = configuration.get(key, _UNKNOWN)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    return " ".join(html.escape(text, quote=False).split())
