"""PartImageNet: 40 parts of 11 kinds of things, and background."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.register import register_semantic
from segplugins.structures.regions import Task

LICENCE = "annotations CC BY 4.0; images by ImageNet's terms"

for _split in ("train", "val", "test"):
    register_semantic(
        f"part_imagenet_{_split}_parts",
        image_root=f"PartImageNet/images/{_split}",
        label_root=f"PartImageNet/annotations/{_split}",
        image_ext="JPEG",
        vocabulary=shipped_vocabulary("part_imagenet"),
        licence=LICENCE,
        # The order of the labels is told by the set's own files.
        categories_file=f"PartImageNet/annotations/{_split}.json",
        task=Task.PART,
    )
