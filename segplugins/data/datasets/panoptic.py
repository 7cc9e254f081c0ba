"""Panoptic and instance sets of ADE20K and BDD10K; detectron2 registers those of COCO."""

from typing import Any

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.datasets.ade20k import LICENCE as ADE20K_LICENCE
from segplugins.data.register import register_instances, register_panoptic

_ADE20K = "ADEChallengeData2016"
_BDD = "bdd100k"


def register_ade20k(prefix: str = "", **keywords: Any) -> None:
    """Registers prefix + ade20k_{panoptic,instance}_{train,val}.

    Args:
        prefix: of the names.
        keywords: of all four, beside those of their files.
    """
    for split, folder, count in (("train", "training", 20_210), ("val", "validation", 2_000)):
        common = {
            "image_root": f"{_ADE20K}/images/{folder}",
            "licence": ADE20K_LICENCE,
            "expected": count,
            **keywords,
        }
        panoptic, instance = f"ade20k_panoptic_{split}", f"ade20k_instance_{split}"
        register_panoptic(
            prefix + panoptic,
            json_file=f"{_ADE20K}/{panoptic}.json",
            map_root=f"{_ADE20K}/{panoptic}",
            **common,
        )
        register_instances(prefix + instance, json_file=f"{_ADE20K}/{instance}.json", **common)


register_ade20k()

register_panoptic(
    "bdd10k_40_panoptic_val",
    json_file=f"{_BDD}/labels/pan_seg/meta/coco_val.json",
    map_root=f"{_BDD}/labels/pan_seg/coco_pano/val",
    image_root=f"{_BDD}/images/10k/val",
    vocabulary=shipped_vocabulary("bdd10k_40"),
    licence="BDD100K's own, like BSD 3-Clause",
)
