"""Sources of data sets: one typed description per kind, from which everything else follows.

The fields of a description are the keywords of `register_*` in Python and, under the names given
with them, the keys of a YAML file; `KINDS` is the table of both.

    values.py       what a value may be, with the message if it is something else
    description.py  what all descriptions have in common; registration
    classes.py      a folder of pictures for every class
    maps.py         folders of label maps and of masks
    coco.py         COCO, LVIS and panoptic files; labelme, CVAT, YOLO
    pairs.py        image-text shards, lists and folders
    phrases.py      referring expressions, videos, region lines
    zero_shot.py    lists of pictures, objects of one class each; pictures with captions
"""

from typing import Dict, Type

from segplugins.data.sources.classes import ClassFolderSource
from segplugins.data.sources.coco import (
    CvatSource,
    InstanceSource,
    LabelmeSource,
    PanopticSource,
    YoloSource,
)
from segplugins.data.sources.description import Source, register_source
from segplugins.data.sources.maps import SalientSource, SemanticSource
from segplugins.data.sources.pairs import PairSource
from segplugins.data.sources.phrases import ReferringSource, RegionSource, VideoSource
from segplugins.data.sources.zero_shot import ClassListSource, CropSource, RetrievalSource

KINDS: Dict[str, Type[Source]] = {
    "semantic": SemanticSource,
    "coco": InstanceSource,
    "panoptic": PanopticSource,
    "referring": ReferringSource,
    "salient": SalientSource,
    "video": VideoSource,
    "regions": RegionSource,
    "labelme": LabelmeSource,
    "cvat": CvatSource,
    "yolo": YoloSource,
    "pairs": PairSource,
    "classes": ClassFolderSource,
    "class_list": ClassListSource,
    "crops": CropSource,
    "retrieval": RetrievalSource,
}

__all__ = [
    "KINDS",
    "ClassFolderSource",
    "ClassListSource",
    "CropSource",
    "CvatSource",
    "InstanceSource",
    "LabelmeSource",
    "PairSource",
    "PanopticSource",
    "ReferringSource",
    "RegionSource",
    "RetrievalSource",
    "SalientSource",
    "SemanticSource",
    "Source",
    "VideoSource",
    "YoloSource",
    "register_source",
]
