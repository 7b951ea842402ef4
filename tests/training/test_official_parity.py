"""Our optimizer beside the Model Garden's, step for step, on the same gradients.

Needs an environment of its own, because the Model Garden wants TensorFlow 2.20: the two commands
are on top of requirements/official.txt. Everywhere else these tests are skipped.

The tolerance is absolute, 5e-7, which is rounding in float32 for weights between 1 and 4, and a
hundred-thousandth of the largest step (0.05): relative to the weights, many times larger than a
step, a wrong step would pass unseen. Measured: 0 with dense gradients, 1.2e-7 with sparse ones.
"""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.training.optimizer import adamw

pytestmark = pytest.mark.parity

PEAK, TOTAL, WARMUP, STEPS = 0.05, 56, 12, 60
APART = 5e-7
OF_THE_RATE = 1e-6


@pytest.fixture(scope="module")
def create_optimizer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The Model Garden's imports are full of deprecations.
        module = pytest.importorskip(
            "official.nlp.optimization",
            reason="needs the Model Garden in an environment of its own: requirements/official.txt",
        )
    return module.create_optimizer


def small_model() -> keras.Model:
    """Each kind of variable a real model has, named as Keras names it."""
    tokens = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(7, 4, name="words")(tokens)
    x = keras.layers.LayerNormalization(name="layer_norm")(x)
    x = keras.layers.Dense(5, name="dense")(x)
    x = keras.layers.Dense(5, name="beta_head")(x)  # Its kernel is decayed, its name regardless.
    return keras.Model(tokens, keras.layers.LayerNormalization(name="output_layer_norm")(x))


def some_gradients(rng: np.random.Generator, variables, norm: float) -> list[np.ndarray]:
    """Together of this norm, but for one kernel whose gradients are about epsilon (1e-6)."""
    gradients = [rng.standard_normal(v.shape) for v in variables]
    length = np.sqrt(sum((g**2).sum() for g in gradients))
    scales = [1e-6 if v.path == "beta_head/kernel" else norm / length for v in variables]
    return [(g * s).astype(np.float32) for g, s in zip(gradients, scales, strict=True)]


def as_sparse(gradient: np.ndarray) -> tf.IndexedSlices:
    """What an embedding layer hands on: some rows only, one of them twice."""
    rows = np.array([5, 2, 5], np.int32)
    return tf.IndexedSlices(gradient[[0, 2, 5]], rows, gradient.shape)


@pytest.mark.parametrize("warmup", [WARMUP, 0])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_every_step_is_the_model_gardens(create_optimizer, warmup, sparse):
    rng = np.random.default_rng(0)
    variables = small_model().trainable_variables
    for variable in variables:
        variable.assign(rng.normal(1.0, 0.5, variable.shape))
    theirs = [tf.Variable(v.value, name=v.path) for v in variables]
    our_optimizer = adamw(PEAK, TOTAL, warmup, weight_decay=0.01, clip_norm=1.0)
    our_optimizer.build(variables)
    # By default: decay 0.01 but for names with LayerNorm, layer_norm, bias; clip 1.0; epsilon 1e-6.
    their_optimizer = create_optimizer(PEAK, TOTAL, warmup, optimizer_type="adamw")

    furthest, clipped = 0.0, 0
    for step in range(STEPS):
        norm = (0.3, 4.0, 0.9)[step % 3]
        gradients = some_gradients(rng, variables, norm)
        clipped += norm > 1
        if sparse:
            gradients[0] = as_sparse(gradients[0])
        rate = float(our_optimizer.learning_rate)
        their_rate = float(their_optimizer.learning_rate(their_optimizer.iterations))
        assert rate == pytest.approx(their_rate, rel=OF_THE_RATE, abs=PEAK * OF_THE_RATE)

        our_optimizer.apply(gradients, variables)
        their_optimizer.apply_gradients(zip(gradients, theirs, strict=True))
        for variable, their in zip(variables, theirs, strict=True):
            apart = float(np.abs(variable.numpy() - their.numpy()).max())
            furthest = max(furthest, apart)
            assert apart <= APART, f"{variable.path}, {apart:.2g} apart after step {step}"
    print(f"furthest apart: {furthest:.2g}")
    assert int(our_optimizer.iterations) == int(their_optimizer.iterations) == STEPS
    assert clipped == STEPS // 3
    assert rate == 0.0  # The end of the decay was passed.


def test_the_same_variables_are_decayed(create_optimizer):
    """Without gradients, what moves is decayed."""
    variables = small_model().trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    theirs = [tf.Variable(v.value, name=v.path) for v in variables]
    nothing = [np.zeros(v.shape, np.float32) for v in variables]
    adamw(PEAK, TOTAL).apply(nothing, variables)
    create_optimizer(PEAK, TOTAL, 0).apply_gradients(zip(nothing, theirs, strict=True))
    decayed = {v.path for v in variables if (v.numpy() < 1).all()}
    assert decayed == {"words/embeddings", "dense/kernel", "beta_head/kernel"}
    for variable, their in zip(variables, theirs, strict=True):
        np.testing.assert_array_equal(variable.numpy(), their.numpy(), variable.path)


@pytest.mark.parametrize(("total", "warmup"), [(100, 10), (100, 0), (7, 7), (5, 9), (1, 1)])
def test_every_rate_is_the_model_gardens(create_optimizer, total, warmup):
    ours = adamw(3e-5, total, warmup)
    theirs = create_optimizer(3e-5, total, warmup).learning_rate
    for step in range(total + 10):
        ours.iterations.assign(step)
        expected = float(theirs(step))
        assert float(ours.learning_rate) == pytest.approx(expected, rel=1e-6, abs=3e-11), step
