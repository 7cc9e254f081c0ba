"""The Gradual Fusion Decoder (Sec. 3.2): from the cost map to a score per class and pixel.

B images · T classes · P templates · (h, w) the encoder's last grid. Each class is a row of its own;
rows meet only in the class layer. Three stages double the grid: (h, w) -> (8h, 8w).
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .aggregation import ClassLayer, SpatialBlock
from .class_attention import Summary
from .fusion import ImageTerms, SkipFusion

STAGES = 3


class Rows(NamedTuple):
    """The decoder's state of some classes between two stages."""

    features: Tensor  # (B, T, C, H, W)
    guidance: Tensor  # (B, T, g, H, W), the cost map brought to this grid; at first itself

    def select(self, index: Tensor) -> "Rows":
        """Returns the rows of these classes, (n,) int64, in this order."""
        return Rows(*(part.index_select(1, index) for part in self))


class DecoderStage(nn.Module):
    """One layer of the decoder: aggregate over space, then over classes, then fuse.

    Args:
        width: C of the features that come.
        skip_width: g of the skip features and of the cost guidance.
        out_width: C of the features that go.
        guidance_width: channels of the cost guidance before this stage.
        kernel_size: of the spatial block.
        heads: of the class layer.
        attention: of the class layer, "linear" or "full".
        reads_skips: False leaves the skip features out.
    """

    def __init__(
        self,
        *,
        width: int,
        skip_width: int,
        out_width: int,
        guidance_width: int,
        kernel_size: int,
        heads: int,
        attention: str,
        reads_skips: bool = True,
    ):
        super().__init__()
        self.guidance = nn.ConvTranspose2d(guidance_width, skip_width, 2, stride=2)
        self.spatial = SpatialBlock(width, kernel_size)
        self.classes = ClassLayer(width, heads, attention)
        self.fusion = SkipFusion(width, skip_width, out_width, reads_skips=reads_skips)

    def guide(self, guidance: Tensor) -> Tensor:
        """Returns (rows, g, 2H, 2W), the cost guidance (rows, ., H, W) on twice the grid."""
        return _channels_last(F.relu(self.guidance(guidance), inplace=True))

    def aggregate_space(self, rows: Rows) -> Tensor:
        """Returns (B, T, C, H, W), every class alone: the part before classes meet."""
        batch = rows.features.shape[:2]
        return self.spatial(rows.features.flatten(0, 1)).unflatten(0, batch)

    def finish(
        self,
        x: Tensor,
        rows: Rows,
        terms: ImageTerms,
        pooling: Tuple[int, int],
        summary: Optional[Summary] = None,
    ) -> Rows:
        """Does the rest of the stage.

        Args:
            x: (B, T, C, H, W), what `aggregate_space` gave for `rows`.
            rows: the state before the stage.
            terms: of the images.
            pooling: of the class layer.
            summary: of all classes, where `rows` are not all.

        Returns:
            The state after the stage, on twice the grid.
        """
        x = self.classes(x, pooling, summary)
        guidance = self.guide(rows.guidance.flatten(0, 1)).unflatten(0, x.shape[:2])
        return Rows(self.fusion(x, guidance, terms), guidance)

    def forward(self, rows: Rows, terms: ImageTerms, pooling: Tuple[int, int]) -> Rows:
        """Runs the stage on all classes at once. Returns: the state after it."""
        return self.finish(self.aggregate_space(rows), rows, terms, pooling)


class GradualFusionDecoder(nn.Module):
    """Cost map and skip features to logits, with the heads of the early rejection.

    Args:
        templates: P, the input channels of the first convolution.
        widths: C before the first stage and after each of the three; after a stage a multiple
            of 16.
        skip_channels: channels of "res4", "res3", "res2".
        skip_widths: g of each stage: what the skip features and the cost map are reduced to.
        kernel_sizes: of each stage's spatial block.
        heads: of the class layers.
        attention: "linear" or "full".
        pooling: (height, width) of the class layers' pooling in training.
        test_pooling: the same at test. There are no weights in it, so the two may differ.
        reads_skips: False leaves the skip features out of every stage.

    Raises:
        ValueError: a list of another length, or widths that do not fit each other.
    """

    def __init__(
        self,
        *,
        templates: int,
        widths: Sequence[int],
        skip_channels: Sequence[int],
        skip_widths: Sequence[int],
        kernel_sizes: Sequence[int],
        heads: int,
        attention: str,
        pooling: Sequence[int],
        test_pooling: Sequence[int],
        reads_skips: bool = True,
    ):
        super().__init__()
        lengths = [len(widths) - 1, len(skip_channels), len(skip_widths), len(kernel_sizes)]
        if lengths != [STAGES] * 4:
            raise ValueError(
                f"the decoder has {STAGES} stages: expected {STAGES + 1} widths and {STAGES} skip "
                f"channels, skip widths and kernel sizes, got {lengths[0] + 1}, {lengths[1:]}"
            )
        self.templates = templates
        self.pooling = tuple(pooling)
        self.test_pooling = tuple(test_pooling)
        self.embedding = nn.Conv2d(templates, widths[0], 7, padding=3)
        self.skips = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1) if reads_skips else nn.Identity()
            for channels, width in zip(skip_channels, skip_widths)
        )
        self.stages = nn.ModuleList(
            DecoderStage(
                width=widths[i],
                skip_width=skip_widths[i],
                out_width=widths[i + 1],
                guidance_width=skip_widths[i - 1] if i else templates,
                kernel_size=kernel_sizes[i],
                heads=heads,
                attention=attention,
                reads_skips=reads_skips,
            )
            for i in range(STAGES)
        )
        self.rejection_heads = nn.ModuleList(
            nn.Conv2d(width, 1, 3, padding=1) for width in widths[:STAGES]
        )
        self.head = nn.Conv2d(widths[STAGES], 1, 3, padding=1)

    def forward(self, cost: Tensor, skips: Sequence[Tensor]) -> List[Tensor]:
        """Decodes all classes at once, as training does.

        Args:
            cost: (B, T, P, h, w).
            skips: "res4" (B, ., 2h, 2w), "res3" (B, ., 4h, 4w), "res2" (B, ., 8h, 8w).

        Returns:
            Logits: the final ones (B, T, 8h, 8w), then those of the three rejection heads on the
            grids before the stages, (B, T, h, w), 2x and 4x. The heads read detached features:
            their losses move nothing else.
        """
        terms = self.image_terms(skips)
        rows = self.start(cost)
        early = []
        for head, stage, image in zip(self.rejection_heads, self.stages, terms):
            early.append(score(head, rows.features.detach()))
            rows = stage(rows, image, self.class_pooling)
        return [score(self.head, rows.features), *early]

    @property
    def class_pooling(self) -> Tuple[int, int]:
        """The class layers' pooling in the present mode."""
        return self.pooling if self.training else self.test_pooling

    def image_terms(self, skips: Sequence[Tensor]) -> List[ImageTerms]:
        """Computes what all classes of an image share, per stage.

        Args:
            skips: as in `forward`. They are detached: no gradient reaches the encoder through
                them, which would cost it its open vocabulary (Sec. 3.2).
        """
        return [
            stage.fusion.image_terms(F.relu(reduce(skip.detach())))
            for reduce, stage, skip in zip(self.skips, self.stages, skips)
        ]

    def start(self, cost: Tensor) -> Rows:
        """Returns the state before the first stage, of a cost map (B, T, P, h, w).

        Raises:
            ValueError: the cost map has another number of templates than the weights.
        """
        if cost.shape[2] != self.templates:
            raise ValueError(
                f"the cost map has {cost.shape[2]} templates, the decoder was made for "
                f"{self.templates}: templates are channels of its first convolution, so a "
                "vocabulary or MODEL.CLIP.TEMPLATES must bring exactly as many"
            )
        rows = _channels_last(cost.flatten(0, 1))
        features = _channels_last(self.embedding(rows))
        return Rows(*(part.unflatten(0, cost.shape[:2]) for part in (features, rows)))


def _channels_last(x: Tensor) -> Tensor:
    """Returns (rows, C, H, W) with the channels last in memory, as every layer here wants it.

    Convolutions keep the format, but one channel, a single template, has none to keep: its rows
    would go on with the channels first, and depthwise gradients take ten times as long there.
    """
    return x.contiguous(memory_format=torch.channels_last)


def score(head: nn.Conv2d, features: Tensor) -> Tensor:
    """Returns (B, T, H, W), a head's logits on features (B, T, C, H, W)."""
    return head(features.flatten(0, 1)).flatten(0, 1).unflatten(0, features.shape[:2])


def precise_score(head: nn.Conv2d, features: Tensor) -> Tensor:
    """Computes `score` in float32 under autocast too: classes are ranked by it, and bfloat16 makes
    equals of close ones.

    Returns:
        (B, T, H, W) float32.
    """
    with torch.autocast(features.device.type, enabled=False):
        return score(head, features.float())
