"""JPEGs with damage that the decoder passes over are named; all others are left in peace."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imagetext
from imagetext.pipelines import decoder_warnings
from imagetext.pipelines.decoder_warnings import check_photos_thoroughly
from imagetext.pipelines.pixels import check_photos

#: The marker that a JPEG ends with.
END = b"\xff\xd9"


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Seven: of 1, 3 and 5 a half is gone, of which 3 alone lacks its end."""
    paths = [tmp_path / f"{number}.jpg" for number in range(7)]
    for seed, path in enumerate(paths):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 128)).save(path, quality=90)
        whole = path.read_bytes()
        middle = len(whole) // 2
        if seed in (1, 5):
            path.write_bytes(whole[:middle] + END)
        elif seed == 3:
            path.write_bytes(whole[:middle])
    return paths


@pytest.mark.parametrize("chunk", [1, 2, 256])
def test_what_is_decoded_under_protest_is_named(photos, monkeypatch, chunk, capfd):
    monkeypatch.setattr(decoder_warnings, "CHUNK", chunk)
    found = {problem.file: problem.what for problem in check_photos_thoroughly(photos)}
    protest = "decoded with a warning: Corrupt JPEG data: premature end of data segment"
    assert found == {
        str(photos[1]): protest,
        str(photos[3]): "a damaged or truncated JPEG",
        str(photos[5]): protest,
    }
    assert [problem.file for problem in check_photos(photos)] == [str(photos[3])]
    os.write(2, b"whoever writes now is heard")
    assert capfd.readouterr().err.endswith("whoever writes now is heard")


def test_the_verb_names_them(course_folder, photos, capsys):
    (course_folder / "flickr8k-resised" / "dev_1.jpg").write_bytes(photos[1].read_bytes())
    assert imagetext.main(["data", "check", str(course_folder)]) == 1
    error = capsys.readouterr().err
    assert (
        "1 problem in" in error and "dev_1.jpg: decoded with a warning: Corrupt JPEG data" in error
    )
