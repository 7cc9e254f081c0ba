"""Clustered tokens by hand: distances, places on the grid, density peaks, centres and means."""

import math

import pytest
import torch

from segplugins.projects.umg_clip.token_cluster import (
    ClusterOptions,
    Clusters,
    choose_tokens,
    cluster_tokens,
    density_peaks,
    grid_order,
    merge_tokens,
    random_clusters,
    spatial_distances,
    token_distances,
    unfold_tokens,
)


def row(*values):
    """(1, N, 1): tokens of one channel."""
    return torch.tensor(values).view(1, -1, 1)


def test_distances_are_divided_by_the_root_of_the_width():
    tokens = torch.tensor([[[0.0, 0, 0, 0], [3, 0, 4, 0], [1, 1, 1, 1]]])
    expected = torch.tensor([[[0, 2.5, 1], [2.5, 0, math.sqrt(15) / 2], [1, math.sqrt(15) / 2, 0]]])
    torch.testing.assert_close(token_distances(tokens), expected)
    assert token_distances(tokens.bfloat16()).dtype == torch.float32


def test_places_on_the_grid_by_distance_and_then_by_index():
    # 0 1 2
    # 3 4 5
    order = grid_order(2, 3)
    assert order[0].tolist() == [0, 1, 4, 2, 3, 5]  # 1 and 3 are as near: the lower index first
    assert order[4].tolist() == [4, 1, 5, 2, 0, 3]
    assert (order.diagonal() == 0).all()


def test_distances_grow_with_the_place_and_end_at_the_reach():
    distance = torch.full((1, 3, 3), 2.0)
    weighted = spatial_distances(distance, (1, 3), 0.25, 2)
    # Own place 0.25, next 0.25 + 0.75 / 2, and at the reach 1. The middle has two neighbours.
    assert weighted[0].tolist() == [[0.5, 1.25, 2.0], [1.25, 0.5, 2.0], [2.0, 1.25, 0.5]]
    near = spatial_distances(distance, (1, 3), 0.25, 1)
    assert near[0].tolist() == [
        [0.5, 2.0, math.inf],
        [2.0, 0.5, math.inf],
        [math.inf, 2.0, 0.5],
    ]


def test_density_is_of_the_nearest_and_separation_reaches_to_a_denser_token():
    distance = token_distances(row(0.0, 1.0, 3.0))
    density, separation = density_peaks(distance, 2)
    # Nearest besides itself: 1, 1 and 2. Only the third has denser ones, the nearer at 2; the
    # others take the largest distance, 3.
    assert density[0].tolist() == pytest.approx([math.exp(-0.5)] * 2 + [math.exp(-2.0)])
    assert separation[0].tolist() == [3.0, 3.0, 2.0]
    every, _ = density_peaks(distance, 9)  # no more neighbours than tokens
    expected = [(0 + 1 + 9) / 3, (0 + 1 + 4) / 3, (0 + 4 + 9) / 3]
    assert every[0].tolist() == pytest.approx([math.exp(-mean) for mean in expected])


def test_a_token_without_a_denser_one_in_reach_takes_the_largest_finite_distance():
    distance = torch.tensor([[[0.0, 1.0, math.inf], [1.0, 0.0, 5.0], [math.inf, 2.0, 0.0]]])
    density, separation = density_peaks(distance, 2)
    assert density[0].tolist() == pytest.approx([math.exp(-0.5)] * 2 + [math.exp(-2.0)])
    assert separation[0].tolist() == [5.0, 5.0, 2.0]


OPTIONS = {"keep": 1 / 3, "neighbours": 3, "spatial": False}
# Two groups whose middle token has the nearest neighbours: 1 and 2 away, and 1 and 2.5 away.
GROUPS = (0.0, 1.0, 3.0, 20.0, 21.0, 23.5)


def test_centres_are_the_highest_peaks_and_every_token_joins_the_nearest():
    tokens = torch.cat([row(*GROUPS), row(*GROUPS[::-1])])  # two images, one the other's mirror
    clusters = cluster_tokens(tokens, (1, 6), ClusterOptions(**OPTIONS))
    assert clusters.centres.tolist() == [[1, 4]] * 2
    assert clusters.index.tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    merged = merge_tokens(tokens, clusters)
    torch.testing.assert_close(merged[..., 0], torch.tensor([[4 / 3, 21.5], [21.5, 4 / 3]]))
    unfolded = unfold_tokens(merged, clusters)
    torch.testing.assert_close(unfolded[:1], row(*[4 / 3] * 3, *[21.5] * 3))
    torch.testing.assert_close(unfolded[1:], row(*[21.5] * 3, *[4 / 3] * 3))
    # Three of six: the next peak is that of the densest token beside a denser one, at 0.
    three = cluster_tokens(tokens[:1], (1, 6), ClusterOptions(**{**OPTIONS, "keep": 0.5}))
    assert three.centres.tolist() == [[0, 1, 4]] and three.index.tolist() == [[0, 1, 1, 2, 2, 2]]


def test_a_token_out_of_reach_of_every_centre_joins_the_most_similar():
    # A line of six, each looking at one place beside itself. With one neighbour all are as dense,
    # and the centres are the first two tokens; those from the fourth on look at neither of them.
    tokens = row(0.0, 9.0, 8.0, 1.0, 7.0, 2.0)
    options = ClusterOptions(keep=1 / 3, neighbours=1, alpha=0.5, reach=1)
    clusters = cluster_tokens(tokens, (1, 6), options)
    assert clusters.centres.tolist() == [[0, 1]]
    assert clusters.index.tolist() == [[0, 1, 1, 0, 1, 0]]


def test_a_mean_may_be_weighted_and_gradients_reach_every_token():
    tokens = row(1.0, 3.0, 10.0).requires_grad_()
    clusters = Clusters(torch.tensor([[0, 2]]), torch.tensor([[0, 0, 1]]))
    merged = merge_tokens(tokens, clusters, torch.tensor([[[1.0], [3.0], [0.5]]]))
    torch.testing.assert_close(merged, row(0.25 * 1 + 0.75 * 3, 10.0))
    merged.sum().backward()
    torch.testing.assert_close(tokens.grad, row(0.25, 0.75, 1.0))


def test_random_masking_keeps_the_share_and_joins_by_place():
    torch.manual_seed(0)
    clusters = random_clusters(torch.zeros(40, 6, 1), (1, 6), ClusterOptions(keep=0.3))
    assert clusters.centres.shape == (40, 2)  # 0.3 x 6, rounded up
    assert (clusters.centres[:, 0] < clusters.centres[:, 1]).all()
    assert len(clusters.centres.unique(dim=0)) > 10
    for (left, right), index in zip(clusters.centres.tolist(), clusters.index.tolist()):
        for place, own in enumerate(index):
            other = (left, right)[1 - own]
            assert abs((left, right)[own] - place) <= abs(other - place)


@pytest.mark.parametrize("kind, values", [("density", [4 / 3, 21.5]), ("random", None)])
def test_what_stands_for_a_cluster_is_its_mean_or_with_masking_its_centre(kind, values):
    tokens = row(*GROUPS).expand(2, -1, -1)
    torch.manual_seed(1)
    clusters, kept = choose_tokens(tokens, (1, 6), ClusterOptions(kind=kind, **OPTIONS))
    assert kept.shape == (2, 2, 1)
    expected = values or tokens[0, clusters.centres[0], 0].tolist()
    assert kept[0, :, 0].tolist() == pytest.approx(expected)


def test_defaults_and_bounds_of_the_options():
    options = ClusterOptions()
    assert (options.after_block, options.keep, options.neighbours) == (2, 0.5, 5)
    assert (options.spatial, options.alpha, options.reach) == (True, 0.5, 50)
    assert [ClusterOptions(keep=0.5).count(n) for n in (1, 4, 5)] == [1, 2, 3]
    ClusterOptions(keep=1.0, alpha=0.0, after_block=1, neighbours=1, reach=1)
    ClusterOptions(alpha=1.0)
    for wrong in ({"keep": 1.01}, {"keep": -0.1}, {"alpha": -0.01}, {"alpha": 1.01}):
        with pytest.raises(ValueError, match=r"keep must lie in \(0, 1\] and alpha in \[0, 1\]"):
            ClusterOptions(**wrong)
    for name in ("after_block", "neighbours", "reach"):
        with pytest.raises(ValueError, match="must be at least 1, got"):
            ClusterOptions(**{name: 0})
