"""The captioning service returns what the model returns, for many photos at once."""

import numpy as np
import pytest

from imagetext.captioning.predict import CaptioningModel
from imagetext.captioning.service import CaptioningService
from tests.captioning.tiny_runs import untrained
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def captioning_run(scenes, tmp_path_factory):
    return untrained(scenes, tmp_path_factory.mktemp("runs"), model__kind="gru_attention")


@pytest.fixture(scope="module")
def service(captioning_run):
    return CaptioningService.open(str(captioning_run.folder))


@pytest.fixture(scope="module")
def captioner(captioning_run):
    return CaptioningModel.load(captioning_run)


@pytest.fixture(scope="module")
def files(scenes):
    return sorted((scenes / "images").glob("*.png"))[:4]


@pytest.fixture(scope="module")
def photos(files):
    return [file.read_bytes() for file in files]


def test_captions_equal_those_of_the_model(service, captioner, files, photos):
    for captions, expected in zip(
        service.captions(photos, None, 2, True), captioner.predict(files), strict=True
    ):
        assert [caption.text for caption in captions] == [other.text for other in expected[:2]]
        for caption, other in zip(captions, expected, strict=False):
            assert caption.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_maps_equal_those_of_one_caption_at_a_time(service, captioner, files, photos):
    results = service.captions(photos, None, 3, True)
    for file, captions in zip(files, results, strict=True):
        image = captioner.read(file)
        for caption, other in zip(captions, captioner.captions(image[None])[0], strict=True):
            assert caption.words == tuple(other.text.split())
            expected = captioner.attention_maps(image, other)[: len(caption.words)]
            np.testing.assert_allclose(caption.maps, expected, atol=1e-5)


def test_more_captions_than_beams_widen_the_search(service, photos):
    assert len(service.captions(photos[:1], None, 5, False)[0]) == 5
    assert service.captions(photos[:1], None, 1, False)[0][0].maps is None
