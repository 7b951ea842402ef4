"""Pretrained towers inside a model that is trained.

freeze_statistics(tower)        # batch norm keeps its averages, and nothing is dropped
freeze_embeddings(tower)        # the embeddings of words and positions are not trained
train_last_blocks(tower, 2)     # only the last two blocks and what follows them are trained
learning_rates(tower, 0.1, decay=0.8)    # [(variable, share of the learning rate), ...]
"""

import re

import keras

#: Layers of a block are called so by whoever built the tower: CLIP's "block_3_expand", and our own
#: BERT's "expand_3".
OF_BLOCK = re.compile(
    r"block_(\d+)_\w+|(?:attention|attention_norm|expand|contract|output_norm)_(\d+)"
)


def freeze_statistics(tower: keras.Model) -> None:
    """Let batch norm keep its averages, and nothing be dropped, also where the tower is trained.

    To call it with `training=False` would not do: what a functional model was put together with
    gives way to what the whole is called with.
    """
    for layer in tower._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def freeze_embeddings(tower: keras.Model) -> None:
    """Freeze the tables of words and places: most words are too rare among some thousand captions
    to learn what they mean alone."""
    for layer in tower._flatten_layers():
        # keras-hub's of places is no Embedding, and may lie within a model of its own.
        if isinstance(layer, keras.layers.Embedding) or type(layer).__name__ == "PositionEmbedding":
            layer.trainable = False


def find_blocks(tower: keras.Model) -> list[list[keras.layers.Layer]]:
    """Its layers that have weights, from the input up: those before the first block, those of each
    block, and those behind the last. Nothing where its blocks are not known by their names."""
    weighted = [layer for layer in tower.layers if layer.weights]
    numbers = [OF_BLOCK.fullmatch(layer.name) for layer in weighted]
    numbers = [int(found[1] or found[2]) if found else None for found in numbers]
    inside = [place for place, number in enumerate(numbers) if number is not None]
    if not inside:
        return []
    order = sorted({numbers[place] for place in inside})
    made = [[] for _ in range(len(order) + 2)]
    for place, (layer, number) in enumerate(zip(weighted, numbers, strict=True)):
        if number is not None:
            made[1 + order.index(number)].append(layer)
        else:
            made[-1 if place > inside[0] else 0].append(layer)
    return made


def train_last_blocks(tower: keras.Model, count: int) -> bool:
    """Freeze all below the last `count` blocks; False where the blocks are not known."""
    found = find_blocks(tower)
    for part in found[: max(1, len(found) - 1 - count)]:
        for layer in part:
            layer.trainable = False
    return bool(found)


def learning_rates(
    tower: keras.Model, share: float, decay: float = 1.0
) -> list[tuple[keras.Variable, float]]:
    """The share of the learning rate of every weight that is trained: `share` behind the last
    block, and by a factor of `decay` less with each block below.

    Where the blocks are not known, all have the same.
    """
    parts = find_blocks(tower) or [tower.layers]
    depth = {
        id(variable): share * decay**below
        for below, part in enumerate(reversed(parts))
        for layer in part
        for variable in layer.weights
    }
    return [(variable, depth[id(variable)]) for variable in tower.trainable_variables]
