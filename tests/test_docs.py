"""The README and the documentation say what the code says."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import imagetext
from imagetext.commands import VERBS
from imagetext.task import all_tasks
from imagetext.training.config_files import describe_config, shipped_configs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("task", all_tasks().values(), ids=lambda task: task.name)
def test_every_key_is_documented_with_its_default_and_meaning(task, hooks):
    page = hooks.keys_page(task)
    for key, default, meaning in describe_config(task.config_class):
        assert meaning, f"{key} has no description"
        if "." in key:
            assert f"| `{key}` | `{default}` | {meaning} |" in page.replace("\\|", "|")


def test_every_command_is_documented(hooks):
    page = hooks.commands_page()
    for verb in VERBS:
        assert f"## {verb}\n" in page
        assert re.search(rf"^imagetext {verb} ", README, re.MULTILINE), verb


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:benchmarks|notebooks|docs)/[\w./-]+\.\w+", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:itm|captioning|retrieval)/\w+)`", text):
        assert name in shipped_configs(), name
    for name in re.findall(r"imagetext train ((?:itm|captioning|retrieval)/\w+)", text):
        assert name in shipped_configs(), name
    assert re.findall(r"@[A-Z_]+@|TODO|FIXME", text) == []


def test_the_readme_can_be_read_in_one_sitting():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("name", sorted(imagetext.__all__))
def test_public_functions_are_documented_completely(name):
    function = getattr(imagetext, name)
    if not inspect.isfunction(function) or name == "main":
        return
    text = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^ +\*?\*?{parameter}: \S", text, re.MULTILINE), parameter
    assert "\nExamples:\n    >>> " in text
    if inspect.signature(function).parameters:
        assert "\nReturns:\n" in text
