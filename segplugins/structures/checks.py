"""The one shape-error message."""

from typing import Sequence, Union

import torch


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[Union[int, str]]) -> None:
    """Checks a tensor against a shape in which letters stand for any size.

    Args:
        name: what the tensor is called in the caller's docstring.
        tensor: the tensor got.
        shape: per dimension an int (must be equal) or a letter (any size; the same letter twice
            must be the same size).

    Raises:
        ValueError: with the name, the shape got and the shape expected.
    """
    sizes: dict = {}
    fits = tensor.dim() == len(shape) and all(
        size == (want if isinstance(want, int) else sizes.setdefault(want, size))
        for size, want in zip(tensor.shape, shape)
    )
    if not fits:
        expected = "(" + ", ".join(str(want) for want in shape) + ")"
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")
