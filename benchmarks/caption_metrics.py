"""Captioning metrics against pycocoevalcap, on the same tokens in the same process.

    pip install -e '.[coco]'
    python benchmarks/caption_metrics.py --captions flickr8k/text/Flickr8k.token.txt

Four captions of each photo are the references, and the fifth is scored against them (for CIDEr-D,
against all five, as a captioner's would be). Where the file has fewer photos than `--images`, they
come again under a new name. The reference runs as it comes: METEOR and tokenisation in Java (with
the start of the virtual machine, as every use has it; without Java they are left out), all else in
Python. Ours counts all it does, building the index of the references too. CPU time is told because
what else a machine does disturbs the clock. METEOR has its paraphrases there and not here, so the
numbers differ: see reports/captioning/metrics/meteor.py.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from imagetext.metrics.captioning.bleu import Bleu, bleu_of
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.meteor import Meteor, score_of
from imagetext.metrics.captioning.rouge import rouge_l
from imagetext.metrics.captioning.tokens import tokenize

BATCH = 320


def read_captions(path: Path, images: int) -> list[list[str]]:
    """`images` photos of five captions each, the file's over again if it has too few."""
    photos = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t", 1)
        photos.setdefault(name.rsplit("#", 1)[0], []).append(caption)
    whole = [captions for captions in photos.values() if len(captions) == 5]
    return [whole[number % len(whole)] for number in range(images)]


def contenders(photos: list[list[str]]) -> dict[str, tuple[Callable, Callable]]:
    """Name -> (ours, theirs); each returns the corpus's score, so that they can be compared."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu as TheirBleu
        from pycocoevalcap.cider.cider import Cider as TheirCider
        from pycocoevalcap.meteor.meteor import Meteor as TheirMeteor
        from pycocoevalcap.rouge.rouge import Rouge as TheirRouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError:
        sys.exit("this compares with pycocoevalcap: pip install -e '.[coco]'")
    candidates = [tokenize(captions[0]) for captions in photos]
    references = [[tokenize(caption) for caption in captions[1:]] for captions in photos]
    said = {number: [" ".join(tokens)] for number, tokens in enumerate(candidates)}
    against = {
        number: [" ".join(tokens) for tokens in image] for number, image in enumerate(references)
    }
    whole = [[candidate, *image] for candidate, image in zip(candidates, references, strict=True)]
    against_all = {n: [*said[n], *against[n]] for n in said}
    raw = {n: [{"caption": caption} for caption in photo] for n, photo in enumerate(photos)}

    def bleu() -> float:
        return bleu_of(Bleu(references).counts(candidates).sum(0, keepdims=True))[0, 3]

    def meteor() -> float:
        return score_of(Meteor(references).statistics(candidates).sum(0, keepdims=True))[0]

    runs = {
        "CIDEr-D": (
            lambda: Cider(whole).scores(candidates).mean(),
            lambda: TheirCider().compute_score(against_all, said)[0],
        ),
        "BLEU-4": (bleu, lambda: TheirBleu(4).compute_score(against, said, verbose=0)[0][3]),
        "ROUGE-L": (
            lambda: rouge_l(candidates, references).mean(),
            lambda: TheirRouge().compute_score(against, said)[0],
        ),
    }
    if shutil.which("java"):
        runs["METEOR"] = meteor, lambda: TheirMeteor().compute_score(against, said)[0]
        runs["words"] = (
            lambda: sum(len(tokenize(caption)) for photo in photos for caption in photo),
            lambda: sum(
                len(line.split()) for p in PTBTokenizer().tokenize(raw).values() for line in p
            ),
        )
    return runs


def seconds_a_candidate(photos: list[list[str]], repeats: int) -> float:
    """What CIDEr-D costs when asked for small batches against references that stay."""
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
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=Path, required=True, help="Flickr8k.token.txt")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", default="caption_metrics.json", help="where the figures go")
    options = parser.parse_args()
    about = {
        "machine": f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f} at start",
        "numpy": np.__version__,
        "images": options.images,
    }
    photos = read_captions(options.captions, options.images)
    results = {}
    for name, (ours, theirs) in contenders(photos).items():
        rows = []
        for _ in range(options.repeats):
            row = {}
            for who, run in (("ours", ours), ("theirs", theirs)):
                cpu, start = cpu_seconds(), time.perf_counter()
                row[f"{who}_score"] = float(run())
                row[f"{who}_seconds"] = time.perf_counter() - start
                row[f"{who}_cpu"] = cpu_seconds() - cpu
            rows.append(row)
            print(name, json.dumps(row), file=sys.stderr, flush=True)
        results[name] = rows
    about["cider_microseconds_a_candidate"] = 1e6 * seconds_a_candidate(photos, options.repeats)
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(f"{about}\n\n{table(results)}")


def table(results: dict[str, list[dict]]) -> str:
    lines = [
        "| metric | ours | pycocoevalcap | seconds, ours | theirs | times as fast | by CPU time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():

        def median(of: Callable[[dict], float], rows: list[dict] = rows) -> float:
            return statistics.median(map(of, rows))

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
