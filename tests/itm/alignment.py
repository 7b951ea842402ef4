"""What the tests of alignment share: its configuration, and a folder of further captions."""

import numpy as np
from PIL import Image

from tests.itm.tiny_runs import tiny


def alignment_config(course, runs, **overrides):
    """Stored features and raw captions, a cosine, and nothing but the alignment."""
    keys = {
        "data__image_encoders": ["tiny_a", "tiny_b"],
        "data__image_weights": "random",
        "text__input": "tokens",
        "model__head": "cosine",
        "model__dropout": 0.0,
        "align__epochs": 3,
        "align__batch_size": 4,
        "align__learning_rate": 0.02,
        "train__epochs": 0,
        "report__controls": False,
    }
    return tiny(course, runs, **keys | overrides)


def captioned(folder, course):
    """A folder as official Flickr8k's, whose photos are the course's (under other names: bytes and
    all, or saved again) and two of its own; and the captions, by photo."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(3):
        for split in ("train", "dev", "test"):
            content = (course / "flickr8k-resised" / f"{split}_{number}.jpg").read_bytes()
            (images / f"{split}{number}.jpg").write_bytes(content)
    again = Image.open(course / "flickr8k-resised" / "test_0.jpg")
    again.resize((30, 30)).save(images / "again.jpg", quality=80)
    for number in range(2):
        noise = np.random.default_rng(100 + number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((32, 32)).save(images / f"own{number}.jpg")
    stems = [path.stem for path in images.iterdir()]
    told = {f"{stem}.jpg": [f"a dog {stem}", f"photo of {stem} ."] for stem in stems}
    told["own0.jpg"] += ["Caption 0 of TEST photo 0!", "a dog runs", "A dog runs ."]
    rows = [f"{name}#{n}\t{text}\n" for name in sorted(told) for n, text in enumerate(told[name])]
    (folder / "Flickr8k.token.txt").write_text("".join(rows))
    for split in ("train", "dev", "test"):
        kept = [name for name in sorted(told) if split == "train" or name.startswith(split)]
        (folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(kept) + "\n")
    return folder


OWN = ["own0.jpg", "own1.jpg"]
