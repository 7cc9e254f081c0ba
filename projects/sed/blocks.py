"""Independent parts of a computation, done a few at a time.

A decoder row is a class and a position of the class layer is a pixel; both are many and
independent. Computed all at once, their intermediate results leave the processor's cache and cost
more to move than to compute: on one CPU core the last decoder stage then takes three times as long.
"""

from typing import Callable

import torch
from torch import Tensor

# Elements of the widest intermediate result: 2 MiB of float32 stay in a core's cache; a GPU wants
# large kernels and only its memory bounded.
_CPU_ELEMENTS = 2**19
_GPU_ELEMENTS = 2**27
# A batch of one image has no unambiguous memory format, and convolutions then copy their input.
_FEWEST = 4


def in_blocks(
    function: Callable[[slice], Tensor],
    count: int,
    *,
    dim: int,
    elements: int,
    device: torch.device,
) -> Tensor:
    """Computes a result block by block along one dimension.

    While gradients are recorded there is a single block: intermediate results are kept then anyway.

    Args:
        function: computes the parts of a slice; its result has them along `dim`.
        count: number of parts.
        dim: see `function`.
        elements: that the widest intermediate result has for one part.
        device: where the work is done.

    Returns:
        What `function` gives for all parts; contiguous if there were several blocks.
    """
    budget = _CPU_ELEMENTS if device.type == "cpu" else _GPU_ELEMENTS
    length = count if torch.is_grad_enabled() else max(_FEWEST, budget // max(1, elements))
    if length >= count:
        return function(slice(0, count))
    first = function(slice(0, length))
    result = first.new_empty([*first.shape[:dim], count, *first.shape[dim + 1 :]])
    result.narrow(dim, 0, length).copy_(first)
    for start in range(length, count, length):
        stop = min(start + length, count)
        result.narrow(dim, start, stop - start).copy_(function(slice(start, stop)))
    return result
