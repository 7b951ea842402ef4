"""The sentence embeddings of a run's captions: read from the data, or computed and cached.

table = read_table(config.text, source)
table = embed_missing(table, config, source, records, problems)
table.lookup(["A dog runs"])                    # float32 [1, 384]
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from imagetext.errors import DataError, Problem, UserError
from imagetext.files import cache_folder
from imagetext.itm.config import ITMConfig, TextConfig
from imagetext.itm.models import TEXT_WIDTH
from imagetext.pipelines.embeddings import EmbeddingTable
from imagetext.pipelines.records import Record, Source
from imagetext.pipelines.splits import headline
from imagetext.terminal import show_progress

#: Embedding files that are looked for beside the data.
TABLE_NAMES = ("embeddings.npz", "flickr8k.cmp9137.sentence_transformers.pkl")


def embed_missing(
    table: EmbeddingTable | None,
    config: ITMConfig,
    source: Source,
    records: Sequence[Record],
    problems: list[Problem],
) -> EmbeddingTable:
    """Add the captions that are missing from an embedding table, using the sentence encoder.

    Args:
        table: The table that comes with the data, if there is one.
        config: The configuration.
        source: Where the records come from; computed embeddings are cached for it.
        records: The records whose captions are needed.
        problems: If the encoder is not available, each missing caption is added to it.

    Returns:
        The completed table.

    Raises:
        DataError: If the encoder is not available, unless `data.skip_bad` is set and there is a
            table.
    """
    first_record: dict[str, Record] = {}
    for record in records:
        for text in record.texts:
            first_record.setdefault(text, record)
    missing = table.missing(first_record) if table else list(first_record)
    if not missing:
        return table
    try:
        computed = compute_table(missing, source, config.text)
    except UserError as error:
        for caption in missing:
            record = first_record[caption]
            remedy = "add it to the embeddings, or make the sentence encoder available (see above)"
            problems.append(
                Problem(record.file, record.line, f"no embedding for {caption!r}", remedy)
            )
        if table is None or not config.data.skip_bad:  # without a table every row would be skipped
            raise DataError(problems, f"{error}\n{headline(problems)}") from error
        return table
    return table.merge(computed) if table else computed


def read_table(config: TextConfig, source: Source) -> EmbeddingTable | None:
    """The embedding table that the configuration names, or one beside the data, or None."""
    if config.embeddings:
        path = Path(config.embeddings).expanduser()
        if not path.is_file():
            raise UserError(f"{path}: no such file; set text.embeddings")
    else:
        images = getattr(source, "images", source.root)
        folders = dict.fromkeys([source.root, images.parent])
        candidates = (folder / name for folder in folders for name in TABLE_NAMES)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        return None
    table = EmbeddingTable.read(path)
    if len(table) and table.width != TEXT_WIDTH:
        what = f"expected embeddings of width {TEXT_WIDTH}, got {table.width}"
        raise DataError(
            [Problem(str(path), None, what, "compute them again: imagetext data embed")]
        )
    if table.encoder != config.encoder:
        what = f"computed by {table.encoder}, while text.encoder is {config.encoder}"
        raise DataError([Problem(str(path), None, what, f"add --text.encoder {table.encoder}")])
    return table


def compute_table(captions: Sequence[str], source: Source, config: TextConfig) -> EmbeddingTable:
    """Embed captions with the sentence encoder; they are cached per encoder and data folder."""
    key = hashlib.sha256(f"{config.encoder} {source.root.absolute()}".encode()).hexdigest()[:32]
    cached = cache_folder() / "embeddings" / f"{key}.npz"
    table = EmbeddingTable.read(cached) if cached.is_file() else None
    missing = table.missing(captions) if table else list(captions)
    if missing:
        from imagetext.encoders.sentences import sentence_encoder

        encode = sentence_encoder(config.encoder, config.weights)
        if len(missing) > 1000:
            show_progress(f"Embedding {len(missing):,} captions, once:")
        vectors = encode(missing, verbose=len(missing) > 1000)
        if vectors.shape[1] != TEXT_WIDTH:
            raise UserError(
                f"text.encoder: expected embeddings of width {TEXT_WIDTH}, but {config.encoder}"
                f" gives {vectors.shape[1]}; choose another encoder"
            )
        computed = EmbeddingTable(missing, vectors, encoder=config.encoder)
        table = table.merge(computed) if table else computed
        try:
            table.write(cached)
        except UserError as error:
            show_progress(f"The embeddings could not be cached: {error}")
    return EmbeddingTable(captions, table.lookup(captions), encoder=config.encoder)
