"""The textbook's way to train on captions, for teaching: a sample for every word.

    model = models.build(ModelConfig("gru_merge"), len(data.vocabulary), data.photos.shape)
    textbook = textbook_model(model)                        # the same weights
    textbook.compile("adam", loss="categorical_crossentropy")
    textbook.fit(textbook_batches(data, "train", batch_size=64))

"A dog runs" becomes four samples, each with the photo: startseq -> a, startseq a -> dog, startseq a
dog -> runs, and startseq a dog runs -> endseq. A GRU reads the same words over and over: of twelve
words the first is read twelve times, and the photo is seen twelve times. To read the caption once
and answer behind each word is the same: the losses of all its words, summed, and their gradients
are equal (tests/captioning/test_textbook.py). Batch normalisation is the exception, while it
learns: its mean and variance are those of a batch, where the textbook counts a photo once a word.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.data import CaptioningData
from imagetext.captioning.models import decoder_of
from imagetext.errors import UserError
from imagetext.pipelines.batches import EMPTY


def textbook_batches(data: CaptioningData, split: str, batch_size: int) -> tf.data.Dataset:
    """({"image", "prefix"}, next word), in file order: all words of a caption, then the next.

    image [b, ...]; prefix int32 [b, t], start and the words so far, zeros behind them up to the
    longest caption of all; next word one-hot float32 [b, v]. Photos that cannot be read are left
    out.
    """
    groups = data.groups[split]
    group, place = np.nonzero(groups.caption != EMPTY)
    read, answered = data.framed(groups.caption[group, place])
    image_spec = data.image_spec.shape[1:], data.image_spec.dtype

    def fetch(number):
        image, good = data.photos.fetch([number])
        return image[0], good[0]

    def with_photo(number, read, answered):
        image, good = tf.numpy_function(fetch, [number], [image_spec[1], tf.bool], stateful=False)
        return tf.ensure_shape(image, image_spec[0]), tf.ensure_shape(good, []), read, answered

    def a_sample_a_word(image, good, read, answered):
        words = tf.math.count_nonzero(answered, dtype=tf.int32)
        # Row i of the lower triangle has read the first i + 1 tokens.
        prefix = tf.linalg.band_part(tf.repeat(read[None], words, axis=0), -1, 0)
        photo = tf.repeat(image[None], words, axis=0)
        next_word = tf.one_hot(answered[:words], len(data.vocabulary))
        return tf.data.Dataset.from_tensor_slices(({"image": photo, "prefix": prefix}, next_word))

    samples = tf.data.Dataset.from_tensor_slices((groups.photo[group], read, answered))
    samples = samples.map(with_photo, num_parallel_calls=tf.data.AUTOTUNE)
    samples = samples.filter(lambda image, good, read, answered: good)
    return samples.flat_map(a_sample_a_word).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def textbook_model(model: keras.Model) -> keras.Model:
    """A gru_merge captioner with its own weights as the textbook has it: {"image": [b, ...],
    "prefix": int32 [b, t]} -> odds of the next word, float32 [b, v]."""
    if "reader" not in {layer.name for layer in model.layers}:
        raise UserError(f"the textbook's model is a gru_merge, not {model.name}")
    decoder = decoder_of(model, ModelConfig("gru_merge", width=model.get_layer("reader").units))
    image, prefix = model.input["image"], keras.Input([None], dtype="int32", name="prefix")
    read = decoder.reader(decoder.word_dropout(decoder.words(prefix)))
    last = ops.count_nonzero(prefix, axis=1)[:, None, None] - 1
    read = ops.squeeze(ops.take_along_axis(read, last, axis=1), axis=1)
    read = decoder.reader_dropout(decoder.reader_norm(read))
    odds = ops.softmax(decoder.logits(decoder.merged(read + decoder.see(image)["vector"])))
    return keras.Model({"image": image, "prefix": prefix}, odds, name="textbook")
