"""The gradient of one large batch in the memory of small ones (Gao et al. 2021).

    loss, gradients = cached_gradients(network, loss_of, inputs, variables, size=32)

A contrastive loss compares everything in a batch, so the batch cannot simply be split. But the loss
depends on the vectors only. They are computed first, part by part, without recording gradients; the
loss then gives the gradient of every vector; finally each part is computed again, recording
gradients, to propagate them to the weights. The sum is the gradient of the whole batch.

Dropout must be the same both times, so its seeds are reset in between.
"""

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

Tensors = Mapping[str, tf.Tensor]


def cached_gradients(
    network: keras.Model,
    loss_of: Callable[[Tensors], tf.Tensor],
    inputs: Tensors,
    variables: Sequence[keras.Variable],
    size: int,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The loss of a batch, and its gradients.

    Layers that learn from a batch as a whole, such as batch normalisation, would learn from each
    part instead: they must not be trained.

    Args:
        network: Maps a dict of tensors [b, ...] to a dict of float32 tensors [b, ...].
        loss_of: The loss of the network's outputs for the whole batch; may have variables.
        inputs: The inputs of the network; b must be a multiple of `size`.
        variables: The variables to differentiate with respect to.
        size: Number of rows to compute at a time.

    Returns:
        The loss, and its gradient with respect to each of the variables.
    """
    parts = {name: _split(rows, size) for name, rows in inputs.items()}
    seeds = [v for v in network.variables if v.path.endswith("seed_generator_state")]
    before = [tf.identity(seed.value) for seed in seeds]
    outputs = tf.map_fn(
        lambda part: network(part, training=True),
        parts,
        fn_output_signature=dict.fromkeys(network.output, tf.float32),
        parallel_iterations=1,
    )
    vectors = {
        name: tf.reshape(rows, tf.concat([[-1], tf.shape(rows)[2:]], 0))
        for name, rows in outputs.items()
    }
    for name, rows in vectors.items():
        rows.set_shape(network.output[name].shape)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = loss_of(vectors)
    values = [variable.value for variable in variables]
    zero = tf.UnconnectedGradients.ZERO
    to_vectors, of_loss = tape.gradient(loss, [vectors, values], unconnected_gradients=zero)
    to_vectors = {name: _split(rows, size) for name, rows in to_vectors.items()}
    with tf.control_dependencies([*to_vectors.values()]):
        for seed, value in zip(seeds, before, strict=True):
            seed.assign(value)

    def add_gradients(total, part):
        rows, output_gradients = part
        with tf.GradientTape() as tape:
            output = network(rows, training=True)
        names = list(output)
        gradients = tape.gradient(
            [output[name] for name in names],
            values,
            output_gradients=[output_gradients[name] for name in names],
            unconnected_gradients=zero,
        )
        return [a + tf.convert_to_tensor(b) for a, b in zip(total, gradients, strict=True)]

    gradients = tf.foldl(
        add_gradients,
        (parts, to_vectors),
        initializer=[tf.convert_to_tensor(gradient) for gradient in of_loss],
        parallel_iterations=1,
    )
    return loss, gradients


def _split(rows: tf.Tensor, size: int) -> tf.Tensor:
    """[b, ...] -> [b / size, size, ...]"""
    parts = tf.reshape(rows, tf.concat([[-1, size], tf.shape(rows)[1:]], 0))
    parts.set_shape([None, size, *rows.shape[1:]])
    return parts
