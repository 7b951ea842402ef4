"""The report of a captioning model: scores with intervals, what its captions are like, pictures.

    report = write_report("runs/gru-1", title="GRU on dev", predictions=predictions,
                          others={"greedy": greedy}, words=words, training=training_captions,
                          vocabulary=2900, history=history, about={"seed": 0})
    print(report.summary)

Writes `report.json`, `report.md`, `report.html` (one file, no links outside), `plots/*.png` and
`captions.csv`, a row a photo: what was said, how good it is, and what was written of it.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imagetext.files import replacing, write_text
from imagetext.metrics.bootstrap import RESAMPLES, Estimate, difference
from imagetext.metrics.captioning.scores import (
    CaptionScores,
    Judge,
    WordScores,
    judged,
    mean,
    score_all,
    score_words,
)
from imagetext.metrics.captioning.tokens import tokenize
from imagetext.reports.captioning import html, markdown, plots
from imagetext.reports.captioning.attention_maps import Looked
from imagetext.reports.captioning.character import character, warnings
from imagetext.reports.captioning.findings import findings
from imagetext.reports.captioning.gallery import choose, gallery
from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.kit import plots as shared_plots
from imagetext.reports.kit.report import (
    FORMAT,
    Report,
    interval_told,
    jsonable,
    write_pictures,
    write_values,
)
from imagetext.reports.kit.tables import MODEL

CAPTIONS = "captions.csv"
#: Whose captions show what a caption score is worth.
PEOPLE, EXCHANGED = "first reference", "captions of other photos"
Encoder = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """What a report is made of, besides the model's captions.

    `others` says by name what others say of the same photos. `training` are the captions that were
    trained on, `vocabulary` the number of words the model can say, `encoder` makes vectors of
    length 1 of sentences, `judge` scores captions without references, and `looked` says where the
    model looked for a photo, by number.
    """

    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    words: WordScores | None = None
    training: Collection[str] = ()
    vocabulary: int | None = None
    encoder: Encoder | None = None
    judge: Judge | None = None
    looked: Callable[[int], Looked | None] = lambda number: None


def write_report(
    folder: str | Path,
    *,
    title: str,
    predictions: CaptionPredictions,
    evidence: Evidence,
    history: Sequence[Mapping],
    about: Mapping,
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
    shown: int = 12,
) -> Report:
    """Measure, compare, draw and write everything into `folder`; `shown` photos in the gallery."""
    folder = Path(folder)
    scored = score_all(
        {MODEL: predictions.caption, **evidence.others},
        predictions.references,
        encoder=evidence.encoder,
        resamples=resamples,
    )
    fit = caption_scores(predictions, evidence) if evidence.judge else {}
    for name, each in scored.items():
        if fit:
            each.measured["caption_score"] = mean(fit[name], resamples)
    values = report_values(
        title=title,
        predictions=predictions,
        scored=scored,
        fit={name: mean(fit[name], resamples) for name in fit if name not in scored},
        evidence=evidence,
        history=history,
        about=about,
        notices=notices,
        resamples=resamples,
    )
    cider = scored[MODEL].cider
    sections = choose(predictions, cider, shown, evidence.looked)
    light, dark = (_pictures(predictions, cider, dark=dark) for dark in (False, True))
    training = shared_plots.training_curves(history)
    drawn = write_pictures(folder, {**light, "training": training, "gallery": gallery(sections)})
    write_text(folder / "report.md", markdown.page(values, drawn))
    write_text(folder / "report.html", html.page(values, light, dark, sections))
    write_captions(folder, predictions, cider, fit.get(MODEL))
    write_values(folder, values)
    html_path = folder / "report.html"
    return Report(markdown.summary(values, html_path), values, folder, html_path)


def caption_scores(predictions: CaptionPredictions, evidence: Evidence) -> dict[str, np.ndarray]:
    """How well captions fit their photos, without references, [n] by who says them; and between
    what its figures lie: those of people, and of captions of other photos."""
    said = {MODEL: predictions.caption, **evidence.others}
    said[PEOPLE] = [texts[0] for texts in predictions.references]
    said[EXCHANGED] = [*predictions.caption[1:], *predictions.caption[:1]]
    return judged(evidence.judge, predictions.photo, said)


def report_values(
    *,
    title: str,
    predictions: CaptionPredictions,
    scored: Mapping[str, CaptionScores],
    fit: Mapping[str, Estimate],
    evidence: Evidence,
    history: Sequence[Mapping],
    about: Mapping,
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> dict:
    """All numbers and sentences of a report, ready for JSON. Writes nothing."""
    first = [texts[0] for texts in predictions.references]
    like = {
        name: character(captions, evidence.training, evidence.vocabulary)
        for name, captions in ((MODEL, predictions.caption), ("first reference", first))
    }
    model = scored[MODEL].measured
    values = {
        "format": FORMAT,
        "task": "captioning",
        "title": title,
        "notices": [*notices, *warnings(*like.values())],
        "photos": len(predictions.photo),
        "references": sum(map(len, predictions.references)),
        "scored_on": digest(predictions),
        "names": {MODEL: MODEL, **evidence.names},
        "scores": {
            name: {figure: value.as_dict() for figure, value in each.measured.items()}
            for name, each in scored.items()
        },
        # model minus the others, on the same resamples
        "differences": {
            name: {figure: difference(model[figure], each.measured[figure]) for figure in model}
            for name, each in scored.items()
            if name != MODEL
        },
        "notes": scored[MODEL].notes,
        "words": score_words(evidence.words, resamples) if evidence.words else {},
        "captions": like,
        "fit": {name: value.as_dict() for name, value in fit.items()},
        "judge": evidence.judge.name if evidence.judge else None,
        "interval": interval_told(resamples),
        "history": list(history),
        "about": about,
    }
    for part in (values["words"], *values["differences"].values()):
        part.update({figure: value.as_dict() for figure, value in part.items()})
    values = jsonable(values)
    return {**values, "findings": findings(values)}


def digest(predictions: CaptionPredictions) -> str:
    """Names the photos and references, wherever they lie and in whatever order."""
    rows = sorted(
        [Path(photo).name, *sorted(texts)]
        for photo, texts in zip(predictions.photo, predictions.references, strict=True)
    )
    told = json.dumps(rows)  # ASCII, also of a name that is no UTF-8
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def write_captions(
    folder: Path,
    predictions: CaptionPredictions,
    cider: np.ndarray,
    fit: np.ndarray | None = None,
) -> None:
    """Write `captions.csv`, a column a reference; with caption scores where there are such."""
    most = max(map(len, predictions.references), default=0)
    columns = {
        "photo": predictions.photo,
        "caption": predictions.caption,
        "log_probability": predictions.log_probability.tolist(),
        "cider": cider.tolist(),
    }
    columns |= {} if fit is None else {"caption_score": fit.tolist()}
    with (
        replacing(folder / CAPTIONS) as temporary,
        # A photo's name may hold bytes that are no UTF-8; they go through as they are.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        names = [f"reference_{number}" for number in range(1, most + 1)]
        writer.writerow([*columns, *names])
        for *row, references in zip(*columns.values(), predictions.references, strict=True):
            writer.writerow([*row, *references])


def _pictures(
    predictions: CaptionPredictions, cider: np.ndarray, *, dark: bool
) -> dict[str, bytes | None]:
    every = [text for texts in predictions.references for text in texts]
    counts = {
        name: [len(tokenize(text)) for text in texts]
        for name, texts in ((MODEL, predictions.caption), ("references", every))
    }
    return {
        "cider": plots.cider_histogram(cider, dark=dark),
        "lengths": plots.lengths(counts, dark=dark),
    }
