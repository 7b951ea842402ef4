"""Networks that write captions: one photo, k captions, and the logits of each next word.

    model = build(ModelConfig("gru_attention"), vocabulary_size=3000, image_shape=[9, 9, 1280])
    model({"image": features, "texts": ids})        # ids [b, k, t] -> logits [b, k, t, 3000]

    decoder = get_decoder(model, config)            # shares the weights; also for a loaded model
    memory = decoder.encode_image(features)         # once per photo
    state = decoder.initial_state(memory, beams=5, max_tokens=25)
    logits, state = decoder.step(memory, state, ids, position=0)    # ids [b, 5]: word by word

    attention_model(model, config)({"image": features, "texts": ids})       # [b, k, t, 81]

Only built-in layers and `keras.ops` are used, so that a saved `.keras` file opens with Keras alone.
"""

from collections.abc import Sequence

import keras
from keras import layers

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.decoder import Decoder
from imagetext.captioning.models.gru_attention import GruAttention
from imagetext.captioning.models.gru_merge import GruMerge
from imagetext.captioning.models.transformer import Transformer
from imagetext.captioning.models.vit_bert import VitBert, load_bert
from imagetext.encoders.tuning import freeze_statistics
from imagetext.layers.blocks import convolution_blocks

__all__ = ["attention_model", "build", "build_cnn", "get_decoder", "pretrained_rates"]

#: Name of the image tower that is trained from scratch, unlike the pretrained ones.
CNN = "own_blocks"
KINDS = {
    "gru_merge": GruMerge,
    "gru_attention": GruAttention,
    "transformer": Transformer,
    "vit_bert": VitBert,
}


def build(
    config: ModelConfig,
    vocabulary_size: int,
    image_shape: Sequence[int],
    tower: keras.Model | None = None,
    text_length: int = 64,
    rows: Sequence[int] | None = None,
) -> keras.Model:
    """Build a captioning model.

    Args:
        config: The configuration of the model.
        vocabulary_size: Number of words, v.
        image_shape: Shape of a photo as the model takes it, pixels or features.
        tower: An image encoder to put in front; without one, photos are features.
        text_length: Largest number of tokens of a caption.
        rows: The row of a pretrained BERT's embedding table for each word: a softmax over the few
            thousand words that captions need takes a tenth of the time of one over all thirty
            thousand.

    Returns:
        A model from {"image": [b, *image_shape], "texts": int32 [b, k, t]} to logits float32
        [b, k, t, v]; those at position p belong to the word after it.
    """
    adapted, arguments, bert = config, {}, None
    if config.kind == "vit_bert":
        bert = load_bert(config, vocabulary_size, text_length, rows)
        adapted, arguments = bert.adapt_config(config), bert.decoder_arguments
    elif config.kind == "transformer":
        arguments = {"text_length": text_length}
    kind = KINDS[config.kind]
    decoder = kind(adapted, vocabulary_size, lambda name, make: make(), **arguments)
    decoder.tower = tower
    image = keras.Input(image_shape, dtype="uint8" if tower else "float32", name="image")
    texts = keras.Input([None, None], dtype="int32", name="texts")
    logits = decoder.next_token_logits(decoder.encode_image(image), texts)
    model = keras.Model({"image": image, "texts": texts}, logits, name=config.kind)
    if bert:
        bert.copy_weights_to(model)
    for layer in _pretrained_layers(model, decoder):
        layer.trainable = config.encoder_rate > 0
    if tower:
        freeze_statistics(tower)
    return model


def build_cnn(size: int, filters: Sequence[int], output: str = "grid") -> keras.Model:
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
    return keras.Model(image, x, name=CNN)


def get_decoder(model: keras.Model, config: ModelConfig) -> Decoder:
    """The decoder of a built or loaded model, with the same weights."""
    kind = KINDS[config.kind]
    adapted, vocabulary_size = kind.adapt_config(config, model), model.output_shape[-1]
    decoder = kind(adapted, vocabulary_size, lambda name, make: model.get_layer(name))
    decoder.tower = _find_tower(model)
    return decoder


def attention_model(model: keras.Model, config: ModelConfig) -> keras.Model:
    """A model from the same inputs to the attention of each token, float32 [b, k, t, cells]."""
    decoder = get_decoder(model, config)
    memory = decoder.encode_image(model.input["image"])
    weights = decoder.attention_weights(memory, model.input["texts"])
    return keras.Model(model.input, weights, name="attention_weights")


def pretrained_rates(model: keras.Model, config: ModelConfig) -> list[tuple[keras.Variable, float]]:
    """The pretrained weights, each with its share of the learning rate."""
    parts = _pretrained_layers(model, get_decoder(model, config))
    return [(v, config.encoder_rate) for part in parts for v in part.trainable_variables]


def _pretrained_layers(model: keras.Model, decoder: Decoder) -> list[keras.Layer]:
    tower = decoder.tower
    parts = [tower] if tower and tower.name != CNN else []
    return parts + [model.get_layer(name) for name in decoder.pretrained]


def _find_tower(model: keras.Model) -> keras.Model | None:
    return next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
