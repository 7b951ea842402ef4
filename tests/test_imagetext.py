"""The command line: light, explained, and its mistakes told in plain words."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import imagetext
from imagetext import api
from imagetext.commands import VERBS, main
from imagetext.itm.config import DataConfig, ITMConfig
from imagetext.pipelines.embeddings import EmbeddingTable
from imagetext.training.config_files import load_config, write_config
from tests.captioning.tiny_runs import untrained
from tests.retrieval.tiny_runs import untrained as untrained_finder
from tests.scenes import write_scenes

ROOT = Path(__file__).parents[1]
TINY = [
    "--data.image_size=16",
    "--data.batch_size=2",
    "--model.filters=[4, 4]",
    "--model.projection=8",
    "--model.hidden=[8]",
    "--train.epochs",
    "1",
    "--report.resamples",
    "20",
]


def test_importing_and_helping_stay_light():
    script = (
        "import sys\n"
        "from imagetext.commands import VERBS, main\n"
        "for verb in ['', *VERBS]:\n"
        "    try: main([*verb.split(), '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example_of_the_verb(verb, capsys):
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help"])
    told = capsys.readouterr().out
    assert f"imagetext {verb} " in told.split("Example:")[1]


def test_help_of_train_lists_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    for key in ("--data.root null", "--train.epochs 10", "--model.filters [16, 32, 64]"):
        assert key in told


def test_from_training_to_a_prediction(course_folder, tmp_path, capsys):
    config = str(ROOT / "configs" / "itm" / "joint.yaml")
    words = ["train", config, "--data.root", str(course_folder), f"--run.folder={tmp_path}", *TINY]
    assert main(words) == 0
    run = tmp_path / "joint-1"
    assert load_config(ITMConfig, run / "config.yaml").model.head == "joint"
    assert main(["evaluate", str(run), "--split", "dev"]) == 0
    assert "Accuracy" in capsys.readouterr().out
    assert (
        json.loads((run / "report-dev" / "report.json").read_text())["about"]["data"]["rows"] == 18
    )
    photo = str(course_folder / "flickr8k-resised" / "dev_0.jpg")
    assert main(["predict", str(run), photo, "caption 0 of Dev photo 0 ."]) == 0
    assert "match 0." in capsys.readouterr().out
    assert main(["train", str(run), "--resume"]) == 0


def test_from_training_to_a_caption(tmp_path, capsys):
    """Every verb of a captioning run, by its configuration."""
    scenes = write_scenes(tmp_path / "data")
    config = str(ROOT / "configs" / "captioning" / "sample.yaml")
    words = ["train", config, "--data.root", str(scenes), f"--run.folder={tmp_path}"]
    words += ["--data.image_size=16", "--model.filters=[4]", "--model.width=8", "--train.epochs=1"]
    assert main(words) == 0
    run = tmp_path / "sample-1"
    words = ["evaluate", str(run), "--split", "dev", "--report.resamples", "9"]
    assert main([*words, "--decoding.beams", "2"]) == 0
    assert "beam of 2 (95 % CI)" in capsys.readouterr().out
    assert json.loads((run / "report-dev" / "report.json").read_text())["photos"] == 5
    assert main(["compare", str(run), "--split", "dev"]) == 0
    assert "CIDEr-D" in (tmp_path / "comparison-dev.md").read_text()


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    scenes = write_scenes(folder / "data", {"train": 4, "dev": 2})
    return str(untrained(scenes, folder / "runs").folder), scenes / "images"


def test_caption_tells_photos_and_ends_with_status_1_where_one_is_bad(captioner, tmp_path, capsys):
    run, photos = captioner
    assert main(["caption", run, str(photos / "dev_0.png"), "--top", "2"]) == 0
    name, first, second = capsys.readouterr().out.splitlines()
    assert name == str(photos / "dev_0.png")
    assert float(first.split()[0]) < 0 and float(second.split()[0]) < 0
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    target, maps = tmp_path / "captions.jsonl", tmp_path / "maps"
    words = ["caption", run, str(bad), str(photos), "--beams=1", "--to", str(target)]
    assert main([*words, "--maps", str(maps)]) == 1
    told = capsys.readouterr()
    assert f"6 photos -> {target}" in told.out
    assert "skipped 1 of 7 photos" in told.err and str(bad) in told.err
    assert len(target.read_text().splitlines()) == len(list(maps.iterdir())) == 6
    assert main(["caption", run, str(photos / "dev_0.png"), "--sample"]) == 0
    for wrong in (["--top", "4"], ["--to", str(tmp_path / "captions.xml")], ["--beams", "0"]):
        assert main(["caption", run, str(photos / "dev_0.png"), *wrong]) == 1
        assert "Traceback" not in capsys.readouterr().err


def test_a_beam_wider_than_the_vocabulary_finds_every_caption_there_is(captioner, tmp_path):
    """Of at most two words; and then there are fewer than were asked for."""
    _, photos = captioner
    keys = {"run__name": "short", "text__longest": 2}
    run = untrained(photos.parent, tmp_path, **keys).folder
    tokens = json.loads((run / "vocabulary.json").read_text())["tokens"]
    words = tokens[4:]  # the others are never said
    target, wide = tmp_path / "all.jsonl", str(len(tokens) ** 2)
    options = ["--beams", wide, "--top", wide, "--to", str(target)]
    assert main(["caption", str(run), str(photos / "dev_0.png"), *options]) == 0
    (line,) = map(json.loads, target.read_text().splitlines())
    every = {*words, *(f"{one} {other}" for one in words for other in words)}
    said = [caption["caption"] for caption in line["captions"]]
    assert len(said) == len(every) and set(said) == every
    scores = [caption["score"] for caption in line["captions"]]
    assert scores == sorted(scores, reverse=True) and scores[-1] > float("-inf")


def test_several_captioning_runs_are_scored_together(captioner, tmp_path, capsys):
    run, photos = captioner
    other = str(untrained(photos.parent, Path(run).parent, run__name="other").folder)
    words = ["evaluate", f"{run},{other}", "--split", "dev", "--report.gallery=0"]
    assert main([*words, "--to", str(tmp_path / "both")]) == 0
    assert "2 runs, beam of 3 (95 % CI)" in capsys.readouterr().out
    values = json.loads((tmp_path / "both" / "report-dev" / "report.json").read_text())
    assert values["about"]["ensemble of"] == [run, other]
    assert main(["evaluate", run, "--to", str(tmp_path / "one")]) == 1
    assert "only for several runs together" in capsys.readouterr().err
    (tmp_path / "itm").mkdir()
    write_config(tmp_path / "itm" / "config.yaml", ITMConfig())
    assert main(["evaluate", f"{run},{tmp_path / 'itm'}"]) == 1
    assert "this is a matching run, but" in capsys.readouterr().err


@pytest.fixture(scope="module")
def finder(captioner, tmp_path_factory):
    """A retrieval run on the photos of `captioner`."""
    runs = tmp_path_factory.mktemp("finder")
    return str(untrained_finder(captioner[1].parent, runs, data__batch_size=2).folder)


def test_a_retrieval_run_scores_captions_without_references(captioner, finder, capsys):
    run, _ = captioner
    words = ["evaluate", run, "--split", "dev", "--report.gallery", "0", "--scorer"]
    assert main([*words, finder]) == 0
    assert "to the retrieval model tiny (" in " ".join(capsys.readouterr().out.split())
    values = json.loads((Path(run) / "report-dev" / "report.json").read_text())
    from imagetext.retrieval.predict import RetrievalModel

    with (Path(run) / "report-dev" / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [[row[name] for row in rows] for name in ("photo", "caption")]
    found = RetrievalModel.load(finder).score(*columns)
    told = [float(row["caption_score"]) for row in rows]
    assert told == pytest.approx(found.tolist(), abs=1e-5)
    assert values["scores"]["model"]["caption_score"]["value"] == pytest.approx(sum(told) / 2)
    assert main([*words, run]) == 1
    assert "expected a retrieval run" in capsys.readouterr().err
    assert main(["evaluate", finder, "--scorer", finder]) == 1
    assert "--scorer does not apply to retrieval runs" in capsys.readouterr().err


def test_a_matching_run_re_ranks_what_a_retrieval_run_finds(captioner, finder, tmp_path, capsys):
    run, photos = captioner
    keys = {"data.root": str(photos.parent), "data.image_size": 16, "train.epochs": 1}
    keys |= {"model.filters": [4], "report.controls": False, "run.folder": str(tmp_path)}
    keys |= {"text.embeddings": str(random_embeddings(photos.parent, tmp_path))}
    matcher = str(imagetext.train("configs/itm/cnn.yaml", keys).folder)
    words = ["evaluate", finder, "--split", "dev", "--report.gallery", "0", "--rerank"]
    capsys.readouterr()
    assert main([*words, matcher]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "results of each search with the matcher cnn-1 (" in told
    assert "its weight was chosen on these searches" in told
    for wrong in (run, finder):
        assert main([*words, wrong]) == 1
        assert "expected a matching run" in capsys.readouterr().err
    assert main(["evaluate", run, "--rerank", matcher]) == 1
    assert "--rerank does not apply to captioning runs" in capsys.readouterr().err


def random_embeddings(data: Path, folder: Path) -> Path:
    """A vector for each caption of a folder."""
    with (data / "captions.csv").open(newline="") as file:
        captions = list(dict.fromkeys(row["caption"] for row in csv.DictReader(file)))
    vectors = np.random.default_rng(0).standard_normal((len(captions), 384)).astype(np.float32)
    EmbeddingTable(captions, vectors).write(folder / "embeddings.npz")
    return folder / "embeddings.npz"


def test_a_photo_is_classified_by_labels_never_trained_on(captioner, finder, capsys):
    run, photos = captioner
    photo, labels = str(photos / "dev_0.png"), ["a star", "a circle", "a square"]
    assert main(["classify", finder, photo, *labels]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    odds = [float(number) for number, _ in rows]
    assert sorted(label for _, label in rows) == sorted(labels)
    assert odds == sorted(odds, reverse=True) and sum(odds) == pytest.approx(1, abs=2e-3)
    assert main(["classify", finder, photo, *labels, "--template", "no place"]) == 1
    assert "needs one {}" in capsys.readouterr().err
    assert main(["classify", run, photo, *labels]) == 1
    assert "expected a retrieval run" in capsys.readouterr().err


def test_a_verb_of_the_other_task_is_named(captioner, tmp_path, capsys):
    run, photos = captioner
    photo = str(photos / "dev_0.png")
    assert main(["predict", run, photo, "A dog"]) == 1
    assert f"imagetext caption {run} {photo}" in capsys.readouterr().err
    write_config(tmp_path / "config.yaml", ITMConfig())
    assert main(["caption", f"{run},{tmp_path}", photo]) == 1
    assert f"imagetext predict {tmp_path} {photo}" in capsys.readouterr().err


def test_export_writes_what_the_task_needs(captioner, tmp_path, capsys):
    run, _ = captioner
    assert main(["export", run, "--to", str(tmp_path / "there")]) == 0
    assert "captions: string [n, 3]" in (tmp_path / "there" / "README.txt").read_text()


def test_data_verbs(course_folder, tmp_path, capsys):
    assert main(["data", "audit", str(course_folder)]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["data", "check", str(course_folder)]) == 0
    assert "72 rows, 12 photos, no problems" in capsys.readouterr().out
    (course_folder / "flickr8k-resised" / "dev_1.jpg").write_bytes(b"")
    assert main(["data", "check", str(course_folder)]) == 1
    assert "dev_1.jpg: the file is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "configs/itm/none.yaml"], "no such configuration"),
        (["train", "configs/itm/cnn.yaml", "--train.epochs"], "expected a value"),
        (["train", "configs/itm/cnn.yaml", "--train.epoch", "3"], "did you mean train.epochs"),
        (["train", "configs/itm/cnn.yaml", "--data.root", "/nowhere"], "no such folder"),
        (["train", "configs/itm/cnn.yaml", "--resume"], "name the run"),
        (["evaluate", "runs/none"], "not a run"),
        (["caption", "runs/none", "photo.jpg"], "not a run"),
        (["export", "runs/none"], "not a run"),
        (["data", "audit", "tests"], "no dataset found"),
    ],
)
def test_mistakes_end_with_one_message_and_no_traceback(words, told, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_data_that_has_moved_is_reported_before_tensorflow_is_imported(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(api, "quiet_tensorflow", pytest.fail)
    write_config(tmp_path / "config.yaml", ITMConfig(data=DataConfig(root="/nowhere")))
    for options, folder in (([], "/nowhere"), (["--data.root", "/elsewhere"], "/elsewhere")):
        assert main(["evaluate", str(tmp_path), *options]) == 1
        assert f"{folder}: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["data"], ["data", "--help"]])
def test_data_alone_lists_its_verbs(words, capsys):
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "data audit" in told
    assert "predict" not in told


def test_an_unknown_verb_shows_those_there_are(capsys):
    assert main(["trian"]) == 2
    assert "train" in capsys.readouterr().err


def test_verbs_are_functions_with_the_same_words(course_folder, tmp_path):
    keys = {"data.root": str(course_folder), "run.folder": str(tmp_path), "report.controls": False}
    keys |= {word.split("=")[0][2:]: word.split("=")[1] for word in TINY if "=" in word}
    run = imagetext.train(str(ROOT / "configs" / "itm" / "cnn.yaml"), keys | {"train.epochs": 1})
    assert imagetext.evaluate(str(run.folder)).values["about"]["data"]["split"] == "test"
