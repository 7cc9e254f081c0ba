"""The sets that FC-CLIP is measured on, under its synonyms; their files are those of the others.

A class takes the best of its synonyms ("person", "child", "girl", ...), and what counts as trained
is told by shared synonyms. Instances are asked for by the words of things and stuff together: a
place that is a wall is then no cabinet.
"""

from segplugins.data.datasets import (
    ade20k,
    coco_stuff,
    pascal_context,
    pascal_voc,
    shipped_vocabulary,
)
from segplugins.data.datasets.panoptic import register_ade20k
from segplugins.data.label_maps import IGNORE_ADE20K_847, IGNORE_PASCAL_CONTEXT_459
from segplugins.data.register import register_instances, register_panoptic, register_semantic

_ADE20K = "ADEChallengeData2016"
_VOC_2010, _VOC_2012 = "VOCdevkit/VOC2010", "VOCdevkit/VOC2012"

for _split, _count in (("train", 118_287), ("val", 5_000)):
    register_panoptic(
        f"openvocab_coco_2017_{_split}_panoptic",
        json_file=f"coco/annotations/panoptic_{_split}2017.json",
        map_root=f"coco/panoptic_{_split}2017",
        image_root=f"coco/{_split}2017",
        vocabulary=shipped_vocabulary("coco_panoptic_133_synonyms"),
        licence=coco_stuff.LICENCE,
        expected=_count,
    )

register_instances(
    "openvocab_coco_2017_val_instance",
    json_file="coco/annotations/instances_val2017.json",
    image_root="coco/val2017",
    vocabulary=shipped_vocabulary("coco_panoptic_133_synonyms"),
    licence=coco_stuff.LICENCE,
    expected=5_000,
)

register_ade20k("openvocab_", vocabulary=shipped_vocabulary("ade20k_150_synonyms"))

register_semantic(
    "openvocab_ade20k_sem_seg_val",
    image_root=f"{_ADE20K}/images/validation",
    label_root=f"{_ADE20K}/annotations_detectron2/validation",
    vocabulary=shipped_vocabulary("ade20k_150_synonyms"),
    licence=ade20k.LICENCE,
    expected=2_000,
    prepare="python datasets/prepare_ade20k_150.py",
)

register_semantic(
    "openvocab_ade20k_full_sem_seg_val",
    image_root="ADE20K_2021_17_01/images_detectron2/validation",
    label_root="ADE20K_2021_17_01/annotations_detectron2/validation",
    label_ext="tif",
    vocabulary=shipped_vocabulary("ade20k_847_synonyms"),
    ignore_label=IGNORE_ADE20K_847,
    licence=ade20k.LICENCE,
    expected=2_000,
    prepare="python datasets/prepare_ade20k_full.py",
)

register_semantic(
    "openvocab_pascal_ctx59_sem_seg_val",
    image_root=f"{_VOC_2010}/JPEGImages",
    label_root=f"{_VOC_2010}/annotations_detectron2/pc59_val",
    vocabulary=shipped_vocabulary("pascal_context_59_synonyms"),
    licence=pascal_context.LICENCE,
    expected=(5_104, 5_105),
    prepare="python datasets/prepare_pascal_context_59.py",
)

register_semantic(
    "openvocab_pascal_ctx459_sem_seg_val",
    image_root=f"{_VOC_2010}/JPEGImages",
    label_root=f"{_VOC_2010}/annotations_detectron2/pc459_val",
    label_ext="tif",
    vocabulary=shipped_vocabulary("pascal_context_459_synonyms"),
    ignore_label=IGNORE_PASCAL_CONTEXT_459,
    licence=pascal_context.LICENCE,
    expected=(5_104, 5_105),
    prepare="python datasets/prepare_pascal_context_459.py",
)

register_semantic(
    "openvocab_pascal20_sem_seg_val",
    image_root=f"{_VOC_2012}/JPEGImages",
    label_root=f"{_VOC_2012}/annotations_detectron2/val",
    vocabulary=shipped_vocabulary("voc_20_synonyms"),
    licence=pascal_voc.LICENCE,
    expected=1_449,
    prepare="python datasets/prepare_pascal_voc.py",
)

# The background is a class with words of its own here, the last one.
register_semantic(
    "openvocab_pascal21_sem_seg_val",
    image_root=f"{_VOC_2012}/JPEGImages",
    label_root=f"{_VOC_2012}/annotations_detectron2_bg/val",
    vocabulary=shipped_vocabulary("voc_21_synonyms"),
    licence=pascal_voc.LICENCE,
    expected=1_449,
    prepare="python datasets/prepare_pascal_voc.py",
)
