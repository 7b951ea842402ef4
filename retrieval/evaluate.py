"""Score a run on a split and write its report.

report = evaluate("runs/best-1", split="dev")
report = evaluate("runs/best-1,runs/best-2", split="dev", matcher=pair_matcher("runs/itm-1"))
print(report.summary)
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.encoders.photos import describe_image_encoders
from imagetext.errors import UserError
from imagetext.metrics.retrieval.reranking import PairMatcher
from imagetext.reports.kit.report import Report, report_folder
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval.report import write_report
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import RetrievalData
from imagetext.retrieval.predict import RetrievalModel
from imagetext.retrieval.reranking import rerank
from imagetext.retrieval.searches import SplitSearches, search_split
from imagetext.training import checkpoint, device, provenance
from imagetext.training.ensemble import open_for_evaluation, short_names, write_members
from imagetext.training.run import Run


def evaluate(
    run: Run | str | Path,
    split: str = "test",
    data: RetrievalData | None = None,
    overrides: Mapping[str, Any] | None = None,
    to: str | Path | None = None,
    matcher: PairMatcher | None = None,
) -> Report:
    """Score a run on a split, and write report.json, report.md and report.html.

    The report on test goes into the run's folder, others into its `report-<split>`. Several runs,
    separated by commas, are scored as an ensemble (the mean of their similarities), in a folder of
    its own; that report also shows each run alone.

    Args:
        run: The folder of a trained run, or several.
        split: "train", "dev" or "test".
        data: The data, if it has been loaded already.
        overrides: Configuration keys by dotted name, such as another `data.root`.
        to: Folder for the report of an ensemble.
        matcher: Re-ranks the first candidates of every search; reported separately.

    Returns:
        The report.
    """
    runs, folder = open_for_evaluation(run, split, to)
    folders, together = [each.folder for each in runs], len(runs) > 1
    searches = [search_split(each, split, data, overrides) for each in runs]
    first, names = searches[0], short_names(folders)
    similarities, title = first.similarities, f"{', '.join(names)} on {split}"
    if together:
        require_same_searches(searches)
        write_members(folder, folders)
        similarities = mean_similarities(searches, names)
        title = f"ensemble of {title}"
    reranking = None
    if matcher:
        digest = "+".join(each.model.digest for each in searches)
        reranking = rerank(folder, split, first.searched, similarities[MODEL], matcher, digest)
    return write_report(
        report_folder(folder, split),
        title=title,
        search_set=first.searched,
        similarities=similarities,
        names={MODEL: f"{len(runs)} runs"} if together else {},
        reranking=reranking,
        history=[] if together else provenance.history(runs[0]),
        about=_about(searches, names, split),
        notices=list(dict.fromkeys(notice for each in searches for notice in each.notices)),
        resamples=first.model.config.report.resamples,
        examples=first.model.config.report.gallery,
    )


def mean_similarities(
    searches: Sequence[SplitSearches], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The mean of several runs' similarities [n, m], and each run's beside it."""
    each = [result.similarities[MODEL] for result in searches]
    alone = {f"{name} alone": scores for name, scores in zip(names, each, strict=True)}
    return {MODEL: np.mean(each, axis=0), **alone}


def require_same_searches(searches: Sequence[SplitSearches]) -> None:
    """Refuse runs that do not search the same photos and captions."""
    first = searches[0]
    for other in searches[1:]:
        sets = [(each.searched.photo, each.searched.caption) for each in (first, other)]
        if sets[0] != sets[1]:
            counts = " and ".join(f"{len(p):,} with {len(c):,} captions" for p, c in sets)
            raise UserError(
                f"{first.run.folder} and {other.run.folder} search different photos ({counts});"
                " evaluate them on the same data: --data.root PATH"
            )


def _shares(run: Run, config: RetrievalConfig) -> dict[str, Any]:
    """How far the weights went from pretrained to tuned, and the recalls that decided it."""
    path = run.tuned_shares_file
    if not config.model.own_vectors or not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {
            "share of the tuned weights": values["share"],
            "mean recall on dev, zero-shot": values["zero-shot"],
            "mean recall on dev, by share": values["dev recall by share"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); train the run again") from error


def _about(searches: Sequence[SplitSearches], names: Sequence[str], split: str) -> dict[str, Any]:
    """The facts of one run; of several, their totals and each run's by its name."""
    first, data = searches[0], searches[0].data
    left_out: dict[str, Any] = {
        f"photos and captions left out of the {split} split": data.left_out.get(split, 0)
    }
    facts: dict[str, Any]
    if len(searches) == 1:
        facts = {
            "command": provenance.command(first.run),
            "configuration": str(first.run.config_file),
        }
        left_out["training"] = provenance.left_out_of_training(first.run)
    else:
        facts = {"ensemble of": [str(each.run.folder) for each in searches]}

    def combine(parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return parts[0] if len(parts) == 1 else _total(parts) | dict(zip(names, parts, strict=True))

    return {
        **facts,
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "photos": len(data.pairs[split]),
        },
        "left out": left_out,
        "model": combine([_model(each.model) for each in searches]),
        "loss": combine([_loss(each.model) for each in searches]),
        "speed": combine([each.speeds for each in searches]),
        "training": combine([_training(each.run, each.model.config) for each in searches]),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }


def _total(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    keys = ("parameters", "trainable parameters", "minutes")
    return {key: round(sum(part[key] for part in parts), 2) for key in keys if key in parts[0]}


def _model(model: RetrievalModel) -> dict[str, Any]:
    config, network = model.config, model.network
    return {
        "photos": describe_image_encoders(config.data),
        "captions": config.text.encoder,
        "vector": model.width,
        "late interaction": config.model.late,
        "digest": model.digest,
        "parameters": network.count_params(),
        "trainable parameters": sum(math.prod(v.shape) for v in network.trainable_variables),
    }


def _loss(model: RetrievalModel) -> dict[str, Any]:
    config = model.config
    return {
        "kind": config.loss.kind,
        "batch": config.data.batch_size,
        "hardness": config.loss.hardness,
        "learned scale": model.scale,
        "learned bias": model.bias,
    }


def _training(run: Run, config: RetrievalConfig) -> dict[str, Any]:
    progress = checkpoint.read_progress(run.last_checkpoint)
    return {
        "seed": config.train.seed,
        "epochs": len(progress.history),
        "best epoch": progress.best_epoch + 1,
        "chosen by": config.train.monitor,
        "learning rate": config.train.learning_rate,
        "precision": device.precision_name(config.train.precision),
        "minutes": round(progress.seconds / 60, 2),
        **_shares(run, config),
    }
