"""Deformable attention as two Triton kernels, forward and backward. Imported where Triton is used.

One program handles a block of queries of one head of one image, for all channels of the head. The
backward pass adds to the gradient of the values atomically, so its sums are not in a fixed order.
Letters as in deformable.py.
"""

from typing import Sequence, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_QUERIES = 32  # of a program


@triton.jit
def _corner(base, row, column, height, width, stride_cell, channels, live):
    """Addresses and validity of one corner of each query of a block, for all channels."""
    inside = live & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    cell = tl.where(inside, row * width + column, 0)
    address = base + cell[:, None] * stride_cell + channels[None, :]
    return address, inside


@triton.jit
def _forward(
    value, shapes, starts, locations, weights, out,
    cells, queries, heads,
    levels: tl.constexpr, points: tl.constexpr, width: tl.constexpr,
    padded: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0) * block + tl.arange(0, block)
    batch_head = tl.program_id(1)
    batch, head = batch_head // heads, batch_head % heads
    live = query < queries
    channels = tl.arange(0, padded)
    real = channels < width
    stride_cell = heads * width
    row = (batch * queries + query) * heads + head
    total = tl.zeros((block, padded), dtype=tl.float32)
    for level in range(levels):
        height = tl.load(shapes + 2 * level)
        columns = tl.load(shapes + 2 * level + 1)
        start = tl.load(starts + level)
        base = value + (batch * cells + start).to(tl.int64) * stride_cell + head * width
        for point in range(points):
            sample = (row * levels + level) * points + point
            weight = tl.load(weights + sample, mask=live, other=0.0)
            x = tl.load(locations + 2 * sample, mask=live, other=0.0) * columns - 0.5
            y = tl.load(locations + 2 * sample + 1, mask=live, other=0.0) * height - 0.5
            # A place far outside would not fit an integer; it samples nothing anyhow.
            x = tl.minimum(tl.maximum(x, -2.0), columns + 1.0)
            y = tl.minimum(tl.maximum(y, -2.0), height + 1.0)
            x0, y0 = tl.floor(x), tl.floor(y)
            dx, dy = x - x0, y - y0
            left, top = x0.to(tl.int32), y0.to(tl.int32)
            for corner in tl.static_range(4):
                down, right = corner // 2, corner % 2
                share_y = dy if down == 1 else 1 - dy
                share_x = dx if right == 1 else 1 - dx
                address, inside = _corner(
                    base, top + down, left + right, height, columns, stride_cell, channels, live
                )
                found = tl.load(address, mask=inside[:, None] & real[None, :], other=0.0)
                total += (weight * share_y * share_x)[:, None] * found
    address = out + row[:, None].to(tl.int64) * width + channels[None, :]
    tl.store(address, total, mask=live[:, None] & real[None, :])


@triton.jit
def _backward(
    value, shapes, starts, locations, weights, grad_out,
    grad_value, grad_locations, grad_weights,
    cells, queries, heads,
    levels: tl.constexpr, points: tl.constexpr, width: tl.constexpr,
    padded: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0) * block + tl.arange(0, block)
    batch_head = tl.program_id(1)
    batch, head = batch_head // heads, batch_head % heads
    live = query < queries
    channels = tl.arange(0, padded)
    real = channels < width
    stride_cell = heads * width
    row = (batch * queries + query) * heads + head
    both = live[:, None] & real[None, :]
    address = grad_out + row[:, None].to(tl.int64) * width + channels[None, :]
    grad = tl.load(address, mask=both, other=0.0)
    for level in range(levels):
        height = tl.load(shapes + 2 * level)
        columns = tl.load(shapes + 2 * level + 1)
        start = tl.load(starts + level)
        offset = (batch * cells + start).to(tl.int64) * stride_cell + head * width
        for point in range(points):
            sample = (row * levels + level) * points + point
            weight = tl.load(weights + sample, mask=live, other=0.0)
            x = tl.load(locations + 2 * sample, mask=live, other=0.0) * columns - 0.5
            y = tl.load(locations + 2 * sample + 1, mask=live, other=0.0) * height - 0.5
            x = tl.minimum(tl.maximum(x, -2.0), columns + 1.0)
            y = tl.minimum(tl.maximum(y, -2.0), height + 1.0)
            x0, y0 = tl.floor(x), tl.floor(y)
            dx, dy = x - x0, y - y0
            left, top = x0.to(tl.int32), y0.to(tl.int32)
            grad_weight = tl.zeros((block,), dtype=tl.float32)
            grad_x = tl.zeros((block,), dtype=tl.float32)
            grad_y = tl.zeros((block,), dtype=tl.float32)
            for corner in tl.static_range(4):
                down, right = corner // 2, corner % 2
                share_y = dy if down == 1 else 1 - dy
                share_x = dx if right == 1 else 1 - dx
                sign_y = 1.0 if down == 1 else -1.0
                sign_x = 1.0 if right == 1 else -1.0
                address, inside = _corner(
                    offset, top + down, left + right, height, columns, stride_cell, channels, live
                )
                valid = inside[:, None] & real[None, :]
                found = tl.load(value + address, mask=valid, other=0.0)
                dot = tl.sum(found * grad, axis=1)
                grad_weight += share_y * share_x * dot
                grad_x += sign_x * share_y * dot
                grad_y += sign_y * share_x * dot
                tl.atomic_add(
                    grad_value + address, (weight * share_y * share_x)[:, None] * grad, mask=valid
                )
            tl.store(grad_weights + sample, grad_weight, mask=live)
            tl.store(grad_locations + 2 * sample, weight * grad_x * columns, mask=live)
            tl.store(grad_locations + 2 * sample + 1, weight * grad_y * height, mask=live)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, shapes, starts, locations, weights):
        batch, cells, heads, width = value.shape
        queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
        out = value.new_empty(batch, queries, heads, width)
        sizes = (cells, queries, heads)
        constants = {
            "levels": levels,
            "points": points,
            "width": width,
            "padded": triton.next_power_of_2(width),
            "block": _QUERIES,
        }
        grid = (triton.cdiv(queries, _QUERIES), batch * heads)
        _forward[grid](value, shapes, starts, locations, weights, out, *sizes, **constants)
        ctx.save_for_backward(value, shapes, starts, locations, weights)
        ctx.launch = grid, sizes, constants
        return out.flatten(2)

    @staticmethod
    def backward(ctx, grad_out):
        value, shapes, starts, locations, weights = ctx.saved_tensors
        grid, sizes, constants = ctx.launch
        grad_value = torch.zeros_like(value)
        grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
        _backward[grid](
            value, shapes, starts, locations, weights, grad_out.contiguous(),
            grad_value, grad_locations, grad_weights, *sizes, **constants,
        )  # fmt: skip
        return grad_value, None, None, grad_locations, grad_weights


def triton_attention(
    value: Tensor, shapes: Sequence[Tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Returns (B, Q, D), see `deformable_attention`; all tensors float32."""
    sizes = torch.tensor(list(shapes), dtype=torch.int32).to(value.device, non_blocking=True)
    areas = [height * width for height, width in shapes]
    starts = [sum(areas[:level]) for level in range(len(areas))]
    starts = torch.tensor(starts, dtype=torch.int32).to(value.device, non_blocking=True)
    return _Attention.apply(
        value.contiguous(), sizes, starts, locations.contiguous(), weights.contiguous()
    )
