"""Train a matching model, and the controls that its score must be compared with.

run = train(load_config(ITMConfig, "itm/cnn", {"data.root": "flickr8k"}))
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras

from imagetext.itm import models, record
from imagetext.itm.align import align
from imagetext.itm.calibration import calibrate
from imagetext.itm.config import ITMConfig, ModelConfig
from imagetext.itm.data import MatchingData, load, open_data
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.records import SPLITS, Source
from imagetext.pipelines.sample import sample_notices
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
from imagetext.training.optimizer import Rates
from imagetext.training.run import Run

#: Builds a custom model.
Build = Callable[[ModelConfig], keras.Model]
#: The controls of a run, and the value of `model.inputs` of each.
CONTROLS = {"text-only": "text", "image-only": "image"}


def notices_of_data(source: Source) -> list[str]:
    """What to say of results on this data; for ITM_Classifier.py as well."""
    return [f"{each} (ITM_Classifier.py: --images PATH)" for each in sample_notices(source)]


def train(
    config: ITMConfig,
    resume: bool = False,
    name: str = "itm",
    data: MatchingData | None = None,
    build: Build | None = None,
) -> Run:
    """Train a matching model, and its controls if `report.controls` is set.

    Args:
        config: The configuration.
        resume: Continue the run named `config.run.name`, if it exists.
        name: Name of the run's folder if the configuration has none; a number is appended.
        data: The data, if it has been loaded already.
        build: Builds a custom model instead of `models.build`.

    Returns:
        The finished run.

    Examples:
        >>> train(load_config(ITMConfig, "itm/sample")).folder
        PosixPath('runs/itm-1')
    """
    if interrupted := run_to_resume(config, resume):
        return resume_run(interrupted.folder, data, build)
    # Before the folder is created, so that bad data leaves no empty run.
    data = data or load_for_training(config)
    run, config = start_run(config, name)
    return _train(run, config, data, build, resume=False)


def resume_run(
    folder: str | Path, data: MatchingData | None = None, build: Build | None = None
) -> Run:
    """Continue an interrupted run with the configuration in its folder.

    Args:
        folder: The folder of the run.
        data: The data, if it has been loaded already.
        build: Builds a custom model, as for `train`.
    """
    run, config = reopen_run(folder, ITMConfig)
    return _train(run, config, data or load_for_training(config), build, resume=True)


def load_for_training(config: ITMConfig) -> MatchingData:
    """Load the data of a training run.

    Labelled data is loaded with its test split, so that its problems are reported before training.
    Captioned data is not, as some copies come without the test captions.
    """
    labelled = open_data(config.data).labelled
    splits = SPLITS if labelled else ("train", "dev")
    if not config.aligns:
        return load(config, splits)
    return load(config, splits, config.align.extra_captions, config.align.flips)


def _train(
    run: Run, config: ITMConfig, data: MatchingData, build: Build | None, resume: bool
) -> Run:
    for notice in notices_of_data(data.source):
        show_progress(notice)
    with record_training(run, data.photos, {"rows": data.left_out}):
        record.write(run, data)
        train_model(run, config, data, build, resume)
        controls = CONTROLS if config.report.controls else {}
        for control, inputs in controls.items():
            show_progress(f"\nControl: {control}, trained with the same settings")
            part = run.part(f"controls/{control}")
            train_model(part, control_config(config, inputs), data, build, resume)
    return run


def control_config(config: ITMConfig, inputs: str) -> ITMConfig:
    """The configuration of a control: the same settings, for a model with one input.

    A control has no alignment stage, which needs both sides. If the run is trained by alignment
    alone, the control is trained with the alignment's epochs and learning rate instead.
    """
    settings = config.train
    if not settings.epochs:
        settings = dataclasses.replace(
            settings, epochs=config.align.epochs, learning_rate=config.align.learning_rate
        )
    return dataclasses.replace(
        config, train=settings, model=dataclasses.replace(config.model, inputs=inputs)
    )


def train_model(
    run: Run,
    config: ITMConfig,
    data: MatchingData,
    build: Build | None = None,
    resume: bool = False,
) -> Progress | None:
    """Train one model and save it as `model.keras`.

    Args:
        run: The folder of the model: that of the run, or of one of its controls.
        config: The configuration.
        data: The data.
        build: Builds a custom model instead of `models.build`.
        resume: Continue from the last checkpoint.

    Returns:
        The progress of the training; None if it was already complete.
    """
    if resume and run.model_file.is_file():
        return None
    with model_scope(config.train):
        if build:
            model = build(config.model)
        else:
            model = models.build(config.model, config.data, config.text)
    if config.model.inputs == "both":
        model.summary(line_length=width())
    rates = pretrained_rates(model, config.model.encoder_rate)
    standardise(model, data.photos, data.groups["train"].photo)
    with report_bad_photos(data.photos):
        if config.aligns:
            show_progress("Alignment:")
            align(run, config, data, model, rates, resume, signature(config, data))
            show_progress("Training:" if config.train.epochs else "No training stage.")
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


def pretrained_rates(model: keras.Model, share: float) -> Rates:
    """The variables of encoders inside the model, each with its share of the learning rate."""
    encoders = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return [(v, share) for encoder in encoders for v in encoder.trainable_variables]


def signature(config: ITMConfig, data: MatchingData) -> str:
    """Identifies everything that determines the weights: model, training settings and data."""
    recipe = dataclasses.asdict(config.model) | dataclasses.asdict(config.train)
    recipe.pop("checkpoint_seconds")
    # Names of earlier versions, so that runs interrupted then can still be resumed.
    recipe["head"] = models.MODEL_NAMES.get(config.model.head, config.model.head)
    if config.aligns:
        # The path of the extra captions does not matter; `data.signature` covers their content.
        recipe["align"] = dataclasses.asdict(config.align) | {"captions": None}
        del recipe["align"]["extra_captions"]
    return run_signature(recipe, data.signature)


def loss() -> keras.losses.Loss:
    """KL divergence from the one-hot truth, averaged over the rows without padding."""
    return keras.losses.KLDivergence(reduction="mean_with_sample_weight")


def metrics() -> list[keras.metrics.Metric]:
    """The metrics of training: accuracy and ROC AUC."""
    return [keras.metrics.BinaryAccuracy(name="binary_accuracy"), MatchAUC(name="auc")]


class MatchAUC(keras.metrics.AUC):
    """ROC AUC of P(match); the second column, its complement, is ignored."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_true[..., 0], y_pred[..., 0], sample_weight)
