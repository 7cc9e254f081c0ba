"""PASCAL-Context: the 59 frequent classes and all 459."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_PASCAL_CONTEXT_459
from segplugins.data.register import register_semantic

LICENCE = "images by their Flickr terms, as PASCAL VOC 2010; annotations without a stated licence"

register_semantic(
    "context_59_test_sem_seg",
    image_root="VOCdevkit/VOC2010/JPEGImages",
    label_root="VOCdevkit/VOC2010/annotations_detectron2/pc59_val",
    vocabulary=shipped_vocabulary("pascal_context_59"),
    licence=LICENCE,
    expected=(5_104, 5_105),  # 5,105 in the "val" phase, of which one has no label of the 459
    prepare="python datasets/prepare_pascal_context_59.py",
)

register_semantic(
    "context_459_test_sem_seg",
    image_root="VOCdevkit/VOC2010/JPEGImages",
    label_root="VOCdevkit/VOC2010/annotations_detectron2/pc459_val",
    label_ext="tif",
    vocabulary=shipped_vocabulary("pascal_context_459"),
    ignore_label=IGNORE_PASCAL_CONTEXT_459,
    licence=LICENCE,
    expected=(5_104, 5_105),
    prepare="python datasets/prepare_pascal_context_459.py",
)
