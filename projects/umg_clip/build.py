"""What both models of this paper read of a config to build their towers."""

from pathlib import Path
from typing import Optional

from detectron2.config import CfgNode
from torch import nn

from segplugins.clip import ClipFile, ClipTowers, load_clip
from segplugins.files.part_weights import without_tensors
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.text import TextEncoder, template_set

from .convpass import ConvpassOptions
from .token_cluster import ClusterOptions
from .towers import TowerOptions, with_timm_tower

_TIMM = "timm/"


def build_towers(cfg: CfgNode) -> ClipTowers:
    """Returns the CLIP of MODEL.CLIP, with the image tower of MODEL.UMG_CLIP.TOWER.NAME.

    MODEL.CLIP.WEIGHTS may be of the CLIP that MODEL.CLIP.NAME means, whose texts stay, or what
    pre-training has written of these texts and this image tower.

    Raises:
        ValueError: a name that is neither empty nor timm's, or weights without a name.
    """
    clip, tower = cfg.MODEL.CLIP, cfg.MODEL.UMG_CLIP.TOWER
    if not tower.NAME:
        if tower.WEIGHTS:
            raise ValueError(
                f"MODEL.UMG_CLIP.TOWER.WEIGHTS is '{tower.WEIGHTS}', but MODEL.UMG_CLIP.TOWER.NAME "
                "is empty; name timm's model, or give a CLIP's weights as MODEL.CLIP.WEIGHTS"
            )
        return load_clip(clip.NAME, clip.WEIGHTS)
    if not tower.NAME.startswith(_TIMM):
        raise ValueError(
            f"MODEL.UMG_CLIP.TOWER.NAME is '{tower.NAME}'; expected timm/<name>, or nothing for "
            "the image tower of MODEL.CLIP.NAME"
        )
    name, path = tower.NAME.removeprefix(_TIMM), Path(clip.WEIGHTS)
    if not (clip.WEIGHTS and path.is_file()):
        return with_timm_tower(load_clip(clip.NAME, clip.WEIGHTS), name, tower.WEIGHTS)
    file, towers = ClipFile(path), load_clip(clip.NAME)
    trained = with_timm_tower(towers, name, without_tensors(tower.WEIGHTS))
    if file.has_image_tower(trained):
        file.copy_into(trained)
        trained.visual.is_projection_new = False
        return trained
    file.copy_into(towers)
    return with_timm_tower(towers, name, tower.WEIGHTS)


def build_tower_options(cfg: CfgNode) -> TowerOptions:
    """Returns MODEL.UMG_CLIP.TOWER, PET and CLUSTER as options of a tower."""
    node = cfg.MODEL.UMG_CLIP
    pet, cluster = node.PET, node.CLUSTER
    adapters: Optional[ConvpassOptions] = None
    if pet.WIDTH:
        adapters = ConvpassOptions(
            width=pet.WIDTH,
            scale=pet.SCALE,
            activation=pet.ACTIVATION,
            dropout=pet.DROPOUT,
            start=pet.START,
            branches=pet.BRANCHES,
        )
    clustering: Optional[ClusterOptions] = None
    if cluster.KIND != "none":
        clustering = ClusterOptions(
            kind=cluster.KIND,
            after_block=cluster.AFTER_BLOCK,
            keep=cluster.KEEP,
            neighbours=cluster.NEIGHBOURS,
            spatial=cluster.SPATIAL,
            alpha=cluster.ALPHA,
            reach=cluster.REACH,
        )
    return TowerOptions(
        trained=node.TOWER.TRAINED,
        adapters=adapters,
        clustering=clustering,
        last_attention=node.TOWER.LAST_ATTENTION,
        checkpoint=node.TOWER.CHECKPOINT,
    )


def build_classifier(
    cfg: CfgNode, towers: ClipTowers, *, synonyms: str, trained: bool
) -> VocabularyClassifier:
    """Returns the text tower with the templates of MODEL.CLIP and the CLIP's own temperature.

    Args:
        cfg: reads MODEL.CLIP.
        towers: the CLIP.
        synonyms: see `VocabularyClassifier`.
        trained: text tower and temperature learn; otherwise both stay as they are.
    """
    clip = cfg.MODEL.CLIP
    classifier = VocabularyClassifier(
        TextEncoder(towers, batch=clip.TEXT_BATCH),
        temperature=1.0,
        templates=template_set(clip.TEMPLATES),
        synonyms=synonyms,
        learn_temperature=True,  # a parameter, so that it stands in the checkpoint
        frozen_text=not trained,
        cache_dir=clip.CACHE_DIR,
    )
    scale = towers.logit_scale.detach().clone().reshape(())
    classifier.logit_scale = nn.Parameter(scale, requires_grad=trained)
    return classifier
