"""The leak audit of a matching run: what its splits and its extra captions share.

records, extra = audited_records(run, config, data)
audited = audit(records, together=("train", EXTRA))
subsets = leak_free_rows(data, "test", records)
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imagetext.errors import DataError
from imagetext.itm.config import ITMConfig
from imagetext.itm.data import MatchingData, read_rows
from imagetext.itm.record import extra_records
from imagetext.pipelines.audit import normalise
from imagetext.pipelines.features import photo_digests
from imagetext.pipelines.records import MATCH, SPLITS, Record
from imagetext.training.run import Run

#: Name of the extra captions in the leak audit and the report.
EXTRA = "extra captions"


def audited_records(run: Run, config: ITMConfig, data: MatchingData) -> tuple[dict, dict]:
    """What the leak audit compares: every readable split, and the extra captions.

    Returns:
        The records by split (and `EXTRA`), and the facts about the extra captions for the report;
        empty if the run was trained without any.
    """
    records = {}
    for split in SPLITS:
        try:
            loaded = data.records.get(split)
            records[split] = loaded or read_rows(data.source, split, config.data, [])
        except DataError:
            continue
    facts = {}
    if config.aligns and config.align.extra_captions:
        records[EXTRA], left_out = extra_records(run, config, data.source)
        facts[EXTRA] = {
            "source": config.align.extra_captions,
            "photos": len(records[EXTRA]),
            "captions": sum(len(record.texts) for record in records[EXTRA]),
            "left out": left_out,
        }
    return {name: rows for name, rows in records.items() if rows}, facts


def leak_free_rows(
    data: MatchingData, split: str, records: Mapping[str, list[Record]]
) -> dict[str, np.ndarray]:
    """Subsets of a split whose rows do not occur in the splits before it.

    Args:
        data: The data.
        split: The split.
        records: The records of all splits.

    Returns:
        By name, the rows with photos that are not in an earlier split, and those with captions that
        are not a match in train, bool [n] each. Subsets that contain all rows are left out.
    """
    photos, captions, _ = data.rows(split)
    paths = list(dict.fromkeys(map(Path, photos)))
    digest = dict(zip(map(str, paths), photo_digests(paths, []), strict=True))
    subsets = {}
    for earlier in SPLITS[: SPLITS.index(split)]:
        images = list({record.image for record in records.get(earlier, ())})
        leaked = set(photo_digests(images, []))
        subsets[f"photo not in {earlier}"] = [digest[photo] not in leaked for photo in photos]
    if split != "train":
        matches = [record for record in records.get("train", ()) if record.label == MATCH]
        leaked = {normalise(text) for record in matches for text in record.texts}
        subsets["caption not a match in train"] = [normalise(c) not in leaked for c in captions]
    return {name: np.array(kept) for name, kept in subsets.items() if not all(kept)}


def extra_notice(facts: Mapping, audited: Mapping) -> str:
    """The notice that extra captions were used, with what they share with dev and test.

    Args:
        facts: The facts about the extra captions; see `audited_records`.
        audited: The leak audit.
    """
    shared = {"photos": 0, "near-duplicates": 0, "captions": 0}
    for pair in audited["pairs"]:
        if EXTRA in pair["splits"] and {"dev", "test"} & set(pair["splits"]):
            shared["photos"] += pair["images_shared"]["count"]
            shared["near-duplicates"] += pair["near_duplicate_images"]["count"]
            shared["captions"] += pair["captions_shared"]["count"]
            if "alike" in audited:
                similar = f"pairs of photos with similar {audited['alike']['encoder']} features"
                shared[similar] = shared.get(similar, 0) + pair["alike_images"]["count"]
    counts = ", ".join(f"{count:,} {what}" for what, count in shared.items())
    return (
        f"Trained with {facts['captions']:,} extra captions of {facts['photos']:,} photos from"
        f" {facts['source']}, in addition to the training rows. Shared with dev and test, according"
        f" to the leak audit: {counts}."
    )
