"""Self-critical training: a model learns from what it says itself, by the CIDEr-D of the whole.

    critic = Critic(model, config, vocabulary, Rewards(numbers, references, vocabulary))
    fit(critic, train=lambda epoch, skip: critic.batches(data, numbers, epoch, skip), ...)

Of each photo several captions are drawn; one that scores above the mean of the others becomes
likelier, one below it less so (Rennie et al. 2017, with the baseline of Luo 2020).
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from imagetext.captioning import models
from imagetext.captioning.config import CaptioningConfig, DecodingConfig
from imagetext.captioning.data import CaptioningData
from imagetext.captioning.decoding import DecodingVocabulary, sample
from imagetext.captioning.decoding.rules import standing_bans
from imagetext.captioning.vocabulary import Vocabulary
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.tokens import tokenize
from imagetext.pipelines.batches import generate_batches, shuffle

#: The last word of every caption here: else breaking off after "in a" costs nothing.
END = "<end>"


class Rewards:
    """CIDEr-D of captions against the training references of their photos.

    rewards = Rewards(numbers, references, vocabulary)
    rewards(photo=[3, 7], tokens=ids)                    # ids int32 [2, n, t] -> float32 [2, n]
    """

    def __init__(
        self, numbers: np.ndarray, references: Sequence[Sequence[str]], vocabulary: Vocabulary
    ):
        self.place = {int(number): place for place, number in enumerate(numbers)}
        self.cider = Cider([[[*tokenize(text), END] for text in texts] for texts in references])
        self.vocabulary = vocabulary

    def __call__(self, photo: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        count = tokens.shape[1]
        texts = self.vocabulary.texts(tokens.reshape(-1, tokens.shape[-1])).numpy()
        said = [[*tokenize(text.decode()), END] for text in texts]
        places = np.repeat([self.place[int(number)] for number in photo], count)
        return self.cider.scores(said, places).reshape(-1, count).astype(np.float32)


class Critic(keras.Model):
    """A captioning model with a training step of its own; called, it is that model."""

    def __init__(
        self,
        captioner: keras.Model,
        config: CaptioningConfig,
        vocabulary: Vocabulary,
        rewards: Rewards,
    ):
        super().__init__(name="critic")
        self.captioner, self.rewards = captioner, rewards
        self.decoder = models.decoder_of(captioner, config.model)
        image = captioner.input["image"]
        self.seeing = keras.Model(image, self.decoder.see(image), name="seeing")
        self.dropout = config.critic.dropout
        self.words = DecodingVocabulary.of(vocabulary)
        self.longest, self.seed = config.text.longest, config.train.seed
        drawn = {"beams": config.critic.samples, "temperature": config.critic.temperature}
        self.drawn = DecodingConfig(method="sample", **drawn)
        self.batch_size = config.critic.batch_size
        self.mean_loss = keras.metrics.Mean(name="loss")
        self.mean_reward = keras.metrics.Mean(name="reward")

    def batches(
        self, data: CaptioningData, numbers: np.ndarray, epoch: int, skip: int
    ) -> tf.data.Dataset:
        """Photos in an order of seed and epoch alone: (image, photo int64 [b], good, seed [2])."""
        order, size = numbers[shuffle(len(numbers), self.seed, epoch)], self.batch_size
        places = range(size, len(order), size)
        chosen = np.array_split(order, places)
        flips = np.array_split(data.flips(order, self.seed, epoch), places)

        def gather(number):
            image, good = data.fetch(chosen[number], flips[number])
            return image, chosen[number], good, np.array([self.seed, epoch * 100_000 + number])

        ids = tf.TensorSpec([None], tf.int64)
        good = tf.TensorSpec([None], tf.bool)
        seed = tf.TensorSpec([2], tf.int64)
        return generate_batches(gather, [data.image_spec, ids, good, seed], len(chosen), skip)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What Keras sets back before each pass."""
        return [self.mean_loss, self.mean_reward]

    def call(self, inputs, training=None):
        return self.captioner(inputs, training=training)

    def train_step(self, batch):
        image, photo, good, seed = batch
        with tf.GradientTape() as tape:
            # With dropout the same of it is lost in drawing and in learning.
            memory = self.seeing(image, training=self.dropout)
            with tape.stop_recording():
                found = sample(self.decoder, memory, self.drawn, self.words, self.longest, seed)
                tokens = found.tokens[..., : ops.max(found.length)]
                advantage, reward = self.judged(photo, tokens, good)
                texts, weight = self.framed(tokens)
            logits = self.decoder.read(memory, texts)
            log_p = ops.log_softmax((logits + self.bans(tokens)) / self.drawn.temperature)
            said = ops.squeeze(ops.take_along_axis(log_p, tokens[..., None], axis=-1), -1)
            said = ops.where(weight > 0, said, 0.0)
            loss = -ops.sum(advantage[..., None] * said) / ops.sum(weight)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        self.mean_loss.update_state(loss)
        self.mean_reward.update_state(reward)
        return {metric.name: metric.result() for metric in self.metrics}

    def judged(self, photo, tokens, good):
        """By how much each caption [b, n, t] beats the mean of the others, and its reward: [b, n].
        Where a photo could not be read, nothing beats anything."""
        reward = tf.numpy_function(self.rewards, [photo, tokens], tf.float32, stateful=False)
        reward = tf.ensure_shape(reward, [None, self.drawn.beams])
        others = (tf.reduce_sum(reward, 1, keepdims=True) - reward) / (self.drawn.beams - 1)
        return (reward - others) * tf.cast(good, tf.float32)[:, None], reward

    def test_step(self, batch):
        """The words of true captions, as in the training before."""
        inputs, truth, weight = batch
        loss = self.compute_loss(inputs, truth, self(inputs, training=False), weight)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}

    def bans(self, tokens):
        """What may not be said at the places of captions [b, n, t]: float32 [t, words].

        The captions were drawn without it. Were it to count here, whatever makes them less likely
        would make it more so: the unknown word swallows the others, and nobody is told.
        """
        size = self.captioner.output_shape[-1]
        return standing_bans(tf.range(tf.shape(tokens)[-1]), self.longest, self.words, size)

    def framed(self, tokens):
        """What was said, words and end [b, n, t] -> as it was read, and which count."""
        weight = ops.cast(tokens != 0, "float32")
        first = ops.full_like(tokens[..., :1], self.words.start)
        texts = ops.concatenate([first, tokens[..., :-1]], axis=-1)
        return texts * ops.cast(weight, "int32"), weight
