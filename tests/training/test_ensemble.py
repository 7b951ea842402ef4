"""Several runs in one word, and the folder that their report lies in."""

import pytest

from imagetext.errors import UserError
from imagetext.training.ensemble import (
    ensemble_folder,
    is_ensemble,
    members,
    run_names,
    short_names,
    write_members,
)


def test_commas_part_runs_but_where_a_folder_has_one_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_names("a,b") == ["a", "b"]
    assert run_names("a,") == ["a"] and run_names(",") == [","]
    (tmp_path / "a,b").mkdir()
    assert run_names("a,b") == ["a,b"] and run_names(tmp_path / "a,b") == [str(tmp_path / "a,b")]


def test_names_alone_where_they_tell_runs_apart():
    assert short_names(["runs/a", "other/b/"]) == ["a", "b"]
    assert short_names(["runs/a", "other/a"]) == ["runs/a", "other/a"]


def test_the_folder_is_named_by_all_runs_in_whatever_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = ensemble_folder(["runs/b", "runs/a"])
    assert str(folder) == "runs/a+b" and folder == ensemble_folder(["runs/a", "runs/b"])
    write_members(folder, ["runs/b", "runs/a"])
    assert is_ensemble(folder)
    assert members(folder) == [str(tmp_path / "runs" / name) for name in "ba"]
    assert ensemble_folder(["runs/a", "runs/b"]) == folder  # scored again
    assert run_names(folder) == members(folder)
    with pytest.raises(UserError, match=r"runs/a\+b: holds the report of other runs"):
        ensemble_folder(["runs/a", "other/b"])
    assert str(ensemble_folder(["runs/a", "other/b"], "there")) == "there"


def test_a_file_without_runs_is_told(tmp_path):
    (tmp_path / "ensemble.yaml").write_text("runs: []")
    with pytest.raises(UserError, match=r"ensemble\.yaml: lists no runs"):
        members(tmp_path)
