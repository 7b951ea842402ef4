"""Which image encoders suit captions, and at which image size, before any model is trained.

    python -m benchmarks.image_encoders --root flickr8k
    python -m benchmarks.image_encoders --root flickr8k --rows resnet50 vgg16+resnet50@320

A ridge regression predicts the mean sentence vector (all-MiniLM-L6-v2) of a photo's captions from
its pooled features. It is fitted on the train split; then the photos and captions of the dev split
are retrieved by each other. A row may combine several encoders with +. For every row the strength
of the regression is the best of five on the dev split, so the results only compare rows.
"""

import json
from collections.abc import Sequence

import numpy as np

from benchmarks.common import make_parser
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
    """The photos of a split, with the sentence vectors of their captions."""

    def __init__(self, root: str, name: str, encode):
        records = list(open_source(root).records(name))
        self.photos = [record.image for record in records]
        self.captions = [text for record in records for text in record.texts]
        self.owner = np.repeat(np.arange(len(records)), [len(each.texts) for each in records])
        self.vectors = encode(self.captions)

    def means(self) -> np.ndarray:
        """The mean vector of the captions of each photo, [photos, d]."""
        return (
            np.stack([np.bincount(self.owner, column) for column in self.vectors.T], axis=1)
            / np.bincount(self.owner)[:, None]
        )


def standardized_features(encoder: str, splits: Sequence[Split]) -> list[np.ndarray]:
    """The pooled features of each split, standardised by the first split and scaled so that the
    features of a photo have a mean squared norm of 1."""
    paths = [path for split in splits for path in split.photos]
    extraction = extract(paths, encoder, "pooled")
    features = extraction.features.fetch(np.arange(len(paths)))[0].astype(np.float64)
    first = features[: len(splits[0].photos)]
    features = (features - first.mean(0)) / (first.std(0) + 1e-3) / first.shape[1] ** 0.5
    return np.split(features, np.cumsum([len(split.photos) for split in splits])[:-1])


def measure(name: str, train: Split, dev: Split) -> dict:
    """The recalls of dev photos and captions with the features of one or more encoders."""
    parts = [standardized_features(encoder, (train, dev)) for encoder in name.split("+")]
    fitted, new = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    target = train.means()
    centre = target.mean(0)
    # In the dual form: there are fewer photos than features.
    values, vectors = np.linalg.eigh(fitted @ fitted.T)
    rotated_target = vectors.T @ (target - centre)
    rotated_kernel = new @ fitted.T @ vectors
    captions = unit(dev.vectors - centre)
    trials = []
    for strength in STRENGTHS:
        predicted = unit(
            rotated_kernel @ (rotated_target / (values + strength * len(parts))[:, None])
        )
        ranks = compute_ranks(predicted @ captions.T, dev.owner, dev.captions)
        trials.append((ranks.mean_recall, strength, ranks))
    best, strength, ranks = max(trials, key=lambda trial: trial[0])
    directions = {"text to photo": ranks.photo_ranks, "photo to text": ranks.caption_ranks}
    recalls = {
        f"{direction}, R@{k}": 100 * (p <= k).mean()
        for direction, p in directions.items()
        for k in AT
    }
    return {"encoders": name, "mean recall": 100 * best, "strength": strength} | recalls


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--root", required=True, help="the folder of official Flickr8k, or other captioned photos"
    )
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="NAME[+NAME]")
    parser.add_argument("--to", default="image_encoders.json", help="file to write the results to")
    options = parser.parse_args()
    encode = sentence_encoder()
    train, dev = (Split(options.root, name, encode) for name in ("train", "dev"))
    rows = [measure(name, train, dev) for name in options.rows]
    write_text(options.to, json.dumps(rows, indent=1))
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for each in rows:
        name, *values = each.values()
        print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in values) + " |")


if __name__ == "__main__":
    main()
