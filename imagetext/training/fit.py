"""One `fit` for all tasks: it can be killed at any time and resumes bit for bit.

    with model_scope(config.train):
        model = build(...)
    progress = fit(model, loss=..., metrics=[...], train=batches, steps=200, dev=dev_batches,
                   config=config.train, run=run)

`train(epoch, skip)` returns the batches of an epoch without the first `skip`, in an order that
depends on seed and epoch only: a resumed run gets the batches that it would have got.
"""

import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import keras
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.terminal import interactive, show_progress
from imagetext.training import checkpoint, device
from imagetext.training.checkpoint import Progress
from imagetext.training.config import TrainConfig
from imagetext.training.optimizer import Rates, adamw
from imagetext.training.run import Run


@contextlib.contextmanager
def model_scope(config: TrainConfig) -> Iterator[None]:
    """A context to build a model in: sets seed, determinism, precision and strategy."""
    if device.is_deterministic(config):
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    with device.strategy(config.strategy).scope(), device.precision(config.precision):
        yield


def fit(
    model: keras.Model,
    *,
    loss: keras.losses.Loss,
    metrics: list[keras.metrics.Metric],
    train: Callable[[int, int], tf.data.Dataset],
    steps: int,
    dev: tf.data.Dataset,
    config: TrainConfig,
    run: Run,
    resume: bool = False,
    signature: str = "",
    rates: Rates = (),
    scored: Mapping[str, Callable[[], float]] = MappingProxyType({}),
    before_epoch: Callable[[int], bool] = lambda epoch: False,
    better_than_before: bool = False,
    rate_key: str = "train.learning_rate",
    verbose: bool = True,
) -> Progress:
    """Train a model, and leave the weights of the best epoch in it.

    Writes checkpoints, history.csv and TensorBoard logs into the folder of the run.

    Args:
        model: The model; it is compiled here.
        loss: The loss.
        metrics: Metrics of training and validation.
        train: The batches of an epoch, by its number and the number of batches to skip.
        steps: Number of batches in every epoch.
        dev: The batches for validation.
        config: How to train.
        run: The run, or a part of one.
        resume: Continue from the last checkpoint, if there is one.
        signature: Identifies data and settings; a checkpoint with another one is refused.
        rates: Pretrained variables, each with its share of the learning rate.
        scored: Further validation metrics, such as val_cider, computed after each epoch.
        before_epoch: Called with the number of an epoch; may change the model, and returns whether
            it did.
        better_than_before: Also score the initial weights, and keep them if no epoch is better.
        rate_key: Key of the learning rate, for error messages.
        verbose: Show progress.

    Returns:
        The progress, with the history.
    """
    names = [f"val_{name}" for name in ("loss", *(metric.name for metric in metrics))]
    config.require_monitor([*names, *scored])
    total = steps * config.epochs
    warmup = round(config.warmup * total)
    with model.distribute_strategy.scope():
        # Keras itself adds loss scaling to the optimizer if the policy is mixed_float16.
        model.compile(
            adamw(
                config.learning_rate,
                total,
                warmup,
                config.weight_decay,
                config.clip_norm,
                rates,
                config.averaging,
            ),
            loss=loss,
            weighted_metrics=metrics,
            jit_compile=device.use_xla(config, model),
        )
        model.optimizer.build(model.trainable_variables)
    progress = Progress(signature=signature)
    if resume and run.last_checkpoint.is_file():
        progress = _restored(run.last_checkpoint, model, signature, dev)
    watch = _Watch(run, progress, config, steps, scored, verbose, rate_key)
    if better_than_before and not run.last_checkpoint.is_file():
        watch.score_before(model, dev)
    while progress.epoch < config.epochs and not progress.finished:
        epoch = progress.epoch
        if before_epoch(epoch):
            model.make_train_function(force=True)
        model.fit(
            train(epoch, progress.step),
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=dev,
            callbacks=[watch],
            shuffle=False,  # `train` decides the order
            verbose=0,
        )
    if not progress.finished:
        progress.finished = True
        checkpoint.save(run.last_checkpoint, model, progress)
    if run.best_checkpoint.is_file():
        checkpoint.restore(run.best_checkpoint, model, only_model=True)
    return progress


def _restored(path: Path, model: keras.Model, signature: str, dev: tf.data.Dataset) -> Progress:
    """Restore the last checkpoint of model, optimizer and metrics."""
    progress = checkpoint.read_progress(path)
    if progress.signature != signature:
        raise UserError(
            f"{path}: belongs to training with other data or settings; resume with the same"
            " data and settings, or start a new run under another name"
        )
    if not progress.finished:
        model.evaluate(dev.take(1), verbose=0)  # metrics get their variables on first use
        checkpoint.restore(path, model)
    return progress


class _Watch(keras.callbacks.Callback):
    """Shows progress, detects NaN, saves checkpoints and history, and stops early."""

    def __init__(
        self,
        run: Run,
        progress: Progress,
        config: TrainConfig,
        steps: int,
        scored: Mapping[str, Callable[[], float]],
        verbose: bool,
        rate_key: str,
    ):
        super().__init__()
        self.run, self.progress, self.config, self.steps = run, progress, config, steps
        self.scored, self.verbose, self.rate_key = scored, verbose, rate_key
        self.bar = None

    def score_before(self, model: keras.Model, dev: tf.data.Dataset) -> None:
        """Score the initial weights, as the best so far, of epoch -1."""
        values = model.evaluate(dev, return_dict=True, verbose=0)
        row = {f"val_{name}": float(value) for name, value in values.items()}
        row |= {name: float(score()) for name, score in self.scored.items()}
        self.progress.best, self.progress.best_epoch = row[self.config.monitor], -1
        checkpoint.save(self.run.best_checkpoint, model, self.progress)
        if self.verbose:
            show_progress(
                "Before: " + "  ".join(f"{name} {value:.4g}" for name, value in row.items())
            )

    def on_epoch_begin(self, epoch, logs=None):
        self.first_step = self.progress.step
        if self.first_step:  # resumed within the epoch: also restore the running metrics
            checkpoint.restore(self.run.last_checkpoint, self.model)
        self.started, self.before = time.perf_counter(), self.progress.seconds
        self.saved = time.perf_counter()
        if self.verbose:
            show_progress(f"Epoch {epoch + 1}/{self.config.epochs}")
            self.bar = keras.utils.Progbar(self.steps) if interactive() else None

    def on_train_batch_begin(self, batch, logs=None):
        if self.first_step + batch + 1 == self.steps:  # the rate of the last step
            rate = self.model.optimizer.learning_rate
            self.rate = float(keras.ops.convert_to_numpy(rate))

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}", step)
        if self.bar:
            self.bar.update(step, [(name, float(value)) for name, value in logs.items()])
        if step < self.steps and time.perf_counter() - self.saved >= self.config.checkpoint_seconds:
            self._refuse_diverged(step)
            self._save(self.progress.epoch, step)

    def on_test_begin(self, logs=None):
        self._swap_means()

    def on_epoch_end(self, epoch, logs=None):
        progress = self.progress
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        row |= {name: float(score()) for name, score in self.scored.items()}
        row["learning_rate"] = self.rate
        progress.seconds = self.before + time.perf_counter() - self.started
        earlier = sum(row["seconds"] for row in progress.history)
        row["seconds"] = round(progress.seconds - earlier, 2)
        progress.history.append(row)
        self._refuse_diverged(self.steps)
        monitored = row[self.config.monitor]
        if progress.best is None or self._better(monitored, progress.best):
            progress.best, progress.best_epoch = monitored, epoch
            checkpoint.save(self.run.best_checkpoint, self.model, progress)
        self._swap_means()  # back: training continues from the weights themselves
        patience = self.config.patience
        if patience is not None and epoch - progress.best_epoch >= patience:
            progress.finished = True
        self._save(epoch + 1, 0)
        _write_history(self.run.history_file, progress.history)
        self._log(epoch, row)
        if self.verbose:
            named = [f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"]
            best = "  *best*" if progress.best_epoch == epoch else ""
            show_progress("  " + "  ".join(named) + best)
            if progress.finished:
                show_progress(
                    f"Stopped: {self.config.monitor} has not improved for {patience} epochs."
                )

    def _diverged(self, what: str, step: int) -> UserError:
        last = self.run.last_checkpoint
        kept = f"; the last valid checkpoint is {last}" if last.is_file() else ""
        return UserError(
            f"{what} at epoch {self.progress.epoch + 1}, step {step}; lower {self.rate_key}"
            f" or train.clip_norm, or use train.precision float32{kept}"
        )

    def _refuse_diverged(self, step: int) -> None:
        """A step can make weights NaN although its loss, computed before, was finite."""
        for variable in self.model.trainable_variables:
            if not bool(keras.ops.all(keras.ops.isfinite(variable))):
                raise self._diverged(f"the weights {variable.path} became NaN or infinite", step)

    def _swap_means(self) -> None:
        """Exchange the weights and their moving averages, if there are any."""
        optimizer = self.model.optimizer  # wrapped by loss scaling in float16
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if not optimizer.use_ema:
            return
        means = optimizer._model_variables_moving_average
        for weight, mean in zip(optimizer._trainable_variables, means, strict=True):
            value = keras.ops.convert_to_numpy(weight)
            weight.assign(mean)
            mean.assign(value)

    def _better(self, value: float, best: float) -> bool:
        return value < best if "loss" in self.config.monitor else value > best

    def _save(self, epoch: int, step: int) -> None:
        self.progress.epoch, self.progress.step = epoch, step
        self.progress.seconds = self.before + time.perf_counter() - self.started
        checkpoint.save(self.run.last_checkpoint, self.model, self.progress)
        self.saved = time.perf_counter()

    def _log(self, epoch: int, row: dict[str, float]) -> None:
        for part, validation in (("dev", True), ("train", False)):
            writer = tf.summary.create_file_writer(str(self.run.tensorboard_folder / part))
            with writer.as_default():
                for name, value in row.items():
                    if name != "epoch" and name.startswith("val_") is validation:
                        tf.summary.scalar(name.removeprefix("val_"), value, step=epoch + 1)
            writer.close()


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[-1]))
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())
