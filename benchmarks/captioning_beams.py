"""How many beams, and how long a caption: what each choice scores on dev, where it is made.

    python -m benchmarks.captioning_beams runs/best-1 --root flickr8k
    imagetext evaluate runs/best-1 --decoding.beams 3 --decoding.length_penalty 1

A row a choice of `decoding.beams` and `decoding.length_penalty`, sorted by CIDEr-D. Any run of
captioning will do, or several with commas between.
"""

import argparse
import dataclasses
import itertools
import json
import time

from imagetext.captioning.data import load
from imagetext.captioning.describe import open_model
from imagetext.captioning.evaluate import best_captions, references_of
from imagetext.files import write_text
from imagetext.metrics.captioning.scorer import CaptionScorer

FIGURES = ("cider_d", "bleu_4", "rouge_l", "meteor")


def scores(run: str, root: str | None, beams: list[int], penalties: list[float]) -> list[dict]:
    """A row of figures a choice, the best first."""
    captioner = open_model(run, {"data.root": root} if root else None)
    data = load(captioner.config, ("dev",), captioner.vocabulary)
    numbers, references = references_of(data, "dev")
    scorer, found = CaptionScorer(references, FIGURES), []
    for many, penalty in itertools.product(beams, penalties):
        told = {"method": "beam", "groups": 1, "beams": many, "length_penalty": penalty}
        how = dataclasses.replace(captioner.config.decoding, **told)
        began = time.perf_counter()
        said = best_captions(captioner, data, numbers, how)
        seconds = time.perf_counter() - began
        measured = scorer.score(said, resamples=1)
        row = {"beams": many, "length_penalty": penalty}
        row |= {name: 100 * measured[name].value for name in FIGURES}
        row["words"] = sum(len(text.split()) for text in said) / len(said)
        found.append(row | {"seconds": seconds})
        print(json.dumps(found[-1]), flush=True)
    return sorted(found, key=lambda row: -row["cider_d"])


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("run", help="a run's folder, or several with commas between")
    options.add_argument("--root", help="the data's folder, where it is not that of the training")
    options.add_argument("--beams", type=int, nargs="+", default=[2, 3, 5, 8])
    options.add_argument("--penalties", type=float, nargs="+", default=[0.5, 0.7, 1.0, 1.3])
    options.add_argument("--to", default="captioning_beams.json", help="all rows, as JSON")
    given = options.parse_args()
    found = scores(given.run, given.root, given.beams, given.penalties)
    write_text(given.to, json.dumps(found, indent=1))
    print("| " + " | ".join(found[0]) + " |\n|" + "---|" * len(found[0]))
    for row in found:
        print("| " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
