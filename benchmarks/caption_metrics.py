"""The speed of the captioning metrics, compared with pycocoevalcap on the same tokens.

    pip install -e '.[coco]'
    python -m benchmarks.caption_metrics --captions flickr8k/text/Flickr8k.token.txt

Four captions of each photo are the references, and the fifth is scored against them (for CIDEr-D,
against all five, like the captions of a model). If the file has fewer photos than `--images`, they
are repeated under new names. pycocoevalcap runs as it is: METEOR and the tokenizer in Java,
including the start of the virtual machine (they are skipped without Java), everything else in
Python. The times of imagetext include building the index of the references. CPU time is reported
too, because other processes disturb the clock. METEOR has no paraphrases here, so its numbers
differ: see imagetext/metrics/captioning/meteor.py.
"""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import describe_machine, make_parser
from imagetext.metrics.captioning.bleu import Bleu, bleu_scores
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.meteor import Meteor, meteor_scores
from imagetext.metrics.captioning.rouge import rouge_l
from imagetext.metrics.captioning.tokens import tokenize

BATCH = 320


def read_captions(path: Path, images: int) -> list[list[str]]:
    """The captions of `images` photos with five captions each, repeated if the file has too few."""
    photos = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t", 1)
        photos.setdefault(name.rsplit("#", 1)[0], []).append(caption)
    complete = [captions for captions in photos.values() if len(captions) == 5]
    return [complete[number % len(complete)] for number in range(images)]


def contenders(photos: list[list[str]]) -> dict[str, tuple[Callable, Callable]]:
    """Name -> functions of imagetext and of pycocoevalcap, which return the score of the corpus."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu as TheirBleu
        from pycocoevalcap.cider.cider import Cider as TheirCider
        from pycocoevalcap.meteor.meteor import Meteor as TheirMeteor
        from pycocoevalcap.rouge.rouge import Rouge as TheirRouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError:
        sys.exit("this benchmark needs pycocoevalcap: pip install -e '.[coco]'")
    candidates = [tokenize(captions[0]) for captions in photos]
    references = [[tokenize(caption) for caption in captions[1:]] for captions in photos]
    candidate_texts = {number: [" ".join(tokens)] for number, tokens in enumerate(candidates)}
    reference_texts = {
        number: [" ".join(tokens) for tokens in image] for number, image in enumerate(references)
    }
    all_references = [
        [candidate, *image] for candidate, image in zip(candidates, references, strict=True)
    ]
    all_texts = {n: [*candidate_texts[n], *reference_texts[n]] for n in candidate_texts}
    raw = {n: [{"caption": caption} for caption in photo] for n, photo in enumerate(photos)}

    def bleu() -> float:
        return bleu_scores(Bleu(references).counts(candidates).sum(0, keepdims=True))[0, 3]

    def meteor() -> float:
        return meteor_scores(Meteor(references).statistics(candidates).sum(0, keepdims=True))[0]

    runs = {
        "CIDEr-D": (
            lambda: Cider(all_references).scores(candidates).mean(),
            lambda: TheirCider().compute_score(all_texts, candidate_texts)[0],
        ),
        "BLEU-4": (
            bleu,
            lambda: TheirBleu(4).compute_score(reference_texts, candidate_texts, verbose=0)[0][3],
        ),
        "ROUGE-L": (
            lambda: rouge_l(candidates, references).mean(),
            lambda: TheirRouge().compute_score(reference_texts, candidate_texts)[0],
        ),
    }
    if shutil.which("java"):
        runs["METEOR"] = (
            meteor,
            lambda: TheirMeteor().compute_score(reference_texts, candidate_texts)[0],
        )
        runs["tokenizer"] = (
            lambda: sum(len(tokenize(caption)) for photo in photos for caption in photo),
            lambda: sum(
                len(line.split()) for p in PTBTokenizer().tokenize(raw).values() for line in p
            ),
        )
    return runs


def seconds_per_candidate(photos: list[list[str]], repeats: int) -> float:
    """The cost of CIDEr-D in small batches, with an index that is built once."""
    cider = Cider([[tokenize(caption) for caption in captions] for captions in photos])
    rng = np.random.default_rng(0)
    times = []
    for _ in range(max(repeats, 1) * 10):
        images = rng.integers(0, len(photos), BATCH)
        batch = [tokenize(photos[number][0]) for number in images]
        start = time.perf_counter()
        cider.scores(batch, images)
        times.append((time.perf_counter() - start) / BATCH)
    return statistics.median(times)


def cpu_seconds() -> float:
    """The CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--captions", type=Path, required=True, help="Flickr8k.token.txt")
    parser.add_argument("--images", type=int, default=5000, help="number of photos")
    parser.add_argument("--repeats", type=int, default=3, help="number of repetitions")
    parser.add_argument(
        "--json", default="caption_metrics.json", help="file to write the results to"
    )
    options = parser.parse_args()
    about = {
        "machine": describe_machine(),
        "numpy": np.__version__,
        "images": options.images,
    }
    photos = read_captions(options.captions, options.images)
    results = {}
    for name, (ours, theirs) in contenders(photos).items():
        rows = []
        for _ in range(options.repeats):
            row = {}
            for library, run in (("ours", ours), ("theirs", theirs)):
                cpu, start = cpu_seconds(), time.perf_counter()
                row[f"{library}_score"] = float(run())
                row[f"{library}_seconds"] = time.perf_counter() - start
                row[f"{library}_cpu"] = cpu_seconds() - cpu
            rows.append(row)
            print(name, json.dumps(row), file=sys.stderr, flush=True)
        results[name] = rows
    about["cider_microseconds_per_candidate"] = 1e6 * seconds_per_candidate(photos, options.repeats)
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(f"{about}\n\n{format_table(results)}")


def format_table(results: dict[str, list[dict]]) -> str:
    lines = [
        "| metric | imagetext | pycocoevalcap | seconds | pycocoevalcap | speedup | by CPU time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():

        def median(value: Callable[[dict], float], rows: list[dict] = rows) -> float:
            return statistics.median(map(value, rows))

        lines.append(
            f"| {name} | {rows[0]['ours_score']:.6f} | {rows[0]['theirs_score']:.6f} "
            f"| {median(lambda row: row['ours_seconds']):.2f} "
            f"| {median(lambda row: row['theirs_seconds']):.2f} "
            f"| {median(lambda row: row['theirs_seconds'] / row['ours_seconds']):.1f} "
            f"| {median(lambda row: row['theirs_cpu'] / row['ours_cpu']):.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
