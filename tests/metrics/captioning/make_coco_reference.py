"""Write coco_reference.json: the results of pycocoevalcap for difficult and for random captions.

This needs pycocoevalcap and Java:

    python tests/metrics/captioning/make_coco_reference.py
"""

import json
import random
import subprocess
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

HERE = Path(__file__).parent
SUBJECTS = "man boy girl dog dogs woman people child kid kids puppy cyclist surfers t-shirt"
QUALITIES = "big large small little black-and-white red happy smiling 3-legged young"
ACTIONS = "runs|is running|jumps|leaps|rides a bike|isn't sitting|stands|is playing|played"
REPEATED = "a the dog dogs hound run running runs"
PLACES = "on the grass|in the street|near the sea|by the ocean|over a fence|on a road|at night"


def sentence(rng: random.Random) -> str:
    words = [
        rng.choice(("A", "The", "Two", "A man's")),
        *rng.sample(QUALITIES.split(), rng.randint(0, 2)),
    ]
    words += [
        rng.choice(SUBJECTS.split()),
        rng.choice(ACTIONS.split("|")),
        *rng.sample(PLACES.split("|"), rng.randint(0, 2)),
    ]
    return " ".join(words) + rng.choice((" .", ".", "", "!", ' , "really" .'))


def random_captions(rng: random.Random, images: int = 60) -> tuple[list[str], list[list[str]]]:
    references = [[sentence(rng) for _ in range(rng.randint(1, 5))] for _ in range(images)]
    candidates = [sentence(rng) for _ in range(images)]
    for image in range(0, images, 4):
        words = rng.choice(references[image]).split()
        spoiled = (words, rng.sample(words, len(words)), words[:3], words * 2)
        candidates[image] = " ".join(spoiled[image // 4 % 4])
    candidates[1], candidates[2], candidates[3] = "", "dog", "zebra zebra zebra"
    # Repeats a few words, so that METEOR has to choose between many alignments.
    for _ in range(images // 2):
        captions = [" ".join(rng.choices(REPEATED.split(), k=rng.randint(1, 10))) for _ in "123"]
        candidates.append(captions[0])
        references.append(captions[1:])
    return candidates, references


def java_meteor(candidates, references, stages: str | None):
    """METEOR of each image and of the corpus by its Java program, with these stages only."""
    command = ["java", "-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]
    command += ["-m", stages] if stages else []

    def ask(lines: list[str]) -> list[str]:
        answer = subprocess.run(
            command,
            input="\n".join(lines) + "\n",
            cwd=Path(meteor.__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return answer.stdout.split("\n")

    lines = [
        " ||| ".join(("SCORE", *references[number], candidates[number][0])) for number in references
    ]
    counts = ask(lines)[: len(lines)]
    scores = ask([" ||| ".join(("EVAL", *counts))])[: len(lines) + 1]
    return {"of_each": list(map(float, scores[:-1])), "corpus": float(scores[-1])}


def main() -> None:
    cases = (HERE / "hard_captions.txt").read_text(encoding="utf-8").splitlines()
    tokenized = PTBTokenizer().tokenize({0: [{"caption": case} for case in cases]})[0]
    candidates, references = random_captions(random.Random(0))
    results = PTBTokenizer().tokenize({n: [{"caption": c}] for n, c in enumerate(candidates)})
    truth = PTBTokenizer().tokenize(
        {n: [{"caption": c} for c in image] for n, image in enumerate(references)}
    )
    bleu = Bleu(4).compute_score(truth, results, verbose=0)
    rouge = Rouge().compute_score(truth, results)
    cider = Cider().compute_score(truth, results)
    reference = {
        "tokens": [line.split(" ") if line else [] for line in tokenized],
        "candidates": candidates,
        "references": references,
        "bleu": {"of_each": list(zip(*bleu[1], strict=True)), "corpus": bleu[0]},
        "rouge_l": {"of_each": rouge[1].tolist(), "corpus": float(rouge[0])},
        "cider_d": {"of_each": cider[1].tolist(), "corpus": float(cider[0])},
        "meteor": {
            stages or "all": java_meteor(results, truth, stages)
            for stages in ("exact", "exact stem", "exact stem synonym", None)
        },
    }
    path = HERE / "coco_reference.json"
    path.write_text(json.dumps(reference, indent=0, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
