"""`fit` on a tiny network: it resumes bit for bit, stops at NaN, stops early, keeps the best."""

import csv
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.training import checkpoint
from imagetext.training.checkpoint import Progress
from imagetext.training.config import TrainConfig
from imagetext.training.fit import fit, model_scope
from imagetext.training.run import Run
from tests.fresh import run_fresh, start_fresh

ROWS, STEPS = 40, 5
FEATURES = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
TRUTH = (FEATURES.sum(axis=1, keepdims=True) > 0).astype(np.float32)


def tiny_model(config: TrainConfig) -> keras.Model:
    with model_scope(config):
        x = inputs = keras.Input([3])
        x = keras.layers.Dense(6, activation="relu", name="hidden")(x)
        x = keras.layers.Dropout(0.3, name="drop")(x)
        out = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="out")(x)
        return keras.Model(inputs, out)


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """As `pipelines.batches` does: an iterator that is dropped sometimes waits for the autotuner,
    which may sleep for up to a minute."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def train_batches(epoch: int, skip: int, truth=TRUTH) -> tf.data.Dataset:
    order = np.random.default_rng([7, epoch]).permutation(ROWS)
    data = tf.data.Dataset.from_tensor_slices((FEATURES[order], truth[order]))
    return without_autotune(data.batch(ROWS // STEPS).skip(skip))


def dev_batches(truth=TRUTH) -> tf.data.Dataset:
    return without_autotune(tf.data.Dataset.from_tensors((FEATURES, truth)))


def run(
    folder: Path, resume=False, truth=TRUTH, dev=None, before=False, **options
) -> tuple[keras.Model, Progress]:
    config = TrainConfig(**{"epochs": 3, "learning_rate": 0.02, **options})
    model = tiny_model(config)
    progress = fit(
        model,
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="binary_accuracy")],
        train=lambda epoch, skip: train_batches(epoch, skip, truth),
        steps=STEPS,
        dev=dev or dev_batches(),
        config=config,
        run=Run(folder),
        resume=resume,
        better_than_before=before,
        signature="here",
        verbose=False,
    )
    return model, progress


def stored(folder: Path, name: str) -> dict[str, bytes]:
    with np.load(folder / "checkpoints" / name) as arrays:
        return {key: arrays[key].tobytes() for key in arrays.files if key != "progress"}


class Killed(BaseException):
    """Nobody catches it: the nearest thing to a kill within one process."""


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, checkpoint_seconds=0)
    return folder


@pytest.mark.parametrize("kill_at", range(1, 3 * STEPS + 1, 2))
def test_killed_at_any_step_and_resumed_ends_with_the_same_bits(
    whole_run, tmp_path, monkeypatch, kill_at
):
    steps = 0
    on_step = keras.callbacks.CallbackList.on_train_batch_end

    def dies(self, *arguments, **named):
        nonlocal steps
        steps += 1
        on_step(self, *arguments, **named)
        if steps == kill_at:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(keras.callbacks.CallbackList, "on_train_batch_end", dies)
        with pytest.raises(Killed):
            run(tmp_path / "killed", checkpoint_seconds=0)
    _, progress = run(tmp_path / "killed", resume=True, checkpoint_seconds=0)
    for name in ("last.npz", "best.npz"):
        assert stored(tmp_path / "killed", name) == stored(whole_run, name)
    whole = checkpoint.read_progress(whole_run / "checkpoints" / "last.npz")
    without_time = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in p.history]
        for p in (progress, whole)
    ]
    assert without_time[0] == without_time[1]


def test_a_seed_decides_the_weights(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b")
    run(tmp_path / "c", seed=1)
    assert stored(tmp_path / "a", "last.npz") == stored(tmp_path / "b", "last.npz")
    assert stored(tmp_path / "a", "last.npz") != stored(tmp_path / "c", "last.npz")


def test_killed_with_kill_9_over_and_over(tmp_path):
    """A real process, killed at random moments, also while it writes."""
    script = (
        "import sys, pathlib; "
        "from tests.conftest import make_tracing_quick; make_tracing_quick(); "
        "from tests.training import test_fit as t; import time; "
        "plain = t.train_batches; "
        "t.train_batches = lambda e, s, y: plain(e, s, y).map("
        "  lambda *row: (t.tf.py_function(lambda: time.sleep(0.05), [], []), row)[1]); "
        "t.run(pathlib.Path(sys.argv[1]), resume=True, epochs=6, checkpoint_seconds=0)"
    )
    run(tmp_path / "whole", epochs=6, checkpoint_seconds=0)
    killed = [str(tmp_path / "killed")]
    last = tmp_path / "killed" / "checkpoints" / "last.npz"
    random = np.random.default_rng(0)
    for _ in range(2):
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = start_fresh(script, killed)
        while process.is_alive() and (not last.exists() or last.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    done = run_fresh(script, killed)
    assert done.returncode == 0, done.stderr
    assert stored(tmp_path / "killed", "last.npz") == stored(tmp_path / "whole", "last.npz")
    leftovers = [
        path for path in last.parent.iterdir() if path.name not in ("last.npz", "best.npz")
    ]
    assert all(path.name.startswith(".") for path in leftovers)


def test_nan_stops_with_the_step_named(tmp_path):
    truth = TRUTH.copy()
    bad = np.random.default_rng([7, 1]).permutation(ROWS)[2 * ROWS // STEPS]
    poisoned = {0: TRUTH, 1: truth}
    truth[bad] = np.nan
    config = TrainConfig(epochs=3)
    with pytest.raises(UserError, match=r"epoch 2, step 3.*learning_rate"):
        fit(
            tiny_model(config),
            loss=keras.losses.BinaryCrossentropy(),
            metrics=[],
            train=lambda epoch, skip: train_batches(epoch, skip, poisoned[epoch]),
            steps=STEPS,
            dev=dev_batches(),
            config=config,
            run=Run(tmp_path),
            verbose=False,
        )
    assert checkpoint.read_progress(tmp_path / "checkpoints" / "last.npz").epoch == 1


def test_the_first_step_gone_wrong_promises_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"epoch 1, step \d.*learning_rate") as caught:
        run(tmp_path, truth=TRUTH * np.nan)
    assert "last valid checkpoint" not in str(caught.value)


def test_weights_that_a_step_spoilt_are_never_saved(tmp_path):
    with pytest.raises(UserError, match=r"the weights .* became NaN"):
        run(tmp_path, learning_rate=1e38, warmup=0.0, weight_decay=1e38, checkpoint_seconds=0)
    assert not (tmp_path / "checkpoints" / "last.npz").exists()


def test_the_history_tells_the_rate_that_was_used(tmp_path):
    _, progress = run(tmp_path, warmup=0.0)
    steps = 3 * STEPS
    used = [0.02 * (1 - (STEPS * epoch - 1) / steps) for epoch in (1, 2, 3)]
    assert [row["learning_rate"] for row in progress.history] == pytest.approx(used)


def test_stops_early_and_keeps_the_best_epoch(tmp_path):
    against = dev_batches(1 - TRUTH)  # dev gets worse from the start
    model, progress = run(
        tmp_path, dev=against, epochs=9, patience=2, learning_rate=0.1, warmup=0.0
    )
    losses = [row["val_loss"] for row in progress.history]
    assert len(losses) == int(np.argmin(losses)) + 3 < 9
    assert model.evaluate(against, verbose=0, return_dict=True)["loss"] == pytest.approx(
        min(losses)
    )


def test_history_and_tensorboard_are_written(tmp_path):
    _, progress = run(tmp_path)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [row["val_loss"] for row in progress.history]
    assert len(rows) == 3
    assert list((tmp_path / "tensorboard" / "dev").glob("events*"))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_and_resumes(tmp_path, precision):
    model, progress = run(tmp_path, precision=precision, learning_rate=0.05)
    assert model.get_layer("hidden").compute_dtype == precision.removeprefix("mixed_")
    assert model.get_layer("out").compute_dtype == "float32"
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled is (precision == "mixed_float16")
    again, _ = run(tmp_path, resume=True, precision=precision, learning_rate=0.05)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert keras.mixed_precision.dtype_policy().name == "float32"  # put back


def test_xla_gives_the_same_weights(tmp_path):
    """In a process of its own, since determinism, which rules XLA out, cannot be taken back."""
    script = (
        "import sys, pathlib; from tests.training import test_fit as t; "
        "model, _ = t.run(pathlib.Path(sys.argv[1]), xla='on', deterministic=False, epochs=1); "
        "assert model.jit_compile"
    )
    _, plain = run(tmp_path / "plain", epochs=1)
    done = run_fresh(script, [str(tmp_path / "xla")])
    assert done.returncode == 0, done.stderr
    compiled = checkpoint.read_progress(tmp_path / "xla" / "checkpoints" / "last.npz")
    assert compiled.history[0]["val_loss"] == pytest.approx(plain.history[0]["val_loss"], rel=0.1)


def test_xla_and_determinism_exclude_each_other(tmp_path):
    with pytest.raises(UserError, match=r"train\.xla.*deterministic"):
        run(tmp_path, xla="on")


def test_mirrored_strategy_trains(tmp_path):
    _, progress = run(tmp_path, strategy="mirrored")
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_running_means_are_scored_and_kept_and_training_goes_on_from_the_weights(tmp_path):
    """Against means taken by hand of the weights after every step."""
    after: list[list[np.ndarray]] = []
    made: list[keras.Model] = []
    build = tiny_model
    on_step = keras.callbacks.CallbackList.on_train_batch_end

    def noted(self, *arguments, **named):
        on_step(self, *arguments, **named)
        after.append([v.numpy() for v in made[-1].trainable_variables])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.callbacks.CallbackList, "on_train_batch_end", noted)
        patch.setitem(
            globals(), "tiny_model", lambda config: made.append(build(config)) or made[-1]
        )
        run(tmp_path / "plain")
        steps, after = after, []
        means, progress = run(tmp_path / "means", averaging=0.7)
    for one, other in zip(steps, after, strict=True):  # the same way through the same weights
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    expected, by_epoch = steps[0], []
    for number, weights in enumerate(steps[1:], start=2):
        keep = min(0.7, number / (number + 9))  # it forgets quickly at first
        expected = [keep * e + (1 - keep) * w for e, w in zip(expected, weights, strict=True)]
        if number % STEPS == 0:
            by_epoch.append(expected)
    for found, wanted in zip(means.trainable_variables, by_epoch[progress.best_epoch], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    scored = float(means.evaluate(FEATURES, TRUTH, verbose=0, return_dict=True)["loss"])
    assert scored == pytest.approx(progress.history[progress.best_epoch]["val_loss"], rel=1e-5)


def test_what_it_begins_with_stays_where_no_epoch_is_better(tmp_path):
    """It learns what dev says is wrong: each epoch is worse than none."""
    dev = dev_batches(1 - TRUTH)
    keras.utils.set_random_seed(0)
    untrained = tiny_model(TrainConfig()).get_weights()
    kept, progress = run(tmp_path / "kept", dev=dev, before=True)
    assert progress.best_epoch == -1 and len(progress.history) == 3
    assert progress.best < min(row["val_loss"] for row in progress.history)
    for found, wanted in zip(kept.get_weights(), untrained, strict=True):
        np.testing.assert_array_equal(found, wanted)
    _, better = run(tmp_path / "better", before=True)
    assert better.best_epoch >= 0


def test_means_are_resumed_bit_for_bit(tmp_path, monkeypatch):
    run(tmp_path / "whole", averaging=0.9, checkpoint_seconds=0)
    steps = 0
    on_step = keras.callbacks.CallbackList.on_train_batch_end

    def dies(self, *arguments, **named):
        nonlocal steps
        steps += 1
        on_step(self, *arguments, **named)
        if steps == STEPS + 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(keras.callbacks.CallbackList, "on_train_batch_end", dies)
        with pytest.raises(Killed):
            run(tmp_path / "killed", averaging=0.9, checkpoint_seconds=0)
    run(tmp_path / "killed", averaging=0.9, checkpoint_seconds=0, resume=True)
    for name in ("last.npz", "best.npz"):
        assert stored(tmp_path / "killed", name) == stored(tmp_path / "whole", name)


def test_another_signature_is_not_resumed(tmp_path):
    run(tmp_path)
    config = TrainConfig(epochs=3)
    with pytest.raises(UserError, match="other data or settings"):
        fit(
            tiny_model(config),
            loss=keras.losses.BinaryCrossentropy(),
            metrics=[],
            train=train_batches,
            steps=STEPS,
            dev=dev_batches(),
            config=config,
            run=Run(tmp_path),
            resume=True,
            signature="elsewhere",
            verbose=False,
        )


def test_an_unknown_monitor_names_those_there_are(tmp_path):
    with pytest.raises(UserError, match=r"train\.monitor: .*val_loss.*got 'val_gain'"):
        run(tmp_path, monitor="val_gain")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_told(tmp_path, damage):
    run(tmp_path)
    path = tmp_path / "checkpoints" / "last.npz"
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(UserError, match=r"last\.npz"):
        run(tmp_path, resume=True)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    run(tmp_path)
    before = stored(tmp_path, "last.npz")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="disk is full"):
        run(tmp_path, seed=5)
    assert stored(tmp_path, "last.npz") == before


def test_no_epochs_leave_the_model_as_it_is_and_a_state_to_resume(tmp_path):
    start = tiny_model(TrainConfig()).get_weights()
    for resume in (False, True):
        model, progress = run(tmp_path, resume=resume, epochs=0)
        assert progress.finished and progress.history == []
        for weight, before in zip(model.get_weights(), start, strict=True):
            np.testing.assert_array_equal(weight, before)
    assert not (tmp_path / "history.csv").exists()
