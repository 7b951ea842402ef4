"""`imagetext data ...`: look at data, and prepare it for training."""

from pathlib import Path

from imagetext.errors import DataError, Problem, UserError
from imagetext.terminal import plural, quiet_tensorflow


def data_audit(root: str, kind: str = "auto"):
    """Look for leaks: photos or captions shared between splits, near-duplicates, flipped labels.

    If features of the photos are in the cache (see `imagetext data features`), photos of different
    splits are also compared by their features, and the most similar ones listed.

    Example:
        imagetext data audit flickr8k

    Args:
        root: Folder of the data.
        kind: auto, course, flickr8k, folder or sample.
    """
    from imagetext.pipelines.audit import audit, audit_text
    from imagetext.pipelines.features import cached_store, photo_digests
    from imagetext.pipelines.records import SPLITS
    from imagetext.pipelines.sources import open_source

    source = open_source(root, kind)
    problems: list[Problem] = []
    records = {split: list(source.records(split, problems)) for split in SPLITS}
    photos = list({record.image for rows in records.values() for record in rows})
    leaks = audit(records, store=cached_store(photo_digests(photos, [])))
    print(f"{source.kind}: {source.root}\n\n{audit_text(leaks)}")
    if problems:
        print(f"\nskipped {plural(len(problems), 'bad row')}; the first: {problems[0]}")
    return leaks


def data_check(root: str, kind: str = "auto"):
    """List every bad row and every bad photo, by file and line.

    Example:
        imagetext data check flickr8k

    Args:
        root: Folder of the data.
        kind: auto, course, flickr8k, folder or sample.
    """
    from imagetext.pipelines.sources import every_record, open_source

    source = open_source(root, kind)
    records, problems = every_record(source)
    photos = list(dict.fromkeys(record.image for record in records))
    quiet_tensorflow()
    from imagetext.pipelines.decoder_warnings import check_photos_thoroughly

    problems += check_photos_thoroughly(photos)
    if problems:
        raise DataError(problems, f"{plural(len(problems), 'problem')} in {root}", shown=None)
    rows = f"{plural(len(records), 'row')}, {plural(len(photos), 'photo')}"
    print(f"{source.kind}: {rows}, no problems")
    return records


def data_embed(
    root: str,
    kind: str = "auto",
    to: str | None = None,
    weights: str | None = None,
    encoder: str = "all-MiniLM-L6-v2",
    half: bool = False,
):
    """Compute the 384-d sentence embeddings of all captions and store them beside the data.

    Example:
        imagetext data embed flickr8k
        imagetext data embed flickr8k --to flickr8k.cmp9137.sentence_transformers.pkl

    Args:
        root: Folder of the data.
        kind: auto, course, flickr8k, folder or sample.
        to: File to write, .npz or .pkl; embeddings.npz in the data folder by default.
        weights: Folder with model.safetensors and vocab.txt of all-MiniLM-L6-v2.
        encoder: Another sentence-transformers model by name (needs that extra).
        half: Store half precision, at half the size.
    """
    from imagetext.pipelines.sources import every_record, open_source

    path = Path(to) if to else None
    if path and path.suffix not in (".npz", ".pkl"):
        raise UserError(f"--to: must be a .npz or .pkl file, got {path}")
    source = open_source(root, kind)
    records, problems = every_record(source)
    captions = list(dict.fromkeys(text for record in records for text in record.texts))
    quiet_tensorflow()
    from imagetext.encoders.sentences import sentence_encoder
    from imagetext.pipelines.embeddings import EmbeddingTable

    vectors = sentence_encoder(encoder, weights)(captions, verbose=True)
    path = path or source.root / "embeddings.npz"
    EmbeddingTable(captions, vectors, encoder=encoder).write(path, half)
    print(f"{len(captions):,} captions -> {path}")
    if problems:
        print(f"skipped {plural(len(problems), 'bad row')}; the first: {problems[0]}")
    return path


def data_features(
    root: str,
    encoder: str = "efficientnet_lite2",
    output: str = "grid",
    flips: bool = False,
    to: str | None = None,
    weights: str | None = None,
    dtype: str | None = None,
    kind: str = "auto",
    check: bool = False,
):
    """Run an image encoder over all photos once and store the features for training.

    Only photos without stored features are encoded: the command can be stopped and started again
    at any time, and run again after photos have been added.

    Example:
        imagetext data features flickr8k/images
        imagetext data features flickr8k --encoder efficientnet_lite0 --output pooled --flips
        imagetext data features flickr8k/images --check

    Args:
        root: Folder of photos, or of data.
        encoder: An image encoder by name (see `imagetext encoders`).
        output: pooled, grid or flat.
        flips: Also store the features of the mirrored photos.
        to: Folder for the features; one in the cache by default.
        weights: File or folder of the encoder's weights, or the word random.
        dtype: float16 or bfloat16 on disk; float16 for new features by default.
        kind: auto, photos, course, flickr8k, folder or sample.
        check: First compare all stored features with their checksums; damaged ones are listed and
            extracted again.
    """
    from imagetext.encoders.registry import image_encoder
    from imagetext.pipelines.features import find_photos

    image_encoder(encoder)  # mistakes are reported before the slow part
    photos, problems = find_photos(root, kind)
    quiet_tensorflow()
    from imagetext.encoders.extraction import extract

    done = extract(photos, encoder, output, weights, to, flips, dtype, check=check)
    for photo in done.damaged:
        print(f"damaged features: {photo}")
    for problem in problems + done.bad:
        print(f"bad: {problem}")
    print(done.summary)
    return done


def data_sample(path: str):
    """Write the built-in sample: synthetic scenes, laid out like the course's folder.

    Example:
        imagetext data sample sample/

    Args:
        path: A new folder.
    """
    from imagetext.pipelines.sample import write_sample

    folder = write_sample(path)
    print(f"Sample data (synthetic scenes, not photographs): {folder}")
    return folder
