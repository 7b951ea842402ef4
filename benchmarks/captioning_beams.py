"""The effect of the number of beams and of the length penalty on the scores of the dev split.

    python -m benchmarks.captioning_beams runs/best-1 --root flickr8k
    imagetext evaluate runs/best-1 --decoding.beams 3 --decoding.length_penalty 1

Prints a row for each choice of `decoding.beams` and `decoding.length_penalty`, sorted by CIDEr-D.
Takes a captioning run, or several separated by commas.
"""

import dataclasses
import itertools
import json
import time

from benchmarks.common import make_parser
from imagetext.captioning.data import load
from imagetext.captioning.describe import open_model
from imagetext.captioning.evaluate import best_captions, references_of
from imagetext.files import write_text
from imagetext.metrics.captioning.corpus import CaptionScorer

METRICS = ("cider_d", "bleu_4", "rouge_l", "meteor")


def score_choices(
    run: str, root: str | None, beams: list[int], penalties: list[float]
) -> list[dict]:
    """A row of scores for each choice, best first."""
    captioner = open_model(run, {"data.root": root} if root else None)
    data = load(captioner.config, ("dev",), captioner.vocabulary)
    numbers, references = references_of(data, "dev")
    scorer, rows = CaptionScorer(references, METRICS), []
    for width, penalty in itertools.product(beams, penalties):
        values = {"method": "beam", "groups": 1, "beams": width, "length_penalty": penalty}
        decoding = dataclasses.replace(captioner.config.decoding, **values)
        start = time.perf_counter()
        captions = best_captions(captioner, data, numbers, decoding)
        seconds = time.perf_counter() - start
        scores = scorer.score(captions, resamples=1)
        row = {"beams": width, "length_penalty": penalty}
        row |= {name: 100 * scores[name].value for name in METRICS}
        row["words"] = sum(len(text.split()) for text in captions) / len(captions)
        rows.append(row | {"seconds": seconds})
        print(json.dumps(rows[-1]), flush=True)
    return sorted(rows, key=lambda row: -row["cider_d"])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("run", help="the folder of a run, or several separated by commas")
    parser.add_argument("--root", help="the data folder, if it is not that of the training")
    parser.add_argument("--beams", type=int, nargs="+", default=[2, 3, 5, 8])
    parser.add_argument("--penalties", type=float, nargs="+", default=[0.5, 0.7, 1.0, 1.3])
    parser.add_argument("--to", default="captioning_beams.json", help="file to write all rows to")
    options = parser.parse_args()
    rows = score_choices(options.run, options.root, options.beams, options.penalties)
    write_text(options.to, json.dumps(rows, indent=1))
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
