"""Leaks between splits: shared photos, near-duplicate photos, captions whose label flips.

    result = audit({"train": train, "dev": dev, "test": test})
    print(audit_text(result))

A score on photos or captions that were in the training data measures memorisation. The audit
reveals them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from pathlib import Path

from imagetext.pipelines.duplicates import fingerprints, near_duplicates
from imagetext.pipelines.feature_store import FeatureStore
from imagetext.pipelines.look_alikes import ALIKE, MeanFeatures
from imagetext.pipelines.records import MATCH, NO_MATCH, Record

#: Number of examples that are listed for each finding.
EXAMPLES = 5


def audit(
    records_by_split: dict[str, list[Record]],
    *,
    hashes: Mapping[Path, int] | None = None,
    together: Collection[str] = (),
    store: FeatureStore | None = None,
) -> dict:
    """Compare every split with itself and with every other split.

    Args:
        records_by_split: The records of each split.
        hashes: Perceptual hashes that have been computed already (by `hash_photos`).
        together: Splits that are trained on together: what they share is listed, but is not a leak.
        store: Features of the photos, to compare photos of different splits by as well. The most
            similar pairs are listed: they may show the same scene, which is not a leak by itself.

    Returns:
        A dict for JSON, with "splits", "pairs", "leaks" and a "verdict" in one sentence.

    Examples:
        >>> audit({"dev": dev, "test": test})["pairs"][0]["images_shared"]["count"]
        309
    """
    splits = {name: _Split(records) for name, records in records_by_split.items()}
    paths = list(dict.fromkeys(path for split in splits.values() for path in split.images))
    digests, all_hashes, unreadable = fingerprints(paths, hashes or {})
    # Identical files count once among the near-duplicates: `first` stands for all its copies.
    first: dict = {}
    for path in paths:
        if path in digests:
            first.setdefault(digests[path], path)
    alike = near_duplicates(
        {path: all_hashes[path] for path in first.values() if path in all_hashes}
    )
    near = [(digests[a], digests[b], bits) for a, b, bits in alike]
    for split in splits.values():
        split.contents = {}
        for path in split.images:
            # The path of an unreadable photo stands for its content.
            split.contents.setdefault(digests.get(path, str(path)), []).append(path)
    features = MeanFeatures.of(store, digests.values()) if store else None
    result: dict = {
        "splits": {name: _within(split, near) for name, split in splits.items()},
        "pairs": [
            {"splits": [a, b], **_between(splits[a], splits[b], (a, b), near, features)}
            for a, b in combinations(splits, 2)
        ],
        "unreadable_images": _counted(
            {"image": path.as_posix(), "why": why} for path, why in unreadable.items()
        ),
    }
    if features and store:
        result["alike"] = {
            "encoder": store.meta["encoder"],
            "cosine": ALIKE,
            "photos": len(first),
            "with_features": len(features.number),
        }
    result["leaks"] = _leaks(result, together)
    but = f" but {' and '.join(together)}" if together else ""
    result["verdict"] = "; ".join(result["leaks"]) or f"no photo is in two splits{but}"
    return result


def normalise(caption: str) -> str:
    """The form in which captions are compared: "A Dog  runs ." and "a dog runs" are the same."""
    return " ".join(caption.casefold().split()).rstrip(" .")


def audit_text(audit: dict) -> str:
    """The result of `audit` for the terminal: tables of the splits and of pairs, and a verdict."""
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
    one: _Split, other: _Split, names: tuple[str, str], near: list, features: MeanFeatures | None
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
    alike = features.across(one.contents, other.contents) if features else {}
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
        # Not a leak by itself: two folders may both contain a 0001.jpg.
        "same_name_other_file": _counted(sorted(names_elsewhere)),
        "near_duplicate_images": _counted(across),
        **({"alike_images": alike} if alike else {}),
        "captions_shared": _counted(sorted(captions)),
        "label_flips": _counted(sorted(flips)),
    }


def _leaks(result: dict, together: Collection[str]) -> list[str]:
    """A phrase for each leak of photos, the worst first."""
    leaks = []
    for pair in result["pairs"]:
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
        counts = [pair[key]["count"] for key in ("near_duplicate_images", "captions_shared")]
        shared = pair["images_shared"]
        share = shared["share"][pair["splits"][1]]
        rows.append(
            [
                " / ".join(pair["splits"]),
                f"{shared['count']:,}"
                + (f" ({share:.0%} of {pair['splits'][1]})" if shared["count"] else ""),
                *(f"{count:,}" for count in counts),
                f"{pair['label_flips']['count']:,}",
            ]
        )
    return rows


def _alike(alike: dict, pairs: list[dict]) -> list[str]:
    """How similar photos of different splits are by their features."""
    lines = [
        f"By features of {alike['encoder']} (available for {alike['with_features']:,} of"
        f" {_photos(alike['photos'])}), similar pairs (cosine {alike['cosine']} or more) and"
        " the most similar ones:"
    ]
    for pair in pairs:
        similar = pair["alike_images"]
        lines.append(f"  {' / '.join(pair['splits'])}: {similar['count']:,}")
        for *files, cosine in similar["nearest"]:
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
            lines.append(f"  {name}: {count:,} rows repeat a photo and caption")
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
