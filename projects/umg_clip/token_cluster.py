"""Fewer tokens: redundant ones become one, which later layers read in their place (Sec. 4.1).

Density peaks among k nearest neighbours (TCFormer's DPC-KNN); with `spatial`, distances grow with
the place in the order of nearness on the grid, as AiluRus describes it, whose constants are not
published. The contrast is random masking, which keeps as many tokens by chance (FLIP). Pre-training
alone uses either.

B images, N = h w patches, C width, M representatives.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

KINDS = ("density", "random")


@dataclass(frozen=True)
class ClusterOptions:
    """How tokens are clustered.

    Args:
        kind: "density"; or "random": tokens by chance stay as they are, and a position that was
            left out takes the value of the nearest of them.
        after_block: number of blocks that see all tokens.
        keep: share of the tokens that stay, M = ceil(keep N).
        neighbours: k of the density, the token itself among them.
        spatial: weigh distances by nearness on the grid.
        alpha: weight of a token's own place; 1 at the place `reach`.
        reach: places of the order of nearness that a token looks at.

    Raises:
        ValueError: a value outside its range.
    """

    kind: str = "density"
    after_block: int = 2
    keep: float = 0.5
    neighbours: int = 5
    spatial: bool = True
    alpha: float = 0.5
    reach: int = 50

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got '{self.kind}'")
        if not 0 < self.keep <= 1 or not 0 <= self.alpha <= 1:
            raise ValueError(
                f"keep must lie in (0, 1] and alpha in [0, 1], got {self.keep} and {self.alpha}"
            )
        if min(self.after_block, self.neighbours, self.reach) < 1:
            raise ValueError(
                "after_block, neighbours and reach must be at least 1, got "
                f"{self.after_block}, {self.neighbours} and {self.reach}"
            )

    def count(self, tokens: int) -> int:
        """Returns M of N tokens."""
        return math.ceil(self.keep * tokens)


class Clusters(NamedTuple):
    """Which token belongs to which representative.

    Args:
        centres: (B, M) int64, the token at the centre of each cluster, rising.
        index: (B, N) int64, the cluster of each token.
    """

    centres: Tensor
    index: Tensor


def choose_tokens(
    tokens: Tensor, grid: Tuple[int, int], options: ClusterOptions
) -> Tuple[Clusters, Tensor]:
    """Returns the clusters of tokens (B, N, C) on a grid (h, w), and what stands for each: (B, M,
    C), the mean of its tokens or, with random masking, the token at its centre."""
    if options.kind == "density":
        clusters = cluster_tokens(tokens, grid, options)
        return clusters, merge_tokens(tokens, clusters)
    clusters = random_clusters(tokens, grid, options)
    rows = clusters.centres[..., None].expand(-1, -1, tokens.shape[2])
    return clusters, tokens.gather(1, rows)


@torch.no_grad()
def random_clusters(tokens: Tensor, grid: Tuple[int, int], options: ClusterOptions) -> Clusters:
    """Returns M centres by chance per image; every token belongs to the nearest on the grid."""
    batch, number = tokens.shape[:2]
    order = torch.rand(batch, number, device=tokens.device).argsort(dim=1)
    centres = order[:, : options.count(number)].sort(dim=1).values
    place = grid_order(*grid).to(tokens.device)  # row i: how near the others are to token i
    index = place.T[centres].argmin(dim=1)
    return Clusters(centres, index)


@torch.no_grad()
def cluster_tokens(tokens: Tensor, grid: Tuple[int, int], options: ClusterOptions) -> Clusters:
    """Returns the clusters of tokens (B, N, C) on a grid (h, w); ties go to the lower index."""
    distance = token_distances(tokens)
    weighted = distance
    if options.spatial:
        weighted = spatial_distances(distance, grid, options.alpha, options.reach)
    density, separation = density_peaks(weighted, options.neighbours)
    order = (density * separation).argsort(dim=1, descending=True, stable=True)
    centres = order[:, : options.count(tokens.shape[1])].sort(dim=1).values
    rows = centres[:, None].expand(-1, tokens.shape[1], -1)
    near, plain = weighted.gather(2, rows), distance.gather(2, rows)
    reached = near.isfinite().any(dim=2, keepdim=True)
    index = torch.where(reached, near, plain).argmin(dim=2)
    own = torch.arange(centres.shape[1], device=tokens.device).expand_as(centres)
    return Clusters(centres, index.scatter(1, centres, own))


def token_distances(tokens: Tensor) -> Tensor:
    """Returns (B, N, N), |z_i - z_j| / sqrt(C), at least in float32; exactly 0 for equal tokens."""
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    # A matrix product would be faster and round the small distances, which decide.
    distance = torch.cdist(tokens, tokens, compute_mode="donot_use_mm_for_euclid_dist")
    return distance / math.sqrt(tokens.shape[2])


def spatial_distances(distance: Tensor, grid: Tuple[int, int], alpha: float, reach: int) -> Tensor:
    """Returns (B, N, N), not symmetric: row i times alpha + (1 - alpha) place / reach.

    Args:
        distance: (B, N, N).
        grid: (h, w), N = h w.
        alpha: see `ClusterOptions`.
        reach: beyond this place distances are infinite.
    """
    place = grid_order(*grid).to(distance.device)
    weight = alpha + (1 - alpha) * place.to(distance.dtype) / reach
    return torch.where(place <= reach, distance * weight, math.inf)


@lru_cache(maxsize=8)
def grid_order(height: int, width: int) -> Tensor:
    """Returns (N, N) int64: the place of token j among all tokens by distance from token i on the
    grid; 0 = i itself, ties by the index. On the CPU, the same tensor at every call."""
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    squared = (cells[:, None] - cells).square().sum(dim=2)
    return squared.argsort(dim=1, stable=True).argsort(dim=1)


def density_peaks(distance: Tensor, neighbours: int) -> Tuple[Tensor, Tensor]:
    """Returns (B, N) density and (B, N) distance to the nearest token of higher density.

    The density is exp(-mean of the k smallest squared distances, that to itself among them). A
    token without a denser one in reach takes the largest finite distance of its image.
    """
    nearest = distance.topk(min(neighbours, distance.shape[2]), dim=2, largest=False).values
    density = (-nearest.square().mean(dim=2)).exp()
    denser = density[:, None] > density[:, :, None]
    nearest_denser = torch.where(denser, distance, math.inf).amin(dim=2)
    largest = torch.where(distance.isfinite(), distance, 0).amax(dim=(1, 2))[:, None]
    return density, torch.where(nearest_denser.isfinite(), nearest_denser, largest)


def merge_tokens(tokens: Tensor, clusters: Clusters, weight: Optional[Tensor] = None) -> Tensor:
    """Returns (B, M, C), the mean of the tokens of each cluster; gradients pass through.

    Args:
        tokens: (B, N, C).
        clusters: of the tokens.
        weight: (B, N, 1) of each token in the mean; None = all alike.
    """
    if weight is None:
        weight = tokens.new_ones(*tokens.shape[:2], 1)
    index = clusters.index[..., None]
    shape = (len(tokens), clusters.centres.shape[1])
    total = tokens.new_zeros(*shape, 1).scatter_add(1, index, weight.to(tokens.dtype))
    share = weight.to(tokens.dtype) / total.gather(1, index)
    merged = tokens.new_zeros(*shape, tokens.shape[2])
    return merged.scatter_add(1, index.expand_as(tokens), tokens * share)


def unfold_tokens(merged: Tensor, clusters: Clusters) -> Tensor:
    """Returns (B, N, C): every token takes the value of its representative (B, M, C)."""
    return merged.gather(1, clusters.index[..., None].expand(-1, -1, merged.shape[2]))
