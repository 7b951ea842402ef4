"""`imagetext predict`, `caption`, `classify` and `search`: what trained models answer."""

import sys
from pathlib import Path

from imagetext import api
from imagetext.commands.program import Word
from imagetext.errors import DataError, UserError
from imagetext.terminal import plural


def predict(run: str, photo: str, captions: list[str]):
    """Say how likely each caption describes the photo.

    Example:
        imagetext predict runs/cnn-1 photo.jpg "A dog runs" "A cat sleeps"

    Args:
        run: The folder of a trained matching run.
        photo: An image file.
        captions: One or more sentences.
    """
    answer = api.predict(run, photo, captions)
    for sentence, probability in zip(captions, answer, strict=True):
        label = "Match" if probability >= 0.5 else "No match"
        numbers = f"match {probability:.3f}  no-match {1 - probability:.3f}"
        print(f'{label:8}  {numbers}  "{sentence}"')
    return answer


def caption(
    run: str,
    photos: list[str],
    beams: int | None = None,
    top: int = 1,
    maps: str | None = None,
    to: str | None = None,
    sample: bool = False,
    beam: int | None = None,
):
    """Describe photos in words; each caption comes with its log probability.

    With --top, captions are ordered by their length-normalised log probability, shown in brackets.
    Several runs separated by commas answer together, as an ensemble. Files that are not photos are
    skipped and listed at the end.

    Example:
        imagetext caption runs/gru_attention-1 dog.jpg --top 3
        imagetext caption runs/best-1 holiday/ --to captions.csv --maps maps/
        imagetext caption runs/best-1,runs/best-2,runs/best-3 dog.jpg --beams 3

    Args:
        run: The folder of a trained captioning run, or several separated by commas.
        photos: Image files and folders of image files.
        beams: Width of the beam search; that of the run by default.
        top: Number of captions for each photo.
        maps: Folder for pictures of where the model looked at each word.
        to: A .jsonl or .csv file to write.
        sample: Draw captions at random, following the model's probabilities.
        beam: Deprecated: the former name of --beams.
    """
    if beam is not None:
        print("--beam is deprecated; use --beams", file=sys.stderr)
        beams = beam if beams is None else beams
    if to:
        from imagetext.captioning.describe import check_target

        check_target(to)

    def show(described) -> None:
        print(described.text, flush=True)

    results = api.caption(run, photos, beams, top, maps, sample, None if to else show)
    if to:
        results.write(to)
        print(f"{plural(len(results.photos), 'photo')} -> {to}")
    if maps:
        print(f"Attention maps: {maps}")
    if results.bad:
        total = len(results.bad) + len(results.photos)
        raise DataError(results.bad, f"skipped {len(results.bad)} of {total} photos", shown=None)
    return results


def classify(run: str, photo: str, labels: list[str], template: str | None = None):
    """Classify a photo by labels that the model was never trained on (zero-shot).

    Example:
        imagetext classify runs/best-1 photo.jpg "a dog" "a cat" "a horse"
        imagetext classify runs/best-1 photo.jpg indoors outdoors --template "a scene that is {}"

    Args:
        run: The folder of a trained retrieval run.
        photo: An image file.
        labels: Two or more words or phrases, of which one is assumed to be right.
        template: The sentence around a label, with {} in its place; common ones by default.
    """
    probabilities = api.classify(run, photo, labels, template)
    for label in sorted(probabilities, key=lambda label: -probabilities[label]):
        print(f"{probabilities[label]:.3f}  {label}")
    return probabilities


def search(
    index: str,
    text: Word = None,
    photo: str | None = None,
    not_: str | None = None,
    top: int = 12,
    montage: str | None = None,
    run: str | None = None,
):
    """Find photos by text, by a photo, or by both.

    Example:
        imagetext search flickr8k.index "a dog in snow" --top 12 --montage results.png
        imagetext search flickr8k.index "at night" --photo street.jpg --not "cars"

    Args:
        index: The folder of an index.
        text: What the photos should show.
        photo: A photo that they should resemble; it is left out of the results.
        not_: What they should not show.
        top: Number of results.
        montage: A .png file to write, with the results, their scores and names.
        run: The retrieval run that built the index, if it has been moved.
    """
    if montage and Path(montage).suffix.lower() != ".png":
        raise UserError(f"--montage: must be a .png file, got {montage}")
    results = api.search(index, text, photo, not_, top, run)
    from imagetext.files import replacing
    from imagetext.retrieval.index.montage import describe_query
    from imagetext.retrieval.index.montage import montage as draw
    from imagetext.retrieval.index.runs import as_text

    print(as_text(results))
    if montage:
        with replacing(montage) as temporary:
            draw(results, describe_query(text, photo, not_)).save(temporary)
        print(f"Montage: {montage}")
    return results
