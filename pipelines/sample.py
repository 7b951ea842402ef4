"""A small synthetic dataset that needs no download: scenes of two coloured shapes.

    write_sample("sample")      # a folder in the layout of the course's Flickr8k folder

Scenes come in pairs, called twins: most differ in one attribute or in the relation, the rest are
any two scenes. Each twin is listed with its own captions as "match" and with those of the other one
as "no-match". Every caption and every photo is thus a match as often as not: neither of them alone
predicts the label.
"""

import math
import random
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imagetext.errors import UserError
from imagetext.files import cannot_write
from imagetext.pipelines.records import MATCH, NO_MATCH, Source

if TYPE_CHECKING:
    from PIL import Image

NOTICE = """\
This is the built-in SAMPLE: synthetic scenes of coloured shapes, not photographs. Its scores show
that everything works and say nothing about real photos. For real data: --data.root PATH"""
MARKER = "THIS_IS_THE_IMAGETEXT_SAMPLE.txt"
EMBEDDINGS = Path(__file__).with_name("sample_embeddings.npz")
#: To be raised when drawings or lists change, so that a cached sample is not used any more.
VERSION = 2

SIZES = ("small", "large")
COLOURS = {
    "red": (214, 40, 40),
    "green": (44, 150, 70),
    "blue": (40, 80, 210),
    "yellow": (240, 200, 30),
}
SHAPES = ("circle", "square", "star")
RELATIONS = ("left of", "right of", "above", "below")
CONVERSE = dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))
TWINS = {"train": 2500, "dev": 200, "test": 400}
#: Share of twins that are any two scenes; they are easy.
EASY = 0.3
PIXELS = 48


def sample_notices(source: Source) -> list[str]:
    """What to say of results on this data: NOTICE for the sample, nothing for other data."""
    return [NOTICE] if source.kind == "sample" else []


@dataclass(frozen=True)
class Scene:
    """A scene: Scene("small", "red", "star", "left of", "blue", "square").

    Args:
        size: Size of the first shape.
        colour: Its colour.
        shape: Its shape.
        relation: Where it is in relation to the other shape.
        other_colour: Colour of the other shape.
        other_shape: The other shape.
    """

    size: str
    colour: str
    shape: str
    relation: str
    other_colour: str
    other_shape: str

    @property
    def captions(self) -> tuple[str, str, str]:
        """Three true sentences: complete, converse, and without the size."""
        first, other = f"{self.colour} {self.shape}", f"{self.other_colour} {self.other_shape}"
        return (
            f"a {self.size} {first} {self.relation} a {other}",
            f"a {other} {CONVERSE[self.relation]} a {self.size} {first}",
            f"a {first} {self.relation} a {other}",
        )

    def is_converse_of(self, other: "Scene") -> bool:
        """Whether `other` may be the same scene, described from its other shape."""
        return (self.colour, self.shape, CONVERSE[self.relation]) == (
            other.other_colour,
            other.other_shape,
            other.relation,
        ) and (self.other_colour, self.other_shape) == (other.colour, other.shape)

    def differs_in_one(self) -> list[tuple[str, "Scene"]]:
        """All scenes that differ from this one in a single field, with the name of that field."""
        values = {
            "size": SIZES,
            "colour": tuple(COLOURS),
            "shape": SHAPES,
            "relation": RELATIONS,
            "other_colour": tuple(COLOURS),
            "other_shape": SHAPES,
        }
        return [
            (field, replace(self, **{field: value}))
            for field, choices in values.items()
            for value in choices
            if value != getattr(self, field)
        ]


def all_scenes() -> list[Scene]:
    """All scenes whose two shapes differ in colour."""
    return [
        Scene(size, colour, shape, relation, other_colour, other_shape)
        for size in SIZES
        for colour in COLOURS
        for shape in SHAPES
        for relation in RELATIONS
        for other_colour in COLOURS
        for other_shape in SHAPES
        if other_colour != colour
    ]


def draw(scene: Scene, rng: random.Random) -> "Image.Image":
    """Draw a scene with random variation of positions, sizes, hues and background."""
    from PIL import Image, ImageDraw

    scale = 4  # drawn larger and reduced, for smooth edges
    side = PIXELS * scale
    image = _background(side, rng)
    pen = ImageDraw.Draw(image)
    before, after = rng.uniform(0.22, 0.30), rng.uniform(0.70, 0.78)
    sideways = rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65)
    places = {
        "left of": ((before, sideways[0]), (after, sideways[1])),
        "right of": ((after, sideways[0]), (before, sideways[1])),
        "above": ((sideways[0], before), (sideways[1], after)),
        "below": ((sideways[0], after), (sideways[1], before)),
    }[scene.relation]
    radius = rng.uniform(0.10, 0.12) if scene.size == "small" else rng.uniform(0.20, 0.22)
    _draw_shape(pen, scene.shape, scene.colour, places[0], radius, side, rng)
    other_radius = rng.uniform(0.14, 0.18)
    _draw_shape(pen, scene.other_shape, scene.other_colour, places[1], other_radius, side, rng)
    return image.resize((PIXELS, PIXELS), Image.Resampling.LANCZOS)


def _background(side: int, rng: random.Random) -> "Image.Image":
    """A light background with random shades, so that photos of the same scene differ."""
    from PIL import Image

    corners = bytes(rng.randint(195, 255) for _ in range(3 * 3 * 3))
    return Image.frombytes("RGB", (3, 3), corners).resize((side, side), Image.Resampling.BICUBIC)


def _draw_shape(pen, shape, colour, centre, radius, side, rng) -> None:
    x, y, r = centre[0] * side, centre[1] * side, radius * side
    fill = tuple(max(0, min(255, channel + rng.randint(-18, 18))) for channel in COLOURS[colour])
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        return
    if shape == "square":
        corners, turn = 4, math.pi / 4
        radii: tuple[float, ...] = (1.1,)
    else:
        corners, radii, turn = 10, (1.25, 0.5), -math.pi / 2
    turn += rng.uniform(-0.15, 0.15)
    pen.polygon(
        [
            (
                x + r * radii[i % len(radii)] * math.cos(turn + 2 * math.pi * i / corners),
                y + r * radii[i % len(radii)] * math.sin(turn + 2 * math.pi * i / corners),
            )
            for i in range(corners)
        ],
        fill=fill,
    )


def sample_scenes() -> list[Scene]:
    """The scenes of the sample: a fixed quarter of all, with captions that have embeddings."""
    scenes = all_scenes()
    random.Random(8).shuffle(scenes)
    return sorted(scenes[: len(scenes) // 4], key=lambda scene: scene.captions)


def sample_captions() -> list[str]:
    """Every caption that the sample may contain."""
    return sorted({caption for scene in sample_scenes() for caption in scene.captions})


def make_twins(split: str, count: int) -> list[tuple[Scene, Scene]]:
    """Pairs of scenes of the sample; the fields in which they differ are evenly distributed."""
    rng = random.Random(f"twins {split}")
    scenes = sample_scenes()
    allowed = set(scenes)
    pairs: list = []
    while len(pairs) < count:
        scene = rng.choice(scenes)
        if rng.random() < EASY:
            other = rng.choice(scenes)
            if other != scene and not scene.is_converse_of(other):
                pairs.append((scene, other))
            continue
        neighbours: dict[str, list[Scene]] = {}
        for field, other in scene.differs_in_one():
            if other in allowed:
                neighbours.setdefault(field, []).append(other)
        if neighbours:
            pairs.append((scene, rng.choice(neighbours[rng.choice(sorted(neighbours))])))
    return pairs


def rows_of(scene: Scene, twin: Scene) -> list[tuple[str, str]]:
    """(caption, label) of a photo of `scene`: its captions, and those of its twin as no-match."""
    shared = set(scene.captions) & set(twin.captions)
    matches = [(caption, MATCH) for caption in scene.captions if caption not in shared]
    return matches + [(caption, NO_MATCH) for caption in twin.captions if caption not in shared]


def write_sample(folder: str | Path, twin_counts: dict[str, int] | None = None) -> Path:
    """Write the sample in the layout of the course's folder.

    The same call writes the same bytes on every machine with the same version of Pillow. The folder
    appears only when it is complete.

    Args:
        folder: The folder; an existing sample is kept as it is.
        twin_counts: Number of twins in each split.

    Returns:
        The folder.
    """
    folder = Path(folder)
    if (folder / MARKER).is_file():
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder}: already exists and is not the sample; choose a new or empty folder"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".sample-") as temporary:
            built = Path(temporary) / "sample"
            _write_into(built, twin_counts or TWINS)
            if folder.exists():
                folder.rmdir()
            built.rename(folder)
    except OSError as error:
        if (folder / MARKER).is_file():  # another process was faster
            return folder
        raise cannot_write(folder, error) from error
    return folder


def _write_into(folder: Path, twin_counts: dict[str, int]) -> None:
    images = folder / "flickr8k-resised"
    images.mkdir(parents=True)
    for split, count in twin_counts.items():
        rng = random.Random(f"drawing {split}")
        rows = []
        for number, (scene, twin) in enumerate(make_twins(split, count)):
            for letter, (shown, other) in (("a", (scene, twin)), ("b", (twin, scene))):
                name = f"{split}_{number:04d}{letter}.jpg"
                draw(shown, rng).save(images / name, quality=92)
                rows += [f"{name}\t{text}\t{label}\r\n" for text, label in rows_of(shown, other)]
        name = f"flickr8k.{split.capitalize()}Images.txt"
        (folder / name).write_bytes("".join(rows).encode())
    shutil.copyfile(EMBEDDINGS, folder / "embeddings.npz")
    (folder / MARKER).write_text(
        "Synthetic scenes written by imagetext, in the layout of the course's Flickr8k folder.\n"
        "Scores on them say nothing about real photos.\n"
    )
