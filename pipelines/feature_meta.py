"""The description of a feature store, meta.json, and checks against it."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np

from imagetext.errors import UserError

FORMAT = 1
#: Keys that must agree for features to be compatible; `dtype` and `precision` only affect accuracy.
IDENTITY = ("format", "encoder", "weights", "size", "preprocessing", "output", "shape")
DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def read_meta(folder: str | Path) -> dict:
    """The description of a store; raises `UserError` if there is none."""
    file = Path(folder) / "meta.json"
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        numbers = [*meta["shape"], meta["rows_a_shard"]]
        is_valid = all(isinstance(number, int) and number > 0 for number in numbers)
        if not is_valid or meta["dtype"] not in DTYPES or not {*IDENTITY} <= meta.keys():
            raise ValueError
    except FileNotFoundError as error:
        raise UserError(f"{folder}: no features found") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{file}: not a valid description of features; delete {folder} and extract them again"
        ) from error
    return meta


def require_store_or_empty(folder: str | Path) -> None:
    """Refuse to write features into a folder of other files."""
    folder = Path(folder)
    if (folder / "meta.json").exists() or not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder, got a file")
    # A writer that was killed early leaves hidden files.
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    if names:
        raise UserError(
            f"{folder}: contains {names[0]} but no meta.json, so it is not a feature store;"
            " choose a new or empty folder"
        )


def require_same(folder: str | Path, stored: dict, expected: dict) -> None:
    """Refuse a store with features of another encoder, other weights or another output."""

    def shorten(value) -> str:
        return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)

    differences = [
        f"{key} {shorten(stored[key])} instead of {shorten(expected[key])}"
        for key in IDENTITY
        if stored[key] != expected[key]
    ]
    if differences:
        raise UserError(
            f"{folder}: contains other features: {', '.join(differences)}; choose another"
            " folder, or leave it out"
        )
