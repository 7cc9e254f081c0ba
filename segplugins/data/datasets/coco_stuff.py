"""COCO-Stuff: 171 classes of things and stuff, from "stuffthingmaps"."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.register import register_semantic

LICENCE = "annotations CC BY 4.0; images by their Flickr terms"

for _name, _split, _count in (
    ("coco_2017_train_stuff_all_sem_seg", "train2017", 118_287),
    ("coco_2017_test_stuff_all_sem_seg", "val2017", 5_000),
):
    register_semantic(
        _name,
        image_root=(f"coco/{_split}", f"coco-stuff/images/{_split}"),
        label_root=f"coco-stuff/annotations_detectron2/{_split}",
        vocabulary=shipped_vocabulary("coco_stuff_171"),
        licence=LICENCE,
        expected=_count,
        prepare="python datasets/prepare_coco_stuff.py",
    )
