"""A GRU reads the words, looks at the cells of the photo, and a second one keeps what was seen.

    decoder = decoder_of(model, ModelConfig("gru_attention", score="bahdanau"))

Where to look depends on the first GRU alone, so that a whole caption is read, looks and is
remembered in three strokes; a GRU that is fed what it looked at would have to go word by word.
"""

from keras import layers, ops

from imagetext.captioning.models.decoder import RecurrentDecoder, shares

#: Of additive scores, which cost an activation for each word, cell and number of this width.
MOST_ADDITIVE = 128


class GruAttention(RecurrentDecoder):
    """memory: cells and keys [b, cells, n], first and second [b, width], where the GRUs start;
    state: first and second [b, k, width]."""

    def __init__(self, *given, **settings):
        super().__init__(*given, **settings)
        width, additive = self.width, self.config.score == "bahdanau"
        self.projection = self.layer("cells_projection", layers.Dense, width)
        self.cells_norm = self.layer("cells_norm", layers.LayerNormalization)
        self.cells_dropout = self.dropout("cells_dropout")
        self.word_dropout = self.dropout("word_dropout")
        asked = min(width, MOST_ADDITIVE) if additive else width
        self.ask = self.layer("ask", layers.Dense, asked)
        if additive:
            # The bias of what asks does for both.
            self.show = self.layer("show", layers.Dense, asked, use_bias=False)
            self.score = self.layer("score", layers.Dense, 1, use_bias=False)
        self.start, self.grus = {}, {}
        for name in ("first", "second"):
            self.start[name] = self.layer(f"{name}_start", layers.Dense, width, activation="tanh")
            self.grus[name] = self.gru(name)
        self.gathered = self.layer("gathered", layers.Dense, width, activation="tanh")
        self.gathered_dropout = self.dropout("gathered_dropout")

    def remember(self, features):
        cells = self.cells_norm(self.projection(features))
        cells = ops.reshape(cells, [-1, cells.shape[1] * cells.shape[2], self.width])
        cells = self.cells_dropout(cells)
        mean = ops.mean(cells, axis=1)
        # A dot product needs no keys: their kernel would only be multiplied with that of `ask`.
        keys = self.show(cells) if self.config.score == "bahdanau" else cells
        return {"cells": cells, "keys": keys} | {
            name: start(mean) for name, start in self.start.items()
        }

    def states(self, memory, tokens):
        words = self.word_dropout(self.words(tokens))
        read = self.grus["first"](
            self.fold(words), initial_state=self._start("first", memory, tokens)
        )
        seen, looked = self._look(memory, self.unfold(read, tokens))
        kept = self.grus["second"](
            ops.concatenate([read, self.fold(seen)], axis=-1),
            initial_state=self._start("second", memory, tokens),
        )
        return self._gather(self.unfold(kept, tokens), seen, words), looked

    def begin(self, memory, beams, longest):
        return {
            name: ops.repeat(ops.expand_dims(memory[name], axis=1), beams, axis=1)
            for name in self.grus
        }

    def step(self, memory, state, tokens, place):
        words = self.words(tokens)
        read = self.once(self.grus["first"], words, state["first"])
        seen, _ = self._look(memory, ops.expand_dims(read, axis=2))
        kept = ops.concatenate([read, seen[:, :, 0]], axis=-1)
        kept = self.once(self.grus["second"], kept, state["second"])
        states = self._gather(ops.expand_dims(kept, axis=2), seen, ops.expand_dims(words, axis=2))
        return self.answer(states)[:, :, 0], {"first": read, "second": kept}

    def _start(self, name: str, memory, tokens):
        """[b k, width]: all captions of a photo start with what is in it."""
        state = ops.expand_dims(memory[name], axis=1)
        each = ops.zeros_like(ops.cast(tokens[..., :1], state.dtype))
        return ops.reshape(state + each, [-1, self.width])

    def _look(self, memory, read):
        """[b, k, t, width] -> what was seen [b, k, t, width], and where [b, k, t, cells]."""
        asked = self.ask(read)
        if self.config.score == "bahdanau":
            both = ops.expand_dims(asked, axis=3) + memory["keys"][:, None, None]
            scores = ops.squeeze(self.score(ops.tanh(both)), axis=-1)
        else:
            asked = asked * asked.shape[-1] ** -0.5
            scores = ops.einsum("bktd,bcd->bktc", asked, memory["keys"])
        looked = shares(scores)
        seen = ops.einsum("bktc,bcd->bktd", ops.cast(looked, scores.dtype), memory["cells"])
        return seen, looked

    def _gather(self, kept, seen, words):
        return self.gathered_dropout(self.gathered(ops.concatenate([kept, seen, words], axis=-1)))
