"""The tokenizer of a CLIP, from the vocabulary next to its weights.

    tokenizer = load_tokenizer(Path("clip-vit-base-patch32"), max_length=77)
    tokenizer.tokenize(tf.constant(["A dog runs"]))

All published formats are supported: vocab.json and merges.txt, or tokenizer.json (Hugging Face),
the files in assets/tokenizer (keras-hub), and bpe_simple_vocab_16e6.txt.gz (OpenAI's repository and
the open_clip package).
"""

import gzip
import zlib
from pathlib import Path

from imagetext.encoders.byte_pairs import END, START, WORD_END, BytePairTokenizer, byte_letters
from imagetext.encoders.text_presets import ASSETS, read_settings
from imagetext.errors import UserError

#: A heading, then the merges by priority; CLIP uses only the first of them.
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
#: How many merges CLIP uses, and the largest size that is decompressed.
MERGES, MAX_BYTES = 49152 - 256 - 2, 1 << 24
PAIRS = (("vocab.json", "merges.txt"), (f"{ASSETS}/vocabulary.json", f"{ASSETS}/merges.txt"))


def load_tokenizer(path: Path, max_length: int) -> BytePairTokenizer:
    """Load the tokenizer of the CLIP in a file or folder."""
    folder = path if path.is_dir() else path.parent
    for pair in PAIRS:
        files = [folder / name for name in pair]
        if all(file.is_file() for file in files):
            return BytePairTokenizer(*files, max_length)
    # keras-hub's tokenizer.json has the same name, but no "model".
    if "model" in read_settings(folder, "tokenizer.json"):
        return BytePairTokenizer(*_read_tokenizer_json(folder), max_length)
    if (folder / BPE_FILE).is_file():
        return BytePairTokenizer(*_read_bpe_file(folder / BPE_FILE), max_length)
    raise UserError(
        f"{folder}: no vocabulary found; expected vocab.json and merges.txt, or tokenizer.json, "
        f"or {BPE_FILE}, as published with the weights; for a keras-hub preset, "
        f"{' and '.join(PAIRS[1])}: "
        f"keras_hub.models.Tokenizer.from_preset(...).save_to_preset({str(folder)!r})"
    )


def _read_tokenizer_json(folder: Path) -> tuple[dict[str, int], list[str]]:
    model = read_settings(folder, "tokenizer.json").get("model", {})
    try:
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        return {str(piece): int(number) for piece, number in model["vocab"].items()}, merges
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        path = folder / "tokenizer.json"
        raise UserError(f"{path}: contains no byte-pair vocabulary") from error


def _read_bpe_file(path: Path) -> tuple[dict[str, int], list[str]]:
    try:
        with gzip.open(path) as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        merges = [line for line in text.decode("utf-8").split("\n")[1 : MERGES + 1] if line]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}: not OpenAI's vocabulary: {error}") from error
    letters = byte_letters()
    pieces = [*letters, *(letter + WORD_END for letter in letters)]
    pieces += ["".join(merge.split()) for merge in merges] + [START, END]
    return {piece: number for number, piece in enumerate(pieces)}, merges
