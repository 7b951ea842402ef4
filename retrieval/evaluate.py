"""Score a run on a split and write its report.

report = evaluate("runs/best-1", split="dev")
report = evaluate("runs/best-1,runs/best-2", split="dev", matcher=pair_matcher("runs/itm-1"))
print(report.summary)
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imagetext.encoders.photos import seen_by
from imagetext.errors import UserError
from imagetext.metrics.retrieval.reranking import PairMatcher
from imagetext.pipelines.records import SPLITS
from imagetext.reports.report import Report, report_folder
from imagetext.reports.retrieval.report import write_report
from imagetext.reports.tables import MODEL
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import RetrievalData
from imagetext.retrieval.predict import RetrievalModel
from imagetext.retrieval.reranking import rerank
from imagetext.retrieval.searches import SplitSearches, search_split
from imagetext.training import checkpoint, device, provenance
from imagetext.training.ensemble import ensemble_folder, run_names, short_names, write_members
from imagetext.training.run import Run, open_run, trained


def evaluate(
    run: Run | str | Path,
    split: str = "dev",
    data: RetrievalData | None = None,
    overrides: Mapping | None = None,
    matcher: PairMatcher | None = None,
    to: str | Path | None = None,
) -> Report:
    """Write report.json, .md and .html: of test into the run's folder, else its `report-<split>`.

    Several runs with commas between are scored as one, by the mean of their similarities: the
    report of such an ensemble lies in a folder of its own, `to` or one beside the first run, and
    shows what each run finds alone.

    `overrides` are dotted keys of the configuration, such as another `data.root`. A `matcher` puts
    the first candidates of every search into order; what comes of it is told apart.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} -- one of {', '.join(SPLITS)}")
    names = run_names(run.folder if isinstance(run, Run) else run)
    runs = [trained(open_run(name)) for name in names]
    folders, together = [run.folder for run in runs], len(runs) > 1
    folder = ensemble_folder(folders, to) if together else folders[0]
    each = [search_split(run, split, data, overrides) for run in runs]
    one, names = each[0], short_names(folders)
    similarities, title = one.similarities, f"{', '.join(names)} on {split}"
    if together:
        refuse_other_searches(each)
        write_members(folder, folders)
        similarities = mean_similarities(each, names)
        title = f"ensemble of {title}"
    reranked = None
    if matcher:
        of = "+".join(found.encoder.digest for found in each)
        reranked = rerank(folder, split, one.searched, similarities[MODEL], matcher, of)
    return write_report(
        report_folder(folder, split),
        title=title,
        searched=one.searched,
        similarities=similarities,
        names={MODEL: f"{len(runs)} runs"} if together else {},
        reranked=reranked,
        history=[] if together else provenance.history(folder),
        about=_about(each, names, split),
        notices=list(dict.fromkeys(notice for found in each for notice in found.notices)),
        resamples=one.encoder.config.report.resamples,
        shown=one.encoder.config.report.gallery,
    )


def mean_similarities(each: Sequence[SplitSearches], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Of several runs [n, m], and those of each alone."""
    own = [found.similarities[MODEL] for found in each]
    alone = {f"{name} alone": found for name, found in zip(names, own, strict=True)}
    return {MODEL: np.mean(own, axis=0), **alone}


def refuse_other_searches(each: Sequence[SplitSearches]) -> None:
    """Similarities have a mean only where all runs compare the same photos and captions."""
    first = each[0]
    for found in each[1:]:
        own, other = ((f.searched.photo, f.searched.caption) for f in (first, found))
        if own != other:
            counts = " and ".join(f"{len(p):,} with {len(c):,} captions" for p, c in (own, other))
            raise UserError(
                f"{first.run.folder} and {found.run.folder} search other photos ({counts}) -- give"
                " all the same: --data.root PATH"
            )


def _shares(run: Run, config: RetrievalConfig) -> dict:
    """How far the weights went from the pretrained to the tuned ones, and why so far."""
    path = run.tuned_shares_file
    if not config.model.own_vectors or not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {
            "share of the tuned weights": told["share"],
            "mean recall on dev, zero-shot": told["zero-shot"],
            "mean recall on dev, by share": told["dev recall by share"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}) -- train anew") from error


def _about(each: Sequence[SplitSearches], names: Sequence[str], split: str) -> dict:
    """Of one run as it is; of several what they have together, and each by its name."""
    one, data = each[0], each[0].data
    left_out = {f"photos and captions left out of the {split} split": data.left_out.get(split, 0)}
    if len(each) == 1:
        told = {"command": provenance.command(one.run), "configuration": str(one.run.config_file)}
        left_out["training"] = provenance.left_out_of_training(one.run)
    else:
        told = {"ensemble of": [str(found.run.folder) for found in each]}

    def together(parts: Sequence[Mapping]) -> Mapping:
        return parts[0] if len(each) == 1 else _summed(parts) | dict(zip(names, parts, strict=True))

    return {
        **told,
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "photos": len(data.pairs[split]),
        },
        "left out": left_out,
        "model": together([_model(found.encoder) for found in each]),
        "loss": together([_loss(found.encoder) for found in each]),
        "speed": together([found.speeds for found in each]),
        "training": together([_training(found.run, found.encoder.config) for found in each]),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }


def _summed(parts: Sequence[Mapping]) -> dict:
    keys = ("parameters", "trainable parameters", "minutes")
    return {key: round(sum(part[key] for part in parts), 2) for key in keys if key in parts[0]}


def _model(encoder: RetrievalModel) -> dict:
    config, network = encoder.config, encoder.network
    return {
        "photos": seen_by(config.data),
        "captions": config.text.encoder,
        "vector": encoder.width,
        "late interaction": config.model.late,
        "digest": encoder.digest,
        "parameters": network.count_params(),
        "trainable parameters": sum(math.prod(v.shape) for v in network.trainable_variables),
    }


def _loss(encoder: RetrievalModel) -> dict:
    config = encoder.config
    return {
        "kind": config.loss.kind,
        "batch": config.data.batch_size,
        "hardness": config.loss.hardness,
        "learned scale": encoder.scale,
        "learned bias": encoder.bias,
    }


def _training(run: Run, config: RetrievalConfig) -> dict:
    progress = checkpoint.read_progress(run.checkpoints / "last.npz")
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
