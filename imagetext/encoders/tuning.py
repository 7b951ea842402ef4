"""Fine-tune pretrained towers: what is frozen, and how fast the rest learns.

freeze_statistics(tower)        # batch norm keeps its averages, no dropout
freeze_embeddings(tower)        # freeze the embeddings of words and positions
train_last_blocks(tower, 2)     # train only the last two blocks and the layers after them
learning_rates(tower, 0.1, decay=0.8)    # [(variable, learning rate multiplier), ...]
"""

import re

import keras

#: Names of layers inside a block, such as "block_3_expand" (CLIP) and "expand_3" (BERT).
BLOCK_LAYER = re.compile(
    r"block_(\d+)_\w+|(?:attention|attention_norm|expand|contract|output_norm)_(\d+)"
)


def freeze_statistics(tower: keras.Model) -> None:
    """Let batch norm keep its averages, and switch dropout off, even while the tower is trained.

    Calling the tower with `training=False` is not enough: in a functional model, the argument that
    the outer model is called with takes precedence.
    """
    for layer in tower._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def freeze_embeddings(tower: keras.Model) -> None:
    """Freeze the embeddings of words and positions.

    Most words are too rare in a few thousand captions for their embeddings to be trained.
    """
    for layer in tower._flatten_layers():
        # keras-hub's PositionEmbedding is not an Embedding, and may be in a nested model.
        if isinstance(layer, keras.layers.Embedding) or type(layer).__name__ == "PositionEmbedding":
            layer.trainable = False


def find_blocks(tower: keras.Model) -> list[list[keras.layers.Layer]]:
    """Group the layers that have weights by block, from the input to the output.

    Returns:
        The layers before the first block, those of each block, and those after the last block.
        Empty if the tower has no layers named as in `BLOCK_LAYER`.
    """
    weighted = [layer for layer in tower.layers if layer.weights]
    matches = [BLOCK_LAYER.fullmatch(layer.name) for layer in weighted]
    numbers = [int(match[1] or match[2]) if match else None for match in matches]
    inside = [index for index, number in enumerate(numbers) if number is not None]
    if not inside:
        return []
    order = sorted({numbers[index] for index in inside})
    groups = [[] for _ in range(len(order) + 2)]
    for index, (layer, number) in enumerate(zip(weighted, numbers, strict=True)):
        if number is not None:
            groups[1 + order.index(number)].append(layer)
        else:
            groups[-1 if index > inside[0] else 0].append(layer)
    return groups


def train_last_blocks(tower: keras.Model, count: int) -> bool:
    """Freeze everything before the last `count` blocks; False if the tower has no known blocks."""
    groups = find_blocks(tower)
    for group in groups[: max(1, len(groups) - 1 - count)]:
        for layer in group:
            layer.trainable = False
    return bool(groups)


def learning_rates(
    tower: keras.Model, share: float, decay: float = 1.0
) -> list[tuple[keras.Variable, float]]:
    """Learning rate multipliers of all trainable weights.

    Args:
        tower: The tower.
        share: Multiplier of the layers after the last block, and of all layers if the tower has no
            known blocks.
        decay: Factor by which the multiplier is reduced with each block towards the input.
    """
    groups = find_blocks(tower) or [tower.layers]
    multipliers = {
        id(variable): share * decay**depth
        for depth, group in enumerate(reversed(groups))
        for layer in group
        for variable in layer.weights
    }
    return [(variable, multipliers[id(variable)]) for variable in tower.trainable_variables]
