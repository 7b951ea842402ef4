"""Training curves: what is drawn, and in which arrangement."""

import io

import pytest
from PIL import Image

from imagetext.reports.kit.plots import CURVE, each_training_curve, training_curves

pytestmark = pytest.mark.usefixtures("rendered_plots")


@pytest.mark.parametrize(("curves", "wide", "high"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2)])
def test_curves_stand_in_even_rows(curves, wide, high):
    names = ["loss", "token_accuracy", "cider", "learning_rate", "recall"][:curves]
    history = [{"epoch": n, **dict.fromkeys(names, 0.1 * n)} for n in (1, 2)]
    assert len(each_training_curve(history)) == curves
    with Image.open(io.BytesIO(training_curves(history, dark=True))) as picture:
        size = picture.width / (CURVE[0] * 144), picture.height / (CURVE[1] * 144)
    assert size == pytest.approx((wide, high), abs=0.01)
    assert training_curves([{"epoch": 1}]) is None and each_training_curve([]) == {}


def test_a_line_marks_where_another_stage_begins():
    """Only in the curves that go on in it."""
    first = [{"epoch": n, "loss": 0.5, "val_cider": 0.1 * n} for n in (1, 2)]
    last = {"epoch": 3, "val_cider": 0.3}
    marked = each_training_curve([*first, {**last, "stage": "self-critical"}])
    plain = each_training_curve([*first, last])
    assert marked["Loss"] == plain["Loss"]
    assert marked["CIDEr-D / 100, greedy"] != plain["CIDEr-D / 100, greedy"]
