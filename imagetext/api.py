"""The Python API: what `import imagetext` offers.

    import imagetext

    run = imagetext.train("itm/cnn", {"data.root": "flickr8k", "train.epochs": 3})
    report = imagetext.evaluate(run, split="test")
    model = imagetext.load(run)
    model.predict("photo.jpg", ["A dog runs", "A cat sleeps"])

Nothing here prints; TensorFlow is imported by the functions that need it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from imagetext.errors import UserError
from imagetext.pipelines.sources import require_data
from imagetext.task import (
    Companion,
    Task,
    require_task,
    resolve,
    task_of_config,
    task_of_run,
    task_with_verb,
)
from imagetext.terminal import quiet_tensorflow
from imagetext.training.config_files import find_config, load_config, read_yaml, shipped_configs
from imagetext.training.ensemble import open_trained_runs, run_names
from imagetext.training.run import Run

if TYPE_CHECKING:
    from imagetext.reports.comparison.compare import Comparison

#: A run as a function takes it: its folder, or the object that `train` returned.
RunLike = Run | str | Path


def train(
    config: str | Path, overrides: Mapping[str, Any] | None = None, resume: bool = False
) -> Run:
    """Train the model that a configuration describes, in a new folder under `runs/`.

    Args:
        config: A YAML file, the name of a shipped configuration such as "itm/cnn", or the folder
            of an interrupted run.
        overrides: Values by dotted key, such as {"train.epochs": 3}.
        resume: Continue an interrupted run (given by its folder, or by `run.name`) exactly where
            it stopped.

    Returns:
        The finished `Run`.

    Examples:
        >>> run = imagetext.train("itm/sample", {"train.epochs": 1})
        >>> run.folder
        PosixPath('runs/sample-1')
    """
    path = Path(config)
    if path.is_dir():
        if overrides or not resume:
            raise UserError(
                f"{path}: an interrupted run continues with its own configuration;"
                f" try: imagetext train {path} --resume"
            )
        task = task_of_run(path)
        quiet_tensorflow()
        return task.resume(path)
    file = find_config(config)
    task = task_of_config(file)
    chosen: Any = load_config(task.config_class, file, overrides)
    require_data(chosen)
    quiet_tensorflow()
    return task.train(chosen, resume, name=file.stem)


def evaluate(
    run: RunLike,
    split: str = "test",
    overrides: Mapping[str, Any] | None = None,
    to: str | Path | None = None,
    **companions: str | None,
) -> Any:
    """Score a run on a split and write its report (report.json, report.md and report.html).

    Args:
        run: The folder of a trained run; several, separated by commas, are scored together as an
            ensemble.
        split: "train", "dev" or "test".
        overrides: Where the data is now, by dotted key, such as {"data.root": "flickr8k"}.
        to: Folder for the report of an ensemble.
        **companions: Runs of other tasks that take part: `scorer` (a retrieval run) for captioning,
            `rerank` (a matching run) for retrieval.

    Returns:
        A `Report` with `values` (every number, as in report.json), `summary` and `folder`.

    Examples:
        >>> report = imagetext.evaluate("runs/cnn-1", split="dev")
        >>> report.values["scores"]["model"]["accuracy"]["value"]
    """
    name = _name(run)
    runs = run_names(name)
    task = _one_task(runs)
    if to and len(runs) == 1:
        raise UserError(f"--to: only for several runs together; the report of {name} is inside it")
    options: dict[str, Any] = {"to": to} if to else {}
    used = {option: other for option, other in companions.items() if other}
    chosen = {option: _companion(task, name, option, other) for option, other in used.items()}
    _require_data_of_run(runs[0], overrides)
    _require_trained(name)
    quiet_tensorflow()
    for option, companion in chosen.items():
        options[companion.argument] = resolve(companion.open)(used[option])
    return task.evaluate(name, split, overrides=overrides, **options)


def compare(
    runs: RunLike | Sequence[RunLike],
    split: str = "test",
    to: str | Path | None = None,
    ensemble: bool = False,
) -> "Comparison":
    """Compare evaluated runs: scores, intervals, size and time, also written to comparison.md.

    Args:
        runs: The folders of evaluated runs of one task.
        split: "train", "dev" or "test".
        to: Folder to write into; the folder that holds the runs by default.
        ensemble: Deprecated: evaluate the runs together instead, as "runs/a,runs/b".

    Returns:
        A `Comparison` with `values` and `summary`.

    Examples:
        >>> print(imagetext.compare(["runs/cnn-1", "runs/joint-1"]).summary)
    """
    from imagetext.reports.comparison.compare import compare as compare_runs

    each = [runs] if isinstance(runs, Run | str | Path) else runs
    return compare_runs([_name(run) for run in each], split, to and str(to), ensemble)


def load(run: RunLike, overrides: Mapping[str, Any] | None = None) -> Any:
    """Load the trained model of a run, ready to be used.

    Args:
        run: The folder of a trained run.
        overrides: Where weights and data are now, by dotted key.

    Returns:
        A `MatchingModel`, `CaptioningModel` or `RetrievalModel`; each has a `predict` method.

    Examples:
        >>> model = imagetext.load("runs/cnn-1")
        >>> model.predict("photo.jpg", ["A dog runs"])
    """
    name = _name(run)
    task = task_of_run(name)
    _require_trained(name)
    quiet_tensorflow()
    return task.load(name, overrides)


def predict(run: RunLike, photo: str | Path, captions: str | Sequence[str]) -> Any:
    """How likely each caption describes the photo, according to a matching run.

    Args:
        run: The folder of a trained matching run.
        photo: An image file.
        captions: One or more sentences.

    Returns:
        The probability of a match for each caption.

    Examples:
        >>> imagetext.predict("runs/cnn-1", "photo.jpg", ["A dog runs", "A cat sleeps"])
    """
    name = _name(run)
    task = task_with_verb(name, "predict", str(photo))
    _require_trained(name, [photo])
    quiet_tensorflow()
    sentences = [captions] if isinstance(captions, str) else list(captions)
    return resolve(str(task.predictor))(name, str(photo), sentences)


def caption(
    run: RunLike,
    photos: str | Path | Sequence[str | Path],
    beams: int | None = None,
    top: int = 1,
    maps: str | Path | None = None,
    sample: bool = False,
    progress: Any = None,
) -> Any:
    """Describe photos in words.

    Args:
        run: The folder of a trained captioning run, or several separated by commas.
        photos: Image files and folders of image files.
        beams: Width of the beam search; that of the run by default.
        top: Number of captions for each photo.
        maps: Folder for pictures of where the model looked at each word.
        sample: Draw captions at random, following the model's probabilities.
        progress: Called with the captions of each photo as soon as they are ready.

    Returns:
        An object with `photos` (captions and scores of each) and `bad` (files left out).

    Examples:
        >>> imagetext.caption("runs/gru_attention-1", "dog.jpg").photos[0].captions[0].text
    """
    files = [str(photos)] if isinstance(photos, str | Path) else list(map(str, photos))
    name = _name(run)
    for each in run_names(name):
        require_task(each, "captioning", files[0])
    _require_trained(name, files)
    quiet_tensorflow()
    from imagetext.captioning.describe import describe

    return describe(name, files, beams, top, maps and str(maps), sample, progress)


def classify(
    run: RunLike, photo: str | Path, labels: Sequence[str], template: str | None = None
) -> dict[str, float]:
    """Classify a photo by labels that the model was never trained on (zero-shot).

    Args:
        run: The folder of a trained retrieval run.
        photo: An image file.
        labels: Two or more words or phrases.
        template: The sentence around a label, with {} in its place; common ones by default.

    Returns:
        The probability of each label, given that one of them is right.

    Examples:
        >>> imagetext.classify("runs/best-1", "photo.jpg", ["a dog", "a cat"])
        {'a dog': 0.97, 'a cat': 0.03}
    """
    name = _name(run)
    require_task(name, "retrieval", str(photo))
    _require_trained(name, [photo])
    quiet_tensorflow()
    from imagetext.retrieval.predict import TEMPLATES
    from imagetext.retrieval.predict import classify as classify_photo

    each = [labels] if isinstance(labels, str) else list(labels)
    probabilities = classify_photo(name, photo, each, [template] if template else TEMPLATES)
    return dict(zip(each, probabilities, strict=True))


def search(
    index: str | Path,
    text: str | None = None,
    photo: str | Path | None = None,
    without: str | None = None,
    top: int = 12,
    run: RunLike | None = None,
) -> Any:
    """Find photos of an index by text, by a photo, or by both.

    Args:
        index: The folder of an index (see `build_index`).
        text: What the photos should show.
        photo: A photo that they should resemble.
        without: What they should not show.
        top: Number of results.
        run: The retrieval run that built the index, if it has been moved.

    Returns:
        The results, best first, each with `path`, `score` and `captions`.

    Examples:
        >>> for result in imagetext.search("photos.index", "a dog in snow", top=3):
        ...     print(result.score, result.path)
    """
    from imagetext.retrieval.index.runs import search_index

    return search_index(index, text, photo, without, top, _name(run) if run else None)


def build_index(
    run: RunLike,
    folder: str | Path,
    to: str | Path = "photos.index",
    kind: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Index the photos of a folder with a retrieval run, so that `search` can find them.

    Args:
        run: The folder of a trained retrieval run.
        folder: A folder of photos, or of data whose captions are then kept with the photos.
        to: The folder of the index.
        kind: "auto", "exact", "ivfpq" or "hnsw".
        progress: Called with the number of files done and in all.

    Returns:
        An object with `summary` and `bad` (files left out).

    Examples:
        >>> imagetext.build_index("runs/best-1", "holiday/", to="holiday.index")
    """
    name = _name(run)
    require_task(name, "retrieval")
    from imagetext.retrieval.index.approximate import IndexSettings
    from imagetext.retrieval.index.runs import build_index as build

    return build(name, str(folder), str(to), IndexSettings(kind), progress)


def export(run: RunLike, to: str | Path | None = None) -> Path:
    """Export a run as a SavedModel that takes image bytes and sentences, beside its .keras file.

    Args:
        run: The folder of a trained run.
        to: Folder to write; the run's own `export/` by default.

    Returns:
        The folder of the SavedModel.

    Examples:
        >>> imagetext.export("runs/cnn-1")
        PosixPath('runs/cnn-1/export/saved_model')
    """
    name = _name(run)
    if len(several := run_names(name)) > 1:
        raise UserError(f"{name}: an ensemble cannot be exported; export one run: {several[0]}")
    task = task_of_run(name)
    _require_trained(name)
    quiet_tensorflow()
    return task.export(name, str(to) if to else None)


def list_encoders() -> list[dict[str, Any]]:
    """All encoders: sizes, licence, speed on this machine, and where the weights are.

    Examples:
        >>> [encoder["name"] for encoder in imagetext.list_encoders()]
    """
    from imagetext.encoders import listing

    return listing.list_encoders()


def list_configs() -> dict[str, Path]:
    """The configurations that come with imagetext, by name.

    Examples:
        >>> imagetext.train(imagetext.list_configs()["itm/cnn"])
    """
    return shipped_configs()


def _require_data_of_run(run: str, overrides: Mapping[str, Any] | None) -> None:
    """Report data that has moved at once, before TensorFlow is imported."""
    data = {"root": None} | (read_yaml(Run(Path(run)).config_file).get("data") or {})
    for key, value in (overrides or {}).items():
        section, _, name = key.partition(".")
        if section == "data":
            data[name] = None if value == "null" else value
    require_data(SimpleNamespace(data=SimpleNamespace(**data)))


def _require_trained(names: str, photos: Sequence[str | Path] = ()) -> None:
    """Report untrained runs and missing photos before TensorFlow is imported, which is slow."""
    open_trained_runs(names)
    for photo in photos:
        if not Path(photo).exists():
            raise UserError(f"{photo}: no such file or folder")


def _name(run: RunLike) -> str:
    return str(run.folder) if isinstance(run, Run) else str(run)


def _one_task(runs: Sequence[str]) -> Task:
    """The task that all runs belong to."""
    first = task_of_run(runs[0])
    for run in runs[1:]:
        if (task := task_of_run(run)).name != first.name:
            raise UserError(
                f"{run}: this is a {task.label} run, but {runs[0]} is a {first.label} run;"
                " an ensemble needs runs of one task"
            )
    return first


def _companion(task: Task, run: str, option: str, other: str) -> Companion:
    if option not in task.companions:
        raise UserError(f"{run}: --{option} does not apply to {task.label} runs")
    companion = task.companions[option]
    require_task(other, companion.task)
    return companion
