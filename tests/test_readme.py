"""The README says what the code says."""

import re
from pathlib import Path

import pytest

import imagetext
from imagetext.captioning.config import CaptioningConfig
from imagetext.itm.config import ITMConfig
from imagetext.retrieval.config import RetrievalConfig
from imagetext.training.config_files import described

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [ITMConfig, CaptioningConfig, RetrievalConfig])
def test_every_key_stands_in_its_table_with_its_default_and_meaning(kind):
    tables = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split("\n## ")
    table = next(found for found in tables if f"`task: {kind().task}`" in found)
    for key, default, meaning in described(kind):
        assert f"| `{key}` | `{default}` | {meaning} |" in table


def test_every_verb_is_shown():
    for verb in imagetext.VERBS:
        assert re.search(rf"^imagetext {verb} ", README, re.MULTILINE), verb


def test_every_file_it_names_is_there():
    named = set(re.findall(r"(?:configs|benchmarks|docs|notebooks)/[\w./-]+\.\w+", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_nothing_is_left_to_fill_in():
    assert re.findall(r"@[A-Z_]+@|TODO|FIXME", README) == []
