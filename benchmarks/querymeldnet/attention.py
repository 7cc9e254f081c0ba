"""Deformable attention: ours, the formula as the textbook has it, and Triton's kernels on a GPU.

B images, Q queries, S cells of all levels, h heads, d channels of a head, L levels, P points.
"""

from functools import partial
from typing import Any, Callable, List, Tuple

import torch
from torch import Tensor

from segplugins.modeling.deformable import deformable_attention

# Triton forward and backward against plain torch at 1024 pixels, and its share of the memory.
TRITON_SPEED, TRITON_MEMORY = 2.0, 4.0
_HEADS, _CHANNELS, _POINTS = 8, 32, 4

Inputs = Tuple[Tensor, Tensor, Tensor]


def run(bench: Any) -> None:
    """Prints time and memory of one encoder layer's attention, forward and backward."""
    device = str(bench.device)
    # A CPU would take minutes at the paper's size.
    side = 32 if bench.quick else 1024 if device == "cuda" else 256
    shapes = levels_of(side)
    cells = sum(height * width for height, width in shapes)
    bench.note(f"deformable attention, {side} pixels, 4 levels, {cells} queries of 256 channels")
    inputs = drawn_inputs(shapes, device)
    bench.compare(
        "deformable attention, forward and backward, the formula and ours",
        partial(gradients, textbook, inputs, shapes),
        partial(gradients, plain_torch, inputs, shapes),
        check=partial(_check, textbook, plain_torch, inputs, shapes),
        repeats=1 if bench.quick else 3,
        at_least=None if bench.quick else 1.0,
    )
    if device == "cuda":
        _compare_triton(bench, inputs, shapes)
    _compare_memory(bench, side, device)


def levels_of(side: int) -> List[Tuple[int, int]]:
    """Returns height and width of the levels at strides 8, 16, 32 and 64."""
    return [(max(side // stride, 1),) * 2 for stride in (8, 16, 32, 64)]


def drawn_inputs(shapes: List[Tuple[int, int]], device: str) -> Inputs:
    """Returns values, locations and weights of one image, a query for each cell."""
    draw = torch.Generator().manual_seed(0)
    cells = sum(height * width for height, width in shapes)
    places = (1, cells, _HEADS, len(shapes), _POINTS)
    value = torch.randn(1, cells, _HEADS, _CHANNELS, generator=draw)
    locations = 1.2 * torch.rand(*places, 2, generator=draw) - 0.1
    weights = torch.rand(*places, generator=draw).flatten(3).softmax(-1).view(places)
    return tuple(tensor.to(device).requires_grad_() for tensor in (value, locations, weights))


def textbook(
    value: Tensor, shapes: List[Tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Returns (B, Q, D) by Zhu 2021, Eq. 3: all samples are gathered, weighted and added up."""
    batch, queries, heads, _, points, _ = locations.shape
    samples, start = [], 0
    for level, (height, width) in enumerate(shapes):
        cells = value[:, start : start + height * width].permute(0, 2, 1, 3)  # (B, h, cells, d)
        start += height * width
        size = torch.tensor([width, height], device=value.device)
        place = (locations[:, :, :, level] * size - 0.5).permute(0, 2, 1, 3, 4).flatten(2, 3)
        low = place.floor()
        total = 0.0
        for corner in ((0, 0), (1, 0), (0, 1), (1, 1)):
            x, y = (low + torch.tensor(corner, device=value.device)).unbind(-1)
            share = (1 - (place - torch.stack([x, y], dim=-1)).abs()).prod(dim=-1)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            taken = cells.gather(2, index[..., None].expand(-1, -1, -1, cells.shape[-1]))
            total = total + taken * (share * inside)[..., None]
        samples.append(total.view(batch, heads, queries, points, -1))
    stacked = torch.stack(samples, dim=3)  # (B, h, Q, L, P, d)
    weighted = stacked * weights.permute(0, 2, 1, 3, 4)[..., None]
    return weighted.sum(dim=(3, 4)).transpose(1, 2).flatten(2)


plain_torch = partial(deformable_attention, backend="torch")
checkpointed = partial(deformable_attention, backend="torch", checkpoint=True)
by_triton = partial(deformable_attention, backend="triton")


def gradients(
    attention: Callable[..., Tensor], inputs: Inputs, shapes: List[Tuple[int, int]]
) -> Tuple[Tensor, ...]:
    """Returns the result and the gradients of its sum of squares."""
    value, locations, weights = inputs
    result = attention(value, shapes, locations, weights)
    return (result.detach(), *torch.autograd.grad(result.square().sum(), inputs))


def _check(one: Callable, other: Callable, inputs: Inputs, shapes: List[Tuple[int, int]]) -> None:
    for a, b in zip(gradients(one, inputs, shapes), gradients(other, inputs, shapes)):
        # On the border between two cells the gradient of a location jumps: rounding decides there.
        differ = (a - b).abs() > 1e-3 * b.abs().max()
        assert float(differ.float().mean()) < 1e-4, f"{int(differ.sum())} values differ"


def _compare_triton(bench: Any, inputs: Inputs, shapes: List[Tuple[int, int]]) -> None:
    bench.compare(
        "deformable attention, forward and backward, plain torch and Triton",
        partial(gradients, plain_torch, inputs, shapes),
        partial(gradients, by_triton, inputs, shapes),
        check=partial(_check, plain_torch, by_triton, inputs, shapes),
        repeats=5,
        at_least=None if bench.quick else TRITON_SPEED,
    )


def _compare_memory(bench: Any, side: int, device: str) -> None:
    """Memory of the forward and backward pass of each way."""
    ways = {"the formula": "textbook", "ours": "plain_torch", "ours, recomputed": "checkpointed"}
    if device == "cuda":
        ways["Triton"] = "by_triton"
    used = {
        name: bench.memory(
            f"deformable attention, memory, {name}", _once, way, side, device, prepare=_prepared
        )
        for name, way in ways.items()
    }
    bench.note(
        "memory of the formula by that of "
        + ", ".join(f"{name}: {used['the formula'] / used[name]:.1f}x" for name in list(used)[1:])
    )
    if device == "cuda":
        ratio = used["ours"] / used["Triton"]
        bench.note(f"Triton takes 1/{ratio:.1f} of plain torch, claimed 1/{TRITON_MEMORY:g}")


def _prepared(way: str, side: int, device: str) -> Callable[[], Any]:
    shapes = levels_of(side)
    once = partial(gradients, globals()[way], drawn_inputs(shapes, device), shapes)
    gradients(globals()[way], drawn_inputs([(2, 2)] * 4, device), [(2, 2)] * 4)  # warm
    return once


def _once(call: Callable[[], Any]) -> None:
    call()
