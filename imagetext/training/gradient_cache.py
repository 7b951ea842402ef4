"""The gradient of one large batch in the memory of small ones (Gao et al. 2021).

    loss, gradients = cached_gradients(network, loss_of, inputs, variables, size=32)

A contrastive loss compares everything in a batch, so a batch cannot simply be taken in parts. But
it sees the vectors only: they are computed first, part by part, and nothing is kept of the way to
them; the loss says how each vector should change; and then every part is computed once more, now
with the way kept, to hand that on to the weights. The sum is the gradient of the whole batch.

What is dropped must be the same both times, so the seeds of all dropout are set back in between.
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
    """The loss of the batch, and its gradient to each of the variables.

    `network` takes and gives dicts of tensors whose first axis is the batch's, float32 those that
    it gives; `loss_of` takes them whole and may have variables of its own. The batch must be a
    multiple of `size`. What a layer learns from a batch as a whole, as batch norm does, it would
    learn from each part: such layers must be held still.
    """
    parts = {name: _parted(rows, size) for name, rows in inputs.items()}
    seeds = [v for v in network.variables if v.path.endswith("seed_generator_state")]
    before = [tf.identity(seed.value) for seed in seeds]
    found = tf.map_fn(
        lambda part: network(part, training=True),
        parts,
        fn_output_signature=dict.fromkeys(network.output, tf.float32),
        parallel_iterations=1,
    )
    vectors = {
        name: tf.reshape(rows, tf.concat([[-1], tf.shape(rows)[2:]], 0))
        for name, rows in found.items()
    }
    for name, rows in vectors.items():
        rows.set_shape(network.output[name].shape)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = loss_of(vectors)
    values = [variable.value for variable in variables]
    zero = tf.UnconnectedGradients.ZERO
    to_vectors, of_loss = tape.gradient(loss, [vectors, values], unconnected_gradients=zero)
    to_vectors = {name: _parted(rows, size) for name, rows in to_vectors.items()}
    with tf.control_dependencies([*to_vectors.values()]):
        for seed, value in zip(seeds, before, strict=True):
            seed.assign(value)

    def again(total, part):
        rows, wanted = part
        with tf.GradientTape() as tape:
            made = network(rows, training=True)
        names = list(made)
        given = tape.gradient(
            [made[name] for name in names],
            values,
            output_gradients=[wanted[name] for name in names],
            unconnected_gradients=zero,
        )
        return [one + tf.convert_to_tensor(other) for one, other in zip(total, given, strict=True)]

    gradients = tf.foldl(
        again,
        (parts, to_vectors),
        initializer=[tf.convert_to_tensor(gradient) for gradient in of_loss],
        parallel_iterations=1,
    )
    return loss, gradients


def _parted(rows: tf.Tensor, size: int) -> tf.Tensor:
    """[b, ...] -> [b / size, size, ...]"""
    parted = tf.reshape(rows, tf.concat([[-1, size], tf.shape(rows)[1:]], 0))
    parted.set_shape([None, size, *rows.shape[1:]])
    return parted
