"""PASCAL VOC 2012 with the extended annotations: 20 classes, without and with background.

With background a model is asked for the 59 PASCAL-Context names, the 20 VOC classes first;
whatever is none of the 20 counts as background.
"""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.register import register_semantic
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

LICENCE = "images by their Flickr terms, as PASCAL VOC 2012; annotations without a stated licence"
_FOLDER = "VOCdevkit/VOC2012"
_VOC = shipped_vocabulary("voc_20")
# Labels as VOC's own files have them: 0 background, 1 to 20 the classes, 255 none.
register_vocabulary(
    Vocabulary(
        "voc_21",
        ("background", *_VOC.classes),
        synonyms=(("background",), *_VOC.synonyms),
        is_thing=(False, *_VOC.is_thing),
        none_class="background",
    )
)
_VOC_BACKGROUND = shipped_vocabulary("voc_20b")

register_semantic(
    "voc_2012_test_sem_seg",
    image_root=f"{_FOLDER}/JPEGImages",
    label_root=f"{_FOLDER}/annotations_detectron2/val",
    vocabulary=_VOC,
    licence=LICENCE,
    expected=1_449,
    prepare="python datasets/prepare_pascal_voc.py",
)

register_semantic(
    "voc_2012_test_background_sem_seg",
    image_root=f"{_FOLDER}/JPEGImages",
    label_root=f"{_FOLDER}/annotations_detectron2_bg/val",
    vocabulary=_VOC_BACKGROUND,
    class_map=[min(index, len(_VOC)) for index in range(len(_VOC_BACKGROUND))],
    eval_classes=[*_VOC.classes, "background"],
    licence=LICENCE,
    expected=1_449,
    prepare="python datasets/prepare_pascal_voc.py",
)
