"""The kit that all reports share: it knows no task, and tasks know no other task's report."""

import ast
from pathlib import Path

import pytest

import imagetext.reports
from imagetext.reports.kit.figures import Figure, percentage
from imagetext.reports.kit.findings import compare_with, judge_difference
from imagetext.reports.kit.gallery import Section, draw_sections

REPORTS = Path(imagetext.reports.__file__).parent
TASKS = {"matching", "captioning", "retrieval"}


@pytest.mark.parametrize("folder", ["kit", "comparison", *sorted(TASKS)])
def test_a_folder_imports_no_report_of_another_task(folder):
    forbidden = {f"imagetext.reports.{task}" for task in TASKS - {folder}}
    for file in (REPORTS / folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                package = ".".join((node.module or "").split(".")[:3])
                assert package not in forbidden, f"{file.name} imports {node.module}"


def test_numbers_are_written_with_unit_and_interval():
    share, area = percentage("Accuracy"), Figure("ROC AUC")
    estimate = {"value": 0.7554, "low": 0.73, "high": 0.78}
    assert share.format_estimate(estimate) == "75.5 % (73.0–78.0)"
    assert area.format_estimate(estimate | {"low": None, "high": None}) == "0.755"
    assert share.format_estimate({"value": 1.0, "low": 1.0, "high": 1.0}) == "100.0 %"
    assert area.format(None) == "n/a"


@pytest.mark.parametrize(
    ("low", "high", "verdict", "sentence"),
    [
        (0.1, 0.3, "better", "The model beats chance: mean recall 50.0 % vs. 30.0 %."),
        (-0.3, -0.1, "worse", "The model does WORSE than chance: mean recall"),
        (-0.1, 0.1, "level", "The model does NOT beat chance: mean recall"),
        (None, None, "unknown", "With chance, mean recall is 30.0 %, and with the model 50.0 %"),
    ],
)
def test_sentences_follow_the_interval_of_the_difference(low, high, verdict, sentence):
    difference = {"value": 0.2, "low": low, "high": high}
    assert judge_difference(difference) == verdict
    values = {
        "names": {"random": "chance"},
        "scores": {"model": {"r": {"value": 0.5}}, "random": {"r": {"value": 0.3}}},
        "differences": {"random": {"r": difference}},
    }
    assert compare_with(values, "random", "r", percentage("Mean recall")).startswith(sentence)


def test_empty_sections_are_not_drawn():
    assert (
        draw_sections([Section("none", ())], draw=lambda example: None, width=50, heading_size=9)
        is None
    )
