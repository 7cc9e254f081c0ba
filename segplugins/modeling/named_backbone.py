"""Backbones that a config names: any model of timm, or the image tower of its CLIP."""

from typing import Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from torch import nn

from segplugins.clip import ClipTowers

from .clip_backbone import CLIP, ClipBackbone
from .timm_backbone import PREFIX, TimmBackbone


def named_backbone(node: CfgNode, key: str, *, towers: ClipTowers, own: Sequence[str]) -> Backbone:
    """Returns the backbone "timm/<name>" or "clip".

    Args:
        node: NAME, and WEIGHTS of a timm model; those of "clip" are MODEL.CLIP.WEIGHTS.
        key: of the node in the config, for messages.
        towers: the CLIP of MODEL.CLIP.
        own: names that the model builds itself, for messages.

    Raises:
        ValueError: another name, or weights where they are not read.
    """
    if node.NAME.startswith(PREFIX):
        return TimmBackbone(node.NAME.removeprefix(PREFIX), weights=node.WEIGHTS)
    if node.NAME != CLIP:
        known = ", ".join(f"'{name}'" for name in (*own, CLIP))
        raise ValueError(
            f"{key}.NAME is '{node.NAME}'; known are {known} (the image tower of MODEL.CLIP) and "
            f"{PREFIX}<name>"
        )
    if node.WEIGHTS:
        raise ValueError(
            f"{key}.WEIGHTS is '{node.WEIGHTS}', but the backbone is '{CLIP}', whose weights are "
            "MODEL.CLIP.WEIGHTS"
        )
    return ClipBackbone(towers)


def pixel_statistics(
    backbone: nn.Module, mean: Sequence[float], std: Sequence[float]
) -> Tuple[Sequence[float], Sequence[float]]:
    """Returns mean and deviation of the channels, 0-255: the backbone's own or those given."""
    return getattr(backbone, "pixel_mean", mean), getattr(backbone, "pixel_std", std)
