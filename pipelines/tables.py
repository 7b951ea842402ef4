"""Tables of captions: .csv and .tsv with a header, or .jsonl with one object on each line.

for line, row in table_rows(Path("captions.csv"), Problems(None)):
    row["image"], row["caption"], row.get("label"), row.get("split")
"""

import csv
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagetext.pipelines.lines import Problems, numbered_lines

#: Accepted names of each column, in order of preference.
COLUMNS = {
    "image": ("image", "file", "file_name", "filename", "photo", "path"),
    "caption": ("caption", "text", "sentence"),
    "label": ("label",),
    "split": ("split",),
}
#: A quoted caption may have this many lines; beyond, its closing quote is assumed to be missing.
MOST_LINES = 20


def table_rows(path: Path, note: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a table.

    Args:
        path: The file.
        note: Bad rows are added to it, such as those without image or caption.

    Yields:
        The first line of each valid row, and its columns: those of `COLUMNS` that are not empty.
    """
    if path.suffix == ".jsonl":
        rows = _json_rows(path, note)
    else:
        rows = _delimited_rows(path, note, "\t" if path.suffix == ".tsv" else ",")
    for line, row in rows:
        named = _named(path, line, row, note)
        if named:
            yield line, named


def _named(path: Path, line: int, row: Mapping, note: Problems) -> dict[str, str] | None:
    """The row with standard column names, and single spaces in the caption; None if it is bad."""
    columns = _columns(row)
    if not _has_required(columns, row, path, line, note):
        return None
    named = {}
    for column, name in columns.items():
        value = row[name]
        if value is None:
            continue
        if isinstance(value, list | dict) or not _is_encodable(str(value)):
            what = f"{name} must be a string, got {value!r:.60}"
            note.add(path, line, what, "write one string; use several rows for several captions")
            return None
        named[column] = str(value).strip()
    for column in ("image", "caption"):
        if not named.get(column):
            note.add(path, line, f"the {column} is empty", "write one or remove the row")
            return None
    named["caption"] = " ".join(named["caption"].split())
    return {column: value for column, value in named.items() if value}


def _columns(names) -> dict[str, str]:
    actual = {str(name).strip().lower(): name for name in names}
    columns = {
        column: next((actual[name] for name in accepted if name in actual), None)
        for column, accepted in COLUMNS.items()
    }
    return {column: name for column, name in columns.items() if name is not None}


def _has_required(columns: dict, names, path: Path, line: int, note: Problems) -> bool:
    if "image" in columns and "caption" in columns:
        return True
    what = f"expected columns image and caption, got {', '.join(map(repr, names)) or 'none'}"
    note.add(path, line, what[:200], "name the columns image and caption")
    return False


def _is_encodable(text: str) -> bool:
    """Whether UTF-8 can encode it: JSON may contain half a surrogate pair."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _json_rows(path: Path, note: Problems) -> Iterator[tuple[int, dict]]:
    for line, text in numbered_lines(path, note):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            what = getattr(error, "msg", None) or str(error)
            note.add(path, line, f"not valid JSON: {what}", "write one JSON object on each line")
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            remedy = 'write {"image": "a.jpg", "caption": "..."}'
            note.add(path, line, "not a JSON object", remedy)


def _delimited_rows(path: Path, note: Problems, delimiter: str) -> Iterator[tuple[int, dict]]:
    rows = _cells(path, note, delimiter)
    line, header = next(rows, (None, []))
    if line is None:
        note.add(path, None, "the file has no rows", "start with the line: image,caption")
        return
    if not _has_required(_columns(header), header, path, line, note):
        return
    for line, cells in rows:
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        else:
            what = f"expected {len(header)} columns, got {len(cells)}"
            note.add(path, line, what, f"quote captions that contain {delimiter!r}")


def _cells(path: Path, note: Problems, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read rows of cells. In Python's reader, a missing quote would swallow all following rows;
    here only its own row is lost."""
    source = numbered_lines(path, note)
    pending: deque = deque()
    width = None
    while (first := pending.popleft() if pending else next(source, None)) is not None:
        lines = [first]
        while (cells := _parse(lines, delimiter)) is None and len(lines) < MOST_LINES:
            more = pending.popleft() if pending else next(source, None)
            if more is None:
                break
            lines.append(more)
        if isinstance(cells, str):
            note.add(path, first[0], f"not a valid row: {cells}", "close its quotes, or shorten it")
        elif cells and (len(lines) == 1 or len(cells) == (width or len(cells))):
            width = width or len(cells)
            yield first[0], cells
            continue
        else:
            what = "a quote is never closed"
            note.add(path, first[0], what, 'close it, or write "" for a quote in a caption')
        pending.extendleft(reversed(lines[1:]))


def _parse(lines: list[tuple[int, str]], delimiter: str) -> list[str] | str | None:
    """The cells of a row; None if a quote is still open at its end; a message if it is bad."""
    text, end = " ".join(text for _, text in lines), "."
    try:
        rows = list(csv.reader([text, end], delimiter=delimiter))
        if rows[1:] != [[end]]:
            return None
        if len(lines) > 1:  # fails if a quote in another row closed it
            next(csv.reader([text], delimiter=delimiter, strict=True))
        return rows[0]
    except csv.Error as error:
        return str(error) if len(lines) == 1 else []
