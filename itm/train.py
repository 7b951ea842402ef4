"""Train a matching model, and the controls that its score must be compared with.

run = train(load_config(ITMConfig, "configs/itm/cnn.yaml"))
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from imagetext.itm import models, record
from imagetext.itm.align import align
from imagetext.itm.config import ITMConfig, ModelConfig
from imagetext.itm.data import MatchingData, load, open_data
from imagetext.pipelines import sample
from imagetext.pipelines.course_lists import CourseLists
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.records import SPLITS
from imagetext.terminal import show_progress, width
from imagetext.training.checkpoint import Progress
from imagetext.training.fit import fit, model_scope
from imagetext.training.lifecycle import (
    record_training,
    reopen_run,
    run_signature,
    run_to_resume,
    start_run,
)
from imagetext.training.network import save_model, standardise
from imagetext.training.run import Run

Build = Callable[[ModelConfig], keras.Model]
CONTROLS = {"text-only": "text", "image-only": "image"}
SAMPLE_NOTICE = f"{sample.NOTICE} (ITM_Classifier.py: --images PATH)"


def is_sample(source) -> bool:
    return isinstance(source, CourseLists) and source.kind == "sample"


def train(
    config: ITMConfig,
    resume: bool = False,
    name: str = "itm",
    data: MatchingData | None = None,
    build: Build | None = None,
) -> Run:
    """Train `config` in its run folder, or go on with it; returns the finished run.

    `name` is what the folder is called, with a number, where the configuration names none. `data`
    may be handed in where it is loaded already, and `build` to train a model of one's own.
    """
    if interrupted := run_to_resume(config, resume):
        return resume_run(interrupted.folder, data, build)
    data = data or load_for_training(config)  # before a folder is made: bad data leaves no trace
    run, config = start_run(config, name)
    return _train_all(run, config, data, build, resume=False)


def resume_run(
    folder: str | Path, data: MatchingData | None = None, build: Build | None = None
) -> Run:
    """Continue an interrupted run with its own configuration."""
    run, config = reopen_run(folder, ITMConfig)
    return _train_all(run, config, data or load_for_training(config), build, resume=True)


def load_for_training(config: ITMConfig) -> MatchingData:
    """All splits where rows are labelled, so that a mistake in Test shows before training;
    of captioned sources train and dev, since some copies hold the test captions back."""
    labelled = open_data(config.data).labelled
    splits = SPLITS if labelled else ("train", "dev")
    if not config.aligns:
        return load(config, splits)
    return load(config, splits, config.align.extra_captions, config.align.flips)


def _train_all(
    run: Run, config: ITMConfig, data: MatchingData, build: Build | None, resume: bool
) -> Run:
    if is_sample(data.source):
        show_progress(SAMPLE_NOTICE)
    with record_training(run, data.photos, {"rows": data.left_out}):
        record.write(run, data)
        _train_parts(run, config, data, build, resume)
    return run


def _train_parts(
    run: Run, config: ITMConfig, data: MatchingData, build: Build | None, resume: bool
) -> None:
    """The model, and then its controls."""
    train_one(run, config, data, build, resume)
    if config.report.controls:
        for control, inputs in CONTROLS.items():
            show_progress(f"\nControl: {control}, trained by the same recipe")
            train_one(
                run.part(f"controls/{control}"), control_config(config, inputs), data, build, resume
            )


def control_config(config: ITMConfig, inputs: str) -> ITMConfig:
    """The same recipe for a model that sees one side; what has no training beyond the alignment,
    which takes both sides, is trained for as long as that."""
    train = config.train
    if not train.epochs:
        train = dataclasses.replace(
            train, epochs=config.align.epochs, learning_rate=config.align.learning_rate
        )
    return dataclasses.replace(
        config, train=train, model=dataclasses.replace(config.model, inputs=inputs)
    )


def train_one(
    run: Run,
    config: ITMConfig,
    data: MatchingData,
    build: Build | None = None,
    resume: bool = False,
) -> Progress | None:
    """Train one model and save it as `model.keras`; None where that was done before."""
    if resume and run.model_file.is_file():
        return None
    with model_scope(config.train):
        if build:
            model = build(config.model)
        else:
            model = models.build(config.model, config.data, config.text)
    if config.model.inputs == "both":
        model.summary(line_length=width())
    rates = pretrained(model, config.model.encoder_rate)
    standardise(model, data.photos, data.groups["train"].photo)
    with report_bad_photos(data.photos):
        if config.aligns:
            show_progress("Alignment:")
            align(run, config, data, model, rates, resume, signature(config, data))
            show_progress("Training:" if config.train.epochs else "No training beyond it.")
        progress = fit(
            model,
            loss=loss(),
            metrics=metrics(),
            train=lambda epoch, skip: data.batches("train", config.train.seed, epoch, skip),
            steps=data.steps("train"),
            dev=data.batches("dev"),
            config=config.train,
            run=run,
            resume=resume,
            signature=signature(config, data),
            rates=rates,
        )
        if config.model.calibrate:
            calibrate(model, data)
    save_model(run.model_file, model)
    return progress


def pretrained(model: keras.Model, share: float) -> list[tuple[keras.Variable, float]]:
    """The weights of encoders that are trained along, with their share of the learning rate."""
    encoders = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return [(v, share) for encoder in encoders for v in encoder.trainable_variables]


def calibrate(model: keras.Model, data: MatchingData, split: str = "dev") -> None:
    """Scale and shift the log odds so that they fit the rows of `split` best, in the last layer.

    The order of the rows, and so the ROC AUC, stays as it was; what is no better than chance on
    `split`, so that only the reverse order would fit, is left alone.
    """
    last = model.get_layer("match")
    before = keras.Model(model.input, last.input)
    kernel = last.get_weights()[0].astype(np.float64)
    odds, is_match = [], []
    for inputs, truth, weight in data.batches(split):
        there = weight.numpy() > 0
        found = before(inputs, training=False).numpy()[there]
        odds.append(found @ (kernel[:, 0] - kernel[:, 1]))
        is_match.append(truth.numpy()[there][:, 0])
    scale, shift = logistic_fit(np.concatenate(odds), np.concatenate(is_match))
    if scale > 0:
        last.set_weights([kernel * scale, np.array([shift / 2, -shift / 2])])


def logistic_fit(odds: np.ndarray, truth: np.ndarray, ridge: float = 1e-3) -> tuple[float, float]:
    """Scale and shift of `odds` [n], for which sigmoid(scale * odds + shift) is nearest to `truth`
    (1 or 0) in log loss. The ridge keeps both finite where the classes lie apart."""
    middle, spread = odds.mean(), odds.std() or 1.0
    columns = np.stack([(odds - middle) / spread, np.ones_like(odds)], axis=1)

    def cost(found: np.ndarray) -> float:
        guess = columns @ found
        return np.logaddexp(0, guess).sum() - truth @ guess + ridge / 2 * found @ found

    found = np.zeros(2)
    for _ in range(50):
        chance = np.exp(-np.logaddexp(0, -columns @ found))
        slope = columns.T @ (chance - truth) + ridge * found
        curve = (columns * (chance * (1 - chance))[:, None]).T @ columns + ridge * np.eye(2)
        step, now = np.linalg.solve(curve, slope), cost(found)
        while cost(found - step) > now and np.abs(step).max() > 1e-9:
            step = step / 2  # a full step of Newton's overshoots where the curve is flat
        found = found - step
    return found[0] / spread, found[1] - found[0] * middle / spread


def signature(config: ITMConfig, data: MatchingData) -> str:
    """Names everything that decides the weights: model, training recipe and data."""
    recipe = dataclasses.asdict(config.model) | dataclasses.asdict(config.train)
    recipe.pop("checkpoint_seconds")
    # Two names of earlier versions, so that runs interrupted then can still be resumed.
    recipe["head"] = models.NAMES.get(config.model.head, config.model.head)
    if config.aligns:
        # The path of the extra captions does not matter; `data.signature` covers their content.
        recipe["align"] = dataclasses.asdict(config.align) | {"captions": None}
        del recipe["align"]["extra_captions"]
    return run_signature(recipe, data.signature)


def loss() -> keras.losses.Loss:
    """KL divergence of the one-hot truth, averaged over the rows there are, not over padding."""
    return keras.losses.KLDivergence(reduction="mean_with_sample_weight")


def metrics() -> list[keras.metrics.Metric]:
    return [keras.metrics.BinaryAccuracy(name="binary_accuracy"), MatchAUC(name="auc")]


class MatchAUC(keras.metrics.AUC):
    """ROC AUC of P(match); the second column, its complement, is left out."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_true[..., 0], y_pred[..., 0], sample_weight)
