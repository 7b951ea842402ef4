"""The vocabulary that lies beside a CLIP's weights, in any of the ways it is published.

    pieces = pieces_beside(Path("clip-vit-base-patch32"), longest=77)
    pieces.tokenize(tf.constant(["A dog runs"]))

Hugging Face's vocab.json and merges.txt, or tokenizer.json; keras-hub's, in assets/tokenizer; or
OpenAI's bpe_simple_vocab_16e6.txt.gz, which is in its repository and in open_clip's package.
"""

import gzip
import zlib
from pathlib import Path

from imagetext.encoders.byte_pairs import END, START, WORD_END, BytePairTokenizer, letters
from imagetext.encoders.text_presets import ASSETS, settings
from imagetext.errors import UserError

#: A line of no interest, then the merges, most urgent first, and more than were used.
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
MERGES, LARGEST = 49152 - 256 - 2, 1 << 24
PAIRS = (("vocab.json", "merges.txt"), (f"{ASSETS}/vocabulary.json", f"{ASSETS}/merges.txt"))


def pieces_beside(place: Path, longest: int) -> BytePairTokenizer:
    """The tokenizer of the CLIP in a file or folder."""
    folder = place if place.is_dir() else place.parent
    for pair in PAIRS:
        files = [folder / name for name in pair]
        if all(file.is_file() for file in files):
            return BytePairTokenizer(*files, longest)
    if "model" in settings(folder, "tokenizer.json"):  # keras-hub's says other things
        return BytePairTokenizer(*_from_tokenizer(folder), longest)
    if (folder / BPE_FILE).is_file():
        return BytePairTokenizer(*_from_bpe_file(folder / BPE_FILE), longest)
    raise UserError(
        f"{folder}: no vocabulary here; expected vocab.json and merges.txt, or tokenizer.json, "
        f"or {BPE_FILE}, as published with the weights; for a keras-hub preset, "
        f"{' and '.join(PAIRS[1])}: "
        f"keras_hub.models.Tokenizer.from_preset(...).save_to_preset({str(folder)!r})"
    )


def _from_tokenizer(folder: Path) -> tuple[dict[str, int], list[str]]:
    model = settings(folder, "tokenizer.json").get("model", {})
    try:
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        return {str(piece): int(number) for piece, number in model["vocab"].items()}, merges
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        path = folder / "tokenizer.json"
        raise UserError(f"{path}: no vocabulary of byte pairs in it") from error


def _from_bpe_file(path: Path) -> tuple[dict[str, int], list[str]]:
    try:
        with gzip.open(path) as file:
            told = file.read(LARGEST + 1)
        if len(told) > LARGEST:
            raise ValueError("far more than a vocabulary")
        merges = [line for line in told.decode("utf-8").split("\n")[1 : MERGES + 1] if line]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}: is not OpenAI's vocabulary: {error}") from error
    pieces = [*letters(), *(letter + WORD_END for letter in letters())]
    pieces += ["".join(merge.split()) for merge in merges] + [START, END]
    return {piece: number for number, piece in enumerate(pieces)}, merges
