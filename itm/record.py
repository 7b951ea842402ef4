"""What a run was trained with besides its rows: the weights of its encoders, and extra captions.

write(run, data)                                # when training starts
require_same_encoders(run, config.data)         # raises if the weights differ
records, left_out = extra_records(run, config, source)
"""

import json
from collections.abc import Sequence

from imagetext.encoders.photos import photo_identity
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.itm.config import DataConfig, ITMConfig
from imagetext.itm.data import MatchingData, captioned_source, extra_captions
from imagetext.pipelines.features import find_photos, photo_digests
from imagetext.pipelines.records import Record, Source
from imagetext.terminal import show_progress
from imagetext.training.run import Run


def write(run: Run, data: MatchingData) -> None:
    """Record the encoders and the extra captions that a run is trained with."""
    digests = photo_digests([row.image for row in data.extra], [])
    extra = [
        {"photo": row.image.name, "sha256": digest.hex(), "captions": row.texts}
        for row, digest in zip(data.extra, digests, strict=True)
    ]
    values = {"photos": list(data.photos.identity), "extra": extra, "left out": data.extra_left_out}
    write_text(run.extra_captions_file, json.dumps(values, ensure_ascii=False))


def require_same_encoders(run: Run, config: DataConfig) -> None:
    """Refuse features from other encoders or weights than those the run was trained with.

    Args:
        run: The run.
        config: The `data` section that decides the features.

    Raises:
        UserError: If they differ.
    """
    if config.from_pixels:  # the encoder is part of the saved model
        return
    record = _read(run)
    if record is None:
        show_progress(
            f"{run.folder}: trained with an earlier version, which did not record the weights of"
            " the image encoders; they are not checked"
        )
        return
    identity = photo_identity(config)
    if identity != record["photos"]:
        raise UserError(
            f"{run.folder}: was trained on features of {describe_weights(record['photos'])}, got"
            f" features of {describe_weights(identity)}; set data.image_weights"
        )


def describe_weights(identity: Sequence[str]) -> str:
    """Encoders with the first digits of their weights' hashes: "efficientnet_lite2 (9656183eaeaf)".

    Args:
        identity: Name, output and hash of each encoder in turn, as in `Photos.identity`.
    """
    names, hashes = identity[::3], identity[2::3]
    return ", ".join(f"{n} ({digest[:12]})" for n, digest in zip(names, hashes, strict=True))


def extra_records(
    run: Run, config: ITMConfig, source: Source
) -> tuple[list[Record], dict[str, int]]:
    """The extra captions that a run was trained on, even if their folder has changed since.

    Args:
        run: The run.
        config: Its configuration; `align.extra_captions` is where the photos are now. They are
            identified by content, so they may have been renamed.
        source: The data of the run.

    Returns:
        The records, and how much was left out when the run was trained, by reason.
    """
    record, folder = _read(run), config.align.extra_captions
    if record is None:
        show_progress(
            f"{run.folder}: trained with an earlier version, which did not record the extra"
            " captions; they are read from their folder again"
        )
        return extra_captions(folder, source)
    captioned = captioned_source(folder)
    images = getattr(captioned, "images", captioned.root)
    training = [row.image for row in source.records("train", [])]
    photos = list(dict.fromkeys([*find_photos(images, "photos")[0], *training]))
    path_of = dict(zip(photo_digests(photos, []), photos, strict=True))
    extra = [(bytes.fromhex(entry["sha256"]), entry) for entry in record["extra"]]
    missing = [entry["photo"] for digest, entry in extra if digest not in path_of]
    if missing:
        raise UserError(
            f"{folder}: {len(missing):,} of the {len(extra):,} photos with extra captions that"
            f" {run.folder} was trained on are missing, the first: {missing[0]}; the leak audit"
            " needs them: set --align.extra_captions PATH"
        )
    records = [
        Record(path_of[digest], tuple(entry["captions"]), None, "train") for digest, entry in extra
    ]
    return records, record["left out"]


def _read(run: Run) -> dict | None:
    """The record of a run; None if an early version trained it, which wrote none."""
    try:
        return json.loads(run.extra_captions_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{run.extra_captions_file}: cannot be read ({error}); train the run again"
        ) from error
