"""Which image encoders tell captions apart, and at which side: known before anything is trained.

    python -m benchmarks.image_encoders --root flickr8k
    python -m benchmarks.image_encoders --root flickr8k --rows resnet50 vgg16+resnet50@320

A ridge regression leads from the pooled features of a photo, frozen, to the mean sentence vector
(all-MiniLM-L6-v2) of its captions. It is fitted on train; then photos and captions of dev search
for each other by cosine. A row may name several encoders with + between. The strength of the
regression is the best of five on dev, for every row, so the figures compare rows and no more.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np

from imagetext.encoders.extraction import extract
from imagetext.encoders.sentences import sentence_encoder
from imagetext.files import write_text
from imagetext.metrics.retrieval.ranks import AT, compute_ranks
from imagetext.pipelines.sources import open_source

ROWS = [
    "efficientnet_lite0",
    "efficientnet_lite0@384",
    "efficientnet_lite2",
    "efficientnet_lite2@384",
    "efficientnet_lite2_last3@384",
    "efficientnet_lite0+efficientnet_lite1+efficientnet_lite2",
    "efficientnet_lite0+efficientnet_lite1+efficientnet_lite2@384",
    "efficientnet_lite0@384+efficientnet_lite1@384+efficientnet_lite2@384",
    "efficientnet_lite0_last3@384+efficientnet_lite1_last3@384+efficientnet_lite2_last3@384",
]
STRENGTHS = (0.3, 1, 3, 10, 30)


class Split:
    """The photos of a split, and the sentence vectors of their captions."""

    def __init__(self, root: str, name: str, encode):
        records = list(open_source(root).records(name))
        self.photos = [record.image for record in records]
        self.captions = [text for record in records for text in record.texts]
        self.owner = np.repeat(np.arange(len(records)), [len(each.texts) for each in records])
        self.vectors = encode(self.captions)

    def means(self) -> np.ndarray:
        """The mean vector of each photo's captions, [photos, d]."""
        return (
            np.stack([np.bincount(self.owner, column) for column in self.vectors.T], axis=1)
            / np.bincount(self.owner)[:, None]
        )


def features(encoder: str, splits: Sequence[Split]) -> list[np.ndarray]:
    """The pooled features of each split, standardised by the first; of all numbers of a photo
    together the square is 1 in the mean."""
    paths = [path for split in splits for path in split.photos]
    done = extract(paths, encoder, "pooled")
    found = done.features.fetch(np.arange(len(paths)))[0].astype(np.float64)
    first = found[: len(splits[0].photos)]
    found = (found - first.mean(0)) / (first.std(0) + 1e-3) / first.shape[1] ** 0.5
    return np.split(found, np.cumsum([len(split.photos) for split in splits])[:-1])


def row(name: str, train: Split, dev: Split) -> dict:
    """What photos of dev find by the features of `name`, and by how strong a regression."""
    parts = [features(encoder, (train, dev)) for encoder in name.split("+")]
    known, new = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    goal = train.means()
    centre = goal.mean(0)
    # In the space of photos: there are fewer of them than features.
    values, vectors = np.linalg.eigh(known @ known.T)
    turned, seen = vectors.T @ (goal - centre), new @ known.T @ vectors
    said = unit(dev.vectors - centre)
    tried = []
    for strength in STRENGTHS:
        guessed = unit(seen @ (turned / (values + strength * len(parts))[:, None]))
        ranks = compute_ranks(guessed @ said.T, dev.owner, dev.captions)
        tried.append((ranks.mean_recall, strength, ranks))
    best, strength, ranks = max(tried, key=lambda one: one[0])
    places = {"text to photo": ranks.photo_ranks, "photo to text": ranks.caption_ranks}
    figures = {f"{way}, R@{k}": 100 * (p <= k).mean() for way, p in places.items() for k in AT}
    return {"encoders": name, "mean recall": 100 * best, "strength": strength} | figures


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--root", required=True, help="a captioned source, official Flickr8k's")
    options.add_argument("--rows", nargs="+", default=ROWS, metavar="NAME[+NAME]")
    options.add_argument("--to", default="image_encoders.json", help="all figures, as JSON")
    given = options.parse_args()
    encode = sentence_encoder()
    train, dev = (Split(given.root, name, encode) for name in ("train", "dev"))
    found = [row(name, train, dev) for name in given.rows]
    write_text(given.to, json.dumps(found, indent=1))
    print("| " + " | ".join(found[0]) + " |\n|" + "---|" * len(found[0]))
    for each in found:
        name, *figures = each.values()
        print(f"| {name} | " + " | ".join(f"{figure:.3g}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
