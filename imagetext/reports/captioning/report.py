"""The report of a captioning model: scores with intervals, caption statistics, plots, findings.

    report = write_report("runs/gru-1", title="GRU on dev", predictions=predictions,
                          evidence=Evidence(others={"greedy": greedy}, words=words),
                          history=history, about={"seed": 0})
    print(report.summary)

Writes `report.json`, `report.md`, `report.html` (one self-contained file), `plots/*.png` and
`captions.csv`, with a row for each photo.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.metrics.bootstrap import RESAMPLES, Estimate, as_dicts, subtract
from imagetext.metrics.captioning.scores import (
    CaptionScores,
    Judge,
    WordScores,
    estimate_mean,
    judge_captions,
    score_models,
    score_words,
)
from imagetext.metrics.captioning.tokens import tokenize
from imagetext.reports.captioning import html, markdown, plots
from imagetext.reports.captioning.figures import BASELINE, BASELINE_NAME
from imagetext.reports.captioning.findings import describe_findings
from imagetext.reports.captioning.gallery import Attention, choose_examples, draw_gallery
from imagetext.reports.captioning.predictions import CaptionPredictions, write_captions
from imagetext.reports.captioning.statistics import describe_captions, find_warnings
from imagetext.reports.kit.report import (
    FORMAT,
    Report,
    describe_interval,
    jsonable,
    write_values,
)
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.kit.writing import write_pages

#: What is scored beside the model: captions by people, and the model's for the wrong photos.
PEOPLE, SHUFFLED = "first reference", "captions of other photos"
#: Takes n sentences and returns unit vectors, float [n, d].
Encoder = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """What a report needs besides the model's captions.

    Args:
        others: Other captions of the same photos, such as those of greedy decoding, by name.
        names: What the report calls them and the model.
        words: How well single words are predicted.
        training: The captions that the model was trained on.
        vocabulary: How many words the model can generate.
        encoder: Embeds sentences.
        judge: Scores captions without references.
        attention: Where the model attended, by index of the photo.
    """

    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    words: WordScores | None = None
    training: Collection[str] = ()
    vocabulary: int | None = None
    encoder: Encoder | None = None
    judge: Judge | None = None
    attention: Attention = lambda index: None


def write_report(
    folder: str | Path,
    *,
    title: str,
    predictions: CaptionPredictions,
    evidence: Evidence,
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
    examples: int = 12,
) -> Report:
    """Score, compare and draw captions, and write everything into a folder.

    Args:
        folder: The folder, which may be that of the run.
        title: Title of the report.
        predictions: The model's captions with their references.
        evidence: What they are compared with.
        history: Rows of history.csv.
        about: Any nested dictionary of facts about the run.
        notices: Warnings at the top of the report.
        resamples: Number of bootstrap resamples.
        examples: Photos in the gallery.

    Returns:
        The report.
    """
    folder = Path(folder)
    scored = score_models(
        {MODEL: predictions.caption, **evidence.others},
        predictions.references,
        encoder=evidence.encoder,
        resamples=resamples,
    )
    fit = score_fit(predictions, evidence, evidence.judge) if evidence.judge else {}
    for name, each in scored.items():
        if fit:
            each.estimates["caption_score"] = estimate_mean(fit[name], resamples)
    values = report_values(
        title=title,
        predictions=predictions,
        scored=scored,
        fit={name: estimate_mean(fit[name], resamples) for name in fit if name not in scored},
        evidence=evidence,
        history=history,
        about=about,
        notices=notices,
        resamples=resamples,
    )
    cider = scored[MODEL].cider
    sections = choose_examples(predictions, cider, examples, evidence.attention)
    html_path = write_pages(
        folder,
        values,
        history=history,
        sections=sections,
        draw_plots=partial(_draw_plots, predictions, cider),
        draw_gallery=draw_gallery,
        markdown=markdown.page,
        html=html.page,
    )
    write_captions(folder, predictions, cider, fit.get(MODEL))
    write_values(folder, values)
    return Report(markdown.summary(values, html_path), values, folder, html_path)


def score_fit(
    predictions: CaptionPredictions, evidence: Evidence, judge: Judge
) -> dict[str, np.ndarray]:
    """Score captions without references, [n] by name, with those of people and shuffled ones."""
    captions = {MODEL: predictions.caption, **evidence.others}
    captions[PEOPLE] = [texts[0] for texts in predictions.references]
    captions[SHUFFLED] = [*predictions.caption[1:], *predictions.caption[:1]]
    return judge_captions(judge, predictions.photo, captions)


def report_values(
    *,
    title: str,
    predictions: CaptionPredictions,
    scored: Mapping[str, CaptionScores],
    fit: Mapping[str, Estimate],
    evidence: Evidence,
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """All numbers and sentences of a report, ready for JSON.

    Args:
        scored: Scores of the model's and the other captions, by name.
        fit: Reference-free scores of captions by people, and of shuffled ones.

    The other arguments are those of `write_report`.
    """
    people = [texts[0] for texts in predictions.references]
    statistics = {
        name: describe_captions(captions, evidence.training, evidence.vocabulary)
        for name, captions in ((MODEL, predictions.caption), (PEOPLE, people))
    }
    model = scored[MODEL].estimates
    words = score_words(evidence.words, resamples) if evidence.words else {}
    values = {
        "format": FORMAT,
        "task": "captioning",
        "title": title,
        "notices": [*notices, *find_warnings(*statistics.values())],
        "photos": len(predictions.photo),
        "references": sum(map(len, predictions.references)),
        "scored_on": predictions.digest,
        "names": {MODEL: MODEL, BASELINE: BASELINE_NAME, **evidence.names},
        "scores": {name: as_dicts(each.estimates) for name, each in scored.items()},
        # Model minus the others, on the same resamples.
        "differences": {
            name: as_dicts(subtract(model, each.estimates))
            for name, each in scored.items()
            if name != MODEL
        },
        "notes": scored[MODEL].notes,
        "words": as_dicts(words),
        "captions": statistics,
        "fit": as_dicts(fit),
        "judge": evidence.judge.name if evidence.judge else None,
        "interval": describe_interval(resamples),
        "history": list(history),
        "about": about,
    }
    values = jsonable(values)
    return {**values, "findings": describe_findings(values)}


def _draw_plots(
    predictions: CaptionPredictions, cider: np.ndarray, *, dark: bool
) -> dict[str, bytes | None]:
    references = [text for texts in predictions.references for text in texts]
    lengths = {
        name: [len(tokenize(text)) for text in texts]
        for name, texts in ((MODEL, predictions.caption), ("references", references))
    }
    return {
        "cider": plots.cider_histogram(cider, dark=dark),
        "lengths": plots.length_histogram(lengths, dark=dark),
    }
