"""Pretrained towers inside a model that is trained.

hold_still(tower)        # its averages stay, whether or not its weights are trained along
"""

import keras


def hold_still(tower: keras.Model) -> None:
    """Let batch norm keep its averages, and nothing be dropped, also where the tower is trained.

    To call it with `training=False` would not do: what a functional model was put together with
    gives way to what the whole is called with.
    """
    for layer in tower._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
