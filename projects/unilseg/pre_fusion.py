"""Pre-Fusion (Eq. 1): every position of every scale attends to the words first.

B phrases · L words · C_i channels and (h_i, w_i) grid of scale i · W width of the words.
"""

from typing import Dict, List, Sequence

from torch import Tensor, nn

from segplugins.modeling.positions import sine_positions_2d

from .attention import Attention, grid, tokens


class ScaleFusion(nn.Module):
    """Words into the features of one scale.

        P = Linear(f_w),   f_c = f_v + MHA(f_v + pos, P, P)                              (Eq. 1)

    The residual, the 8 heads and the position are the official code's; the paper writes none.

    Args:
        channels: C_i.
        text_width: W.
        heads: of the attention.
        dropout: of the attention.
    """

    def __init__(self, channels: int, text_width: int, heads: int, dropout: float):
        super().__init__()
        self.projection = nn.Linear(text_width, channels)
        self.attention = Attention(channels, heads, dropout)

    def questions(self, feature: Tensor) -> Tensor:
        """Returns the queries of each position of (B, C_i, h, w); the same for every phrase."""
        position = sine_positions_2d(*feature.shape[1:], device=feature.device).to(feature.dtype)
        return self.attention.queries(tokens(feature + position))

    def forward(self, feature: Tensor, questions: Tensor, words: Tensor, is_word: Tensor) -> Tensor:
        """Returns f_c, (B, C_i, h, w); a feature and questions of one image serve B phrases."""
        projected = self.projection(words)
        memory = self.attention.keys_and_values(projected, projected)
        return feature + grid(
            self.attention.attend(questions, memory, is_word), *feature.shape[-2:]
        )


class PreFusion(nn.Module):
    """Applies `ScaleFusion` at the chosen scales; the others pass unchanged.

    Args:
        channels: C_i of each scale, finest first.
        scales: indices of those that are fused; none = Pre-Fusion is off.
        text_width: W.
        heads: of the attentions.
        dropout: of the attentions.

    Raises:
        ValueError: a scale that does not exist.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        scales: Sequence[int],
        text_width: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        wrong = [scale for scale in scales if not 0 <= scale < len(channels)]
        if wrong:
            raise ValueError(
                f"MODEL.UNILSEG.PREFUSION_SCALES names the scales {wrong}; the image encoder has "
                f"0 (finest) to {len(channels) - 1}"
            )
        self.scales = nn.ModuleDict(
            {str(i): ScaleFusion(channels[i], text_width, heads, dropout) for i in scales}
        )

    def questions(self, features: Sequence[Tensor]) -> Dict[str, Tensor]:
        """Returns the queries of each fused scale, computed once for all phrases."""
        return {name: scale.questions(features[int(name)]) for name, scale in self.scales.items()}

    def forward(
        self,
        features: Sequence[Tensor],
        questions: Dict[str, Tensor],
        words: Tensor,
        is_word: Tensor,
    ) -> List[Tensor]:
        """Fuses B phrases into the features of one image, or of one image each.

        Args:
            features: f_v, (1 or B, C_i, h_i, w_i).
            questions: of `questions`.
            words: f_w, (B, L, W).
            is_word: (B, L) bool.

        Returns:
            f_c, (B, C_i, h_i, w_i) each.
        """
        fused = [feature.expand(len(words), -1, -1, -1) for feature in features]
        for name, scale in self.scales.items():
            i = int(name)
            fused[i] = scale(features[i], questions[name], words, is_word)
        return fused
