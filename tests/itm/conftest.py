"""Fixtures of the matching tests."""

import pytest

from tests.itm.alignment import captioned


@pytest.fixture(scope="module")
def extra(course_master, tmp_path_factory):
    return captioned(tmp_path_factory.mktemp("captions") / "official", course_master)
