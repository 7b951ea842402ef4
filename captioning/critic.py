"""Self-critical training: a model learns from its own captions, rewarded by their CIDEr-D.

    critic = Critic(model, config, vocabulary, Rewards(numbers, references, vocabulary))
    fit(critic, train=lambda epoch, skip: critic.batches(data, numbers, epoch, skip), ...)

Several captions are sampled per photo. One that scores above the mean of the others becomes more
likely, one that scores below it less so (Rennie et al. 2017, with the baseline of Luo 2020).
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
from imagetext.captioning.decoding.rules import position_mask
from imagetext.captioning.vocabulary import Vocabulary
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.tokens import tokenize
from imagetext.pipelines.batches import generate_batches, shuffle

#: Scored as the last word of every caption: otherwise breaking off after "in a" costs nothing.
END = "<end>"


class Rewards:
    """CIDEr-D of captions against the training references of their photos.

    rewards = Rewards(numbers, references, vocabulary)
    rewards(numbers=[3, 7], tokens=ids)                  # ids int32 [2, n, t] -> float32 [2, n]

    Args:
        numbers: The numbers of the photos.
        references: The captions of each photo.
        vocabulary: Decodes the tokens.
    """

    def __init__(
        self, numbers: np.ndarray, references: Sequence[Sequence[str]], vocabulary: Vocabulary
    ):
        self.rows = {int(number): row for row, number in enumerate(numbers)}
        self.cider = Cider([[[*tokenize(text), END] for text in texts] for texts in references])
        self.vocabulary = vocabulary

    def __call__(self, numbers: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        count = tokens.shape[1]
        texts = self.vocabulary.decode(tokens.reshape(-1, tokens.shape[-1])).numpy()
        captions = [[*tokenize(text.decode()), END] for text in texts]
        rows = np.repeat([self.rows[int(number)] for number in numbers], count)
        return self.cider.scores(captions, rows).reshape(-1, count).astype(np.float32)


class Critic(keras.Model):
    """A captioning model with the self-critical training step; calling it calls the model."""

    def __init__(
        self,
        captioner: keras.Model,
        config: CaptioningConfig,
        vocabulary: Vocabulary,
        rewards: Rewards,
    ):
        super().__init__(name="critic")
        self.captioner, self.rewards = captioner, rewards
        self.decoder = models.get_decoder(captioner, config.model)
        image = captioner.input["image"]
        self.encoder = keras.Model(image, self.decoder.encode_image(image), name="seeing")
        self.dropout = config.critic.dropout
        self.words = DecodingVocabulary.from_vocabulary(vocabulary)
        self.max_words, self.seed = config.text.longest, config.train.seed
        self.sampling = DecodingConfig(
            method="sample", beams=config.critic.samples, temperature=config.critic.temperature
        )
        self.batch_size = config.critic.batch_size
        self.mean_loss = keras.metrics.Mean(name="loss")
        self.mean_reward = keras.metrics.Mean(name="reward")

    def batches(
        self, data: CaptioningData, numbers: np.ndarray, epoch: int, skip: int
    ) -> tf.data.Dataset:
        """One pass over the photos, in an order that depends on seed and epoch only.

        Returns:
            Batches of image [b, ...], photo number int64 [b], whether the photo could be read
            bool [b], and the seed of the samples int64 [2].
        """
        order, size = numbers[shuffle(len(numbers), self.seed, epoch)], self.batch_size
        splits = range(size, len(order), size)
        batches = np.array_split(order, splits)
        flips = np.array_split(data.choose_flips(order, self.seed, epoch), splits)

        def make(index):
            image, is_good = data.fetch(batches[index], flips[index])
            seed = np.array([self.seed, epoch * 100_000 + index])
            return image, batches[index], is_good, seed

        number = tf.TensorSpec([None], tf.int64)
        is_good = tf.TensorSpec([None], tf.bool)
        seed = tf.TensorSpec([2], tf.int64)
        return generate_batches(make, [data.image_spec, number, is_good, seed], len(batches), skip)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that Keras resets before each pass."""
        return [self.mean_loss, self.mean_reward]

    def call(self, inputs, training=None):
        return self.captioner(inputs, training=training)

    def train_step(self, batch):
        image, number, is_good, seed = batch
        with tf.GradientTape() as tape:
            # Encoded once, so that dropout is the same for sampling and for the loss.
            memory = self.encoder(image, training=self.dropout)
            with tape.stop_recording():
                samples = sample(
                    self.decoder, memory, self.sampling, self.words, self.max_words, seed
                )
                tokens = samples.tokens[..., : ops.max(samples.length)]
                advantage, reward = self.score_samples(number, tokens, is_good)
                texts, weight = self.shift_tokens(tokens)
            logits = self.decoder.next_token_logits(memory, texts)
            logits = (logits + self.word_mask(tokens)) / self.sampling.temperature
            log_p = ops.log_softmax(logits)
            log_p = ops.squeeze(ops.take_along_axis(log_p, tokens[..., None], axis=-1), -1)
            log_p = ops.where(weight > 0, log_p, 0.0)
            loss = -ops.sum(advantage[..., None] * log_p) / ops.sum(weight)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        self.mean_loss.update_state(loss)
        self.mean_reward.update_state(reward)
        return {metric.name: metric.result() for metric in self.metrics}

    def score_samples(self, number, tokens, is_good):
        """Advantage and reward [b, n] of samples [b, n, t].

        The advantage is the reward minus the mean reward of the photo's other samples; it is 0 for
        photos that could not be read.
        """
        reward = tf.numpy_function(self.rewards, [number, tokens], tf.float32, stateful=False)
        reward = tf.ensure_shape(reward, [None, self.sampling.beams])
        others = (tf.reduce_sum(reward, 1, keepdims=True) - reward) / (self.sampling.beams - 1)
        return (reward - others) * tf.cast(is_good, tf.float32)[:, None], reward

    def test_step(self, batch):
        """The cross-entropy of reference captions, as in the first stage."""
        inputs, targets, weight = batch
        loss = self.compute_loss(inputs, targets, self(inputs, training=False), weight)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}

    def word_mask(self, tokens):
        """The mask of words for samples [b, n, t]: float32 [t, words].

        The samples were drawn with these words excluded. If they counted here, whatever makes the
        sampled words less likely would make the excluded ones more likely: the unknown word would
        take over, and no metric would show it.
        """
        size = self.captioner.output_shape[-1]
        return position_mask(tf.range(tf.shape(tokens)[-1]), self.max_words, self.words, size)

    def shift_tokens(self, tokens):
        """Samples with end [b, n, t] -> the inputs that predict them, and float weights [b, n, t]
        that are 0 for padding."""
        weight = ops.cast(tokens != 0, "float32")
        start = ops.full_like(tokens[..., :1], self.words.start)
        texts = ops.concatenate([start, tokens[..., :-1]], axis=-1)
        return texts * ops.cast(weight, "int32"), weight
