"""Entries of a model's output, checked: there, of real and finite numbers, of the right size.

Every error names the image.
"""

from typing import Any, Mapping, Sequence

import torch
from torch import Tensor

from segplugins.evaluation.sample_identity import describe


def output_of(record: Mapping[str, Any], output: Mapping[str, Any], name: str) -> Any:
    """Returns one entry of a model's output.

    Raises:
        ValueError: the model did not give it; the message names the image.
    """
    if name in output and output[name] is None:
        raise ValueError(f"{describe(record)}: the model gave None as '{name}'")
    if name not in output:
        raise ValueError(
            f"{describe(record)}: the model gave {sorted(map(str, output))}, but no '{name}', "
            "which this evaluation reads"
        )
    return output[name]


def tensor_of(record: Mapping[str, Any], output: Mapping[str, Any], name: str) -> Tensor:
    """Returns one entry of a model's output as a tensor on its device.

    Raises:
        ValueError: the model did not give it, or it holds no real numbers; names the image.
    """
    value = output_of(record, output, name)
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{describe(record)}: {name} is no tensor: {error}") from error
    if tensor.layout != torch.strided:
        raise ValueError(f"{describe(record)}: {name} is {tensor.layout}, expected a dense tensor")
    if tensor.is_complex() or tensor.is_quantized:
        raise ValueError(f"{describe(record)}: {name} is {tensor.dtype}, expected real numbers")
    return tensor


def check_finite(record: Mapping[str, Any], name: str, values: Tensor) -> None:
    """Raises ValueError, naming the image, where a float tensor holds NaN or infinity."""
    if not values.is_floating_point() or values.numel() == 0:
        return
    # The extremes carry NaN and infinity: one pass and no copy, where isfinite() makes one.
    if not bool(torch.isfinite(torch.stack(torch.aminmax(values))).all()):
        raise ValueError(
            f"{describe(record)}: {name} holds NaN or infinite values; a score of them would mean "
            "nothing"
        )


def check_size(
    record: Mapping[str, Any], name: str, got: Sequence[int], expected: Sequence[int]
) -> None:
    """Raises ValueError, naming the image and both sizes, where a prediction has another one."""
    if tuple(got) != tuple(expected):
        raise ValueError(
            f"{describe(record)}: {name} has shape {tuple(got)}, the truth {tuple(expected)}"
        )
