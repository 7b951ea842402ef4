"""imagetext: match, caption and find images and sentences.

    imagetext train configs/itm/cnn.yaml --data.root flickr8k --train.epochs 3
    imagetext evaluate runs/cnn-1

Each verb of the command line is a function of this module, called with the same words:

    import imagetext
    run = imagetext.train("configs/itm/cnn.yaml", {"data.root": "flickr8k", "train.epochs": 3})

Importing this module, and `--help`, stay light: TensorFlow is imported by the verbs that need it.
"""

import importlib
import importlib.util
import os
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from imagetext import __version__
from imagetext.commands.program import Program, Word
from imagetext.errors import UserError
from imagetext.terminal import counted, quiet_tensorflow

#: Task -> (module of its configuration, name of the class there).
TASKS = {
    "itm": ("imagetext.itm.config", "ITMConfig"),
    "captioning": ("imagetext.captioning.config", "CaptioningConfig"),
    "retrieval": ("imagetext.retrieval.config", "RetrievalConfig"),
}


def train(config: str, overrides: Mapping | None = None, resume: bool = False):
    """Train what a configuration describes, in a new folder under runs/.

    Any key of the configuration can be set by its dotted name (all are listed below). A run that
    was interrupted, killed even, goes on with --resume exactly as if it had not been.

    Example:
        imagetext train configs/itm/cnn.yaml --data.root flickr8k --train.epochs 3
        imagetext train runs/cnn-1 --resume

    Args:
        config: A YAML file, or the folder of a run to resume.
        overrides: Keys of the configuration by dotted name.
        resume: Go on with a run (named by its folder, or by --run.name).
    """
    from imagetext.training.config_files import load_config, read_yaml

    path = Path(config)
    task = _task(path / "config.yaml" if path.is_dir() else path, read_yaml)
    if path.is_dir() and (overrides or not resume):
        raise UserError(f"{path}: a run goes on as it began -- imagetext train {path} --resume")
    chosen = None if path.is_dir() else load_config(_config_class(task), path, overrides)
    quiet_tensorflow()
    module = importlib.import_module(f"imagetext.{task}.train")
    run = module.train(chosen, resume, name=path.stem) if chosen else module.resume_run(path)
    print(f"\nRun: {run.folder}\nNext: imagetext evaluate {run.folder}")
    return run


def evaluate(
    run: str,
    split: str = "test",
    overrides: Mapping | None = None,
    scorer: str | None = None,
    to: str | None = None,
    rerank: str | None = None,
):
    """Score a run on a split and write report.json, report.md and report.html.

    Captioning or retrieval runs with commas between are scored together, as an ensemble; their
    report lies in a folder beside the first, named by all.

    The data may have moved since: --data.root, --data.images, --data.image_weights,
    --data.features, --data.cache, --data.skip_bad, and of matching --data.embeddings,
    --data.weights and --align.captions, can be set anew; of captioning also how captions are
    found, such as --decoding.beams.

    Example:
        imagetext evaluate runs/cnn-1 --split test
        imagetext evaluate runs/gru_attention-1 --split dev --decoding.beams 3
        imagetext evaluate runs/gru_attention-1 --split dev --scorer runs/retrieval-best-1
        imagetext evaluate runs/best-1,runs/best-2,runs/best-3 --split dev
        imagetext evaluate runs/retrieval-best-1 --split dev --rerank runs/itm-attention-1

    Args:
        run: The folder of a trained run; of captioning and retrieval also several with commas
            between.
        split: train, dev or test. (Some copies of Flickr8k hold the captions of test back.)
        overrides: Where the data lie, by dotted name, such as data.root.
        scorer: A retrieval run that says, of a captioning run, how well its captions fit the photos
            without reading a reference (as CLIPScore does).
        to: Folder for the report of several runs.
        rerank: A matching run that puts the first 50 candidates of each search of a retrieval run
            into order; what comes of it is told apart. How much say it has is chosen on dev.
    """
    from imagetext.training.ensemble import run_names

    runs, chosen = run_names(run), {}
    tasks = {name: _task_of_run(name) for name in runs}
    task = tasks[runs[0]]
    other = next((name for name in runs if tasks[name] != task or task == "itm"), None)
    if len(runs) > 1 and other:
        told = f"{other}: is a run of {tasks[other]} -- runs of captioning, or of retrieval, are"
        remedy = "; for the mean of matching runs: imagetext compare RUN RUN --ensemble"
        raise UserError(f"{told} scored together" + (remedy if tasks[other] == "itm" else ""))
    if to and len(runs) == 1:
        raise UserError(f"--to: is for several runs together -- the report of {run} lies in it")
    if scorer and task != "captioning":
        raise UserError(f"{run}: is a run of {task} -- --scorer scores captions alone")
    if scorer and _task_of_run(scorer) != "retrieval":
        raise UserError(f"{scorer}: is a run of another task -- name a retrieval run as --scorer")
    if rerank and task != "retrieval":
        raise UserError(f"{run}: is a run of {task} -- --rerank is for searches, of retrieval runs")
    if rerank and _task_of_run(rerank) != "itm":
        raise UserError(f"{rerank}: is a run of another task -- name a matching run as --rerank")
    quiet_tensorflow()
    module = importlib.import_module(f"imagetext.{task}.evaluate")
    if scorer:
        from imagetext.retrieval.predict import caption_judge

        chosen["judge"] = caption_judge(scorer)
    if rerank:
        from imagetext.itm.rerank import pair_matcher

        chosen["matcher"] = pair_matcher(rerank)
    if to:
        chosen["to"] = to
    report = module.evaluate(run, split, overrides=overrides, **chosen)
    print(report.summary)
    return report


def compare(runs: list[str], split: str = "test", to: str | None = None, ensemble: bool = False):
    """Set runs side by side: scores, intervals, size, time; write comparison.md, .json and .png.

    Runs of one configuration that differ by seed are one row: median, lowest and highest. All must
    be of one task.

    Example:
        imagetext compare runs/*
        imagetext compare runs/cnn-* runs/joint-* --split dev --ensemble

    Args:
        runs: The folders of evaluated runs.
        split: test, dev or train.
        to: Folder to write into; the one that holds the runs where not given.
        ensemble: Also score the mean of all the runs' match probabilities (matching only).
    """
    from imagetext.reports.comparison.compare import compare as compare_runs

    comparison = compare_runs([runs] if isinstance(runs, str) else runs, split, to, ensemble)
    print(comparison.summary)
    return comparison


def predict(run: str, photo: str, captions: list[str]):
    """Say how likely each caption describes the photo.

    Example:
        imagetext predict runs/cnn-1 photo.jpg "A dog runs" "A cat sleeps"

    Args:
        run: The folder of a trained run.
        photo: A JPEG or PNG file.
        captions: One or more sentences.
    """
    task = _task_of_run(run)
    if task == "retrieval":
        raise UserError(f"{run}: searches -- imagetext index build {run} FOLDER --to INDEX")
    if task != "itm":
        raise UserError(f"{run}: describes photos -- imagetext caption {run} {photo}")
    quiet_tensorflow()
    from imagetext.itm.predict import predict as predict_run

    captions = [captions] if isinstance(captions, str) else captions
    probabilities = predict_run(run, photo, captions)
    for caption, probability in zip(captions, probabilities, strict=True):
        answer = "Match" if probability >= 0.5 else "No match"
        print(f'{answer:8}  match {probability:.3f}  no-match {1 - probability:.3f}  "{caption}"')
    return probabilities


def classify(run: str, photo: str, labels: list[str], template: str | None = None):
    """Say which of several labels fits a photo, without having been trained on any of them.

    Example:
        imagetext classify runs/best-1 photo.jpg "a dog" "a cat" "a horse"
        imagetext classify runs/best-1 photo.jpg indoors outdoors --template "a scene that is {}"

    Args:
        run: The folder of a trained retrieval run.
        photo: A photo.
        labels: Two or more words or phrases, of which one is taken to be right.
        template: The sentence around a label, with {} in its place; some usual ones where not
            given.
    """
    if _task_of_run(run) != "retrieval":
        raise UserError(f"{run}: is a run of another task -- classify needs a retrieval run")
    quiet_tensorflow()
    from imagetext.retrieval.predict import TEMPLATES
    from imagetext.retrieval.predict import classify as classify_photo

    labels = [labels] if isinstance(labels, str) else labels
    probabilities = classify_photo(run, photo, labels, [template] if template else TEMPLATES)
    found = dict(zip(labels, probabilities, strict=True))
    for label in sorted(found, key=found.get, reverse=True):
        print(f"{found[label]:.3f}  {label}")
    return found


def caption(
    run: str,
    photos: list[str],
    beam: int | None = None,
    top: int = 1,
    maps: str | None = None,
    to: str | None = None,
    sample: bool = False,
):
    """Describe photos in words, each caption with its log probability.

    Of several captions a photo (--top), the order is that of the log probability by length, which
    stands in brackets. Several runs with commas between answer together. A file that is no photo is
    left out and told in the end.

    Example:
        imagetext caption runs/gru_attention-1 dog.jpg --top 3
        imagetext caption runs/best-1 holiday/ --to captions.csv --maps maps/
        imagetext caption runs/best-1,runs/best-2,runs/best-3 dog.jpg --beam 3

    Args:
        run: The folder of a trained captioning run, or several with commas between.
        photos: Photos, and folders of photos.
        beam: Candidates kept at each word; the run's own where not given.
        top: Captions shown a photo.
        maps: Folder for pictures of where the model looked at each word.
        to: A .jsonl or .csv file to write.
        sample: Draw captions at random instead, by the model's probabilities.
    """
    from imagetext.training.ensemble import run_names

    photos = [photos] if isinstance(photos, str) else photos
    for name in run_names(run):
        task = _task_of_run(name)
        if task == "retrieval":
            raise UserError(f"{name}: searches -- imagetext index build {name} FOLDER --to INDEX")
        if task != "captioning":
            raise UserError(f'{name}: matches -- imagetext predict {name} {photos[0]} "A caption"')
    quiet_tensorflow()
    from imagetext.captioning.describe import checked_target, describe
    from imagetext.errors import DataError

    shown = (lambda described: print(described.text, flush=True)) if not to else None
    if to:
        checked_target(to)
    found = describe(run, photos, beam, top, maps, sample, shown)
    if to:
        found.write(to)
        print(f"{counted(len(found.photos), 'photo')} -> {to}")
    if maps:
        print(f"Where it looked: {maps}")
    if found.bad:
        headline = f"{len(found.bad)} of {len(found.bad) + len(found.photos)} photos were left out"
        raise DataError(found.bad, headline, shown=None)
    return found


def export(run: str, to: str | None = None):
    """Write a SavedModel that takes photo bytes (and for matching a caption), and the .keras file.

    Example:
        imagetext export runs/cnn-1

    Args:
        run: The folder of a trained run.
        to: Folder to write; the run's own export/ where not given.
    """
    from imagetext.training.ensemble import run_names

    if len(several := run_names(run)) > 1:
        raise UserError(f"{run}: are several runs -- export one of them: {several[0]}")
    task = _task_of_run(run)
    quiet_tensorflow()
    module = importlib.import_module(f"imagetext.{task}.export")
    folder = module.export(run, to)
    print(f"SavedModel: {folder}\nHow to call it: {folder.parent / 'README.txt'}")
    return folder


def encoders(measure: str | None = None):
    """List the encoders there are: sizes, licence, speed here, and whether the weights are at hand.

    Megabytes are those of the published weights, of a CLIP of both halves; of Kaggle's presets they
    are reckoned, 4 bytes a parameter.

    Example:
        imagetext encoders
        imagetext encoders --measure efficientnet_lite0,resnet50

    Args:
        measure: Encoders by name, with commas between, or all, whose speed is measured on this
            machine and remembered (up to half a minute each): photos a second, or texts of 16 word
            pieces.
    """
    from imagetext.encoders.listing import EVERY, as_text, encodes, listed, named
    from imagetext.encoders.listing import measure as measure_one

    names = [name.strip() for name in (measure or "").split(",") if name.strip()]
    chosen = EVERY if measure == "all" else [one for name in names for one in named(name)]
    if chosen:
        quiet_tensorflow()
    for encoder in chosen:
        print(f"{encoder.name}: {measure_one(encoder):,.1f} {encodes(encoder)}/s", flush=True)
    rows = listed()
    print(as_text(rows))
    if any(row["per second"] == "-" for row in rows):
        print("per second: measured on this machine by --measure NAME, or --measure all")
    return rows


def data_audit(root: str, kind: str = "auto"):
    """Look for leaks: photos and captions shared between splits, near-duplicates, flipped labels.

    Where features of the photos are in the cache (imagetext data features), the photos of different
    splits are compared by these as well, and the nearest shown.

    Example:
        imagetext data audit flickr8k

    Args:
        root: Folder of the data.
        kind: auto, course, flickr8k, folder or sample.
    """
    from imagetext.pipelines.audit import audit, audit_text
    from imagetext.pipelines.features import cached_store, photo_digests
    from imagetext.pipelines.records import SPLITS
    from imagetext.pipelines.sources import open_source

    source, problems = open_source(root, kind), []
    records = {split: list(source.records(split, problems)) for split in SPLITS}
    photos = list({record.image for rows in records.values() for record in rows})
    found = audit(records, store=cached_store(photo_digests(photos, [])))
    print(f"{source.kind}: {source.root}\n\n{audit_text(found)}")
    if problems:
        print(f"\n{counted(len(problems), 'bad row')} left out, the first: {problems[0]}")
    return found


def data_check(root: str, kind: str = "auto"):
    """List everything wrong with rows and photos, by file and line, however much it is.

    Example:
        imagetext data check flickr8k

    Args:
        root: Folder of the data.
        kind: auto, course, flickr8k, folder or sample.
    """
    quiet_tensorflow()
    from imagetext.errors import DataError
    from imagetext.pipelines.complaints import check_thoroughly
    from imagetext.pipelines.sources import every_record, open_source

    source = open_source(root, kind)
    records, problems = every_record(source)
    photos = list(dict.fromkeys(record.image for record in records))
    problems += check_thoroughly(photos)
    if problems:
        raise DataError(problems, f"{counted(len(problems), 'problem')} in {root}", shown=None)
    rows = f"{counted(len(records), 'row')}, {counted(len(photos), 'photo')}"
    print(f"{source.kind}: {rows}, no problems")
    return records


def data_embed(
    root: str,
    kind: str = "auto",
    to: str | None = None,
    weights: str | None = None,
    encoder: str = "all-MiniLM-L6-v2",
    half: bool = False,
):
    """Compute the 384-d sentence embeddings of all captions and store them beside the data.

    Example:
        imagetext data embed flickr8k
        imagetext data embed flickr8k --to flickr8k.cmp9137.sentence_transformers.pkl

    Args:
        root: Folder of the data.
        kind: auto, course, flickr8k, folder or sample.
        to: File to write, .npz or .pkl; embeddings.npz in the data's folder where not given.
        weights: Folder with all-MiniLM-L6-v2's model.safetensors and vocab.txt.
        encoder: Another sentence-transformers model by name (needs that extra).
        half: Store half precision, at half the size.
    """
    quiet_tensorflow()
    from imagetext.encoders.sentences import sentence_encoder
    from imagetext.pipelines.embeddings import EmbeddingTable
    from imagetext.pipelines.sources import every_record, open_source

    path = Path(to) if to else None
    if path and path.suffix not in (".npz", ".pkl"):
        raise UserError(f"{path}: embeddings are written to .npz or .pkl files")
    source = open_source(root, kind)
    records, problems = every_record(source)
    captions = list(dict.fromkeys(text for record in records for text in record.texts))
    vectors = sentence_encoder(encoder, weights)(captions, verbose=True)
    path = path or source.root / "embeddings.npz"
    EmbeddingTable(captions, vectors, encoder=encoder).write(path, half)
    print(f"{len(captions):,} captions -> {path}")
    if problems:
        print(f"{counted(len(problems), 'bad row')} left out, the first: {problems[0]}")
    return path


def data_features(
    root: str,
    encoder: str = "efficientnet_lite2",
    output: str = "grid",
    flips: bool = False,
    to: str | None = None,
    weights: str | None = None,
    dtype: str | None = None,
    kind: str = "auto",
    check: bool = False,
):
    """Run an image encoder over all photos once, into a store that training reads.

    Only photos without features are encoded: it can be stopped and started again at will, and
    given more photos later.

    Example:
        imagetext data features flickr8k/images
        imagetext data features flickr8k --encoder efficientnet_lite0 --output pooled --flips
        imagetext data features flickr8k/images --check

    Args:
        root: Folder of photos, or of data.
        encoder: An image encoder by name (`imagetext encoders` lists them).
        output: pooled, grid or flat.
        flips: Features of the mirrored photos, too.
        to: Folder of the features; one in the cache where not given.
        weights: File or folder of the encoder's weights, or the word random.
        dtype: float16 or bfloat16 on disk; float16 for new features where not given.
        kind: auto, photos, course, flickr8k, folder or sample.
        check: Compare all features there with their checksums first; damaged ones are told, and
            extracted again.
    """
    from imagetext.encoders.images import image_encoder
    from imagetext.pipelines.features import find_photos

    image_encoder(encoder)  # a mistake shows before all that takes time
    photos, problems = find_photos(root, kind)
    quiet_tensorflow()
    from imagetext.encoders.extraction import extract

    done = extract(photos, encoder, output, weights, to, flips, dtype, check=check)
    for photo in done.damaged:
        print(f"damaged features: {photo}")
    for problem in problems + done.bad:
        print(f"bad: {problem}")
    print(done.summary)
    return done


def data_sample(path: str):
    """Write the built-in sample, synthetic scenes in the layout of the course's folder.

    Example:
        imagetext data sample sample/

    Args:
        path: A new folder.
    """
    from imagetext.pipelines.sample import write_sample

    folder = write_sample(path)
    print(f"The sample (synthetic scenes, no photographs): {folder}")
    return folder


def serve(
    caption: str | None = None,
    match: str | None = None,
    index: str | None = None,
    retrieval: str | None = None,
    sample: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    hosts: str | None = None,
):
    """Show it in a browser: captions, search and matching, as a page and as a JSON API.

    Any of --caption, --match and --index will do. The page is up at once and says how far the
    models are loaded. Only this machine can reach it unless --host says otherwise.

    Example:
        imagetext serve --sample
        imagetext serve --caption runs/best-1 --match runs/itm-best-1 --index photos.index
        imagetext serve --caption runs/best-1 --host 0.0.0.0 --token "$(openssl rand -hex 16)"

    Args:
        caption: The folder of a captioning run, or several with commas between.
        match: The folder of a matching run.
        index: The folder of an index of photos.
        retrieval: The run that the index was built with, where it lies elsewhere now.
        sample: Small models of the built-in sample, trained first if need be (a few minutes).
        host: Address to listen at; 0.0.0.0 for all of this machine's.
        port: Port to listen at.
        token: Password of the API; better in the variable IMAGETEXT_TOKEN, which others cannot see.
        hosts: Names by which others call this machine, with commas between.
    """
    # Threads of NumPy's and FAISS's wait for the next search by spinning, and take a core from the
    # models for tens of milliseconds; they look here when they are first loaded.
    for library in ("OPENBLAS", "OMP"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    from imagetext.training.ensemble import run_names

    ways = {"captioning": "give it as --caption", "itm": "give it as --match"}
    ways["retrieval"] = "imagetext index build RUN FOLDER makes an index: give that as --index"
    for run, wanted in ((caption, "captioning"), (match, "itm"), (retrieval, "retrieval")):
        for name in run_names(run) if run else []:
            if (task := _task_of_run(name)) != wanted:
                raise UserError(f"{name}: is a run of {task} -- {ways[task]}")
    if importlib.util.find_spec("fastapi") is None:
        raise UserError("serve needs its extra -- pip install -e '.[web]'")
    from imagetext.serving.web.serve import build, token_given
    from imagetext.serving.web.serve import serve as serve_app
    from imagetext.serving.web.settings import Settings

    names = tuple(name.strip() for name in (hosts or "").split(",") if name.strip())
    settings = Settings(token=token_given(token), hosts=names)
    serve_app(build(caption, match, index, retrieval, sample, settings), host, port)


def index_build(run: str, folder: str, to: str = "photos.index", kind: str = "auto"):
    """Index photos by a retrieval run, so that they are found by words and by photos.

    Few photos are searched exactly; for many FAISS names candidates (pip install
    -e '.[search]'), as carefully as a recall@10 of 95 % demands, measured when built. A build
    that was stopped or killed goes on where it was; until it is done the old index answers.

    Example:
        imagetext index build runs/best-1 flickr8k --to flickr8k.index

    Args:
        run: The folder of a trained retrieval run.
        folder: A folder of photos, or of data whose captions are kept, too.
        to: The folder of the index.
        kind: auto, exact, ivfpq or hnsw.
    """
    if (task := _task_of_run(run)) != "retrieval":
        raise UserError(f"{run}: is a run of {task} -- photos are indexed by a retrieval run")
    from imagetext.retrieval.index.approximate import Settings
    from imagetext.retrieval.index.runs import build_index

    done = build_index(run, folder, to, Settings(kind))
    return _told(done)


def index_add(index: str, photos: list[str], run: str | None = None):
    """Add photos to an index, without building it anew; changed ones replace what was there.

    Example:
        imagetext index add flickr8k.index holiday/ dog.jpg

    Args:
        index: The folder of the index.
        photos: Photos, and folders of photos.
        run: The run it was built with, where that lies elsewhere now.
    """
    from imagetext.retrieval.index.manifest import read_manifest
    from imagetext.retrieval.index.runs import add_to_index

    read_manifest(index)  # what is not there is told before TensorFlow is loaded
    for path in photos:
        if not Path(path).expanduser().exists():
            raise UserError(f"{path}: no such file or folder -- nothing was added")
    _require_retrieval(run)
    return _told(add_to_index(index, photos, run))


def index_remove(index: str, photos: list[str]):
    """Take photos out of an index; their files stay.

    Example:
        imagetext index remove flickr8k.index holiday/ dog.jpg

    Args:
        index: The folder of the index.
        photos: Photos, and folders of photos, as they were indexed.
    """
    from imagetext.retrieval.index.build import remove

    return _told(remove(index, photos))


def index_check(index: str):
    """Look for photos that are missing, changed or corrupt, and for damage to the index itself.

    Example:
        imagetext index check flickr8k.index

    Args:
        index: The folder of the index.
    """
    from imagetext.errors import DataError
    from imagetext.retrieval.index.check import check
    from imagetext.retrieval.index.runs import progress

    found = check(index, progress())
    if found.problems:
        raise DataError(found.problems, found.summary, shown=None)
    print(found.summary)
    return found


def search(
    index: str,
    text: Word = None,
    photo: str | None = None,
    not_: str | None = None,
    top: int = 12,
    montage: str | None = None,
    run: str | None = None,
):
    """Find photos by words, by a photo, or by both.

    Example:
        imagetext search flickr8k.index "a dog in snow" --top 12 --montage found.png
        imagetext search flickr8k.index "at night" --photo street.jpg --not "cars"

    Args:
        index: The folder of an index.
        text: What shall be seen.
        photo: A photo that they shall resemble; it is not among what is found.
        not_: What shall not be seen.
        top: How many.
        montage: A picture of them to write, with scores and names.
        run: The run it was built with, where that lies elsewhere now.
    """
    from imagetext.files import replacing
    from imagetext.retrieval.index.manifest import read_manifest
    from imagetext.retrieval.index.montage import montage as sheet
    from imagetext.retrieval.index.montage import titled
    from imagetext.retrieval.index.query import NOTHING
    from imagetext.retrieval.index.runs import as_text, open_searcher, read_photo

    # What can be told before TensorFlow is loaded is.
    if montage and Path(montage).suffix.lower() != ".png":
        raise UserError(f"{montage}: a montage is written to a .png file")
    if top < 1:
        raise UserError(f"--top: {top} -- must be at least 1")
    if not photo and not (text or "").strip():
        raise UserError(NOTHING)
    read_manifest(index)
    _require_retrieval(run)
    given = read_photo(photo) if photo else None
    searcher = open_searcher(index, run)
    if searcher.index.note:
        print(searcher.index.note, file=sys.stderr)
    hits = searcher.search(text, given, not_, top)
    print(as_text(hits))
    if montage:
        with replacing(montage) as temporary:
            sheet(hits, titled(text, photo, not_)).save(temporary)
        print(f"Montage: {montage}")
    return hits


def _task(path: Path, read_yaml: Callable) -> str:
    task = read_yaml(path).get("task", "itm")
    if task not in TASKS:
        raise UserError(f"{path}: unknown task {task!r} -- one of {', '.join(TASKS)}")
    return task


def _task_of_run(run: str) -> str:
    from imagetext.training.config_files import read_yaml
    from imagetext.training.run import open_run

    return _task(open_run(run).config_file, read_yaml)


def _config_class(task: str) -> type:
    module, name = TASKS[task]
    return getattr(importlib.import_module(module), name)


def _require_retrieval(run: str | None) -> None:
    if run and (task := _task_of_run(run)) != "retrieval":
        raise UserError(f"{run}: is a run of {task} -- an index has its vectors of a retrieval run")


def _told(done):
    """What an index's change did, with what was left out."""
    for problem in done.bad:
        print(f"bad: {problem}")
    print(done.summary)
    return done


VERBS: dict[str, Callable] = {
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "caption": caption,
    "classify": classify,
    "export": export,
    "search": search,
    "serve": serve,
    "encoders": encoders,
    "data audit": data_audit,
    "data check": data_check,
    "data embed": data_embed,
    "data features": data_features,
    "data sample": data_sample,
    "index build": index_build,
    "index add": index_add,
    "index remove": index_remove,
    "index check": index_check,
}


def _all_keys() -> str:
    """Every key of every task's configuration, with default and meaning."""
    from imagetext.training.config_files import described

    lines = []
    for task in TASKS:
        lines += [f"keys of the configuration (task {task}), with their defaults:"]
        for key, default, meaning in described(_config_class(task)):
            text = textwrap.fill(meaning, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
            lines += [f"  --{key} {default}", text]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    about = __doc__.splitlines()[0]
    program = Program("imagetext", VERBS, about, __version__, {"train": _all_keys})
    return program.run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
