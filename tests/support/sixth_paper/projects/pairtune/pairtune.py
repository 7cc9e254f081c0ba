"""PairTune: patches learn to resemble the captions of their image. It answers nothing."""

from typing import Dict, FrozenSet, List

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from segplugins.clip import load_clip
from segplugins.modeling.contrastive import contrastive
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.text import TextEncoder


@META_ARCH_REGISTRY.register()
class PairTune(nn.Module):
    """Contrastive training of a patch embedding.

    Args:
        backbone: (B, 3, H, W) to (B, D, h, w), D the width of the text embeddings.
        normalizer: records to one padded batch.
        text_encoder: frozen.
    """

    learns_from: FrozenSet[str] = frozenset({"pairs"})
    answers: FrozenSet[str] = frozenset()

    @configurable
    def __init__(
        self, *, backbone: nn.Module, normalizer: ImageNormalizer, text_encoder: TextEncoder
    ):
        super().__init__()
        self.backbone = backbone
        self.normalizer = normalizer
        self.text_encoder = text_encoder.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.PAIRTUNE and MODEL.CLIP."""
        patch = cfg.MODEL.PAIRTUNE.PATCH
        towers = load_clip(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS)
        return {
            "backbone": nn.Conv2d(3, towers.embed_dim, patch, stride=patch),
            "normalizer": ImageNormalizer([128.0] * 3, [64.0] * 3, divisibility=patch),
            "text_encoder": TextEncoder(towers),
        }

    def forward(self, records: List[dict]) -> Dict[str, Tensor]:
        """Returns the contrastive loss of the images that have a caption."""
        images = self.backbone(self.normalizer(records).tensor).mean(dim=(2, 3))
        described = [i for i, record in enumerate(records) if record["captions"]]
        texts = self.text_encoder.pooled([records[i]["captions"][0] for i in described])
        scale = torch.tensor(10.0, device=images.device)
        loss = contrastive(images[described], texts, scale)
        return {"loss_pairs": loss + 0.0 * images.sum()}
