"""Local alignment: which cell of an image shows which of its texts, learned without masks.

An image comes with names of what it shows and, for some, boxes. Every cell is taken to show one
text; q[p, t] = softmax_t(s[p, t]) is its share. Our own recipe (no paper's), made of two pieces:

- presence: a text of the image owns some cells, a text of other images none:
  L = - mean over own t of ln e[t] - mean over the others of ln(1 - e[t]), with the power mean
  e[t] = (mean_p q[p, t]^3)^(1/3). Shares sum to 1, so that one frequent name cannot take them all.
- assignment: a cell is pulled to one of the texts that its place allows, which one is decided by
  the shares themselves, balanced so that each text gets some cells (one step of expectation
  maximisation): L = - mean_p sum_t r[p, t] ln q[p, t], r[p, t] ~ allowed[p, t] q[p, t] / pi[t],
  pi[t] the mean of r over the cells where t is one of several allowed.

B images, P = h w cells, T texts of the batch.
"""

import math
from typing import Sequence, Tuple

import torch
from torch import Tensor

from segplugins.structures.regions import Region

_POWER = 3.0
_BALANCING_STEPS = 5
_SMALL = 1e-5


def presence_loss(logits: Tensor, own: Tensor, inside: Tensor) -> Tensor:
    """Pulls each text of an image to some of its cells, and the other texts away from all.

    Args:
        logits: (B, P, T) similarities s of cells and texts, scaled.
        own: (B, T) bool, texts that the image shows.
        inside: (B, P) bool, False for cells of padding.

    Returns:
        scalar, float32; 0 where no image has a text.
    """
    shares = logits.float().softmax(dim=2).pow(_POWER) * inside[..., None]
    mean = shares.sum(dim=1) / inside.sum(dim=1, keepdim=True).clamp_min(1)
    presence = (mean + _SMALL**_POWER).pow(1 / _POWER).clamp(_SMALL, 1 - _SMALL)
    rated = own.any(dim=1, keepdim=True)  # an image without names says nothing of other names
    return _mean(-presence.log(), own) + _mean(-(1 - presence).log(), ~own & rated)


def assignment_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Pulls each cell to the one of its allowed texts that it resembles most, balanced.

    Args:
        logits: (B, P, T), as above.
        allowed: (B, P, T) bool; cells without any are left out.

    Returns:
        scalar, float32; 0 where nothing is allowed.
    """
    log_shares = logits.float().log_softmax(dim=2)
    target = balanced_targets(log_shares.detach(), allowed)
    return _mean(-(target * log_shares).sum(dim=2), allowed.any(dim=2))


def balanced_targets(log_shares: Tensor, allowed: Tensor) -> Tensor:
    """Returns (B, P, T) r, summing to 1 over the allowed texts of a cell, 0 elsewhere."""
    ambiguous = allowed & (allowed.sum(dim=2, keepdim=True) > 1)
    cells = ambiguous.sum(dim=(0, 1))
    blocked = torch.zeros_like(log_shares).masked_fill_(~allowed, -math.inf)
    log_mean = torch.zeros_like(log_shares[0, 0])
    anywhere = allowed.any(dim=2, keepdim=True)
    target = torch.zeros_like(log_shares)
    for _ in range(_BALANCING_STEPS):
        balanced = torch.where(anywhere, log_shares - log_mean + blocked, 0.0)
        target = balanced.softmax(dim=2) * allowed
        mean = (target * ambiguous).sum(dim=(0, 1)) / cells.clamp_min(1)
        # What is never one of several has nothing to be balanced against.
        log_mean = torch.where(cells > 0, log_mean + mean.clamp_min(_SMALL).log(), 0.0) / 2
    return target


def allowed_texts(
    names: Sequence[str],
    own: Tensor,
    regions: Sequence[Region],
    image_size: Tuple[int, int],
    grid: Tuple[int, int],
    stride: int,
) -> Tensor:
    """Returns the texts that each cell of one image may show.

    Inside boxes the text of the smallest box that holds the cell's centre (a box without any
    centre takes the cell that its own lies in); elsewhere the image's texts that have no box; in
    padding none.

    Args:
        names: T texts of the batch, as regions and tags call them.
        own: (T,) bool, those of this image.
        regions: of this image; those without a box say nothing.
        image_size: height and width in pixels.
        grid: (h, w), cells of the padded image.
        stride: side of a cell in pixels.

    Returns:
        (h, w, T) bool on the CPU.
    """
    place = {name: index for index, name in enumerate(names)}
    boxed = [region for region in regions if region.box is not None and region.text in place]
    free = own.cpu().clone()
    free[[place[region.text] for region in boxed]] = False
    allowed = torch.zeros(*grid, len(names), dtype=torch.bool)
    rows, columns = (min(n, math.ceil(s / stride)) for n, s in zip(grid, image_size))
    allowed[:rows, :columns] = free
    for region in sorted(boxed, key=_area, reverse=True):
        x0, y0, x1, y1 = (value / stride for value in region.box)
        across, down = _centres(x0, x1, columns), _centres(y0, y1, rows)
        allowed[down, across] = False
        allowed[down, across, place[region.text]] = True
    return allowed


def _centres(low: float, high: float, count: int) -> slice:
    """Cells whose centre lies in [low, high], in units of cells; at least one."""
    first, last = math.ceil(low - 0.5), math.floor(high - 0.5)
    if last < first:
        first = last = int((low + high) / 2)
    first = min(max(first, 0), count - 1)
    return slice(first, min(max(last, first), count - 1) + 1)


def _area(region: Region) -> float:
    x0, y0, x1, y1 = region.box
    return (x1 - x0) * (y1 - y0)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
