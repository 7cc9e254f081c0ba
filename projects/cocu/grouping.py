"""Grouping: tokens choose groups, hard with a soft gradient (GroupViT, Sec. 3.2).

B images, n tokens, S groups that ask, G groups that result, C width.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Added to the number of tokens of a group before its mean is taken. With 1e-10 instead, training
# diverges: gradients flow through the soft assignment of empty groups.
_EXTRA_TOKEN = 1.0


class Perceptron(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        width: of input and output, unless `out` is given.
        hidden: of the layer between.
        out: of the output.
    """

    def __init__(self, width: int, hidden: int, out: Optional[int] = None):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., out)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    """Attention with separate projections of queries, keys and values.

    Args:
        width: C.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Returns (B, S, C) of queries (B, S, C) that look at keys (B, n, C)."""
        q, k, v = self.q_proj(queries), self.k_proj(keys), self.v_proj(keys)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """Groups look at tokens before they are chosen; norms follow, none comes before.

    Args:
        width: C.
        heads: attention heads.
        ratio: hidden width of the perceptron by C.
    """

    def __init__(self, width: int, heads: int, ratio: float):
        super().__init__()
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, int(width * ratio))
        self.norm_post = nn.LayerNorm(width)

    def forward(self, groups: Tensor, tokens: Tensor) -> Tensor:
        """Returns (B, G, C)."""
        groups = groups + self.attn(groups, tokens)
        groups = groups + self.mlp(self.norm2(groups))
        return self.norm_post(groups)


class Assigned(NamedTuple):
    """Result of an assignment.

    Args:
        groups: (B, G, C), the mean of the values of each group's tokens, projected.
        hard: (B, G, n), 1 where the token chose the group; in training with the gradient of soft.
        soft: (B, G, n), softmax over the groups, without noise.
    """

    groups: Tensor
    hard: Tensor
    soft: Tensor


class Assignment(nn.Module):
    """Every token chooses one group (one head).

    Args:
        width: C.
    """

    def __init__(self, width: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.proj = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.scale = width**-0.5

    def logits(self, groups: Tensor, tokens: Tensor) -> Tensor:
        """Returns (B, G, n) float32, of groups (B, G, C) and tokens (B, n, C)."""
        with torch.autocast(groups.device.type, enabled=False):
            queries, keys = self.q_proj(groups.float()), self.k_proj(tokens.float())
            return queries @ keys.mT * self.scale

    def forward(self, groups: Tensor, tokens: Tensor) -> Assigned:
        """Returns the tokens gathered by group; in training the choice has Gumbel noise."""
        logits = self.logits(groups, tokens)
        noisy = logits + self.noise(logits) if self.training else logits
        probability = noisy.softmax(dim=1)
        choice = F.one_hot(probability.argmax(dim=1), groups.shape[1]).transpose(1, 2)
        # The value is the choice, the gradient that of the probability.
        hard = choice.to(probability) - probability.detach() + probability
        return Assigned(self.gather(hard, tokens), hard, logits.softmax(dim=1))

    def gather(self, assignment: Tensor, tokens: Tensor) -> Tensor:
        """Returns (B, G, C): projected means over (B, G, n)."""
        share = assignment / (assignment.sum(dim=2, keepdim=True) + _EXTRA_TOKEN)
        return self.proj(share.to(tokens.dtype) @ self.v_proj(tokens))

    @staticmethod
    def noise(logits: Tensor) -> Tensor:
        """Returns Gumbel(0, 1) noise of the same shape."""
        return -torch.empty_like(logits).exponential_().log()


class GroupingBlock(nn.Module):
    """Tokens and group tokens to the tokens of the next stage.

    Args:
        width: C.
        heads: of the attention before the assignment.
        groups_in: S group tokens.
        groups_out: G resulting groups.
        ratio: hidden width of perceptrons by C.
    """

    def __init__(self, width: int, *, heads: int, groups_in: int, groups_out: int, ratio: float):
        super().__init__()
        self.norm_tokens, self.norm_x = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_post_tokens, self.norm_new_x = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp_inter = Perceptron(groups_in, width // 2, groups_out)
        self.pre_assign_attn = CrossBlock(width, heads, ratio)
        self.assign = Assignment(width)
        self.mlp_channels = Perceptron(width, int(width * ratio))

    def project_tokens(self, group_tokens: Tensor) -> Tensor:
        """Returns (B, G, C) of (B, S, C): a perceptron over the token axis."""
        mixed = self.mlp_inter(self.norm_tokens(group_tokens).transpose(1, 2)).transpose(1, 2)
        return self.norm_post_tokens(mixed)

    def forward(self, tokens: Tensor, group_tokens: Tensor) -> Assigned:
        """Returns new tokens (B, G, C) and both assignments.

        Args:
            tokens: (B, n, C).
            group_tokens: (B, S, C).
        """
        tokens = self.norm_x(tokens)
        groups = self.pre_assign_attn(self.project_tokens(group_tokens), tokens)
        assigned = self.assign(groups, tokens)
        new = groups + assigned.groups
        new = new + self.mlp_channels(self.norm_new_x(new))
        return assigned._replace(groups=new)
