"""Training as in textbooks, for teaching: one sample per word.

    model = models.build(ModelConfig("gru_merge"), len(data.vocabulary), data.photos.shape)
    textbook = textbook_model(model)                        # shares the weights
    textbook.compile("adam", loss="categorical_crossentropy")
    textbook.fit(textbook_batches(data, "train", batch_size=64))

"A dog runs" becomes four samples, each with the photo: startseq -> a, startseq a -> dog, startseq a
dog -> runs, and startseq a dog runs -> endseq. The GRU reads the same words again and again: in a
caption of twelve words, the first word and the photo are processed twelve times. Reading the
caption once and predicting after each word is equivalent: the sum of the losses of all words and
its gradients are equal (tests/captioning/test_textbook.py). The exception is batch normalisation
during training: its mean and variance are those of a batch, in which the textbook repeats each
photo for every word.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.data import CaptioningData
from imagetext.captioning.models import get_decoder
from imagetext.errors import UserError
from imagetext.pipelines.batches import EMPTY


def textbook_batches(data: CaptioningData, split: str, batch_size: int) -> tf.data.Dataset:
    """One sample per word of a split, in file order, without photos that cannot be read.

    Args:
        data: The data.
        split: The split.
        batch_size: Samples per batch.

    Returns:
        Batches ({"image", "prefix"}, next word): image [b, ...]; prefix int32 [b, t], start and the
        words so far, padded with zeros to the longest caption of the split; next word one-hot
        float32 [b, v].
    """
    groups = data.groups[split]
    group, column = np.nonzero(groups.caption != EMPTY)
    texts, targets = data.inputs_and_targets(groups.caption[group, column])
    shape, dtype = data.image_spec.shape[1:], data.image_spec.dtype

    def fetch(number):
        image, is_good = data.photos.fetch([number])
        return image[0], is_good[0]

    def add_photo(number, texts, targets):
        image, is_good = tf.numpy_function(fetch, [number], [dtype, tf.bool], stateful=False)
        return tf.ensure_shape(image, shape), tf.ensure_shape(is_good, []), texts, targets

    def split_words(image, is_good, texts, targets):
        words = tf.math.count_nonzero(targets, dtype=tf.int32)
        # Row i of the lower triangle contains the first i + 1 tokens.
        prefix = tf.linalg.band_part(tf.repeat(texts[None], words, axis=0), -1, 0)
        photo = tf.repeat(image[None], words, axis=0)
        next_word = tf.one_hot(targets[:words], len(data.vocabulary))
        return tf.data.Dataset.from_tensor_slices(({"image": photo, "prefix": prefix}, next_word))

    samples = tf.data.Dataset.from_tensor_slices((groups.photo[group], texts, targets))
    samples = samples.map(add_photo, num_parallel_calls=tf.data.AUTOTUNE)
    samples = samples.filter(lambda image, is_good, texts, targets: is_good)
    return samples.flat_map(split_words).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def textbook_model(model: keras.Model) -> keras.Model:
    """The model of the textbooks, with the weights of a gru_merge model.

    Args:
        model: A gru_merge model.

    Returns:
        A model from {"image": [b, ...], "prefix": int32 [b, t]} to the probabilities of the next
        word, float32 [b, v].
    """
    if "reader" not in {layer.name for layer in model.layers}:
        raise UserError(f"the textbook model needs a gru_merge model, got {model.name}")
    decoder = get_decoder(model, ModelConfig("gru_merge", width=model.get_layer("reader").units))
    image, prefix = model.input["image"], keras.Input([None], dtype="int32", name="prefix")
    hidden = decoder.reader(decoder.word_dropout(decoder.words(prefix)))
    last = ops.count_nonzero(prefix, axis=1)[:, None, None] - 1
    hidden = ops.squeeze(ops.take_along_axis(hidden, last, axis=1), axis=1)
    hidden = decoder.reader_dropout(decoder.reader_norm(hidden))
    hidden = decoder.output(hidden + decoder.encode_image(image)["vector"])
    probabilities = ops.softmax(decoder.logits(hidden))
    return keras.Model({"image": image, "prefix": prefix}, probabilities, name="textbook")
