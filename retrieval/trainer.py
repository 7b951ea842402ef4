"""The training step of the two towers: every photo of a batch is compared with every caption.

    trainer = PairTrainer(network, config)
    fit(trainer, loss=trainer.pair_loss, metrics=[], ...)

Its batches are ({"image" [b, ...], "texts" [b, t]}, truth [b, b]).
"""

import keras
import tensorflow as tf

from imagetext.layers.contrastive import Contrastive, PairSigmoid, Temperature
from imagetext.layers.late_interaction import late_similarities, word_weights
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.one_clip import start_temperature
from imagetext.training.gradient_cache import cached_gradients


class PairTrainer(keras.Model):
    """A network of `retrieval.models` with the learned temperatures of its similarities.

    With late interaction the loss is the mean of two: one of the blended similarity, one of the
    vectors alone, because an index holds only the vectors.

    Args:
        network: The network of both towers.
        config: The configuration of the run.
    """

    def __init__(self, network: keras.Model, config: RetrievalConfig):
        super().__init__(name="pair_trainer")
        self.network, self.late = network, config.model.late
        sigmoid = config.loss.kind == "sigmoid"
        self.pair_loss = PairSigmoid() if sigmoid else Contrastive(config.loss.hardness)
        self.micro_batch = config.loss.micro_batch
        start = (start_temperature(config), config.loss.bias if sigmoid else None)
        names = ("temperature", "temperature_together")[: 2 if self.late else 1]
        self.temperatures = [Temperature(*start, name=name) for name in names]
        for temperature in self.temperatures:
            temperature.build(())
        self.mean_loss = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Reset by Keras at the start of each epoch."""
        return [self.mean_loss]

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def similarities(self, vectors) -> list[tf.Tensor]:
        """Scaled similarities [b, b] of a batch: of the vectors, then with late interaction."""
        cosines = tf.matmul(vectors["photo"], vectors["text"], transpose_b=True)
        logits = [cosines]
        if self.late:
            # Words times cells is large: computed in the precision of the network.
            cells, words = (
                tf.cast(vectors[name], self.network.compute_dtype) for name in ("cells", "words")
            )
            interaction = late_similarities(cells, words, word_weights(vectors["mask"]))
            logits.append((1 - self.late) * cosines + self.late * interaction)
        return [scale(each) for scale, each in zip(self.temperatures, logits, strict=True)]

    def loss_of(self, vectors, truth) -> tf.Tensor:
        losses = [self.pair_loss(truth, logits) for logits in self.similarities(vectors)]
        return tf.add_n(losses) / len(losses)

    def train_step(self, batch):
        inputs, truth = batch
        variables = self.trainable_variables
        if self.micro_batch:
            losses = []

            def scaled_loss(vectors):
                losses.append(self.loss_of(vectors, truth))
                return self.optimizer.scale_loss(losses[0])

            _, gradients = cached_gradients(
                self.network, scaled_loss, inputs, variables, self.micro_batch
            )
            (loss,) = losses
        else:
            with tf.GradientTape() as tape:
                loss = self.loss_of(self.network(inputs, training=True), truth)
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, variables)
        self.optimizer.apply(gradients, variables)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}

    def test_step(self, batch):
        inputs, truth = batch
        self.mean_loss.update_state(self.loss_of(self.network(inputs, training=False), truth))
        return {"loss": self.mean_loss.result()}

    @property
    def learned(self) -> dict[str, float | None]:
        """Scale and bias of the vectors' similarity, kept in the run for probabilities."""
        temperature = self.temperatures[0]
        zero = float(temperature(tf.constant(0.0)))
        bias = None if temperature.start_bias is None else zero
        return {"scale": float(temperature(tf.constant(1.0))) - zero, "bias": bias}
