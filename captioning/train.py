"""Train a captioning model on reference captions and, as a second stage, on its own captions.

run = train(load_config(CaptioningConfig, "captioning/gru_attention", {"data.root": "flickr8k"}))
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from imagetext.captioning import models
from imagetext.captioning.config import CaptioningConfig, DecodingConfig
from imagetext.captioning.critic import Critic, Rewards
from imagetext.captioning.data import CaptioningData, load
from imagetext.captioning.predict import CaptioningModel, best
from imagetext.captioning.vocabulary import Vocabulary
from imagetext.encoders import images
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.tokens import tokenize
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.sample import sample_notices
from imagetext.terminal import show_progress
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

GREEDY = DecodingConfig(beams=1)
#: Photos whose captions are scored after each epoch.
SCORED = 1000


def train(
    config: CaptioningConfig,
    resume: bool = False,
    name: str = "captioning",
    data: CaptioningData | None = None,
) -> Run:
    """Train a captioning model.

    Args:
        config: The configuration.
        resume: Continue the run that `config.run.name` names, if it exists.
        name: Name of the run's folder where the configuration has none; a number is added.
        data: The data, if it has been loaded already.

    Returns:
        The finished run.

    Examples:
        >>> train(load_config(CaptioningConfig, "captioning/sample")).folder
        PosixPath('runs/captioning-1')
    """
    if interrupted := run_to_resume(config, resume):
        return resume_run(interrupted.folder, data)
    data = data or load(config)  # before the folder is made: bad data leaves no trace
    run, config = start_run(config, name)
    return _train(run, config, data, resume=False)


def resume_run(folder: str | Path, data: CaptioningData | None = None) -> Run:
    """Continue an interrupted run with its own configuration."""
    run, config = reopen_run(folder, CaptioningConfig)
    return _train(run, config, data or load(config), resume=True)


def _train(run: Run, config: CaptioningConfig, data: CaptioningData, resume: bool) -> Run:
    for notice in sample_notices(data.source):
        show_progress(notice)
    with record_training(run, data.photos, {"photos and captions": data.left_out}):
        if not (resume and run.model_file.is_file()):
            train_stages(run, config, data, resume)
    return run


def train_stages(run: Run, config: CaptioningConfig, data: CaptioningData, resume: bool) -> None:
    """Train with cross-entropy, then self-critically if configured, and save the model."""
    with model_scope(config.train):
        model = build(config, data.vocabulary, data.photos.shape)
    count = f"{model.count_params():,} parameters, a vocabulary of {len(data.vocabulary):,}"
    show_progress(f"{config.model.kind}: {count}, {len(data.groups['train']):,} training photos")
    standardise(model, data.photos, data.groups["train"].photo)
    data.vocabulary.write(run.vocabulary_file)
    with report_bad_photos(data.photos):
        train_words(run, config, data, model, resume)
        if config.critic.epochs:
            show_progress("Self-critical training:")
            train_critic(run, config, data, model, resume)
    save_model(run.model_file, model)


def build(config: CaptioningConfig, vocabulary: Vocabulary, shape: tuple) -> keras.Model:
    """Build the network of a configuration.

    Args:
        config: The configuration.
        vocabulary: The vocabulary; its digest becomes part of the network's name.
        shape: Shape of a photo. If photos are pixels, an image encoder is put in front.
    """
    tower, data = None, config.data
    if data.from_pixels and not data.image_encoders:
        tower = models.build_cnn(data.image_size, config.model.filters, data.image_output)
    elif data.from_pixels:
        tower = images.build(data.image_encoders[0], data.image_output, data.image_weights)
    length = config.text.longest + 1
    model = models.build(config.model, len(vocabulary), shape, tower, length, vocabulary.rows)
    if data.augment and data.image_encoders and not data.fine_tune:
        tower.trainable = False
    return keras.Model(model.input, model.output, name=f"captioner_{vocabulary.digest}")


def train_words(
    run: Run, config: CaptioningConfig, data: CaptioningData, model: keras.Model, resume: bool
) -> Progress:
    """Train with cross-entropy: predict each word from the true words before it."""
    cider = DevCider(config, data, model) if config.train.monitor == "val_cider" else None
    return fit(
        model,
        loss=WordLoss(config.loss.label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="token_accuracy")],
        train=lambda epoch, skip: data.batches("train", config.train.seed, epoch, skip),
        steps=data.steps("train"),
        dev=data.batches("dev"),
        config=config.train,
        run=run,
        resume=resume,
        signature=signature(config, data, ("model", "loss", "train")),
        rates=models.pretrained_rates(model, config.model),
        scored={"val_cider": cider} if cider else {},
        before_epoch=DropoutSchedule(model, config),
    )


def train_critic(
    run: Run, config: CaptioningConfig, data: CaptioningData, model: keras.Model, resume: bool
) -> Progress:
    """Train on sampled captions, rewarded by their CIDEr-D (see `imagetext.captioning.critic`)."""
    stage = dataclasses.replace(
        config.train,
        epochs=config.critic.epochs,
        learning_rate=config.critic.learning_rate,
        monitor="val_cider",
    )
    numbers, references = data.photos_of("train")
    rewards = Rewards(numbers, references, data.vocabulary)
    critic = Critic(model, config, data.vocabulary, rewards)
    return fit(
        critic,
        loss=WordLoss(config.loss.label_smoothing),  # for dev only
        metrics=[],
        train=lambda epoch, skip: critic.batches(data, numbers, epoch, skip),
        steps=-(-len(numbers) // config.critic.batch_size),
        dev=data.batches("dev"),
        config=stage,
        run=run.part("critic"),
        resume=resume,
        signature=signature(config, data, ("model", "loss", "train", "critic")),
        rates=models.pretrained_rates(model, config.model),
        scored={"val_cider": DevCider(config, data, model)},
        better_than_before=True,
        rate_key="critic.learning_rate",
    )


class WordLoss(keras.losses.Loss):
    """Cross-entropy of logits [..., v] and words [...], averaged over all words.

    Args:
        smoothing: Share of the target that is spread evenly over all words.
    """

    def __init__(self, smoothing: float):
        super().__init__(reduction="mean_with_sample_weight", name="words")
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        size = y_pred.shape[-1]
        target = ops.one_hot(ops.cast(y_true, "int32"), size, dtype="float32")
        target = target * (1 - self.smoothing) + self.smoothing / size
        return ops.categorical_crossentropy(target, y_pred, from_logits=True)


class DevCider:
    """CIDEr-D of greedy captions of photos of dev."""

    def __init__(self, config: CaptioningConfig, data: CaptioningData, model: keras.Model):
        numbers, references = data.photos_of("dev")
        self.numbers = numbers[:SCORED]
        self.cider = Cider([[tokenize(text) for text in texts] for texts in references[:SCORED]])
        self.data = data
        self.captioner = CaptioningModel(model, config, data.vocabulary)

    def __call__(self) -> float:
        results = self.captioner.predict_numbers(self.data, self.numbers, GREEDY)
        captions = [tokenize(best(each).text) for each in results]
        return float(np.mean(self.cider.scores(captions, np.arange(len(captions)))))


class DropoutSchedule:
    """Raises dropout from zero to its full rate; called before each epoch.

    Returns whether rates have changed.
    """

    def __init__(self, model: keras.Model, config: CaptioningConfig):
        self.epochs = math.ceil(config.loss.dropout_until * config.train.epochs)
        dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        self.full_rates = [(layer, layer.rate) for layer in dropouts]

    def __call__(self, epoch: int) -> bool:
        if epoch > self.epochs or not self.epochs:
            return False
        for layer, rate in self.full_rates:
            layer.rate = rate * epoch / self.epochs
        return True


def signature(config: CaptioningConfig, data: CaptioningData, parts: Sequence[str]) -> str:
    """Identifies everything that decides the weights of a stage: data and recipe.

    Args:
        config: The configuration.
        data: The data.
        parts: Sections of the configuration that decide the weights.
    """
    recipe = {part: dataclasses.asdict(getattr(config, part)) for part in parts}
    recipe["train"].pop("checkpoint_seconds")
    recipe["data"] = [config.data.augment, config.data.flips, config.data.fine_tune]
    return run_signature(recipe, data.signature)
