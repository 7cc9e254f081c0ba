import pytest
import torch

from benchmarks import umg_clip


@pytest.fixture
def bench(quick_bench):
    """A quick bench that keeps figures and the limits that are claimed for them."""
    quick_bench.figures = []
    quick_bench.figure = lambda name, value, unit, limit=None: quick_bench.figures.append(
        (name, value, unit, limit)
    )
    return quick_bench


def test_the_benchmark_compares_outputs_and_claims_nothing_of_small_sizes(bench):
    umg_clip.run(bench)
    assert bench.rows == [
        "a step, all tokens against half of them clustered, quick",
        "a step, all tokens, quick",
        "a step, half clustered, quick",
    ]
    names = ["clustering, share", "64 boxes an image, share", "activations", "memory of a step"]
    assert all(row[0].startswith(name) for row, name in zip(bench.figures, names, strict=True))
    assert all(row[1] > 0 and row[3] is None for row in bench.figures)


def test_the_towers_are_of_the_papers_shape():
    width, depth, heads, patch, pixels, _ = umg_clip.SHAPES["ViT-L/14-336"]
    assert (width, depth, heads) == (1024, 24, 16) and (pixels // patch) ** 2 == 576


def test_activations_are_what_is_kept_for_the_backward_pass():
    """Of a linear layer its input, of a GELU too; weights and what is not kept are not counted."""

    class Net(torch.nn.Sequential):
        def encode(self, images):
            return (self(images),)

    net = Net(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4, bias=False))
    images = torch.randn(5, 8)
    # Float32: 5 x 8 into the first layer, 5 x 16 into the GELU, 5 x 16 into the second layer.
    assert umg_clip.activation_bytes(net, images) == 4 * 5 * (8 + 16 + 16)
