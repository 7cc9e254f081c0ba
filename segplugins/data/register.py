"""Registration in Python: one call makes a data set known to training and evaluation.

Each function takes the fields of its source (segplugins/data/sources/) as keywords; others are
further metadata. Folders and files are relative to $DETECTRON2_DATASETS and are looked at when a
set is loaded.

Example:
    >>> from segplugins.data import register_semantic
    >>> register_semantic(
    ...     "pets_train", image_root="pets/images", label_root="pets/labels", vocabulary=["cat"]
    ... )

All raise ValueError if a value has another type or is outside its range, or if another data set
has the name already; TypeError if a keyword is missing or mistyped.
"""

from typing import Any, Callable, List

from segplugins.data.sources import (
    ClassFolderSource,
    ClassListSource,
    CropSource,
    InstanceSource,
    PanopticSource,
    ReferringSource,
    RegionSource,
    RetrievalSource,
    SalientSource,
    SemanticSource,
    VideoSource,
    register_source,
)

__all__ = [
    "register_classes",
    "register_class_list",
    "register_crops",
    "register_instances",
    "register_panoptic",
    "register_referring",
    "register_regions",
    "register_retrieval",
    "register_salient",
    "register_semantic",
    "register_videos",
]


def register_classes(name: str, **keywords: Any) -> None:
    """Registers a folder of pictures for every class; see `ClassFolderSource`."""
    register_source(ClassFolderSource.of_keywords(name, keywords))


def register_semantic(name: str, **keywords: Any) -> None:
    """Registers a folder of images and a folder of label maps; see `SemanticSource`."""
    register_source(SemanticSource.of_keywords(name, keywords))


def register_instances(name: str, **keywords: Any) -> None:
    """Registers a COCO or LVIS instance file; see `InstanceSource`."""
    register_source(InstanceSource.of_keywords(name, keywords))


def register_panoptic(name: str, **keywords: Any) -> None:
    """Registers a COCO panoptic file with its folder of segment maps; see `PanopticSource`."""
    register_source(PanopticSource.of_keywords(name, keywords))


def register_referring(name: str, **keywords: Any) -> None:
    """Registers one split of a RefCOCO set; see `ReferringSource`."""
    register_source(ReferringSource.of_keywords(name, keywords))


def register_salient(name: str, **keywords: Any) -> None:
    """Registers a folder of images and a folder of grey masks; see `SalientSource`."""
    register_source(SalientSource.of_keywords(name, keywords))


def register_videos(name: str, records: Callable[..., List[dict]], **keywords: Any) -> None:
    """Registers videos with referring expressions; see `VideoSource`.

    Args:
        name: of the data set.
        records: a reader of read_video.py: from the folder and the keyword `policy`, which gets
            faults, to the records.
        keywords: the other fields.
    """
    register_source(VideoSource.of_keywords(name, {"video_records": records, **keywords}))


def register_regions(name: str, **keywords: Any) -> None:
    """Registers JSON lines of images with regions; see `RegionSource`."""
    register_source(RegionSource.of_keywords(name, keywords))


def register_class_list(name: str, **keywords: Any) -> None:
    """Registers a list of pictures of one class each; see `ClassListSource`."""
    register_source(ClassListSource.of_keywords(name, keywords))


def register_crops(name: str, **keywords: Any) -> None:
    """Registers the objects of a COCO file as pictures of one class each; see `CropSource`."""
    register_source(CropSource.of_keywords(name, keywords))


def register_retrieval(name: str, **keywords: Any) -> None:
    """Registers pictures and captions that are to find each other; see `RetrievalSource`."""
    register_source(RetrievalSource.of_keywords(name, keywords))
