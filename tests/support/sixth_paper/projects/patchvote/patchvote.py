"""PatchVote: every patch takes the class that its neighbourhood votes for.

Paper: "PatchVote" (invented). Reading order: the scores s (Eq. 2) come from the shared
VocabularyClassifier, the vote v (Eq. 3) is voting.py, the loss (Eq. 4) is `PatchVote.loss`.
"""

from typing import Dict, FrozenSet, List, Union

import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from torch import Tensor, nn

from segplugins.clip import load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.structures import get_vocabulary
from segplugins.text import TextEncoder

from .voting import vote

IGNORE = 255  # label of pixels that carry no class


@META_ARCH_REGISTRY.register()
class PatchVote(nn.Module):
    """Open-vocabulary semantic segmentation by neighbourhood voting.

    Args:
        backbone: (B, 3, H, W) to (B, D, h, w), D the width of the text embeddings.
        normalizer: records to one padded batch.
        classifier: embeddings to class logits.
        window: side of the voting window, in patches.
    """

    learns_from: FrozenSet[str] = frozenset({"sem_seg"})
    answers: FrozenSet[str] = frozenset({"sem_seg"})

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        normalizer: ImageNormalizer,
        classifier: VocabularyClassifier,
        window: int,
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        self.backbone = backbone
        self.normalizer = normalizer
        self.classifier = classifier
        self.window = window

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.PATCHVOTE and MODEL.CLIP."""
        node = cfg.MODEL.PATCHVOTE
        towers = load_clip(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS)
        return {
            "backbone": nn.Conv2d(3, towers.embed_dim, node.PATCH, stride=node.PATCH),
            "normalizer": ImageNormalizer(
                mean=[128.0] * 3, std=[64.0] * 3, divisibility=node.PATCH
            ),
            "classifier": VocabularyClassifier(TextEncoder(towers), temperature=node.TEMPERATURE),
            "window": node.WINDOW,
        }

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise."""
        images = self.normalizer(records)
        votes = self.predict(images, records[0]["vocabulary"])
        if self.training:
            return {"loss_vote": self.loss(votes, records)}
        return self.postprocess(votes, images, records)

    def predict(self, images: ImageList, vocabulary: str) -> Tensor:
        """Returns (B, K, h, w) probabilities at patch resolution."""
        patches = self.backbone(images.tensor)
        scores = self.classifier(patches.permute(0, 2, 3, 1), get_vocabulary(vocabulary))
        return vote(scores.permute(0, 3, 1, 2), self.window)

    def loss(self, votes: Tensor, records: List[dict]) -> Tensor:
        """Eq. 4: minus the log vote of the true class, averaged over the labelled pixels."""
        labels = [record["sem_seg"].to(votes.device) for record in records]
        labels = ImageList.from_tensors(labels, self.normalizer.divisibility, IGNORE).tensor
        votes = F.interpolate(votes, labels.shape[-2:], mode="bilinear", align_corners=False)
        total = F.nll_loss(
            votes.clamp_min(1e-6).log(), labels, ignore_index=IGNORE, reduction="sum"
        )
        # "mean" would give nan for a batch without one labelled pixel, and end the run.
        return total / (labels != IGNORE).sum().clamp_min(1)

    def postprocess(self, votes: Tensor, images: ImageList, records: List[dict]) -> List[dict]:
        """Returns {"sem_seg": (K, height, width)} per record."""
        size = images.tensor.shape[-2:]
        votes = F.interpolate(votes, size, mode="bilinear", align_corners=False)
        return [
            {"sem_seg": sem_seg_postprocess(v, unpadded, r["height"], r["width"])}
            for v, unpadded, r in zip(votes, images.image_sizes, records)
        ]
