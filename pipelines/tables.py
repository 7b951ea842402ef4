"""Tables a user wrote, row by row: .csv and .tsv with a header, or .jsonl with an object a line.

for line, row in table_rows(Path("captions.csv"), Problems(None)):
    row["image"], row["caption"], row.get("label"), row.get("split")
"""

import csv
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagetext.pipelines.lines import Problems, numbered_lines

#: What a column may be called, the best name first.
COLUMNS = {
    "image": ("image", "file", "file_name", "filename", "photo", "path"),
    "caption": ("caption", "text", "sentence"),
    "label": ("label",),
    "split": ("split",),
}
#: A quoted caption may run over so many lines; beyond, its closing quote is taken as forgotten.
MOST_LINES = 20


def table_rows(path: Path, note: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line it begins on, row) with the columns of `COLUMNS` that are there and not empty.

    Image and caption always are; a row that lacks one is a problem and is left out.
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
    """The row under our names for its columns, blanks and line ends inside a caption made one."""
    columns = _columns(row)
    if not _are_enough(columns, row, path, line, note):
        return None
    named = {}
    for column, name in columns.items():
        value = row[name]
        if value is None:
            continue
        if isinstance(value, list | dict) or not _is_writable(str(value)):
            what = f"{name} is not a plain text: {value!r:.60}"
            note.add(path, line, what, "write one text; several captions are several rows")
            return None
        named[column] = str(value).strip()
    for column in ("image", "caption"):
        if not named.get(column):
            note.add(path, line, f"the {column} is empty", "write one or remove the row")
            return None
    named["caption"] = " ".join(named["caption"].split())
    return {column: value for column, value in named.items() if value}


def _columns(names) -> dict[str, str]:
    known = {str(name).strip().lower(): name for name in names}
    found = {
        column: next((known[name] for name in spellings if name in known), None)
        for column, spellings in COLUMNS.items()
    }
    return {column: name for column, name in found.items() if name is not None}


def _are_enough(columns: dict, names, path: Path, line: int, note: Problems) -> bool:
    if "image" in columns and "caption" in columns:
        return True
    what = f"no columns image and caption, but {', '.join(map(repr, names)) or 'nothing'}"
    note.add(path, line, what[:200], "name the columns image and caption")
    return False


def _is_writable(text: str) -> bool:
    """JSON can spell what UTF-8 cannot: half a surrogate pair."""
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
            note.add(path, line, f"not JSON: {what}", "one JSON object a line")
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
        note.add(path, None, "the file has no rows", "begin with the line: image,caption")
        return
    if not _are_enough(_columns(header), header, path, line, note):
        return
    for line, cells in rows:
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        else:
            what = f"{len(cells)} columns instead of {len(header)}"
            note.add(path, line, what, f"quote captions that hold {delimiter!r}")


def _cells(path: Path, note: Problems, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of cells. Python's own reader, given the whole file, would let one forgotten quote
    swallow every row behind it; here it costs the row it stands in."""
    source = numbered_lines(path, note)
    pending: deque = deque()
    width = None
    while (first := pending.popleft() if pending else next(source, None)) is not None:
        taken = [first]
        while (cells := _parse(taken, delimiter)) is None and len(taken) < MOST_LINES:
            more = pending.popleft() if pending else next(source, None)
            if more is None:
                break
            taken.append(more)
        if isinstance(cells, str):
            note.add(path, first[0], f"not a row: {cells}", "close its quotes, or shorten it")
        elif cells and (len(taken) == 1 or len(cells) == (width or len(cells))):
            width = width or len(cells)
            yield first[0], cells
            continue
        else:
            what = "a quote is opened and never closed"
            note.add(path, first[0], what, 'close it, or write "" for a quote in a caption')
        pending.extendleft(reversed(taken[1:]))


def _parse(taken: list[tuple[int, str]], delimiter: str) -> list[str] | str | None:
    """The cells of one row, None where a quote is still open at its end, or what is wrong."""
    text, end = " ".join(text for _, text in taken), "."
    try:
        rows = list(csv.reader([text, end], delimiter=delimiter))
        if rows[1:] != [[end]]:
            return None
        if len(taken) > 1:  # closed by a quote that opens another row's caption, strictly?
            next(csv.reader([text], delimiter=delimiter, strict=True))
        return rows[0]
    except csv.Error as error:
        return str(error) if len(taken) == 1 else []
