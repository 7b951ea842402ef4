"""Atomic writes, and clear messages when a file cannot be written."""

import errno
from pathlib import Path

import pytest

from imagetext.errors import UserError
from imagetext.files import cache_folder, replacing, write_bytes, write_text


def test_a_file_is_written_with_the_folders_above_it(tmp_path):
    write_text(tmp_path / "a" / "b" / "report.md", "häuser\n")
    write_bytes(tmp_path / "a" / "raw", b"\0\1")
    assert (tmp_path / "a" / "b" / "report.md").read_bytes() == "häuser\n".encode()
    assert (tmp_path / "a" / "raw").read_bytes() == b"\0\1"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "raw"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        temporary.write_text("half")
        assert path.read_text() == "old"
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_whatever_fails_the_old_file_stays_and_nothing_else(tmp_path, failure):
    path = tmp_path / "report.json"
    path.write_text("old")
    expected = UserError if failure is OSError else failure
    with pytest.raises(expected, match="stopped"), replacing(path) as temporary:
        temporary.write_text("half")
        raise failure("stopped")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the disk is full; free some space"),
        (errno.EACCES, "permission denied; choose another folder"),
        (errno.EPERM, "permission denied; choose another folder"),
        (errno.EROFS, "permission denied; choose another folder"),
        (errno.EIO, "cannot be written: Input/output error"),
    ],
)
@pytest.mark.parametrize("at", ["mkdir", "write_text", "replace"])
def test_a_disk_that_refuses_is_explained_wherever_it_refuses(
    tmp_path, monkeypatch, number, words, at
):
    path = tmp_path / "report.json"
    path.write_text("old")

    def refuse(*_, **__):
        raise OSError(number, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, at, refuse)
        with pytest.raises(UserError) as raised:
            write_text(path, "new")
    assert str(raised.value).startswith(f"{path}: {words}")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_a_folder_is_explained(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot be written: "):
        write_text(tmp_path / "runs" / "report.json", "new")


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGETEXT_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("IMAGETEXT_CACHE")
    assert cache_folder() == tmp_path / ".cache" / "imagetext"
