"""What training does around pretrained encoders: standardise, tune or freeze, and calibrate."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.itm import models
from imagetext.itm.calibration import calibrate, fit_logistic
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate
from imagetext.itm.export import export
from imagetext.itm.predict import predict
from imagetext.itm.train import train
from imagetext.reports.matching.predictions import read_predictions
from imagetext.training.fit import model_scope
from imagetext.training.network import standardise
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.itm.tiny_runs import tiny, untrained

pytestmark = pytest.mark.usefixtures("tiny_encoders")
STORED = {"data__image_encoders": ["tiny_a", "tiny_b"], "data__image_weights": "random"}
TUNED = {**STORED, "data__image_encoders": ["tiny_a"], "data__fine_tune": True}
CELLULAR = {**STORED, "data__image_encoders": ["tiny_a"], "data__image_output": "grid"}


@pytest.mark.parametrize("options", [STORED, TUNED, CELLULAR])
def test_features_of_training_photos_come_to_mean_0_and_variance_1(course_folder, options):
    settings = tiny(course_folder, "", **options)
    data = load(settings)
    model = models.build(settings.model, settings.data, settings.text)
    standardise(model, data.photos, data.groups["train"].photo)
    seen = keras.Model(model.input["image"], model.get_layer(models.STANDARDISE).output)
    photos, good = data.photos.fetch(np.unique(data.groups["train"].photo))
    assert good.all() and len(photos) == 6
    found = np.asarray(seen(photos), np.float64).reshape(-1, seen.output_shape[-1])
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.var(axis=0), 1, atol=1e-3)


@pytest.mark.parametrize("rate", [0.05, 0.0])
def test_an_encoder_is_tuned_from_pixels_or_frozen(course_folder, tmp_path, rate):
    """And it is the tuned one that answers, for a photo's file as for the rows of a report."""
    options = {"model__encoder_rate": rate, "report__controls": False, "train__epochs": 1}
    settings = tiny(course_folder, tmp_path, **TUNED, **options)
    with model_scope(settings.train):
        before = (
            models.build(settings.model, settings.data, settings.text)
            .get_layer("tiny_a")
            .get_weights()
        )
    run = train(settings)
    model = keras.saving.load_model(run.model_file)
    moved = [
        np.abs(weight - start).max()
        for weight, start in zip(model.get_layer("tiny_a").get_weights(), before, strict=True)
    ]
    if not rate:
        assert max(moved) == 0
        return
    assert min(moved) > 0 and max(moved) < 9 * 0.001 * rate * 1.5  # 9 steps of Adam
    assert evaluate(run).values["about"]["model"]["image size"] == 32
    rows = read_predictions(run.folder)
    answers = predict(run, rows.image[0], rows.caption[:6])
    np.testing.assert_allclose(answers, rows.probability[:6], atol=1e-5)


def test_a_run_answers_with_the_weights_it_was_trained_with_or_not_at_all(
    course_folder, tmp_path, capsys
):
    run = untrained(course_folder, tmp_path, **STORED)
    about = evaluate(run, "dev").values
    assert about["about"]["model"]["weights"] == "tiny_a (random), tiny_b (random)"
    own, whole = (about["about"]["model"][key] for key in ("parameters", "with frozen encoders"))
    assert whole == own + 2 + 22_564_608  # MiniLM's beside those of the tests
    assert any("best epoch was chosen on this split, so its scores" in n for n in about["notices"])
    photo = course_folder / "flickr8k-resised" / "test_1.jpg"
    caption = read_predictions(evaluate(run).folder).caption[0]
    assert len(predict(run, photo, [caption])) == 1
    kept = run.folder / "trained_with.json"
    told = json.loads(kept.read_text())
    kept.write_text(json.dumps(told | {"photos": ["tiny_a", "pooled", "f" * 64]}))
    refused = r"trained on features of tiny_a \(f{12}\), got features of tiny_a \(random\), tiny_b"
    for ask in (lambda: evaluate(run), lambda: predict(run, photo, [caption]), lambda: export(run)):
        with pytest.raises(UserError, match=refused):
            ask()
    kept.unlink()  # as a run of an earlier version
    capsys.readouterr()
    assert len(predict(run, photo, [caption])) == 1
    assert "did not record the weights of the image encoders" in capsys.readouterr().out


def log_loss(probability: np.ndarray, truth: np.ndarray) -> float:
    return -np.log(np.where(truth, probability, 1 - probability)).mean()


def head_and_rows(slope: float, places: int = 40):
    """A model whose log odds are 3 x + 1, and rows whose true ones are slope x - 2; of places that
    weigh nothing the opposite is true."""
    random = np.random.default_rng(0)
    x = random.normal(0, 2, (places, 3)).astype(np.float32)
    weight = (np.arange(3) < random.integers(1, 4, (places, 1))).astype(np.float32)
    truth = random.random((places, 3)) < 1 / (1 + np.exp(2 - slope * x))
    told = np.where(weight > 0, truth, x < 0)
    given = keras.Input([None, 1])
    model = keras.Model(given, keras.layers.Dense(2, "softmax", name="match")(given))
    model.get_layer("match").set_weights([np.array([[2.0, -1.0]]), np.array([0.5, -0.5])])
    batches = tf.data.Dataset.from_tensor_slices(
        (x[..., None], np.stack([told, ~told], axis=-1).astype(np.float32), weight)
    ).batch(16)
    there = weight > 0
    return model, SimpleNamespace(batches=lambda split: batches), x[there], truth[there]


def probability(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x[None, :, None]), np.float64)[0, :, 0]


def test_calibration_fits_dev_and_keeps_the_order():
    model, data, x, truth = head_and_rows(slope=1.0)
    before = probability(model, x)
    calibrate(model, data)
    after = probability(model, x)
    assert log_loss(after, truth) < log_loss(before, truth) - 0.1
    assert (np.argsort(after) == np.argsort(x)).all()
    for scale, shift in ((1.05, 0), (0.95, 0), (1, 0.1), (1, -0.1)):  # nothing nearby is better
        odds = scale * np.log(after / (1 - after)) + shift
        assert log_loss(1 / (1 + np.exp(-odds)), truth) > log_loss(after, truth)
    kernel = model.get_layer("match").get_weights()[0]
    calibrate(model, data)
    np.testing.assert_allclose(model.get_layer("match").get_weights()[0], kernel, rtol=1e-4)


def test_what_is_worse_than_chance_is_left_as_it_is():
    model, data, x, _ = head_and_rows(slope=-1.0)
    before = probability(model, x)
    calibrate(model, data)
    np.testing.assert_array_equal(probability(model, x), before)


def naive_fit(odds: np.ndarray, truth: np.ndarray, middle: float, spread: float) -> np.ndarray:
    """Scale and shift of the standardised odds, by looking everywhere, then nearer and nearer."""
    x, best, width = (odds - middle) / spread, np.zeros(2), 16.0
    for _ in range(40):
        steps = np.linspace(-width, width, 9)
        grid = np.stack(np.meshgrid(best[0] + steps, best[1] + steps), axis=-1).reshape(-1, 2)
        guess = grid[:, :1] * x + grid[:, 1:]
        cost = (np.logaddexp(0, guess) - truth * guess).sum(axis=1) + 0.5e-3 * (grid**2).sum(axis=1)
        best, width = grid[cost.argmin()], width * 0.6
    return best


@pytest.mark.parametrize("kind", ["noisy", "reversed", "apart", "one class", "far out"])
def test_the_fit_is_the_naive_optimisers(kind):
    random = np.random.default_rng(0)
    odds = random.normal(0.3, 2, 80)
    truth = (odds + random.normal(0, 2, 80) > 0).astype(float)
    if kind == "reversed":
        odds = -odds
    elif kind == "apart":
        truth = (odds > 0.2).astype(float)
    elif kind == "one class":
        truth[:] = 1
    elif kind == "far out":  # where Newton's full steps run away
        odds = np.sinh(4 * np.random.default_rng(1).normal(size=80))
        truth = (np.arange(80) == 30).astype(float)
    middle, spread = odds.mean(), odds.std()
    scale, shift = fit_logistic(odds, truth)
    expected = naive_fit(odds, truth, middle, spread)
    np.testing.assert_allclose(
        [scale * spread, shift + scale * middle], expected, rtol=2e-2, atol=1e-3
    )


def test_odds_that_are_all_alike_have_a_shift_and_no_scale():
    scale, shift = fit_logistic(np.full(5, 3.0), np.array([1, 0, 0, 0, 1.0]))
    assert scale == 0 and shift == pytest.approx(np.log(2 / 3), rel=1e-2)
