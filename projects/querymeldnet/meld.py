"""The meld: attention between learnable, conditional and denoising queries.

Paper Sec. 3.2 describes a dual-query cross-attention without its form. Three forms are offered:

    none    learnable and conditional queries never look at each other; they meet in the matching
    joint   self-attention over their union, whose off-diagonal blocks are the cross-attention; it
            adds no parameter, as the paper's parameter count says
    dual    joint, and in every layer a gated exchange between the two sets, as its text says

B images, Q queries of all kinds, D width. Their order is denoising, learnable, conditional.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

MELDS = ("dual", "joint", "none")


@dataclass(frozen=True)
class QueryLayout:
    """Numbers of queries of each kind, in their order.

    Args:
        denoising: noised targets, in training alone; no other query sees them.
        learnable: rows of a table that all images share.
        conditional: proposals of the image itself.
        groups: copies of the targets among the denoising queries, which do not see each other.
    """

    denoising: int
    learnable: int
    conditional: int
    groups: int = 1

    @property
    def matched(self) -> int:
        """Number of queries that take part in the matching."""
        return self.learnable + self.conditional

    def split(self, queries: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Returns denoising, learnable and conditional rows of (B, Q, D)."""
        return queries.split([self.denoising, self.learnable, self.conditional], dim=1)


def attention_mask(layout: QueryLayout, meld: str, device: torch.device) -> Optional[Tensor]:
    """Returns (Q, Q) bool, True where the first query may not see the second; None if all may.

    Args:
        layout: numbers of queries.
        meld: one of `MELDS`; under "none" denoising queries see conditional ones, but no learnable.
        device: of the mask.
    """
    apart = meld == "none" and layout.learnable and layout.conditional
    if not layout.denoising and not apart:
        return None
    noised, total = layout.denoising, layout.denoising + layout.matched
    blocked = torch.zeros(total, total, dtype=torch.bool, device=device)
    blocked[noised:, :noised] = True
    if noised:
        group = torch.arange(noised, device=device) // (noised // layout.groups)
        blocked[:noised, :noised] = group[:, None] != group
    if apart:
        first = noised + layout.learnable
        blocked[noised:first, first:] = True
        blocked[first:, noised:first] = True
        blocked[:noised, noised:first] = True
    return blocked


class MeldExchange(nn.Module):
    """Gated cross-attention between the learnable and the other queries, both ways at once.

        L' = L + tanh(g_l) A_l(n_l(L) + p_L, n_c(C) + p_C, n_c(C))
        Z' = Z + tanh(g_c) A_c(n_c(Z) + p_Z, n_l(L) + p_L, n_l(L)),    Z = [denoising; C]

    At gates of 0 it changes nothing, so that it starts where `joint` is.

    Args:
        width: D.
        heads: attention heads.
        gate: start of both gates, before the tanh.
        shared: one attention for both ways.
    """

    def __init__(self, width: int, *, heads: int, gate: float, shared: bool):
        super().__init__()
        self.l_from_c = nn.MultiheadAttention(width, heads, batch_first=True)
        self.c_from_l = (
            self.l_from_c if shared else nn.MultiheadAttention(width, heads, batch_first=True)
        )
        self.norm_l, self.norm_c = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate_l = nn.Parameter(torch.tensor(float(gate)))
        self.gate_c = nn.Parameter(torch.tensor(float(gate)))

    def forward(self, queries: Tensor, positions: Tensor, layout: QueryLayout) -> Tensor:
        """Returns (B, Q, D).

        Args:
            queries: (B, Q, D).
            positions: (B, Q, D), the code of each query's box.
            layout: numbers of queries.
        """
        noised, learnable = layout.denoising, layout.learnable
        others = torch.cat([queries[:, :noised], queries[:, noised + learnable :]], dim=1)
        places = torch.cat([positions[:, :noised], positions[:, noised + learnable :]], dim=1)
        table = queries[:, noised : noised + learnable]
        table_places = positions[:, noised : noised + learnable]
        normed, table_normed = self.norm_c(others), self.norm_l(table)
        # Keys never hold denoising queries, which contain the targets.
        keys, values = normed[:, noised:] + places[:, noised:], normed[:, noised:]
        to_table, _ = self.l_from_c(table_normed + table_places, keys, values, need_weights=False)
        to_others, _ = self.c_from_l(
            normed + places, table_normed + table_places, table_normed, need_weights=False
        )
        table = table + self.gate_l.tanh() * to_table
        others = others + self.gate_c.tanh() * to_others
        return torch.cat([others[:, :noised], table, others[:, noised:]], dim=1)
