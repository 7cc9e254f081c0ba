import pytest
import torch

from benchmarks import querymeldnet
from benchmarks.querymeldnet import attention, matching


def test_the_benchmark_compares_rates_and_measures_memory(quick_bench):
    querymeldnet.run(quick_bench)
    assert [name.split(",")[0] for name in quick_bench.rows] == [
        *["deformable attention"] * 4,
        "matching of 9 layers x 8 images",
        *("decoder of 4 queries", "decoder of 16 queries", "decoder of 36 queries"),
        *["memory"] * 3,
    ]
    assert sum("claimed below 1" in note for note in quick_bench.notes) == 2


def test_the_formula_is_a_baseline_by_itself():
    # One query in the middle of the second of two cells, and one half outside of the map.
    value = torch.tensor([[[[2.0]], [[6.0]]]])
    locations = torch.tensor([0.75, 0.5, 1.0, 0.5]).view(1, 2, 1, 1, 1, 2)
    out = attention.textbook(value, [(1, 2)], locations, torch.ones(1, 2, 1, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([6.0, 3.0]))


def test_a_match_that_differs_is_an_error():
    predictions, targets = matching.drawn_heads(10, 16, "cpu")
    points = torch.rand(matching.IMAGES, 64, 2)
    matcher = matching.build_matcher(64)
    matcher.points = lambda batch, device: points
    matching._check(matcher, predictions, targets, points)
    with pytest.raises(AssertionError, match="the matches of head '.*' differ"):
        matching._check(matcher, predictions, targets, points.flip(1) * 0.5)
