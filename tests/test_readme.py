"""The README says what the code says."""

import re
from pathlib import Path

from imagetext.commands import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_verb_is_shown():
    for verb in VERBS:
        assert re.search(rf"^imagetext {verb} ", README, re.MULTILINE), verb


def test_every_file_it_names_is_there():
    named = set(re.findall(r"(?:configs|benchmarks|docs|notebooks)/[\w./-]+\.\w+", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_nothing_is_left_to_fill_in():
    assert re.findall(r"@[A-Z_]+@|TODO|FIXME", README) == []
