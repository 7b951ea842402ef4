"""`imagetext train`, `evaluate`, `compare` and `export`."""

import sys
from collections.abc import Mapping

from imagetext import api


def train(config: str, overrides: Mapping | None = None, resume: bool = False):
    """Train the model that a configuration describes, in a new folder under runs/.

    Every key of the configuration can be set by its dotted name (all are listed below). A run that
    was interrupted, even killed, continues with --resume exactly where it stopped.

    Example:
        imagetext train itm/cnn --data.root flickr8k --train.epochs 3
        imagetext train mine.yaml
        imagetext train runs/cnn-1 --resume

    Args:
        config: A YAML file, the name of a shipped configuration (see `imagetext configs`), or the
            folder of a run to resume.
        overrides: Configuration keys by dotted name.
        resume: Continue an interrupted run, given by its folder or by --run.name.
    """
    run = api.train(config, overrides, resume)
    print(f"\nRun: {run.folder}\nNext: imagetext evaluate {run.folder}")
    return run


def evaluate(
    run: str,
    split: str = "test",
    overrides: Mapping | None = None,
    scorer: str | None = None,
    to: str | None = None,
    rerank: str | None = None,
):
    """Score a run on a split and write report.json, report.md and report.html.

    Several runs of one task, separated by commas, are scored together as an ensemble; their report
    goes into a folder of its own, next to the first run.

    If the data has moved since training, set --data.root, --data.images, --data.features and so on
    again. How captions are decoded can be changed too, for example with --decoding.beams.

    Example:
        imagetext evaluate runs/cnn-1 --split test
        imagetext evaluate runs/cnn-1,runs/cnn-2,runs/cnn-3 --split dev
        imagetext evaluate runs/gru_attention-1 --split dev --decoding.beams 3
        imagetext evaluate runs/gru_attention-1 --split dev --scorer runs/retrieval-best-1
        imagetext evaluate runs/retrieval-best-1 --split dev --rerank runs/itm-attention-1

    Args:
        run: The folder of a trained run, or several separated by commas.
        split: train, dev or test. (Some copies of Flickr8k come without the test captions.)
        overrides: Configuration keys by dotted name, such as data.root.
        scorer: For captioning: a retrieval run that scores how well captions fit their photos
            without using the references (as CLIPScore does).
        to: Folder for the report of an ensemble.
        rerank: For retrieval: a matching run that re-ranks the first 50 results of each search.
            The result is reported separately; the weight of the two models is chosen on dev.
    """
    report = api.evaluate(run, split, overrides, to, scorer=scorer, rerank=rerank)
    print(report.summary)
    return report


def compare(runs: list[str], split: str = "test", to: str | None = None, ensemble: bool = False):
    """Compare runs of one task: scores, intervals, size and time; write comparison.{md,json,png}.

    Runs that differ only in their seed form one row with the median, lowest and highest score.

    Example:
        imagetext compare runs/*
        imagetext compare runs/cnn-* runs/joint-* --split dev

    Args:
        runs: The folders of evaluated runs.
        split: test, dev or train.
        to: Folder to write into; the folder that holds the runs by default.
        ensemble: Deprecated: use `imagetext evaluate RUN,RUN` instead.
    """
    if ensemble:
        together = ",".join(runs)
        message = "--ensemble is deprecated and will be removed in the next release"
        print(f"{message}; use: imagetext evaluate {together} --split {split}", file=sys.stderr)
    comparison = api.compare(runs, split, to, ensemble)
    print(comparison.summary)
    return comparison


def export(run: str, to: str | None = None):
    """Export a run as a SavedModel that takes image bytes and sentences, beside its .keras file.

    Example:
        imagetext export runs/cnn-1

    Args:
        run: The folder of a trained run.
        to: Folder to write; the run's own export/ by default.
    """
    folder = api.export(run, to)
    print(f"SavedModel: {folder}\nHow to use it: {folder.parent / 'README.txt'}")
    return folder
