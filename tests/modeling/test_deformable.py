"""Deformable attention: samples by hand, references, and Triton's kernels by its interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segplugins.modeling.deformable import DeformableAttention, deformable_attention

SHAPES = [(3, 4), (2, 2)]


def drawn(batch=2, queries=5, heads=2, channels=3, points=2, dtype=torch.float32):
    cells = sum(h * w for h, w in SHAPES)
    value = torch.randn(batch, cells, heads, channels, dtype=dtype)
    locations = 1.6 * torch.rand(batch, queries, heads, len(SHAPES), points, 2, dtype=dtype) - 0.3
    weights = torch.rand(batch, queries, heads, len(SHAPES) * points, dtype=dtype).softmax(-1)
    return value, locations, weights.view(batch, queries, heads, len(SHAPES), points)


def textbook(value, locations, weights):
    """Zhu 2021, Eq. 3, one sample after the other, each of four corners by hand."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    out = torch.zeros(batch, queries, heads, channels)
    for b in range(batch):
        for q in range(queries):
            for h in range(heads):
                start = 0
                for level, (height, width) in enumerate(SHAPES):
                    for p in range(points):
                        x = float(locations[b, q, h, level, p, 0]) * width - 0.5
                        y = float(locations[b, q, h, level, p, 1]) * height - 0.5
                        for row in range(height):
                            for column in range(width):
                                share = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
                                cell = value[b, start + row * width + column, h]
                                out[b, q, h] += weights[b, q, h, level, p] * share * cell
                    start += height * width
    return out.flatten(2)


def test_it_equals_the_textbook_formula_outside_of_the_map_too():
    value, locations, weights = drawn()
    ours = deformable_attention(value, SHAPES, locations, weights, backend="torch")
    torch.testing.assert_close(ours, textbook(value, locations, weights), atol=1e-5, rtol=1e-5)


def test_a_location_at_the_centre_of_a_cell_returns_that_cell():
    value, _, _ = drawn(batch=1, heads=1)
    locations = torch.full((1, 1, 1, 2, 1, 2), -1.0)
    locations[0, 0, 0, 0, 0] = torch.tensor([2.5 / 4, 1.5 / 3])  # column 2, row 1
    weights = torch.tensor([0.75, 0.25]).view(1, 1, 1, 2, 1)
    ours = deformable_attention(value, SHAPES, locations, weights, backend="torch")
    torch.testing.assert_close(ours[0, 0], 0.75 * value[0, 1 * 4 + 2, 0])


def test_recomputing_changes_neither_result_nor_gradient():
    inputs = drawn()
    gradients = []
    for checkpoint in (False, True):
        tensors = [tensor.clone().requires_grad_() for tensor in inputs]
        value, locations, weights = tensors
        out = deformable_attention(
            value, SHAPES, locations, weights, backend="torch", checkpoint=checkpoint
        )
        out.square().sum().backward()
        gradients.append([out.detach(), *(tensor.grad for tensor in tensors)])
    for plain, recomputed in zip(*gradients):
        assert torch.equal(plain, recomputed)


def test_locations_stay_float32_under_autocast():
    value, locations, weights = drawn()
    plain = deformable_attention(value, SHAPES, locations, weights)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = deformable_attention(value, SHAPES, locations, weights)
    assert mixed.dtype == torch.float32 and torch.equal(plain, mixed)


def test_shapes_that_do_not_fit_and_unknown_backends_are_errors():
    value, locations, weights = drawn()
    with pytest.raises(ValueError, match=r"have 13 cells, value has 16"):
        deformable_attention(value, [(3, 3), (2, 2)], locations, weights)
    with pytest.raises(ValueError, match="backend must be one of .* got 'cuda'"):
        deformable_attention(value, SHAPES, locations, weights, backend="cuda")
    with pytest.raises(ValueError, match="width 10 is no multiple of 4 heads"):
        DeformableAttention(10, levels=2, heads=4, points=2)


def test_the_module_starts_on_rays_with_equal_weights():
    module = DeformableAttention(8, levels=2, heads=4, points=3)
    bias = module.sampling_offsets.bias.view(4, 2, 3, 2)
    # Four heads look right, down, left and up; the point of index i lies i + 1 cells away.
    rays = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    expected = rays[:, None, None] * torch.tensor([1.0, 2, 3])[:, None]
    torch.testing.assert_close(bias, expected.expand(4, 2, 3, 2))
    assert not module.attention_weights.weight.any() and not module.attention_weights.bias.any()


def test_offsets_count_in_cells_of_a_point_and_in_half_sizes_of_a_box():
    module = DeformableAttention(8, levels=2, heads=4, points=3)
    offsets = torch.ones(1, 1, 4, 2, 3, 2)
    point = module._locations(torch.full((1, 1, 2, 2), 0.5), offsets, SHAPES)
    assert point[0, 0, 0, :, 0].tolist() == [
        pytest.approx([0.5 + 1 / 4, 0.5 + 1 / 3]),  # width 4, height 3
        pytest.approx([0.5 + 1 / 2, 0.5 + 1 / 2]),
    ]
    box = torch.tensor([0.5, 0.5, 0.6, 0.2]).expand(1, 1, 2, 4)
    assert module._locations(box, offsets, SHAPES)[0, 0, 0, 0, 0].tolist() == pytest.approx(
        [0.5 + 0.6 / 2 / 3, 0.5 + 0.2 / 2 / 3]
    )


def test_padded_cells_give_nothing():
    module = DeformableAttention(8, levels=2, heads=4, points=3)
    torch.nn.init.zeros_(module.value_proj.bias)
    query, memory = torch.randn(1, 2, 8), torch.randn(1, 16, 8)
    references = torch.rand(1, 2, 2, 2)
    everything = torch.ones(1, 16, dtype=torch.bool)
    out = module(query, references, memory, SHAPES, padding=everything)
    torch.testing.assert_close(out, module.output_proj.bias.expand(1, 2, 8))
    none = module(query, references, memory, SHAPES, padding=~everything)
    assert torch.equal(none, module(query, references, memory, SHAPES))


_BY_INTERPRETER = """
import torch
from segplugins.modeling.deformable import deformable_attention
torch.manual_seed(0)
shapes = [(3, 4), (2, 2)]
# Two blocks of queries and a padded width; then less than a block and none to pad.
for channels, batch, queries in ((3, 2, 37), (4, 1, 5)):
    value = torch.randn(batch, 16, 2, channels)
    locations = 1.6 * torch.rand(batch, queries, 2, 2, 2, 2) - 0.3
    locations[0, 0, 0, 0, 0] = torch.tensor([1e9, -1e9])
    weights = torch.rand(batch, queries, 2, 2, 2)
    results = []
    for backend in ("torch", "triton"):
        tensors = [t.clone().requires_grad_() for t in (value, locations, weights)]
        out = deformable_attention(tensors[0], shapes, *tensors[1:], backend=backend)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        results.append([out.detach(), *(t.grad for t in tensors)])
    for plain, kernel in zip(*results):
        torch.testing.assert_close(kernel, plain, atol=1e-4, rtol=1e-4)
print("equal")
"""


def test_tritons_kernels_equal_plain_torch_forward_and_backward():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", _BY_INTERPRETER],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_diagonal_rays_reach_as_many_cells_as_straight_ones():
    module = DeformableAttention(8, levels=1, heads=8, points=2)
    bias = module.sampling_offsets.bias.view(8, 2, 2)
    # Head k looks k eighths of a turn away; the longer of its two sides is 1, whatever its sign.
    rays = torch.tensor([[1.0, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]])
    torch.testing.assert_close(bias[:, 0], rays)
    torch.testing.assert_close(bias[:, 1], 2 * rays)
