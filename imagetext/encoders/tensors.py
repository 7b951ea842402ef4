"""Read the tensors of PyTorch checkpoints, and copy them into Keras variables.

    targets = [(layer.kernel, ["fc.weight"], dense_kernel), (layer.bias, ["fc.bias"], bias)]
    assign_tensors(targets, tensors, origin="model.safetensors", model="this BERT")

Every variable needs its tensors, and every tensor a variable; anything else is refused. The
converters below turn one tensor into the value of a variable with the given shape.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from imagetext.encoders.torch_file import read_torch_file
from imagetext.errors import UserError

#: Turns the tensors of a variable, and its shape, into its value; ValueError if they do not fit.
Converter = Callable[..., np.ndarray]
#: A variable, the names of its tensors, and their converter.
Target = tuple[keras.Variable, Sequence[str], Converter]


def read_tensors(path: Path) -> Mapping[str, np.ndarray]:
    """Read all tensors of a file in the format of safetensors or PyTorch."""
    if path.suffix != ".safetensors":
        return read_torch_file(path)
    from safetensors.numpy import load_file

    return load_file(path)


def assign_tensors(
    targets: Iterable[Target],
    tensors: Mapping[str, np.ndarray],
    origin: str,
    model: str,
    unused: Collection[str] = (),
) -> None:
    """Copy tensors into variables.

    Args:
        targets: All variables of the model.
        tensors: The tensors of a checkpoint by name.
        origin: Where the tensors come from, for messages.
        model: What they are for, as in "this CLIP".
        unused: Names of tensors that may be left over.
    """
    left_over = set(tensors) - set(unused)
    missing: list[str] = []
    misshapen: list[str] = []
    values = []
    for variable, names, convert in targets:
        left_over.difference_update(names)
        if absent := [name for name in names if name not in tensors]:
            missing += absent
            continue
        arrays = [np.asarray(tensors[name], np.float32) for name in names]
        shape = tuple(variable.shape)
        try:
            values.append((variable, convert(*arrays, shape)))
        except (ValueError, IndexError):
            shapes = (
                f"{name} has shape {array.shape}" for name, array in zip(names, arrays, strict=True)
            )
            misshapen.append(f"{' and '.join(shapes)}, which does not fit {variable.path} {shape}")
    require_all_placed(origin, model, sorted(missing), sorted(left_over), sorted(misshapen))
    for variable, value in values:
        variable.assign(value)


def require_all_placed(
    origin: str,
    model: str,
    missing: Sequence[str],
    unexpected: Sequence[str] = (),
    misshapen: Sequence[str] = (),
) -> None:
    """Refuse tensors that are not exactly those of a model, naming the first few of each kind.

    Args:
        origin: Where the tensors come from.
        model: What they are for, as in "this CLIP".
        missing: Names of tensors that the model needs.
        unexpected: Names of tensors that it does not use.
        misshapen: Descriptions of shapes that do not fit.
    """
    kinds = (("missing ", missing), ("unexpected ", unexpected), ("", misshapen))
    problems = [label + _first_few(items) for label, items in kinds if items]
    if problems:
        raise UserError(f"{origin}: not the weights of {model}: {'; '.join(problems)}")


def _first_few(items: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def as_is(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor itself, if it has this shape."""
    if array.shape != shape:
        raise ValueError(f"shape {array.shape} instead of {shape}")
    return array


def bias(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[n] -> [n], or [heads, n / heads] in attention."""
    return as_is(array, (math.prod(shape),)).reshape(shape)


def dense_kernel(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[out, in] -> [in, out]; in attention the heads are an axis of their own."""
    # With the heads merged, the kernels of attention are square.
    merged = shape if len(shape) == 2 else (math.isqrt(math.prod(shape)),) * 2
    return as_is(array.T, merged).reshape(shape)


def conv_kernel(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[out, in, h, w] -> [h, w, in, out]"""
    return as_is(array.transpose(2, 3, 1, 0), shape)


def depthwise_kernel(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[channels, 1, h, w] -> [h, w, channels, 1]"""
    return as_is(array.transpose(2, 3, 0, 1), shape)
