"""A Transformer that reads the words and looks at the cells, normalised before each part.

    decoder = decoder_of(model, ModelConfig("transformer", layers=3))

Keys and values of the cells are made once a photo; in decoding those of the words are kept, so that
no word is read twice. The cells carry learned rows and columns: attention knows no order, and
captions tell what is beside, above and in front of what.
"""

from keras import layers, ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.decoder import Decoder, Part, shares
from imagetext.errors import UserError

#: Added to a score that must not count.
NEVER = -1e9


class Attention:
    """Heads that ask, and keys and values that answer them.

    Axes: b photos, k captions, t words that ask, h heads of d numbers; what is looked over are s
    words of the same caption or, with `cells`, c cells of the photo, whatever the caption. Heads
    stand before the words, where the products want them.
    """

    def __init__(self, decoder: Decoder, name: str, cells: bool = False, begins="glorot_uniform"):
        heads = decoder.config.heads
        self.size = decoder.width // heads
        asked, known = ("bhktd", "bhcd") if cells else ("bkhtd", "bkhsd")
        scores = f"{asked[:-1]}{known[-2]}"
        self.compare, self.weigh = f"{asked},{known}->{scores}", f"{scores},{known}->{asked}"
        lengths = {"h": heads, "d": self.size}

        def heads_of(part: str, given: str, made: str):
            shape = [lengths.get(axis) for axis in made[1:]]
            equation = f"{given},ehd->{made}"
            return decoder.layer(
                f"{name}_{part}", layers.EinsumDense, equation, shape, bias_axes="hd"
            )

        self.ask = heads_of("ask", "bkte", asked)
        self.keys = heads_of("keys", "bce" if cells else "bkse", known)
        self.values = heads_of("values", "bce" if cells else "bkse", known)
        self.merge = decoder.layer(
            f"{name}_merge",
            layers.EinsumDense,
            f"{asked},hde->bkte",
            [None, None, decoder.width],
            bias_axes="e",
            kernel_initializer=begins,
        )

    def know(self, x) -> tuple:
        """Words [b, k, s, width] or cells [b, c, width] -> their keys and values."""
        return self.keys(x), self.values(x)

    def __call__(self, x, known: tuple, mask=None) -> tuple:
        """x [b, k, t, width] -> what it found, likewise, and float32 weights, one set a head."""
        keys, values = known
        scores = ops.einsum(self.compare, self.ask(x) * self.size**-0.5, keys)
        weights = shares(scores if mask is None else ops.cast(scores, "float32") + mask)
        found = ops.einsum(self.weigh, ops.cast(weights, scores.dtype), values)
        return self.merge(found), weights


class Block:
    """Words look at the words up to them, then at the cells, then think."""

    def __init__(self, decoder: "Transformer", index: int):
        self.attention = Attention(decoder, f"attention_{index}")
        self.cross = Attention(decoder, f"cross_{index}", cells=True, begins=decoder.merging)
        self.norm = {
            part: decoder.layer(f"{part}_norm_{index}", layers.LayerNormalization, epsilon=epsilon)
            for part, epsilon in decoder.norms.items()
        }
        self.dropout = {
            part: decoder.dropout(f"{part}_dropout_{index}")
            for part in ("attention", "cross", "output")
        }
        hidden = decoder.feed_forward
        # Keras' "gelu" is the exact one, with erf, which is what BERT was trained with.
        self.expand = decoder.layer(f"expand_{index}", layers.Dense, hidden, activation="gelu")
        self.contract = decoder.layer(f"contract_{index}", layers.Dense, decoder.width)

    def __call__(self, x, remember, cells: tuple, mask) -> tuple:
        """x [b, k, t, width] -> the same, and where it looked [b, heads, k, t, cells].

        `remember` takes keys and values of the words x and gives those of all that were read.
        """
        known = self.norm["attention"](x)
        found, _ = self.attention(known, remember(self.attention.know(known)), mask)
        x = x + self.dropout["attention"](found)
        found, looked = self.cross(self.norm["cross"](x), cells)
        x = x + self.dropout["cross"](found)
        hidden = self.contract(self.expand(self.norm["output"](x)))
        return x + self.dropout["output"](hidden), looked


class Transformer(Decoder):
    """memory: of each block, keys and values of the cells [b, heads, cells, d]; state: of each,
    those of the words [b, k, heads, longest, d]."""

    block = Block
    #: The norms of a block, with their epsilons.
    norms = dict.fromkeys(("attention", "cross", "output"), 1e-6)
    #: How the layer that ends a look at the cells begins.
    merging = "glorot_uniform"

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: int,
        part: Part,
        text_length: int = 64,
        feed_forward: int | None = None,
    ):
        super().__init__(config, vocabulary, part)
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
        """The layers behind the last block."""
        self.final_norm = self.layer("final_norm", layers.LayerNormalization, epsilon=1e-6)

    def head(self, x):
        """[b, k, t, width] of the last block -> what `answer` takes."""
        return self.final_norm(x)

    def embed(self, tokens, places):
        """Words [b, k, t] at their places [1, 1, t] -> [b, k, t, width]."""
        return self.embedding_dropout(ops.add(self.words(tokens), self.positions(places)))

    def remember(self, features):
        _, height, width, _ = features.shape
        one = ops.cast(ops.zeros_like(features[:1, :, :, 0]), "int32")
        rows = ops.cumsum(one[:, :, :1] + 1, axis=1) - 1
        columns = ops.cumsum(one[:, :1] + 1, axis=2) - 1
        cells = self.cells_projection(features)
        cells = cells + self.layer("cell_rows", layers.Embedding, height, self.width)(rows)
        cells = cells + self.layer("cell_columns", layers.Embedding, width, self.width)(columns)
        cells = ops.reshape(self.cells_norm(cells), [-1, height * width, self.width])
        cells = self.cells_dropout(cells)
        known = [block.cross.know(cells) for block in self.blocks]
        return {
            f"{name}_{index}": each
            for index, pair in enumerate(known)
            for name, each in zip(("keys", "values"), pair, strict=True)
        }

    def states(self, memory, tokens):
        places = ops.cumsum(ops.ones_like(tokens[:1, :1]), axis=2) - 1
        ahead = ops.expand_dims(places, axis=2) > ops.expand_dims(places, axis=3)
        mask = ops.expand_dims(ops.cast(ahead, "float32") * NEVER, axis=2)
        x = self.embed(tokens, places)
        for index, block in enumerate(self.blocks):
            x, looked = block(x, lambda known: known, _pair(memory, index), mask)
        return self.head(x), ops.mean(looked, axis=1)

    def begin(self, memory, beams, longest):
        if longest > self.positions.input_dim:
            raise UserError(
                f"captions of {longest} tokens are too long: this {self.config.kind} was built for"
                f" at most {self.positions.input_dim}"
            )
        keys = memory["keys_0"]
        photos, (heads, size) = ops.shape(keys)[0], (keys.shape[1], keys.shape[3])
        empty = ops.zeros([photos, beams, heads, longest, size], keys.dtype)
        return dict.fromkeys(memory, empty)

    def step(self, memory, state, tokens, place):
        places = ops.arange(ops.shape(state["keys_0"])[3])
        mask = ops.cast(places > place, "float32") * NEVER
        here = ops.expand_dims(places == place, axis=1)
        x = self.embed(ops.expand_dims(tokens, axis=2), ops.reshape(place, [1, 1, 1]))
        after = {}

        def remember(known: tuple) -> tuple:
            """Writes the word's own into those of the words before."""
            index = len(after) // 2
            for name, new in zip(("keys", "values"), known, strict=True):
                after[f"{name}_{index}"] = ops.where(here, new, state[f"{name}_{index}"])
            return _pair(after, index)

        for index, block in enumerate(self.blocks):
            x, _ = block(x, remember, _pair(memory, index), mask)
        return self.answer(self.head(x))[:, :, 0], after


def _pair(found: dict, index: int) -> tuple:
    return found[f"keys_{index}"], found[f"values_{index}"]
