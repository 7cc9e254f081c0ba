"""Convpass: a few convolutions beside frozen attention and MLP layers (Jie & Deng; Sec. 4.2).

B images, N = h w patches behind P prefix tokens (class token, registers), C width of the layer, d
width of the bottleneck.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), the activation of the published adapters."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the shape of x."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"gelu": nn.GELU, "quickgelu": QuickGELU}
STARTS = ("identity", "xavier")
BRANCHES = ("both", "attention")


@dataclass(frozen=True)
class ConvpassOptions:
    """How adapters are made.

    Args:
        width: d, at least 1.
        scale: factor on what an adapter adds.
        activation: "gelu" (UMG-CLIP) or "quickgelu" (Convpass).
        dropout: before the last layer.
        start: of the 3x3 convolution, "identity" or "xavier". The last layer starts at zero.
        branches: "both", or "attention" alone.

    Raises:
        ValueError: an option outside the above.
    """

    width: int = 8
    scale: float = 0.1
    activation: str = "gelu"
    dropout: float = 0.1
    start: str = "identity"
    branches: str = "both"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"the width of an adapter must be at least 1, got {self.width}")
        for name, known in (
            ("activation", tuple(ACTIVATIONS)), ("start", STARTS), ("branches", BRANCHES),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got '{getattr(self, name)}'")


class Convpass(nn.Module):
    """Linear C to d, a 3x3 convolution over the grid, linear d to C; zero at the start.

    A prefix token is an image of one pixel to the same convolution: its centre tap and bias act.

    Args:
        channels: C.
        options: see `ConvpassOptions`.
    """

    def __init__(self, channels: int, options: ConvpassOptions):
        super().__init__()
        self.down = nn.Linear(channels, options.width)
        self.conv = nn.Conv2d(options.width, options.width, 3, padding=1)
        self.up = nn.Linear(options.width, channels)
        self.activation = ACTIVATIONS[options.activation]()
        self.dropout = nn.Dropout(options.dropout)
        nn.init.xavier_uniform_(self.down.weight)
        if options.start == "identity":
            nn.init.dirac_(self.conv.weight)
        else:
            nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.conv, self.up):
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Returns (B, P + N, C), without the scale.

        Args:
            tokens: (B, P + N, C), prefix tokens first, patches row by row.
            grid: (h, w).
        """
        hidden = self.activation(self.down(tokens))
        prefix = tokens.shape[1] - grid[0] * grid[1]
        first = F.linear(hidden[:, :prefix], self.conv.weight[..., 1, 1], self.conv.bias)
        patches = hidden[:, prefix:].transpose(1, 2).unflatten(2, grid)
        patches = self.conv(patches).flatten(2).transpose(1, 2)
        hidden = torch.cat([first, patches], dim=1)
        return self.up(self.dropout(self.activation(hidden)))


class BlockAdapters(nn.Module):
    """The adapters of one block: beside its attention and, as the options say, its MLP.

    Args:
        channels: C.
        options: see `ConvpassOptions`.
    """

    def __init__(self, channels: int, options: ConvpassOptions):
        super().__init__()
        self.scale = options.scale
        self.attention = Convpass(channels, options)
        self.mlp = Convpass(channels, options) if options.branches == "both" else None

    def of_layer(self, number: int) -> Optional[Convpass]:
        """Returns the adapter beside layer 1, attention, or 2, the MLP; None = none."""
        return self.attention if number == 1 else self.mlp
