"""BoxVote: an object takes the class of the patches in its mask; one object per class at test."""

from typing import Dict, FrozenSet, List, Union

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import BitMasks, ImageList, Instances
from torch import Tensor, nn

from segplugins.clip import load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.structures import get_vocabulary
from segplugins.text import TextEncoder


@META_ARCH_REGISTRY.register()
class BoxVote(nn.Module):
    """Open-vocabulary instances by patches.

    Args:
        backbone: (B, 3, H, W) to (B, D, h, w), D the width of the text embeddings.
        normalizer: records to one padded batch.
        classifier: embeddings to class logits.
    """

    learns_from: FrozenSet[str] = frozenset({"instances"})
    answers: FrozenSet[str] = frozenset({"instances"})

    @configurable
    def __init__(
        self, *, backbone: nn.Module, normalizer: ImageNormalizer, classifier: VocabularyClassifier
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        self.backbone = backbone
        self.normalizer = normalizer
        self.classifier = classifier

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.BOXVOTE and MODEL.CLIP."""
        patch = cfg.MODEL.BOXVOTE.PATCH
        towers = load_clip(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS)
        return {
            "backbone": nn.Conv2d(3, towers.embed_dim, patch, stride=patch),
            "normalizer": ImageNormalizer([128.0] * 3, [64.0] * 3, divisibility=patch),
            "classifier": VocabularyClassifier(TextEncoder(towers), temperature=0.07),
        }

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise."""
        images = self.normalizer(records)
        patches = self.backbone(images.tensor)
        pixels = F.interpolate(patches, images.tensor.shape[-2:], mode="nearest")
        if self.training:
            return {"loss_vote": self.loss(pixels, records)}
        return [
            {"instances": self.answer(p, images, i, record)}
            for i, (p, record) in enumerate(zip(pixels, records))
        ]

    def loss(self, pixels: Tensor, records: List[dict]) -> Tensor:
        """Returns the mean cross-entropy of the objects, 0 without one."""
        total, count = 0.0 * pixels.sum(), 0
        for image, record in zip(pixels, records):
            objects = record["instances"]
            if not len(objects):
                continue
            masks = objects.gt_masks.tensor.to(image.device, image.dtype)
            inside = image[:, : masks.shape[1], : masks.shape[2]]
            area = masks.sum(dim=(1, 2))[:, None].clamp_min(1)
            means = torch.einsum("chw,nhw->nc", inside, masks) / area
            logits = self.classifier(means, get_vocabulary(record["vocabulary"]))
            classes = objects.gt_classes.to(logits.device)
            total = total + F.cross_entropy(logits, classes, reduction="sum")
            count += len(objects)
        return total / max(count, 1)

    def answer(self, pixels: Tensor, images: ImageList, place: int, record: dict) -> Instances:
        """Returns for each class that wins a pixel one instance: those pixels."""
        vocabulary = get_vocabulary(record["vocabulary"])
        scores = self.classifier(pixels.permute(1, 2, 0), vocabulary).softmax(dim=-1)
        size = (record["height"], record["width"])
        scores = sem_seg_postprocess(scores.permute(2, 0, 1), images.image_sizes[place], *size)
        winners = scores.argmax(dim=0)
        classes = winners.unique()
        masks = winners == classes[:, None, None]
        return Instances(
            size,
            pred_boxes=BitMasks(masks).get_bounding_boxes(),
            pred_masks=masks,
            pred_classes=classes,
            scores=scores[classes].amax(dim=(1, 2)),
        )
