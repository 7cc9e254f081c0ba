"""SegMapper: a catalog record to what a model reads, for every task and kind of supervision.

N regions, K texts, H and W the size of the augmented image in pixels.
"""

import random
import re
from types import SimpleNamespace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from fvcore.transforms.transform import HFlipTransform

from segplugins.data.augmentations import build_augmentations
from segplugins.data.catalog import dataset_metadata
from segplugins.data.instances import instances_of_map, instances_of_regions
from segplugins.data.read_images import check_same_size, read_image, record_name
from segplugins.data.read_regions import (
    IGNORED,
    LabelMap,
    has_label_map,
    phrases_of,
    read_label_map,
    read_regions,
    task_of,
)
from segplugins.structures.regions import Region
from segplugins.structures.vocabulary import get_vocabulary

TARGETS = ("sem_seg", "instances")
# What a catalog record holds only for the mapper.
_CONSUMED = ("annotations", "segments_info", "regions")
_SIDES = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
_SIDE = re.compile(r"\b(left|right|leftmost|rightmost)\b", re.IGNORECASE)


class SegMapper:
    """Reads, augments and packs one image.

    Gives the model "image" (3, H, W) uint8 RGB; "height", "width", the size of the result wanted
    (that of the file); "task"; "vocabulary", a registered name or None; "texts" (K) where it is
    None. In training also, as `targets` asks, "sem_seg" (H, W) int64 with the data set's
    ignore label, and "instances": "gt_classes" (N,) int64 into the vocabulary, else into the
    texts, "gt_boxes", and "gt_masks" unless the data has boxes only. Images without a target are
    kept, with empty instances. What else the catalog record holds is handed through.

    Args:
        is_train: whether to read targets.
        augmentations: applied in order; see augmentations.py for how label maps look to them.
        targets: of "sem_seg" and "instances" those that the model learns from.
        metadata: per data set name what its records leave out; records without a "dataset" take
            the only one.

    Raises:
        ValueError: an unknown target.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation],
        targets: Sequence[str] = ("instances",),
        metadata: Optional[Mapping[str, Any]] = None,
    ) -> None:
        unknown = [target for target in targets if target not in TARGETS]
        if unknown or not targets:
            raise ValueError(f"targets are {list(targets)}, expected one or more of {TARGETS}")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.with_sem_seg = "sem_seg" in targets
        self.with_instances = "instances" in targets
        self.metadata = dict(metadata or {})
        self.classes = {name: _classes_of(name, known) for name, known in self.metadata.items()}
        for name, known in self.metadata.items():
            if is_train and getattr(known, "class_map", None) is not None:
                raise ValueError(
                    f"data set '{name}' is for evaluation only: its labels are not the classes of "
                    "its vocabulary (class_map)"
                )

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool = True, dataset_names: Optional[Sequence[str]] = None
    ) -> Dict[str, Any]:
        """Reads INPUT; the data sets are those given, or the config's for training or test."""
        if cfg.INPUT.FORMAT != "RGB":
            raise ValueError(f"INPUT.FORMAT is '{cfg.INPUT.FORMAT}'; all models here take 'RGB'")
        names = dataset_names or (cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST)
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "targets": cfg.INPUT.TARGETS,
            "metadata": {name: dataset_metadata(name) for name in names},
        }

    def __call__(self, record: Mapping[str, Any]) -> Dict[str, Any]:
        """Returns the record for the model; see the class.

        Raises:
            FileNotFoundError, ValueError: a file is missing, cannot be read or does not fit; the
                message names file and record.
        """
        metadata = self._metadata_of(record)
        image = read_image(record)
        result = {key: value for key, value in record.items() if key not in _CONSUMED}
        result["height"], result["width"] = image.shape[:2]
        result["task"] = task_of(record, metadata)
        result["vocabulary"] = record.get("vocabulary", getattr(metadata, "vocabulary", None))
        if self.is_train:
            self._add_targets(result, record, metadata, image)
        else:
            self._add_test_input(result, record, metadata, image)
        return result

    def _metadata_of(self, record: Mapping[str, Any]) -> Any:
        name = record.get("dataset")
        if name in self.metadata:
            return self.metadata[name]
        if name is not None:
            return dataset_metadata(name)
        if len(self.metadata) > 1:
            raise ValueError(
                f"{record_name(record)} has no 'dataset' and the mapper serves "
                f"{sorted(self.metadata)}; load the records with segplugins.data.load_dataset()"
            )
        return next(iter(self.metadata.values()), SimpleNamespace())

    def _add_test_input(
        self, result: Dict[str, Any], record: Mapping, metadata: Any, image: np.ndarray
    ) -> None:
        augmented = T.AugInput(image)
        self.augmentations(augmented)
        result["image"] = _image_tensor(augmented.image)
        if "regions" in record:
            result["regions"] = record["regions"]  # the truth, for evaluators
        if result["vocabulary"] is None and "texts" not in record:
            texts = [region.text for region in read_regions(record, metadata)]
            result["texts"] = list(dict.fromkeys(texts))

    def _add_targets(
        self, result: Dict[str, Any], record: Mapping, metadata: Any, image: np.ndarray
    ) -> None:
        from_map = has_label_map(record)
        label_map = None
        if self.with_sem_seg or from_map:
            label_map = read_label_map(record, metadata)
            check_same_size(label_map.ids, image, label_map.path, record)
        # float64, as detectron2 resamples it: whole numbers of any size, nearest as torch takes it
        ids = None if label_map is None else label_map.ids.astype(np.float64)
        augmented = T.AugInput(image, sem_seg=ids)
        transforms = self.augmentations(augmented)
        result["image"] = _image_tensor(augmented.image)
        flipped = _is_flipped(transforms)
        if label_map is not None:
            ids = augmented.sem_seg.astype(np.int64)
            if flipped and label_map.segments is None:
                ids = _swap(ids, getattr(metadata, "flip_pairs", ()))
        if self.with_sem_seg:
            ignore_label = getattr(metadata, "ignore_label", 255)
            result["sem_seg"] = torch.from_numpy(_classes(ids, label_map, ignore_label))
        if self.with_instances and from_map:
            if "mask_file_name" in record:
                result["texts"] = [_drawn_text(phrases_of(record), flipped)]
            result["instances"] = instances_of_map(ids, label_map.segments)
        elif self.with_instances:
            regions = _crowds_removed(read_regions(record, metadata))
            sizes = {"before": image.shape[:2], "after": augmented.image.shape[:2]}
            self._add_regions(result, record, regions, transforms, sizes, flipped)

    def _add_regions(
        self,
        result: Dict[str, Any],
        record: Mapping,
        regions: Sequence[Region],
        transforms: T.TransformList,
        sizes: Mapping[str, Tuple[int, int]],
        flipped: bool,
    ) -> None:
        if result["vocabulary"] is None:
            texts = _sampled_texts(regions, flipped)
            result["texts"] = list(dict.fromkeys(texts))
            position = {text: index for index, text in enumerate(result["texts"])}
            classes = [position[text] for text in texts]
        else:
            classes = [self._class_of(region, result["vocabulary"], record) for region in regions]
        shown = [index for index, region in enumerate(regions) if region.has_target]
        try:
            result["instances"] = instances_of_regions(
                [regions[i] for i in shown], [classes[i] for i in shown], transforms, **sizes
            )
        except ValueError as error:
            raise ValueError(
                f"{record_name(record)}, image {record['file_name']}: {error}"
            ) from None

    def _class_of(self, region: Region, vocabulary: str, record: Mapping) -> int:
        classes = self.classes.get(vocabulary) or get_vocabulary(vocabulary).classes
        index = region.class_index
        if index < 0 and region.text in classes:
            index = classes.index(region.text)
        if not 0 <= index < len(classes):
            raise ValueError(
                f"{record_name(record)}: region '{region.text}' with class_index "
                f"{region.class_index} is none of the {len(classes)} classes of vocabulary "
                f"'{vocabulary}'"
            )
        return index


def _classes_of(name: str, metadata: Any) -> Optional[Tuple[str, ...]]:
    vocabulary = getattr(metadata, "vocabulary", None)
    return None if vocabulary is None else get_vocabulary(vocabulary).classes


def _image_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) array to (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _is_flipped(transforms: T.TransformList) -> bool:
    return sum(isinstance(t, HFlipTransform) for t in transforms.transforms) % 2 == 1


def _swap(ids: np.ndarray, pairs: Sequence[Tuple[int, int]]) -> np.ndarray:
    """Exchanges classes that name a side: a mirrored left arm is a right arm."""
    swapped = ids.copy() if len(pairs) else ids
    for left, right in pairs:
        swapped[ids == left] = right
        swapped[ids == right] = left
    return swapped


def _classes(ids: np.ndarray, label_map: LabelMap, ignore_label: int) -> np.ndarray:
    """Returns (H, W) int64 classes of a map, ignored pixels = ignore_label."""
    if label_map.segments is None:
        return np.where(ids == IGNORED, ignore_label, ids)
    table = [segment["category_id"] for segment in label_map.segments] + [ignore_label]
    return np.asarray(table, dtype=np.int64)[ids]  # IGNORED is -1: the last entry


def _crowds_removed(regions: Sequence[Region]) -> List[Region]:
    """A crowd is a region to leave alone, not a target; evaluators get it from the source."""
    return [region for region in regions if not region.extra.get("iscrowd")]


def _sampled_texts(regions: Sequence[Region], flipped: bool) -> List[str]:
    """Returns per region its text; regions of one text keep one text."""
    chosen: Dict[str, str] = {}
    for region in regions:
        if region.text not in chosen:
            sentences = region.extra.get("sentences") or [region.text]
            chosen[region.text] = _drawn_text(sentences, flipped)
    return [chosen[region.text] for region in regions]


def _drawn_text(sentences: Sequence[str], flipped: bool) -> str:
    """Returns one of the sentences at random, as it is true of the augmented image."""
    text = random.choice(sentences)
    return mirrored(text) if flipped else text


def mirrored(sentence: str) -> str:
    """Returns a sentence with left and right exchanged, as it is true of the mirrored image."""

    def other(match: re.Match) -> str:
        word = match.group()
        side = _SIDES[word.lower()]
        return side.capitalize() if word[0].isupper() else side

    return _SIDE.sub(other, sentence)
