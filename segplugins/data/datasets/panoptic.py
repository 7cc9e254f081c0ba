"""Panoptic and instance sets of ADE20K and BDD10K; detectron2 registers those of COCO."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.datasets.ade20k import LICENCE as ADE20K_LICENCE
from segplugins.data.register import register_instances, register_panoptic

_ADE20K = "ADEChallengeData2016"
_BDD = "bdd100k"

for _split, _folder, _count in (("train", "training", 20_210), ("val", "validation", 2_000)):
    register_panoptic(
        f"ade20k_panoptic_{_split}",
        json_file=f"{_ADE20K}/ade20k_panoptic_{_split}.json",
        map_root=f"{_ADE20K}/ade20k_panoptic_{_split}",
        image_root=f"{_ADE20K}/images/{_folder}",
        licence=ADE20K_LICENCE,
        expected=_count,
    )
    register_instances(
        f"ade20k_instance_{_split}",
        json_file=f"{_ADE20K}/ade20k_instance_{_split}.json",
        image_root=f"{_ADE20K}/images/{_folder}",
        licence=ADE20K_LICENCE,
        expected=_count,
    )

register_panoptic(
    "bdd10k_40_panoptic_val",
    json_file=f"{_BDD}/labels/pan_seg/meta/coco_val.json",
    map_root=f"{_BDD}/labels/pan_seg/coco_pano/val",
    image_root=f"{_BDD}/images/10k/val",
    vocabulary=shipped_vocabulary("bdd10k_40"),
    licence="BDD100K's own, like BSD 3-Clause",
)
