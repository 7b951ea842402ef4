"""An interrupted extraction continues, and ends in the same store, byte for byte."""

import contextlib
import random
import time
from pathlib import Path

import pytest
import tensorflow as tf

from imagetext.encoders import extraction
from imagetext.encoders.extraction import extract_with
from imagetext.pipelines.feature_store import RECORD_BYTES, FeatureStore
from tests.encoders.tiny_encoder import FIXED, META, contents, must_not_build, tiny, write_photos
from tests.fresh import run_fresh, start_fresh

ROOT = Path(__file__).parents[2]


def stop_after(monkeypatch, calls: int) -> None:
    """Replace the encoder by one that is interrupted after some calls.

    Its features depend on the index of the photo in its batch.
    """
    ran = []

    def stand_in(*_):
        def run(batch):
            ran.append(1)
            if len(ran) > calls:
                raise KeyboardInterrupt
            mean = tf.reduce_mean(tf.cast(batch, tf.float32), axis=[1, 2, 3])
            rows = mean + 1000.0 * tf.range(len(batch), dtype=tf.float32)
            return tf.cast(
                tf.broadcast_to(rows[:, None, None, None], [len(batch), 2, 2, 5]), "float16"
            )

        return run

    monkeypatch.setattr(extraction, "compile_encoder", stand_in)


@pytest.mark.parametrize("flips", [False, True])
def test_an_interruption_at_any_row_leaves_no_trace(tmp_path, monkeypatch, flips):
    """Photos keep their index in their batch, even after an interruption inside a batch."""
    photos = write_photos(tmp_path / "photos", 11)
    photos[3].write_bytes(b"bad")
    stop_after(monkeypatch, 99)
    extract_with(must_not_build, META, photos, tmp_path / "whole", flips, **FIXED)
    whole = contents(tmp_path / "whole")
    rows = 20 if flips else 10
    assert len(whole["features-00000.idx"]) == rows * RECORD_BYTES
    for torn in range(rows):
        folder = tmp_path / str(torn)
        stop_after(monkeypatch, 1 + torn // 4)
        ends = 4 * (1 + torn // 4) >= rows
        with contextlib.nullcontext() if ends else pytest.raises(KeyboardInterrupt):
            extract_with(must_not_build, META, photos, folder, flips, **FIXED)
        left = len(FeatureStore.open(folder))
        assert left <= 4 * (1 + torn // 4)
        index = folder / "features-00000.idx"
        if index.exists():
            index.write_bytes(index.read_bytes()[: torn * RECORD_BYTES + 5])
        stop_after(monkeypatch, 99)
        extract_with(must_not_build, META, photos, folder, flips)
        assert contents(folder) == whole


EXTRACT = """
import sys
from pathlib import Path
from imagetext.encoders.extraction import extract_with
from tests.encoders.tiny_encoder import FIXED, META, tiny
photos = sorted(Path(sys.argv[1]).iterdir())
print(extract_with(tiny, META, photos, sys.argv[2], flips=True, **FIXED).new)
"""


KILLED_PHOTOS = 400


def kill_and_resume(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill an extraction several times, then let it finish, and compare the store."""
    rng = random.Random(seed)
    photos = write_photos(tmp_path / "photos", KILLED_PHOTOS)
    folders = [str(tmp_path / "photos"), str(tmp_path / "killed")]
    index, lengths = tmp_path / "killed" / "features-00000.idx", []
    for number in range(kills):
        # At a random row in this part of the rows, and at any moment of a batch.
        rows = (number + rng.random()) / kills * 2 * KILLED_PHOTOS
        running = start_fresh(EXTRACT, folders, cwd=ROOT)
        while running.is_alive() and (
            not index.exists() or index.stat().st_size < rows * RECORD_BYTES
        ):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.004))
        running.kill()
        running.join()
        lengths.append(index.stat().st_size // RECORD_BYTES)
    assert lengths == sorted(lengths) and lengths[0] > 0
    ran = run_fresh(EXTRACT, folders, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) <= 2 * KILLED_PHOTOS - lengths[-1]
    done = extract_with(tiny, META, photos, tmp_path / "undisturbed", flips=True, **FIXED)
    assert done.new == len(set(done.store.keys)) == 2 * KILLED_PHOTOS
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_a_killed_extraction_is_resumed(tmp_path):
    kill_and_resume(tmp_path, kills=1, seed=0)


@pytest.mark.slow
def test_an_extraction_killed_ten_times_is_resumed(tmp_path):
    kill_and_resume(tmp_path, kills=10, seed=1)
