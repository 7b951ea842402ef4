"""A dual encoder with a training step of its own: everything in a batch is compared, whatever the
memory holds.

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
    """The network of `retrieval.models`, and the temperatures by which its similarities count.

    With late interaction the loss is the mean of two: of the similarity of both kinds together, and
    of the vectors alone, so that they are good by themselves: an index holds nothing else.
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
        """What Keras sets back before each pass."""
        return [self.mean_loss]

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def similarities(self, vectors) -> list[tf.Tensor]:
        """Of the vectors of a batch [b, ...], each by its temperature: of the vectors alone and, of
        a model with late interaction, of both together, [b, b]."""
        cosines = tf.matmul(vectors["photo"], vectors["text"], transpose_b=True)
        kinds = [cosines]
        if self.late:
            # What meets is large: it does in the precision of the network.
            cells, words = (
                tf.cast(vectors[name], self.network.compute_dtype) for name in ("cells", "words")
            )
            met = late_similarities(cells, words, word_weights(vectors["mask"]))
            kinds.append((1 - self.late) * cosines + self.late * met)
        return [scale(kind) for scale, kind in zip(self.temperatures, kinds, strict=True)]

    def loss_of(self, vectors, truth) -> tf.Tensor:
        losses = [self.pair_loss(truth, found) for found in self.similarities(vectors)]
        return tf.add_n(losses) / len(losses)

    def train_step(self, batch):
        inputs, truth = batch
        variables = self.trainable_variables
        if self.micro_batch:
            noted = []

            def scaled_loss(vectors):
                noted.append(self.loss_of(vectors, truth))
                return self.optimizer.scale_loss(noted[0])

            _, gradients = cached_gradients(
                self.network, scaled_loss, inputs, variables, self.micro_batch
            )
            (loss,) = noted
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
        """Scale and bias of the vectors' similarity, for who asks how sure the model is."""
        first = self.temperatures[0]
        zero = float(first(tf.constant(0.0)))
        bias = None if first.start_bias is None else zero
        return {"scale": float(first(tf.constant(1.0))) - zero, "bias": bias}
