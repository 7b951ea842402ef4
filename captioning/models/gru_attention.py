"""A GRU reads the words and queries the cells of the photo; a second GRU reads what was attended.

    decoder = get_decoder(model, ModelConfig("gru_attention", score="bahdanau"))

The attention depends on the first GRU alone, so a whole caption takes three calls: first GRU,
attention, second GRU. A GRU that is fed the cells it attended to would have to go word by word.
"""

from keras import layers, ops

from imagetext.captioning.models.decoder import RecurrentDecoder, attention_softmax

#: Largest width of additive scores, which cost an activation for each word, cell and channel.
MAX_ADDITIVE_WIDTH = 128


class GruAttention(RecurrentDecoder):
    """Attention between two GRUs.

    memory: cells and keys [b, cells, n]; first and second [b, width], the GRUs' initial states.
    state: first and second [b, k, width].
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        width, additive = self.width, self.config.score == "bahdanau"
        self.projection = self.layer("cells_projection", layers.Dense, width)
        self.cells_norm = self.layer("cells_norm", layers.LayerNormalization)
        self.cells_dropout = self.dropout("cells_dropout")
        self.word_dropout = self.dropout("word_dropout")
        query_width = min(width, MAX_ADDITIVE_WIDTH) if additive else width
        self.query = self.layer("ask", layers.Dense, query_width)
        if additive:
            # Query and key are added, so one bias is enough.
            self.key = self.layer("show", layers.Dense, query_width, use_bias=False)
            self.score = self.layer("score", layers.Dense, 1, use_bias=False)
        self.start, self.grus = {}, {}
        for name in ("first", "second"):
            self.start[name] = self.layer(f"{name}_start", layers.Dense, width, activation="tanh")
            self.grus[name] = self.gru(name)
        self.output = self.layer("gathered", layers.Dense, width, activation="tanh")
        self.output_dropout = self.dropout("gathered_dropout")

    def encode_features(self, features):
        cells = self.cells_norm(self.projection(features))
        cells = ops.reshape(cells, [-1, cells.shape[1] * cells.shape[2], self.width])
        cells = self.cells_dropout(cells)
        mean = ops.mean(cells, axis=1)
        # Dot products need no key projection: it would only be multiplied with that of the query.
        keys = self.key(cells) if self.config.score == "bahdanau" else cells
        return {"cells": cells, "keys": keys} | {
            name: start(mean) for name, start in self.start.items()
        }

    def hidden_states(self, memory, tokens):
        words = self.word_dropout(self.words(tokens))
        first = self.grus["first"](
            self.fold(words), initial_state=self._initial_rows("first", memory, tokens)
        )
        context, weights = self._attend(memory, self.unfold(first, tokens))
        second = self.grus["second"](
            ops.concatenate([first, self.fold(context)], axis=-1),
            initial_state=self._initial_rows("second", memory, tokens),
        )
        return self._combine(self.unfold(second, tokens), context, words), weights

    def initial_state(self, memory, beams, max_tokens):
        return {
            name: ops.repeat(ops.expand_dims(memory[name], axis=1), beams, axis=1)
            for name in self.grus
        }

    def step(self, memory, state, tokens, position):
        words = self.words(tokens)
        first = self.gru_step(self.grus["first"], words, state["first"])
        context, _ = self._attend(memory, ops.expand_dims(first, axis=2))
        second = ops.concatenate([first, context[:, :, 0]], axis=-1)
        second = self.gru_step(self.grus["second"], second, state["second"])
        hidden = self._combine(
            ops.expand_dims(second, axis=2), context, ops.expand_dims(words, axis=2)
        )
        return self.to_logits(hidden)[:, :, 0], {"first": first, "second": second}

    def _initial_rows(self, name: str, memory, tokens):
        """The initial state of a GRU for folded captions, [b k, width]."""
        state = ops.expand_dims(memory[name], axis=1)
        zeros = ops.zeros_like(ops.cast(tokens[..., :1], state.dtype))
        return ops.reshape(state + zeros, [-1, self.width])

    def _attend(self, memory, hidden):
        """[b, k, t, width] -> context [b, k, t, width] and weights [b, k, t, cells]."""
        query = self.query(hidden)
        if self.config.score == "bahdanau":
            total = ops.expand_dims(query, axis=3) + memory["keys"][:, None, None]
            scores = ops.squeeze(self.score(ops.tanh(total)), axis=-1)
        else:
            query = query * query.shape[-1] ** -0.5
            scores = ops.einsum("bktd,bcd->bktc", query, memory["keys"])
        weights = attention_softmax(scores)
        context = ops.einsum("bktc,bcd->bktd", ops.cast(weights, scores.dtype), memory["cells"])
        return context, weights

    def _combine(self, hidden, context, words):
        return self.output_dropout(self.output(ops.concatenate([hidden, context, words], axis=-1)))
