"""What leaks between splits: shared photos, near-duplicate photos, captions that change sides.

    audited = audit({"train": train, "dev": dev, "test": test})
    print(audit_text(audited))

A score on photos or captions that the model has trained on measures memory. The audit finds
them before anybody believes the score.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from pathlib import Path

from imagetext.pipelines.duplicates import fingerprints, near_duplicates
from imagetext.pipelines.feature_store import FeatureStore
from imagetext.pipelines.look_alikes import ALIKE, MeanFeatures
from imagetext.pipelines.records import MATCH, NO_MATCH, Record

#: How many examples of each finding the audit keeps.
EXAMPLES = 5


def audit(
    records_by_split: dict[str, list[Record]],
    *,
    hashes: Mapping[Path, int] | None = None,
    together: Collection[str] = (),
    store: FeatureStore | None = None,
) -> dict:
    """Compare every split with itself and with every other; the answer is ready for JSON.

    `hashes` are perceptual hashes already at hand (from `hash_photos`); the rest is computed.
    `together` names those that are trained on together: what they share is shown, but is no leak.
    `store` holds features of the photos, by which those of different splits are compared, too. The
    nearest pairs are shown: shots of one scene are alike, and are no leak by themselves.

        audit({"dev": dev, "test": test})["pairs"][0]["images_shared"]["count"]
    """
    splits = {name: _Split(records) for name, records in records_by_split.items()}
    paths = list(dict.fromkeys(path for split in splits.values() for path in split.images))
    digests, found, unreadable = fingerprints(paths, hashes or {})
    # Identical files count once among the near-duplicates: `first` stands for all its copies.
    first: dict = {}
    for path in paths:
        if path in digests:
            first.setdefault(digests[path], path)
    alike = near_duplicates({path: found[path] for path in first.values() if path in found})
    near = [(digests[a], digests[b], bits) for a, b, bits in alike]
    for split in splits.values():
        split.contents = {}
        for path in split.images:
            # A photo that cannot be read is still itself: its path stands for its content.
            split.contents.setdefault(digests.get(path, str(path)), []).append(path)
    seen = MeanFeatures.of(store, digests.values()) if store else None
    audited: dict = {
        "splits": {name: _within(split, near) for name, split in splits.items()},
        "pairs": [
            {"splits": [a, b], **_between(splits[a], splits[b], (a, b), near, seen)}
            for a, b in combinations(splits, 2)
        ],
        "unreadable_images": _counted(
            {"image": path.as_posix(), "why": why} for path, why in unreadable.items()
        ),
    }
    if seen and store:
        audited["alike"] = {
            "encoder": store.meta["encoder"],
            "cosine": ALIKE,
            "photos": len(first),
            "with_features": len(seen.number),
        }
    audited["leaks"] = _leaks(audited, together)
    but = f" but {' and '.join(together)}" if together else ""
    audited["verdict"] = "; ".join(audited["leaks"]) or f"no photo is in two splits{but}"
    return audited


def normalise(caption: str) -> str:
    """A caption as compared: "A Dog  runs ." and "a dog runs" are one."""
    return " ".join(caption.casefold().split()).rstrip(" .")


def audit_text(audit: dict) -> str:
    """The audit for the terminal: a table of the splits, what they share, and a verdict.

    print(audit_text(audit(records_by_split)))
    """
    lines = ["Leak audit", "", _table(_split_rows(audit["splits"]))]
    if audit["pairs"]:
        lines += ["", _table(_pair_rows(audit["pairs"]))]
    flips = [
        f'  {" / ".join(pair["splits"])}: "{caption}"'
        for pair in audit["pairs"]
        for caption in pair["label_flips"]["examples"][:2]
    ]
    if flips:
        lines += ["", "Captions whose label flips between splits, for example:", *flips]
    if alike := audit.get("alike"):
        lines += ["", *_alike(alike, audit["pairs"])]
    if within := _duplicates_within(audit["splits"]):
        lines += ["", "Inside a split:", *within]
    if count := audit["unreadable_images"]["count"]:
        lines += ["", f"{_photos(count)} cannot be read:"]
        lines += [f"  {e['image']}: {e['why']}" for e in audit["unreadable_images"]["examples"]]
    return "\n".join([*lines, "", f"Verdict: {audit['verdict']}."])


class _Split:
    """One split, indexed for comparison."""

    def __init__(self, records: Iterable[Record]):
        self.images: dict[Path, None] = {}
        self.contents: dict[str, list[Path]] = {}
        self.labels: dict[str, set[str]] = defaultdict(set)  # normalised caption -> labels
        self.rows: Counter = Counter()  # (image, normalised caption) -> rows
        self.row_labels: Counter = Counter()
        for record in records:
            self.images[record.image] = None
            for text in record.texts:
                caption = normalise(text)
                self.rows[record.image, caption] += 1
                self.row_labels[record.label] += 1
                self.labels[caption] |= {record.label} if record.label else set()


def _within(split: _Split, near: list[tuple[str, str, int]]) -> dict:
    match, no_match = split.row_labels[MATCH], split.row_labels[NO_MATCH]
    labelled = match + no_match
    contents = split.contents
    return {
        "rows": split.rows.total(),
        "images": len(split.images),
        "captions": len(split.labels),
        "match": match,
        "no_match": no_match,
        "majority_label": (MATCH if match > no_match else NO_MATCH) if labelled else None,
        "majority_share": max(match, no_match) / labelled if labelled else None,
        "repeated_rows": split.rows.total() - len(split.rows),
        "captions_with_both_labels": _counted(
            caption for caption, labels in split.labels.items() if len(labels) > 1
        ),
        "identical_images": _counted(
            [path.as_posix() for path in paths] for paths in contents.values() if len(paths) > 1
        ),
        "near_duplicate_images": _counted(
            [contents[a][0].as_posix(), contents[b][0].as_posix(), bits]
            for a, b, bits in near
            if a in contents and b in contents
        ),
    }


def _between(
    one: _Split, other: _Split, names: tuple[str, str], near: list, seen: MeanFeatures | None
) -> dict:
    shared = [content for content in one.contents if content in other.contents]
    same_path = one.images.keys() & other.images.keys()
    names_elsewhere = {p.name for p in one.images.keys() - same_path} & {
        p.name for p in other.images.keys() - same_path
    }
    captions = one.labels.keys() & other.labels.keys()
    opposite = {MATCH: NO_MATCH, NO_MATCH: MATCH}
    flips = [c for c in captions if any(opposite[x] in other.labels[c] for x in one.labels[c])]
    across = [
        [one.contents[a][0].as_posix(), other.contents[b][0].as_posix(), bits]
        for x, y, bits in near
        for a, b in ((x, y), (y, x))
        if a in one.contents and b in other.contents and not (a in shared and b in shared)
    ]
    alike = seen.across(one.contents, other.contents) if seen else {}
    if alike:
        alike["nearest"] = [
            [one.contents[a][0].as_posix(), other.contents[b][0].as_posix(), cosine]
            for cosine, a, b in alike["nearest"]
        ]
    return {
        "images_shared": {
            **_counted(sorted(one.contents[content][0].as_posix() for content in shared)),
            "same_path": len(same_path),
            "same_bytes_other_path": sum(
                not same_path.intersection(one.contents[content]) for content in shared
            ),
            "share": {
                name: len(shared) / len(split.contents) if split.contents else 0.0
                for name, split in zip(names, (one, other), strict=True)
            },
        },
        # Not a leak by itself: folders of their own may each hold a 0001.jpg.
        "same_name_other_file": _counted(sorted(names_elsewhere)),
        "near_duplicate_images": _counted(across),
        **({"alike_images": alike} if alike else {}),
        "captions_shared": _counted(sorted(captions)),
        "label_flips": _counted(sorted(flips)),
    }


def _leaks(audited: dict, together: Collection[str]) -> list[str]:
    """One plain sentence a leak of photos, the worst first; empty where there is none."""
    leaks = []
    for pair in audited["pairs"]:
        a, b = pair["splits"]
        if a in together and b in together:
            continue
        if count := pair["images_shared"]["count"]:
            leaks.append((count, f"{_photos(count)} {_be(count)} in both {a} and {b}"))
        if count := pair["near_duplicate_images"]["count"]:
            pairs = f"{count:,} near-duplicate pair{'' if count == 1 else 's'} of photos"
            leaks.append((count, f"{pairs} between {a} and {b}"))
    return [text for _, text in sorted(leaks, key=lambda leak: -leak[0])]


def _counted(items: Iterable) -> dict:
    items = list(items)
    return {"count": len(items), "examples": items[:EXAMPLES]}


def _photos(count: int) -> str:
    return f"{count:,} photo{'' if count == 1 else 's'}"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _split_rows(splits: dict) -> list[list[str]]:
    rows = [["split", "rows", "photos", "captions", "match", "no-match", "majority", "both labels"]]
    for name, split in splits.items():
        share = split["majority_share"]
        counts = [split[key] for key in ("rows", "images", "captions", "match", "no_match")]
        rows.append(
            [
                name,
                *(f"{count:,}" for count in counts),
                "-" if share is None else f"{share:.1%} {split['majority_label']}",
                f"{split['captions_with_both_labels']['count']:,}",
            ]
        )
    return rows


def _pair_rows(pairs: list[dict]) -> list[list[str]]:
    rows = [["between", "photos shared", "near-duplicates", "captions shared", "label flips"]]
    for pair in pairs:
        found = [pair[key]["count"] for key in ("near_duplicate_images", "captions_shared")]
        shared = pair["images_shared"]
        share = shared["share"][pair["splits"][1]]
        rows.append(
            [
                " / ".join(pair["splits"]),
                f"{shared['count']:,}"
                + (f" ({share:.0%} of {pair['splits'][1]})" if shared["count"] else ""),
                *(f"{count:,}" for count in found),
                f"{pair['label_flips']['count']:,}",
            ]
        )
    return rows


def _alike(alike: dict, pairs: list[dict]) -> list[str]:
    """How near photos of different splits come to each other by their features."""
    lines = [
        f"By the features of {alike['encoder']}, of {alike['with_features']:,} of"
        f" {_photos(alike['photos'])}, pairs that are alike (cosine of {alike['cosine']} and more),"
        " and the nearest:"
    ]
    for pair in pairs:
        found = pair["alike_images"]
        lines.append(f"  {' / '.join(pair['splits'])}: {found['count']:,}")
        for *files, cosine in found["nearest"]:
            one, other = (file.rpartition("/")[2] for file in files)
            lines.append(f"    {cosine:.3f}  {one}  {other}")
    return lines


def _duplicates_within(splits: dict) -> list[str]:
    lines = []
    for name, split in splits.items():
        for key, what in (
            ("identical_images", "identical"),
            ("near_duplicate_images", "near-duplicate"),
        ):
            for example in split[key]["examples"]:
                files = " = ".join(str(item).rpartition("/")[2] for item in example[:2])
                lines.append(f"  {name}: {what} photos {files}")
            if (more := split[key]["count"] - len(split[key]["examples"])) > 0:
                lines.append(f"  {name}: ... and {more:,} more {what}")
        if count := split["repeated_rows"]:
            lines.append(f"  {name}: {count:,} rows repeat a photo with the same caption")
    return lines


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
