"""Networks that write captions: one image, k captions, and the odds of each next word.

    model = build(ModelConfig("gru_attention"), vocabulary=3000, image_shape=[9, 9, 1280])
    model({"image": features, "texts": ids})        # [b, k, t] -> logits float32 [b, k, t, 3000]

    decoder = decoder_of(model, config)             # of a loaded model, too: the same weights
    memory = decoder.see(features)                  # once a photo
    state = decoder.begin(memory, beams=5, longest=25)
    logits, state = decoder.step(memory, state, ids, place=0)       # ids [b, 5]: a word at a time

    looked(model, config)({"image": features, "texts": ids})        # [b, k, t, 81]: where it looked

Built-in layers and `keras.ops` only, so that a saved `.keras` file opens with Keras alone.
"""

from collections.abc import Sequence

import keras
from keras import layers

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.decoder import Decoder
from imagetext.captioning.models.gru_attention import GruAttention
from imagetext.captioning.models.gru_merge import GruMerge
from imagetext.captioning.models.transformer import Transformer
from imagetext.captioning.models.vit_bert import VitBert, bert_of
from imagetext.encoders.tuning import freeze_statistics
from imagetext.layers.blocks import convolution_blocks

__all__ = ["build", "decoder_of", "looked", "own_blocks", "pretrained"]

#: The name of the image tower that is trained from scratch, unlike the pretrained ones.
OWN_BLOCKS = "own_blocks"
KINDS = {
    "gru_merge": GruMerge,
    "gru_attention": GruAttention,
    "transformer": Transformer,
    "vit_bert": VitBert,
}


def build(
    config: ModelConfig,
    vocabulary: int,
    image_shape: Sequence[int],
    tower: keras.Model | None = None,
    text_length: int = 64,
    pieces: Sequence[int] | None = None,
) -> keras.Model:
    """The whole captioner: {"image": [b, *image_shape], "texts": int32 [b, k, t]} -> logits float32
    [b, k, t, vocabulary], where those at place p are of the word behind p.

    `tower`, an encoder, takes pixels in front; without one the image is its features. No caption is
    longer than `text_length` tokens. `pieces`, where given, are the rows of a pretrained BERT's
    vocabulary that the words are, in order: a softmax over the few thousand that captions need
    takes a tenth of the time that all thirty thousand take.
    """
    sized, settings, bert = config, {}, None
    if config.kind == "vit_bert":
        bert = bert_of(config, vocabulary, text_length, pieces)
        sized, settings = bert.sized(config), bert.settings
    elif config.kind == "transformer":
        settings = {"text_length": text_length}
    decoder = KINDS[config.kind](sized, vocabulary, lambda name, make: make(), **settings)
    decoder.tower = tower
    image = keras.Input(image_shape, dtype="uint8" if tower else "float32", name="image")
    texts = keras.Input([None, None], dtype="int32", name="texts")
    logits = decoder.read(decoder.see(image), texts)
    model = keras.Model({"image": image, "texts": texts}, logits, name=config.kind)
    if bert:
        bert.give(model)
    for part in _pretrained(model, decoder):
        part.trainable = config.encoder_rate > 0
    if tower:
        freeze_statistics(tower)
    return model


def own_blocks(size: int, filters: Sequence[int], output: str = "grid") -> keras.Model:
    """Build an image tower for raw pixels that is trained with the captions from scratch.

    Args:
        size: Side of the photos, pixels uint8 [b, size, size, 3].
        filters: Filters of each Conv + MaxPool block.
        output: "grid" of cells, whose side each block halves; "flat", all of them as one vector; or
            "pooled", their mean.
    """
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    x = convolution_blocks(image, filters)
    if output != "grid":
        x = (layers.Flatten if output == "flat" else layers.GlobalAveragePooling2D)(name=output)(x)
    return keras.Model(image, x, name=OWN_BLOCKS)


def decoder_of(model: keras.Model, config: ModelConfig) -> Decoder:
    """What sees, reads and writes with the weights of a model that was built or loaded."""
    kind = KINDS[config.kind]
    decoder = kind(
        kind.sized(config, model), model.output_shape[-1], lambda name, make: model.get_layer(name)
    )
    decoder.tower = _tower(model)
    return decoder


def looked(model: keras.Model, config: ModelConfig) -> keras.Model:
    """The model's inputs -> how much each word looked at each cell before it: [b, k, t, cells]."""
    decoder = decoder_of(model, config)
    found = decoder.looked(decoder.see(model.input["image"]), model.input["texts"])
    return keras.Model(model.input, found, name="looked")


def pretrained(model: keras.Model, config: ModelConfig) -> list[tuple[keras.Variable, float]]:
    """The weights that were trained elsewhere, with their share of the learning rate."""
    parts = _pretrained(model, decoder_of(model, config))
    return [(v, config.encoder_rate) for part in parts for v in part.trainable_variables]


def _pretrained(model: keras.Model, decoder: Decoder) -> list[keras.Layer]:
    tower = decoder.tower
    parts = [tower] if tower and tower.name != OWN_BLOCKS else []
    return parts + [model.get_layer(name) for name in decoder.pretrained]


def _tower(model: keras.Model) -> keras.Model | None:
    return next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
