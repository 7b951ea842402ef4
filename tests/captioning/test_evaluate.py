"""What a report says of a run, against naive twins that ask the model itself."""

import csv
from pathlib import Path

import numpy as np
import pytest

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.data import load
from imagetext.captioning.describe import describe, open_model
from imagetext.captioning.evaluate import (
    evaluate,
    history,
    most_frequent,
    references_of,
    score_words,
    training_captions,
)
from imagetext.captioning.predict import CaptioningModel
from imagetext.errors import UserError
from imagetext.metrics.captioning.corpus import score_captions
from imagetext.pipelines.sources import open_source
from imagetext.reports.comparison.compare import compare
from tests.captioning.tiny_runs import tiny, untrained
from tests.scenes import write_history, write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """A run with its report of dev, shared by the tests that only look at it."""
    run = untrained(scenes, tmp_path_factory.mktemp("runs"))
    return run, evaluate(run)


def test_the_report_lies_in_a_folder_of_its_split_and_holds_all_parts(finished):
    run, report = finished
    assert report.folder == run.folder / "report-dev"
    there = {str(path.relative_to(report.folder)) for path in report.folder.rglob("*.*")}
    plots = {f"plots/{name}.png" for name in ("cider", "lengths", "training", "gallery")}
    assert there == {"report.json", "report.md", "report.html", "captions.csv"} | plots
    values = report.values
    assert (values["photos"], values["references"]) == (5, 15)
    assert list(values["scores"]) == ["model", "greedy", "one for all"]
    assert values["names"]["model"] == "beam of 3"
    about = values["about"]
    assert about["data"]["split"] == "dev" and about["training"]["minutes"] == 1.5
    assert about["decoding"]["photos per second"] > 0
    # Trained are all but the measured mean and variance of the features (4 each, and a count).
    assert about["model"]["parameters"] - about["model"]["trainable parameters"] == 9
    assert [row["epoch"] for row in values["history"]] == [1, 2]


def test_captions_are_the_best_of_the_beam_for_each_photo_once(finished, scenes):
    run, report = finished
    with (report.folder / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = [str(scenes / "images" / f"dev_{number}.png") for number in range(5)]
    assert [row["photo"] for row in rows] == photos
    found = [captions[0] for captions in CaptioningModel.load(run).predict(photos)]
    assert [row["caption"] for row in rows] == [caption.text for caption in found]
    told = [float(row["log_probability"]) for row in rows]
    np.testing.assert_allclose(told, [c.log_probability for c in found], rtol=1e-4)
    mean = np.mean([float(row["cider"]) for row in rows])
    assert mean == pytest.approx(report.values["scores"]["model"]["cider_d"]["value"])
    with (scenes / "captions.csv").open(newline="") as file:
        written = [r["caption"] for r in csv.DictReader(file) if r["image"] == "dev_3.png"]
    assert [rows[3][f"reference_{n}"] for n in (1, 2, 3)] == written


def naive_words(captioner: CaptioningModel, data, numbers, references) -> np.ndarray:
    """[3, n]: words, those predicted and their surprise, by asking all members for each word with
    nothing behind it."""
    totals = np.zeros((3, len(numbers)))
    vocabulary = captioner.vocabulary
    for column, (number, texts) in enumerate(zip(numbers, references, strict=True)):
        image = data.photos.fetch([number])[0]
        for text in texts:
            ids = [*vocabulary.encode([text])[0], vocabulary.end]
            inputs = np.tril(np.tile([vocabulary.start, *ids[:-1]], (len(ids), 1)))  # prefixes
            odds = 0
            for member in captioner.members:
                logits = member.model({"image": image, "texts": inputs[None].astype(np.int32)})
                shares = np.exp(np.diagonal(np.asarray(logits, np.float64)[0]).T)
                odds += shares / shares.sum(-1, keepdims=True) / len(captioner.members)
            for step, expected in enumerate(ids):
                is_right = odds[step].argmax() == expected
                totals[:, column] += [1, is_right, -np.log(odds[step, expected])]
    return totals


def test_words_are_scored_as_one_by_one_also_of_photos_in_several_groups(finished, scenes):
    run, report = finished
    captioner = CaptioningModel.load(run)
    config = tiny(scenes, run.folder.parent, data__max_captions=2)  # of three: two groups a photo
    data = load(config, ("dev",), captioner.vocabulary)
    numbers, references = references_of(data, "dev")
    scored = score_words(captioner, data, "dev", numbers)
    found = np.stack([scored.words, scored.correct, scored.negative_log_likelihood])
    expected = naive_words(captioner, data, numbers[3:4], references[3:4])
    np.testing.assert_allclose(found[:, 3:4], expected, rtol=1e-4)
    words, right, surprise = found.sum(axis=1)
    told = report.values["words"]
    assert told["token_accuracy"]["value"] == pytest.approx(right / words)
    assert told["cross_entropy"]["value"] == pytest.approx(surprise / words, rel=1e-4)
    assert told["perplexity"]["value"] == pytest.approx(np.exp(surprise / words), rel=1e-4)
    assert told["cross_entropy"]["low"] < told["cross_entropy"]["value"]


@pytest.fixture(scope="module")
def ensemble(scenes, tmp_path_factory):
    """Two runs that differ by seed, and the report of both together on dev."""
    runs = tmp_path_factory.mktemp("runs")
    folders = [
        str(untrained(scenes, runs, run__name=f"tiny-{seed}", train__seed=seed).folder)
        for seed in (1, 2)
    ]
    return folders, evaluate(",".join(reversed(folders)))


def test_an_ensemble_is_scored_beside_each_of_its_runs(ensemble, scenes):
    folders, report = ensemble
    assert report.folder == Path(folders[0]).parent / "tiny-1+tiny-2" / "report-dev"
    values = report.values
    assert values["title"] == "ensemble of tiny-2, tiny-1 on dev"
    assert values["names"]["model"] == "2 runs, beam of 3"
    assert list(values["scores"]) == [
        "model",
        "greedy",
        "tiny-2 alone",
        "tiny-1 alone",
        "one for all",
    ]
    about = values["about"]
    assert about["ensemble of"] == folders[::-1]
    assert about["training"]["minutes"] == 3.0 and about["training"]["tiny-1"]["seed"] == 1
    photos = [str(scenes / "images" / f"dev_{number}.png") for number in range(5)]
    with (report.folder / "captions.csv").open(newline="") as file:
        said = [row["caption"] for row in csv.DictReader(file)]
    assert said == [each.captions[0].text for each in describe(",".join(folders), photos).photos]
    alone = evaluate(folders[0]).values
    for figure in ("cider_d", "bleu_1"):
        assert values["scores"]["tiny-1 alone"][figure] == alone["scores"]["model"][figure]
    parameters = alone["about"]["model"]["parameters"]
    assert about["model"]["parameters"] == 2 * parameters
    assert "tiny-1 alone: CIDEr-D" in " ".join(values["findings"])
    assert "ensemble of tiny-2, tiny-1 on dev" in report.html_path.read_text()


def test_words_and_maps_of_an_ensemble_are_the_means_of_its_runs(ensemble, scenes):
    folders, report = ensemble
    together = open_model(",".join(folders))
    data = load(together.config, ("dev",), together.vocabulary)
    numbers, references = references_of(data, "dev")
    words, right, surprise = naive_words(together, data, numbers, references).sum(axis=1)
    told = report.values["words"]
    assert told["token_accuracy"]["value"] == pytest.approx(right / words)
    assert told["cross_entropy"]["value"] == pytest.approx(surprise / words, rel=1e-4)
    image = data.photos.fetch(numbers[:1])[0]
    caption = together.captions(image)[0][0]
    each = [member.attention_maps(image[0], caption) for member in together.members]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(
        together.attention_maps(image[0], caption), np.mean(each, axis=0), atol=1e-6
    )


def test_the_report_of_an_ensemble_takes_no_other_place(ensemble, scenes, tmp_path):
    folders, report = ensemble
    both = ",".join(folders)
    with pytest.raises(UserError, match="given twice"):
        evaluate(f"{folders[0]},{folders[0]}/")
    with pytest.raises(UserError, match=r"tiny-1: is a run.*; choose another folder with --to"):
        evaluate(both, to=folders[0])
    third = str(untrained(scenes, tmp_path, run__name="x", text__minimum_count=9).folder)
    with pytest.raises(UserError, match="holds the report of other runs"):
        evaluate(f"{folders[0]},{third}", to=report.folder.parent)
    with pytest.raises(UserError, match="must share vocabulary and image encoders"):
        evaluate(f"{folders[0]},{third}")
    keys = {"report.gallery": 0, "decoding.beams": 1}
    there = evaluate(both, "test", overrides=keys, to=tmp_path / "there")
    assert there.folder == tmp_path / "there" and there.values["names"]["model"] == "2 runs, greedy"
    assert "greedy" not in there.values["scores"]


def test_an_ensemble_is_compared_like_a_run(ensemble):
    folders, report = ensemble
    for folder in folders:
        evaluate(folder, overrides={"report.gallery": 0})
    runs = report.folder.parent.parent
    comparison = compare(sorted(runs.iterdir()), "dev")
    rows = {row["kind"]: row for row in comparison.values["configurations"]}
    assert rows["model"]["name"] == "tiny" and rows["model"]["seeds"] == [1, 2]
    together = rows["ensemble"]
    assert together["name"] == "ensemble of 2" and together["seeds"] == [2, 1]
    assert together["scores"] == report.values["scores"]["model"]
    assert together["parameters"] == 2 * rows["model"]["parameters"]
    assert together["configuration"] == {"ensemble": "tiny-2, tiny-1"}
    assert comparison.values["left_out"] == []
    told = compare([*folders, report.folder.parent], "dev").summary
    assert "ensemble of n: n runs evaluated together" in told
    with pytest.raises(UserError, match=r"evaluate .*,.* --split test --to .*tiny-1\+tiny-2"):
        compare([report.folder.parent])


def test_references_are_those_that_were_written(tmp_path):
    """Also what the recipe leaves no word of, and what was written twice."""
    folder = write_scenes(tmp_path / "data")
    with (folder / "captions.csv").open("a") as file:
        file.write('dev_0.png,"1, 2, 3!",dev\ndev_0.png,A Star.,dev\ndev_0.png,A Star.,dev\n')
    data = load(tiny(folder, tmp_path, data__skip_bad=True))
    numbers, references = references_of(data, "dev")
    assert len(numbers) == 5
    assert references[0][3:] == ["1, 2, 3!", "A Star.", "A Star."]


def test_a_split_without_captions_is_one_message_with_the_remedy(finished, tmp_path):
    run, _ = finished
    held_back = write_scenes(tmp_path / "data", {"train": 3, "dev": 2})
    with pytest.raises(UserError, match=f"no captions of the test split.*{run.folder} --split dev"):
        evaluate(run, "test", overrides={"data.root": str(held_back)})
    assert not (run.folder / "report.json").exists()


def test_only_data_and_decoding_may_be_changed(finished):
    run, _ = finished
    with pytest.raises(UserError, match=r"data.image_size: cannot be changed"):
        evaluate(run, "dev", overrides={"data.image_size": 32})
    with pytest.raises(UserError, match=r"split: expected .* got 'val'"):
        evaluate(run, "val")


def test_greedy_stands_once_and_test_lies_in_the_runs_own_folder(finished):
    run, _ = finished
    greedy = evaluate(run, "test", overrides={"decoding.beams": 1, "report.gallery": 0})
    assert greedy.folder == run.folder and greedy.values["photos"] == 4
    assert list(greedy.values["scores"]) == ["model", "one for all"]
    assert greedy.values["names"]["model"] == "greedy"
    assert not (run.folder / "plots" / "gallery.png").exists()
    with (run.folder / "captions.csv").open(newline="") as file:
        told = {row["photo"]: row["caption"] for row in csv.DictReader(file)}
    found = CaptioningModel.load(run).predict(list(told), DecodingConfig(beams=1))
    assert [captions[0].text for captions in found] == list(told.values())


def test_one_for_all_is_the_most_frequent_training_caption(finished, scenes):
    assert most_frequent(["a cat", "A Blue star .", "a blue star", "a dog"]) == "a blue star"
    assert most_frequent([]) is None
    _, report = finished
    source = open_source(scenes)
    said = most_frequent(training_captions(source))
    references = [record.texts for record in source.records("dev")]
    expected = score_captions([said] * 5, references, resamples=5, metrics=["bleu_1"])["bleu_1"]
    assert report.values["scores"]["one for all"]["bleu_1"]["value"] == expected.value


def test_the_self_critical_epochs_follow_the_others(finished):
    run, _ = finished
    rows = [{"epoch": 1, "loss": -0.1, "val_loss": 2.0, "val_cider": 0.5}]
    write_history(run.part("critic").folder / "history.csv", rows)
    second = {"epoch": 3, "val_loss": 2.0, "val_cider": 0.5, "stage": "self-critical"}
    assert history(run)[2] == second
