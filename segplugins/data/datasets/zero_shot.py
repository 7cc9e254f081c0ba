"""Sets of zero-shot segmentation with a background class, as GroupViT reports them, and Cityscapes.

Pixels of none of the classes are "background", which no text asks for: TEST.BACKGROUND_THRESHOLD
decides. The label files are those of the sets without background.
"""

from typing import Dict, Tuple

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.datasets.coco_stuff import LICENCE as COCO_LICENCE
from segplugins.data.datasets.pascal_context import LICENCE as CONTEXT_LICENCE
from segplugins.data.datasets.pascal_voc import LICENCE as VOC_LICENCE
from segplugins.data.register import register_semantic
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

_NOTHING = "background"
_VOC = "VOCdevkit/VOC20"
_RENAMED = {"diningtable": "table", "pottedplant": "plant", "tvmonitor": "monitor"}


def _with_background(name: str, classes: Tuple[str, ...]) -> Vocabulary:
    vocabulary = Vocabulary(name, (_NOTHING, *classes), none_class=_NOTHING)
    register_vocabulary(vocabulary)
    return vocabulary


def _shifted(classes: int, *nothing: int) -> Dict[int, int]:
    """Returns label k to class k + 1, and some labels to the background."""
    return {**{label: label + 1 for label in range(classes)}, **dict.fromkeys(nothing, 0)}


_names = tuple(_RENAMED.get(name, name) for name in shipped_vocabulary("voc_20").classes)
register_semantic(
    "voc_2012_test_21_sem_seg",
    image_root=f"{_VOC}12/JPEGImages",
    label_root=f"{_VOC}12/annotations_detectron2_bg/val",
    vocabulary=_with_background("voc_zero_shot_21", _names),
    label_values=_shifted(20, 20),
    licence=VOC_LICENCE,
    expected=1_449,
    prepare="python datasets/prepare_pascal_voc.py",
)

_RENAMED["aeroplane"] = "airplane"
_names = tuple(_RENAMED.get(name, name) for name in shipped_vocabulary("pascal_context_59").classes)
register_semantic(
    "context_60_test_sem_seg",
    image_root=f"{_VOC}10/JPEGImages",
    label_root=f"{_VOC}10/annotations_detectron2/pc59_val",
    vocabulary=_with_background("context_zero_shot_60", _names),
    label_values=_shifted(59, 255),
    licence=CONTEXT_LICENCE,
    expected=(5_104, 5_105),
    prepare="python datasets/prepare_pascal_context_59.py",
)

_stuff = shipped_vocabulary("coco_stuff_171").classes
register_semantic(
    "coco_2017_test_object_sem_seg",
    image_root=("coco/val2017", "coco-stuff/images/val2017"),
    label_root="coco-stuff/annotations_detectron2/val2017",
    vocabulary=_with_background("coco_object_81", _stuff[:80]),
    label_values=_shifted(80, *range(80, len(_stuff)), 255),
    licence=COCO_LICENCE,
    expected=5_000,
    prepare="python datasets/prepare_coco_stuff.py",
)

register_semantic(
    "cityscapes_val_sem_seg",
    image_root="cityscapes/leftImg8bit/val",
    label_root="cityscapes/gtFine/val",
    image_suffix="_leftImg8bit",
    label_suffix="_gtFine_labelTrainIds",
    vocabulary=shipped_vocabulary("cityscapes_19"),
    licence="Cityscapes terms: non-commercial, by registration",
    expected=500,
)

for _classes, _images in ((50, 752), (300, 4_097)):
    _vocabulary = shipped_vocabulary(f"imagenet_s_{_classes}")
    # Class k is the colour (k % 256, k // 256, 0); 1000 carries no class.
    _colours = {
        name: [label % 256, label // 256, 0] for label, name in enumerate(_vocabulary.classes)
    }
    register_semantic(
        f"imagenet_s_{_classes}_val_sem_seg",
        image_root=f"ImageNetS/ImageNetS{_classes}/validation",
        label_root=f"ImageNetS/ImageNetS{_classes}/validation-segmentation",
        vocabulary=_vocabulary,
        label_colours=_colours,
        ignore_colours=[[1000 % 256, 1000 // 256, 0]],
        licence="images by ImageNet's terms: non-commercial; annotations by ImageNet-S's",
        expected=_images,
    )
