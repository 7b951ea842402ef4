"""Evaluated runs that the tests of `compare` share."""

import pytest

from tests.reports.runs import make_predictions, make_run


@pytest.fixture
def runs(tmp_path):
    """cnn with three seeds, and a better joint with one."""
    folder = tmp_path / "runs"
    for seed in range(3):
        make_run(folder / f"cnn-seed{seed}", make_predictions(seed), seed=seed)
    make_run(folder / "joint-1", make_predictions(9, signal=4), head="joint")
    return folder
