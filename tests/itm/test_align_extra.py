"""Alignment with further captions: the run is like any other, and nothing of dev and test leaks."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import imagetext.itm.data
from imagetext.errors import UserError
from imagetext.itm.config import ITMConfig
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate
from imagetext.itm.leaks import EXTRA, audited_records, extra_notice
from imagetext.itm.predict import predict
from imagetext.itm.record import write
from imagetext.itm.train import train
from imagetext.pipelines.audit import audit
from imagetext.reports.matching.predictions import read_predictions
from imagetext.training.config_files import load_run_config
from imagetext.training.run import Run
from tests.itm.alignment import alignment_config, captioned
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401

pytestmark = pytest.mark.usefixtures("tiny_encoders")


@pytest.fixture(scope="module")
def aligned(course_master, extra, tmp_path_factory):
    """Trained by alignment alone, with further captions, calibrated, and evaluated."""
    folder = tmp_path_factory.mktemp("aligned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(extra.parent)
        settings = alignment_config(
            course_master, folder, align__extra_captions=extra.name, model__calibrate=True
        )
        run = train(settings)
    return run, evaluate(run), load_run_config(ITMConfig, run)


def test_what_is_trained_by_alignment_alone_is_a_run_like_any_other(aligned, course_master):
    run, report, _ = aligned
    about = report.values["about"]
    assert (about["training"]["epochs"], about["training"]["alignment epochs"]) == (0, 3)
    assert 1 <= about["training"]["best epoch"] <= 3
    assert about["training"]["chosen by"] == "val_auc"
    assert about["model"]["photos"] == "tiny_a, tiny_b"
    photo = course_master / "flickr8k-resised" / "test_1.jpg"
    rows = read_predictions(run.folder)
    own = [row for row, path in enumerate(rows.image) if path == str(photo)]
    answers = predict(run, photo, [rows.caption[row] for row in own])
    assert len(answers) == 6
    np.testing.assert_allclose(answers, rows.probability[own], atol=1e-3)


def shared_with_held_out(audited) -> dict[str, int]:
    pairs = [p for p in audited["pairs"] if EXTRA in p["splits"] and "train" not in p["splits"]]
    assert [pair["splits"] for pair in pairs] == [["dev", EXTRA], ["test", EXTRA]]
    keys = ("images_shared", "near_duplicate_images", "captions_shared")
    return {key: sum(pair[key]["count"] for pair in pairs) for key in keys}


def test_extra_captions_share_nothing_with_dev_and_test_and_the_report_says_so(aligned, extra):
    _, report, _ = aligned
    assert set(shared_with_held_out(report.values["audit"]).values()) == {0}
    shared = next(p for p in report.values["audit"]["pairs"] if p["splits"] == ["train", EXTRA])
    assert shared["images_shared"]["count"] == 3  # which is no leak: both are trained on
    assert report.values["audit"]["verdict"] == f"no photo is in two splits but train and {EXTRA}"
    told = report.values["about"]["extra captions"]
    assert told == {
        "source": str(extra),
        "photos": 5,
        "captions": 11,
        "left out": {
            "photos that are held out": 6,
            "near-duplicates of them": 1,
            "captions that are held out": 1,
        },
    }
    audited = report.values["audit"]
    assert audited["alike"]["encoder"] == "tiny_a"
    assert audited["alike"]["with_features"] == audited["alike"]["photos"]
    held_out = [p for p in audited["pairs"] if EXTRA in p["splits"] and "train" not in p["splits"]]
    alike = sum(pair["alike_images"]["count"] for pair in held_out)
    notice = (
        f"Trained with 11 extra captions of 5 photos from {extra}, in addition to the training"
        " rows. Shared with dev and test, according to the leak audit: 0 photos, 0 near-duplicates,"
        f" 0 captions, {alike} pairs of photos with similar tiny_a features."
    )
    assert notice in report.values["notices"]
    assert notice in report.html_path.read_text()


def test_what_cannot_be_used_of_the_extra_captions_is_counted(course_folder, tmp_path):
    folder = captioned(tmp_path / "official", course_folder)
    with (folder / "Flickr8k.token.txt").open("a") as file:
        file.write("own1.jpg, a line without a tab\n")
    (folder / "images" / "own1.jpg").write_bytes(b"")
    left_out = {
        "photos that are held out": 6,
        "near-duplicates of them": 1,
        "captions that are held out": 1,
        "problems in its lists": 1,
        "photos that cannot be read": 1,
    }
    keys = {"data__skip_bad": True, "text__weights": str(tmp_path)}
    settings = alignment_config(course_folder, "", text__input="embeddings", **keys)
    data = load(settings, captions=str(folder))
    assert data.extra == []
    assert data.extra_left_out == left_out | {"captions without an embedding": 9}
    data = load(alignment_config(course_folder, "", data__skip_bad=True), captions=str(folder))
    assert len(data.extra) == 4
    assert data.extra_left_out == left_out


def test_a_leak_would_show(aligned, monkeypatch, tmp_path):
    _, _, settings = aligned
    monkeypatch.setattr(
        imagetext.itm.data, "leave_out", lambda records, held_out: (list(records), {})
    )
    data = load(settings, ("test",), settings.align.extra_captions)
    write(Run(tmp_path), data)  # what would have been trained on
    records, told = audited_records(Run(tmp_path), settings, data)
    audited = audit(records)
    assert shared_with_held_out(audited) == {
        "images_shared": 6,
        "near_duplicate_images": 1,
        "captions_shared": 0,  # by the audit's own rule "!" makes another caption
    }
    assert "6 photos, 1 near-duplicates, 0 captions." in extra_notice(told[EXTRA], audited)


def test_what_was_trained_on_is_audited_whatever_its_folder_holds_today(aligned, extra, tmp_path):
    run, report, _ = aligned
    moved = Path(shutil.copytree(extra, tmp_path / "moved"))
    tokens = moved / "Flickr8k.token.txt"
    lines = tokens.read_text().splitlines(keepends=True)
    tokens.write_text("".join(lines[:1]))
    again = evaluate(run, overrides={"align.extra_captions": str(moved)}).values
    expected = report.values["about"]["extra captions"] | {"source": str(moved)}
    assert again["about"]["extra captions"] == expected
    assert again["audit"] == report.values["audit"] | {"pairs": again["audit"]["pairs"]}
    for image in (moved / "images").iterdir():
        image.unlink()
    (moved / "images" / "other.jpg").write_bytes(b"x")
    told = r"2 of the 5 photos with extra captions that .* was trained on are missing"
    with pytest.raises(UserError, match=told):
        evaluate(run, overrides={"align.extra_captions": str(moved)})


def test_a_run_from_before_such_a_list_was_kept_is_filtered_anew(aligned, capsys):
    run, report, _ = aligned
    kept = run.folder / "trained_with.json"
    content = kept.read_bytes()
    kept.unlink()
    try:
        again = evaluate(run).values
    finally:
        kept.write_bytes(content)
    assert "did not record the extra captions" in capsys.readouterr().out
    assert again["about"]["extra captions"] == report.values["about"]["extra captions"]


def test_where_they_lie_can_be_set_anew_but_not_that_they_were_used(aligned, tmp_path):
    run, _, _ = aligned
    with pytest.raises(UserError, match=r"--align\.extra_captions: must name a folder"):
        evaluate(run, overrides={"align.extra_captions": "null"})
    with pytest.raises(UserError, match=r"moved: no such folder"):
        evaluate(run, overrides={"align.extra_captions": str(tmp_path / "moved")})
