"""A pre-norm Transformer decoder over the words, with cross-attention to the cells of the photo.

    decoder = get_decoder(model, ModelConfig("transformer", layers=3))

Keys and values of the cells are computed once per photo; during decoding those of the words are
cached, so that no word is computed twice. Cells carry learned embeddings of their row and column:
attention has no notion of order, and captions say what is beside, above and in front of what.
"""

from keras import layers, ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.decoder import Decoder, GetLayer, attention_softmax
from imagetext.errors import UserError

#: Added to scores that are masked.
MASKED = -1e9


class Attention:
    """Multi-head attention from words to the words of the same caption, or to cells of the photo.

    Axes: b photos, k captions, t querying words, h heads of size d. Keys and values have s words
    or, with `cells`, c cells, which all captions share. Heads come before words, as the matrix
    products need them.
    """

    def __init__(
        self, decoder: Decoder, name: str, cells: bool = False, initializer="glorot_uniform"
    ):
        heads = decoder.config.heads
        self.size = decoder.width // heads
        query_axes, key_axes = ("bhktd", "bhcd") if cells else ("bkhtd", "bkhsd")
        score_axes = f"{query_axes[:-1]}{key_axes[-2]}"
        self.score_equation = f"{query_axes},{key_axes}->{score_axes}"
        self.value_equation = f"{score_axes},{key_axes}->{query_axes}"
        lengths = {"h": heads, "d": self.size}

        def projection(part: str, input_axes: str, output_axes: str):
            shape = [lengths.get(axis) for axis in output_axes[1:]]
            equation = f"{input_axes},ehd->{output_axes}"
            return decoder.layer(
                f"{name}_{part}", layers.EinsumDense, equation, shape, bias_axes="hd"
            )

        self.query = projection("ask", "bkte", query_axes)
        self.key = projection("keys", "bce" if cells else "bkse", key_axes)
        self.value = projection("values", "bce" if cells else "bkse", key_axes)
        self.output = decoder.layer(
            f"{name}_merge",
            layers.EinsumDense,
            f"{query_axes},hde->bkte",
            [None, None, decoder.width],
            bias_axes="e",
            kernel_initializer=initializer,
        )

    def keys_and_values(self, x) -> tuple:
        """Words [b, k, s, width] or cells [b, c, width] -> their keys and values."""
        return self.key(x), self.value(x)

    def __call__(self, x, keys_and_values: tuple, mask=None) -> tuple:
        """x [b, k, t, width] -> output of the same shape, and the float32 weights of each head."""
        keys, values = keys_and_values
        scores = ops.einsum(self.score_equation, self.query(x) * self.size**-0.5, keys)
        weights = attention_softmax(scores if mask is None else ops.cast(scores, "float32") + mask)
        context = ops.einsum(self.value_equation, ops.cast(weights, scores.dtype), values)
        return self.output(context), weights


class Block:
    """Causal self-attention, cross-attention to the cells, and a feed-forward network."""

    def __init__(self, decoder: "Transformer", index: int):
        self.attention = Attention(decoder, f"attention_{index}")
        self.cross = Attention(decoder, f"cross_{index}", True, decoder.cross_initializer)
        self.norm = {
            part: decoder.layer(f"{part}_norm_{index}", layers.LayerNormalization, epsilon=epsilon)
            for part, epsilon in decoder.norms.items()
        }
        self.dropout = {
            part: decoder.dropout(f"{part}_dropout_{index}")
            for part in ("attention", "cross", "output")
        }
        width = decoder.feed_forward
        # Keras' "gelu" is the exact one, with erf, that BERT was trained with.
        self.expand = decoder.layer(f"expand_{index}", layers.Dense, width, activation="gelu")
        self.contract = decoder.layer(f"contract_{index}", layers.Dense, decoder.width)

    def __call__(self, x, cache, cells: tuple, mask) -> tuple:
        """Run the block.

        Args:
            x: Words [b, k, t, width].
            cache: A function from the keys and values of these words to those of all words so far.
            cells: Keys and values of the cells.
            mask: Added to the scores of the self-attention.

        Returns:
            Words [b, k, t, width], and the attention to the cells [b, heads, k, t, cells].
        """
        normed = self.norm["attention"](x)
        attended, _ = self.attention(normed, cache(self.attention.keys_and_values(normed)), mask)
        x = x + self.dropout["attention"](attended)
        attended, weights = self.cross(self.norm["cross"](x), cells)
        x = x + self.dropout["cross"](attended)
        hidden = self.contract(self.expand(self.norm["output"](x)))
        return x + self.dropout["output"](hidden), weights


class Transformer(Decoder):
    """Blocks of self-attention and cross-attention.

    memory: for each block, keys and values of the cells [b, heads, cells, d].
    state: for each block, keys and values of the words [b, k, heads, max_tokens, d].
    """

    block = Block
    #: The norms of a block, with their epsilons.
    norms = dict.fromkeys(("attention", "cross", "output"), 1e-6)
    #: Kernel initializer of the output of the cross-attention.
    cross_initializer = "glorot_uniform"

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        get_layer: GetLayer,
        text_length: int = 64,
        feed_forward: int | None = None,
    ):
        super().__init__(config, vocabulary_size, get_layer)
        width = self.width
        self.feed_forward = feed_forward or 4 * width
        self.cells_projection = self.layer("cells_projection", layers.Dense, width)
        self.cells_norm = self.layer("cells_norm", layers.LayerNormalization)
        self.cells_dropout = self.dropout("cells_dropout")
        self.positions = self.layer("positions", layers.Embedding, text_length, width)
        self.embedding_dropout = self.dropout("embedding_dropout")
        self.blocks = [self.block(self, index) for index in range(config.layers)]
        self.make_head()

    def make_head(self) -> None:
        """Create the layers after the last block."""
        self.final_norm = self.layer("final_norm", layers.LayerNormalization, epsilon=1e-6)

    def head(self, x):
        """Output of the last block -> input of `to_logits`, both [b, k, t, width]."""
        return self.final_norm(x)

    def embed(self, tokens, positions):
        """Tokens [b, k, t] at positions [1, 1, t] -> [b, k, t, width]."""
        return self.embedding_dropout(ops.add(self.words(tokens), self.positions(positions)))

    def encode_features(self, features):
        _, height, width, _ = features.shape
        zeros = ops.cast(ops.zeros_like(features[:1, :, :, 0]), "int32")
        rows = ops.cumsum(zeros[:, :, :1] + 1, axis=1) - 1
        columns = ops.cumsum(zeros[:, :1] + 1, axis=2) - 1
        cells = self.cells_projection(features)
        cells = cells + self.layer("cell_rows", layers.Embedding, height, self.width)(rows)
        cells = cells + self.layer("cell_columns", layers.Embedding, width, self.width)(columns)
        cells = ops.reshape(self.cells_norm(cells), [-1, height * width, self.width])
        cells = self.cells_dropout(cells)
        memory = {}
        for index, block in enumerate(self.blocks):
            memory[f"keys_{index}"], memory[f"values_{index}"] = block.cross.keys_and_values(cells)
        return memory

    def hidden_states(self, memory, tokens):
        positions = ops.cumsum(ops.ones_like(tokens[:1, :1]), axis=2) - 1
        later = ops.expand_dims(positions, axis=2) > ops.expand_dims(positions, axis=3)
        mask = ops.expand_dims(ops.cast(later, "float32") * MASKED, axis=2)
        x = self.embed(tokens, positions)
        for index, block in enumerate(self.blocks):
            x, weights = block(x, lambda pair: pair, _keys_and_values(memory, index), mask)
        return self.head(x), ops.mean(weights, axis=1)

    def initial_state(self, memory, beams, max_tokens):
        if max_tokens > self.positions.input_dim:
            raise UserError(
                f"captions of {max_tokens} tokens are too long: this {self.config.kind} was built"
                f" for at most {self.positions.input_dim}"
            )
        keys = memory["keys_0"]
        photos, (heads, size) = ops.shape(keys)[0], (keys.shape[1], keys.shape[3])
        empty = ops.zeros([photos, beams, heads, max_tokens, size], keys.dtype)
        return dict.fromkeys(memory, empty)

    def step(self, memory, state, tokens, position):
        positions = ops.arange(ops.shape(state["keys_0"])[3])
        mask = ops.cast(positions > position, "float32") * MASKED
        is_current = ops.expand_dims(positions == position, axis=1)
        x = self.embed(ops.expand_dims(tokens, axis=2), ops.reshape(position, [1, 1, 1]))
        new_state = {}

        def cache(pair: tuple) -> tuple:
            """Write keys and values of the current word among those of the words before."""
            index = len(new_state) // 2
            for part, new in zip(("keys", "values"), pair, strict=True):
                name = f"{part}_{index}"
                new_state[name] = ops.where(is_current, new, state[name])
            return _keys_and_values(new_state, index)

        for index, block in enumerate(self.blocks):
            x, _ = block(x, cache, _keys_and_values(memory, index), mask)
        return self.to_logits(self.head(x))[:, :, 0], new_state


def _keys_and_values(tensors: dict, index: int) -> tuple:
    """Those of a block, from a memory or a state."""
    return tensors[f"keys_{index}"], tensors[f"values_{index}"]
