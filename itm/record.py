"""What a run was trained with besides its rows: which encoders' weights, which further captions.

write(run, data)                                # as its training begins
require_same_encoders(run, config.data)         # refuses other weights
records, left_out = extra_records(run, config, source)
"""

import json

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
    digests = photo_digests([record.image for record in data.extra], [])
    extra = [
        {"photo": record.image.name, "sha256": digest.hex(), "captions": record.texts}
        for record, digest in zip(data.extra, digests, strict=True)
    ]
    told = {"photos": list(data.photos.identity), "extra": extra, "left out": data.extra_left_out}
    write_text(run.extra_captions_file, json.dumps(told, ensure_ascii=False))


def require_same_encoders(run: Run, config: DataConfig) -> None:
    """Refuse to show a model the features of other weights than it has learned from."""
    if config.from_pixels:  # what it was trained with is in the model itself
        return
    kept = _read(run)
    if kept is None:
        show_progress(
            f"{run.folder}: of an earlier version, which kept no hash of its encoders' weights"
        )
        return
    asked = photo_identity(config)
    if asked != kept["photos"]:
        raise UserError(
            f"{run.folder}: was trained on features of {weights_told(kept['photos'])}, got features"
            f" of {weights_told(asked)}; set data.image_weights"
        )


def weights_told(identity: list[str]) -> str:
    """Encoders with the start of their weights' hashes: "efficientnet_lite2 (9656183eaeaf)"."""
    names, weights = identity[::3], identity[2::3]
    return ", ".join(f"{n} ({w[:12]})" for n, w in zip(names, weights, strict=True))


def extra_records(
    run: Run, config: ITMConfig, source: Source
) -> tuple[list[Record], dict[str, int]]:
    """The further captions that the run was trained on, whatever their folder holds today, and what
    was left out of them. A photo is found by its bytes, under any name."""
    kept, folder = _read(run), config.align.extra_captions
    if kept is None:
        show_progress(
            f"{run.folder}: of an earlier version, which kept no list of its extra captions"
        )
        return extra_captions(folder, source)
    captioned = captioned_source(folder)
    images = getattr(captioned, "images", captioned.root)
    own = [record.image for record in source.records("train", [])]
    photos = list(dict.fromkeys([*find_photos(images, "photos")[0], *own]))
    path_of = dict(zip(photo_digests(photos, []), photos, strict=True))
    gone = [one["photo"] for one in kept["extra"] if bytes.fromhex(one["sha256"]) not in path_of]
    if gone:
        raise UserError(
            f"{folder}: {len(gone):,} of the {len(kept['extra']):,} photos with extra captions that"
            f" {run.folder} was trained on are missing, the first: {gone[0]}; the leak audit needs"
            " them: set --align.extra_captions PATH"
        )
    records = [
        Record(path_of[bytes.fromhex(one["sha256"])], tuple(one["captions"]), None, "train")
        for one in kept["extra"]
    ]
    return records, kept["left out"]


def _read(run: Run) -> dict | None:
    """None for a run from before this was kept."""
    try:
        return json.loads(run.extra_captions_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{run.extra_captions_file}: cannot be read ({error}); train the run again"
        ) from error
