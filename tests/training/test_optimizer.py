"""The optimizer against plain formulae and a naive twin, and through a saved model."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.training.device import precision
from imagetext.training.optimizer import WarmUpThenLinear, adamw

PEAK, TOTAL, WARMUP = 0.02, 50, 10


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (3, PEAK * 3 / 10),
        (9, PEAK * 9 / 10),
        (10, PEAK * 40 / 50),  # The decay counts from step 0, so the peak itself is never used.
        (30, PEAK * 20 / 50),
        (49, PEAK * 1 / 50),
        (50, 0.0),
        (500, 0.0),
    ],
)
def test_rate_at(step, expected):
    rate = float(WarmUpThenLinear(PEAK, TOTAL, WARMUP)(step))
    assert rate == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_without_warm_up_it_starts_at_the_peak():
    assert float(WarmUpThenLinear(PEAK, TOTAL, 0)(0)) == pytest.approx(PEAK)
    assert float(WarmUpThenLinear(PEAK, TOTAL, 0)(25)) == pytest.approx(PEAK / 2)


def small_model() -> keras.Model:
    """Layers whose names are not to matter: the kernels of `beta_head` and `bias` are decayed."""
    tokens = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(7, 4, name="words")(tokens)
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.Dense(5, name="beta_head")(x)
    x = keras.layers.BatchNormalization(name="batch_norm")(x)
    x = keras.layers.GRU(3, name="gru")(x)
    return keras.Model(tokens, keras.layers.Dense(2, name="bias")(x))


DECAYED = {
    "words/embeddings",
    "beta_head/kernel",
    "gru/gru_cell/kernel",
    "gru/gru_cell/recurrent_kernel",
    "bias/kernel",
}


def step_without_gradients(model: keras.Model, optimizer) -> dict[str, float]:
    """What one step multiplies each variable by when nothing but decay is at work."""
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.full(variable.shape, 2.0))
    optimizer.apply([np.zeros(v.shape, np.float32) for v in variables], variables)
    for variable in variables:
        assert np.ptp(variable.numpy()) == 0, variable.path
    return {v.path: float(v.numpy().flat[0]) / 2 for v in variables}


def test_weights_shrink_by_rate_times_decay_but_biases_and_norms_stay():
    model = small_model()
    factors = step_without_gradients(model, adamw(PEAK, TOTAL, weight_decay=0.25))
    assert {path for path, factor in factors.items() if factor != 1} == DECAYED
    for path in DECAYED:
        assert factors[path] == pytest.approx(1 - PEAK * 0.25, rel=1e-6), path


def naive_adamw(weights, decayed, gradients, weight_decay, clip_norm):
    """Loshchilov and Hutter's algorithm with BERT's clipping, in float64, all weights in lists."""
    weights = [w.astype(np.float64) for w in weights]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step, now in enumerate(gradients):
        if step < WARMUP:
            rate = PEAK * step / WARMUP
        else:
            rate = PEAK * max(0, 1 - step / TOTAL)
        length = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in now))
        for i, gradient in enumerate(now):
            clipped = gradient.astype(np.float64)
            if clip_norm and length > clip_norm:
                clipped = clipped * clip_norm / length
            first[i] = 0.9 * first[i] + 0.1 * clipped
            second[i] = 0.999 * second[i] + 0.001 * clipped**2
            if decayed[i]:
                weights[i] = weights[i] - rate * weight_decay * weights[i]
            # BERT's epsilon is added before the bias correction, not after.
            correction = math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            weights[i] = weights[i] - rate * correction * first[i] / (np.sqrt(second[i]) + 1e-6)
    return weights


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_follows_its_naive_twin(clip_norm):
    rng = np.random.default_rng(0)
    variables = small_model().trainable_variables
    gradients = [
        [(rng.standard_normal(v.shape) * scale).astype(np.float32) for v in variables]
        for scale in [0.01, 1.0, 1e-5] * 5
    ]
    start = [v.numpy() for v in variables]
    decayed = [v.path in DECAYED for v in variables]
    expected = naive_adamw(start, decayed, gradients, 0.25, clip_norm)

    optimizer = adamw(PEAK, TOTAL, WARMUP, weight_decay=0.25, clip_norm=clip_norm)
    for now in gradients:
        optimizer.apply(now, variables)
    for variable, weight, before in zip(variables, expected, start, strict=True):
        assert np.abs(weight - before).max() > PEAK
        np.testing.assert_allclose(variable.numpy(), weight, rtol=0, atol=2e-6)


def test_schedule_survives_its_config():
    schedule = WarmUpThenLinear(PEAK, TOTAL, WARMUP)
    again = WarmUpThenLinear.from_config(schedule.get_config())
    assert again.get_config() == {"peak": PEAK, "total_steps": TOTAL, "warmup_steps": WARMUP}


def test_saved_model_trains_on_as_if_never_saved(tmp_path):
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(0, 7, (4, 3)), rng.random((4, 2))
    model = small_model()
    model.compile(adamw(PEAK, TOTAL, WARMUP, weight_decay=0.25), loss="mse")
    for _ in range(3):
        model.train_on_batch(tokens, targets)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")

    assert int(again.optimizer.iterations) == 3
    assert float(again.optimizer.learning_rate) == pytest.approx(PEAK * 3 / WARMUP)
    for _ in range(3):
        model.train_on_batch(tokens, targets)
        again.train_on_batch(tokens, targets)
    for variable, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), atol=1e-6, rtol=0)


def test_read_back_it_still_decays_weights_only(tmp_path):
    model = small_model()
    model.compile(adamw(PEAK, TOTAL, weight_decay=0.25), loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    factors = step_without_gradients(again, again.optimizer)
    assert {path for path, factor in factors.items() if factor != 1} == DECAYED


def test_pretrained_variables_move_by_their_share_and_are_not_decayed():
    """Against the same steps of an optimizer that knows of no pretrained ones; also in a graph."""
    plain, shared = small_model(), small_model()
    shared.set_weights(plain.get_weights())
    before = [v.numpy() for v in plain.trainable_variables]
    gradients = [
        np.random.default_rng(seed).normal(size=v.shape).astype(np.float32)
        for seed, v in enumerate(plain.trainable_variables)
    ]
    rates = [(v, 0.25) for v in shared.trainable_variables if v.path.startswith(("words", "gru"))]
    rates += [(shared.get_layer("norm").gamma, 0.0)]
    one = adamw(PEAK, TOTAL, weight_decay=0.0)
    other = adamw(PEAK, TOTAL, weight_decay=0.25, rates=rates)
    one.apply(gradients, plain.trainable_variables)
    other.build(shared.trainable_variables)
    tf.function(lambda: other.apply(gradients, shared.trainable_variables))()
    pretrained = {variable.path: share for variable, share in rates}
    assert len(pretrained) == 5
    for start, alone, slowed in zip(
        before, plain.trainable_variables, shared.trainable_variables, strict=True
    ):
        moved, path = alone.numpy() - start, slowed.path
        decay = PEAK * 0.25 * start if path in DECAYED and path not in pretrained else 0
        expected = pretrained.get(path, 1) * moved - decay
        np.testing.assert_allclose(slowed.numpy() - start, expected, atol=2e-7, err_msg=path)


def test_pretrained_variables_are_known_under_loss_scaling_which_wraps_the_optimizer():
    with precision("mixed_float16"):
        image = keras.Input([3])
        x = keras.layers.Dense(4, name="encoder")(image)
        model = keras.Model(image, keras.layers.Dense(2, dtype="float32", name="head")(x))
    pretrained, kernel = (model.get_layer(name).kernel for name in ("encoder", "head"))
    model.compile(adamw(PEAK, TOTAL, weight_decay=0.25, rates=[(pretrained, 0.0)]), loss="mse")
    before = pretrained.numpy(), kernel.numpy()
    model.train_on_batch(np.full((4, 3), 0.01), np.full((4, 2), 0.01))
    np.testing.assert_array_equal(pretrained.numpy(), before[0])
    assert np.abs(kernel.numpy() - before[1]).max() > PEAK / 10
