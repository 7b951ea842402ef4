"""One vector of the photo is added to what a GRU made of the words so far, before the softmax.

    decoder = decoder_of(model, ModelConfig("gru_merge"))

The GRU sees no image (Tanti et al. 2017: "merge"), so that it learns language and nothing else.
"""

from keras import layers, ops

from imagetext.captioning.models.decoder import RecurrentDecoder


class GruMerge(RecurrentDecoder):
    """memory: vector [b, width]; state: words [b, k, width]."""

    attends = False

    def __init__(self, *given, **settings):
        super().__init__(*given, **settings)
        width = self.width
        self.projection = self.layer("image_projection", layers.Dense, width, activation="relu")
        self.batch_norm = self.layer("image_norm", layers.BatchNormalization)
        self.projection_dropout = self.dropout("image_dropout")
        self.word_dropout = self.dropout("word_dropout")
        self.reader = self.gru("reader")
        self.reader_norm = self.layer("reader_norm", layers.LayerNormalization)
        self.reader_dropout = self.dropout("reader_dropout")
        self.merged = self.layer("merged", layers.Dense, width, activation="relu")

    def remember(self, features):
        return {"vector": self.projection_dropout(self.batch_norm(self.projection(features)))}

    def states(self, memory, tokens):
        words = self.word_dropout(self.words(tokens))
        return self._merge(memory, self.unfold(self.reader(self.fold(words)), tokens)), None

    def begin(self, memory, beams, longest):
        vector = ops.expand_dims(memory["vector"], axis=1)
        return {"words": ops.repeat(ops.zeros_like(vector), beams, axis=1)}

    def step(self, memory, state, tokens, place):
        after = self.once(self.reader, self.words(tokens), state["words"])
        merged = self._merge(memory, ops.expand_dims(after, axis=2))
        return self.answer(merged)[:, :, 0], {"words": after}

    def _merge(self, memory, read):
        read = self.reader_dropout(self.reader_norm(read))
        return self.merged(read + memory["vector"][:, None, None])
