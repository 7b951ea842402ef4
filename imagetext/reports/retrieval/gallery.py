"""Searches with their results: photos for a caption, captions for a photo.

sections = choose_examples(search_set, ranks, similarities, count=12)
Path("gallery.png").write_bytes(draw_gallery(sections))
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.reports.kit.gallery import Section, draw_sections
from imagetext.reports.kit.images import FAINT, GAP, INK, PAPER, draw_text, thumbnail
from imagetext.reports.retrieval.search_set import SearchSet

#: Results that are shown of each search.
TOP = 5
#: Side of a photo and width of the picture in pixels; letters in a line.
PHOTO, WIDTH, LETTERS = 130, 1000, 96
CORRECT = "#1f8a4c"


@dataclass(frozen=True)
class RankedResult:
    """A result of a search.

    Args:
        item: The path of a photo, or a caption.
        similarity: Its similarity to the query.
        is_correct: Whether it is a correct result.
    """

    item: str
    similarity: float
    is_correct: bool


@dataclass(frozen=True)
class SearchExample:
    """A search in the gallery.

    Args:
        photo: A photo.
        caption: A caption of this photo; one of the two is the query.
        by_text: Whether the query is the caption.
        rank: Rank of the first correct result.
        results: The first results.
    """

    photo: str
    caption: str
    by_text: bool
    rank: int
    results: tuple[RankedResult, ...]


def choose_examples(
    search_set: SearchSet, ranks: Ranks, similarities: np.ndarray, count: int
) -> list[Section[SearchExample]]:
    """Choose searches in both directions: some with the correct result first or in the top 10, and
    those where it ranks worst. A photo occurs at most once in a section.

    Args:
        search_set: Photos and captions.
        ranks: Ranks of the correct results.
        similarities: float [n, m].
        count: About how many searches to choose in total.
    """
    each = -(-count // 6) if count else 0
    rng = np.random.default_rng(0)
    sections = []
    for by_text, of_query in ((True, ranks.photo_ranks), (False, ranks.caption_ranks)):
        direction = "Text to photo" if by_text else "Photo to text"
        order = rng.permutation(len(of_query))
        last = order[np.argsort(-of_query[order], kind="stable")]
        kinds = {
            "ranked first": order[of_query[order] == 1],
            "ranked 2 to 10": order[(of_query[order] > 1) & (of_query[order] <= 10)],
            "worst ranks": last[of_query[last] > 10],
        }
        for title, queries in kinds.items():
            by_photo: dict[int, SearchExample] = {}
            for query in queries.tolist():
                photo = int(search_set.owner[query]) if by_text else query
                if len(by_photo) < each and photo not in by_photo:
                    rank = int(of_query[query])
                    by_photo[photo] = _example(search_set, similarities, query, by_text, rank)
            sections.append(Section(f"{direction}: {title}", tuple(by_photo.values())))
    return sections


def _example(
    search_set: SearchSet, similarities: np.ndarray, query: int, by_text: bool, rank: int
) -> SearchExample:
    photos, captions, owner = search_set.photo, search_set.caption, search_set.owner
    scores = similarities[:, query] if by_text else similarities[query]
    items = photos if by_text else captions
    results = []
    for index in np.argsort(-scores, kind="stable")[:TOP].tolist():
        photo, caption = (index, query) if by_text else (query, index)
        is_correct = search_set.is_correct(photo, caption)
        results.append(RankedResult(items[index], float(scores[index]), is_correct))
    photo = int(owner[query]) if by_text else query
    caption = query if by_text else int(np.flatnonzero(owner == query)[0])
    return SearchExample(photos[photo], captions[caption], by_text, rank, tuple(results))


def draw_gallery(sections: Sequence[Section[SearchExample]]) -> bytes | None:
    """Draw all sections as one PNG; None if there are no examples."""
    return draw_sections(sections, _draw_example, WIDTH, heading_size=18)


def _draw_example(example: SearchExample) -> Image.Image:
    rank = f"rank of the correct result: {example.rank:,}"
    return (_draw_photos if example.by_text else _draw_captions)(example, rank)


def _draw_photos(example: SearchExample, rank: str) -> Image.Image:
    """The caption, and below it the photos."""
    lines = textwrap.wrap(example.caption, LETTERS, max_lines=2, placeholder=" ...")
    top = GAP + 22 * len(lines) + 22
    piece = Image.new("RGB", (WIDTH, top + PHOTO + 3 * GAP + 12), PAPER)
    draw_text(piece, (GAP, 4), lines, INK, 16)
    draw_text(piece, (GAP, 4 + 22 * len(lines)), [rank], FAINT, 12)
    for index, result in enumerate(example.results):
        left = GAP + index * (PHOTO + 2 * GAP)
        piece.paste(thumbnail(result.item, PHOTO), (left, top))
        if result.is_correct:
            box = (left - 3, top - 3, left + PHOTO + 2, top + PHOTO + 2)
            ImageDraw.Draw(piece).rectangle(box, outline=CORRECT, width=3)
        colour = CORRECT if result.is_correct else FAINT
        draw_text(piece, (left, top + PHOTO + 5), [f"{result.similarity:.2f}"], colour, 12)
    return piece


def _draw_captions(example: SearchExample, rank: str) -> Image.Image:
    """The photo, and beside it the captions."""
    piece = Image.new("RGB", (WIDTH, PHOTO + 2 * GAP), PAPER)
    piece.paste(thumbnail(example.photo, PHOTO), (GAP, GAP))
    left = PHOTO + 3 * GAP
    draw_text(piece, (left, GAP), [rank], FAINT, 12)
    for index, result in enumerate(example.results):
        caption = textwrap.shorten(result.item, LETTERS, placeholder=" ...")
        line = f"{result.similarity:.2f}  {caption}"
        colour = CORRECT if result.is_correct else INK
        draw_text(piece, (left, GAP + 22 * (index + 1)), [line], colour, 12)
    return piece
