"""One vector of the photo is added to the output of a GRU over the words, before the softmax.

    decoder = get_decoder(model, ModelConfig("gru_merge"))

The GRU never sees the image (Tanti et al. 2017: "merge"), so it only has to learn language.
"""

from keras import layers, ops

from imagetext.captioning.models.decoder import RecurrentDecoder


class GruMerge(RecurrentDecoder):
    """memory: vector [b, width]; state: words [b, k, width]."""

    attends = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        width = self.width
        self.projection = self.layer("image_projection", layers.Dense, width, activation="relu")
        self.batch_norm = self.layer("image_norm", layers.BatchNormalization)
        self.projection_dropout = self.dropout("image_dropout")
        self.word_dropout = self.dropout("word_dropout")
        self.reader = self.gru("reader")
        self.reader_norm = self.layer("reader_norm", layers.LayerNormalization)
        self.reader_dropout = self.dropout("reader_dropout")
        self.output = self.layer("merged", layers.Dense, width, activation="relu")

    def encode_features(self, features):
        return {"vector": self.projection_dropout(self.batch_norm(self.projection(features)))}

    def hidden_states(self, memory, tokens):
        words = self.word_dropout(self.words(tokens))
        return self._merge(memory, self.unfold(self.reader(self.fold(words)), tokens)), None

    def initial_state(self, memory, beams, max_tokens):
        vector = ops.expand_dims(memory["vector"], axis=1)
        return {"words": ops.repeat(ops.zeros_like(vector), beams, axis=1)}

    def step(self, memory, state, tokens, position):
        words = self.gru_step(self.reader, self.words(tokens), state["words"])
        hidden = self._merge(memory, ops.expand_dims(words, axis=2))
        return self.to_logits(hidden)[:, :, 0], {"words": words}

    def _merge(self, memory, hidden):
        hidden = self.reader_dropout(self.reader_norm(hidden))
        return self.output(hidden + memory["vector"][:, None, None])
