"""SegMapper: a catalog record to what a model reads, for every task and kind of supervision.

N regions, K texts, H and W the size of the augmented image in pixels.
"""

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
    read_label_map,
    read_regions,
    task_of,
)
from segplugins.data.texts import class_texts, drawn_text, other_names, phrase_texts
from segplugins.structures.regions import Region
from segplugins.structures.vocabulary import get_vocabulary

TARGETS = ("sem_seg", "instances")
# What a catalog record holds only for the mapper.
_CONSUMED = ("annotations", "segments_info", "regions")


class SegMapper:
    """Reads, augments and packs one image.

    Gives the model "image" (3, H, W) uint8 RGB; "height", "width", the size of the result wanted
    (that of the file); "task"; "vocabulary", a registered name or None; "texts" (K) where it is
    None. In training also, as `targets` asks, "sem_seg" (H, W) int64 with the data set's
    ignore label, and "instances": "gt_classes" (N,) int64 into the vocabulary, else into the
    texts, "gt_boxes", and "gt_masks" unless the data has boxes only; "ignore_negative" (K,) bool
    where a set does not know of all its classes whether they are absent. Images without a target
    are kept, with empty instances. What else the catalog record holds is handed through.

    Args:
        is_train: whether to read targets.
        augmentations: applied in order; see augmentations.py for how label maps look to them.
        targets: of "sem_seg" and "instances" those that the model learns from.
        max_texts: sets with many classes give an image only that many names: those it shows, and
            others drawn at random; 0: all, by the name of the vocabulary.
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
        max_texts: int = 0,
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
        self.max_texts = max_texts
        vocabularies = {getattr(known, "vocabulary", None) for known in self.metadata.values()}
        # Kept here, because a worker that is spawned knows only the data sets that ship.
        known_words = [get_vocabulary(name) for name in vocabularies - {None}]
        self.classes = {words.name: words.classes for words in known_words}
        self.none_classes = {words.name: words.none_index for words in known_words}
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
            "max_texts": cfg.INPUT.MAX_TEXTS,
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
        if label_map is not None:
            self._add_map(result, label_map, augmented.sem_seg, metadata, transforms)
        if self.with_instances and not from_map:
            regions = read_regions(record, metadata)
            sizes = {"before": image.shape[:2], "after": augmented.image.shape[:2]}
            self._add_regions(result, record, regions, metadata, transforms, sizes)

    def _add_map(
        self,
        result: Dict[str, Any],
        label_map: LabelMap,
        moved: np.ndarray,
        metadata: Any,
        transforms: T.TransformList,
    ) -> None:
        ids = moved.astype(np.int64)
        flipped = _is_flipped(transforms)
        if flipped and label_map.segments is None:
            ids = _swap(ids, getattr(metadata, "flip_pairs", ()))
        if self.with_sem_seg:
            ignore_label = getattr(metadata, "ignore_label", 255)
            result["sem_seg"] = torch.from_numpy(_classes(ids, label_map, ignore_label))
        if label_map.sentences:
            result["texts"] = [drawn_text(label_map.sentences, flipped)]
        if self.with_instances:
            if label_map.segments is None:
                ids = self._without_none_class(ids, result["vocabulary"])
            result["instances"] = instances_of_map(ids, label_map.segments)

    def _without_none_class(self, ids: np.ndarray, vocabulary: Optional[str]) -> np.ndarray:
        """What is "nothing of the others" is a label of pixels, but no region."""
        none = self.none_classes.get(vocabulary)
        return ids if none is None else np.where(ids == none, IGNORED, ids)

    def _add_regions(
        self,
        result: Dict[str, Any],
        record: Mapping,
        regions: Sequence[Region],
        metadata: Any,
        transforms: T.TransformList,
        sizes: Mapping[str, Tuple[int, int]],
    ) -> None:
        # A crowd is a place to leave alone, not a target; evaluators get it from the source.
        regions = [region for region in regions if not region.extra.get("iscrowd")]
        if result["vocabulary"] is None:
            classes = self._add_phrases(result, regions, metadata, _is_flipped(transforms))
        else:
            classes = self._add_classes(result, regions, record)
        shown = [index for index, region in enumerate(regions) if region.has_target]
        try:
            result["instances"] = instances_of_regions(
                [regions[i] for i in shown], [classes[i] for i in shown], transforms, **sizes
            )
        except ValueError as error:
            raise ValueError(
                f"{record_name(record)}, image {record['file_name']}: {error}"
            ) from None

    def _add_phrases(
        self, result: Dict[str, Any], regions: Sequence[Region], metadata: Any, flipped: bool
    ) -> List[int]:
        """Returns per region the place of its text among the image's texts."""
        texts = phrase_texts(regions, flipped)
        present = list(dict.fromkeys(texts))
        pool = getattr(metadata, "name_counts", None)
        if pool and self.max_texts:
            # By the root of their frequency: common names are good examples, but not the only ones.
            weights = [count**0.5 for count in pool.values()]
            missing = self.max_texts - len(present)
            present += other_names(present, list(pool), weights, missing)
        result["texts"] = present
        position = {text: place for place, text in enumerate(present)}
        return [position[text] for text in texts]

    def _add_classes(
        self, result: Dict[str, Any], regions: Sequence[Region], record: Mapping
    ) -> List[int]:
        """Returns per region its class, or the place of its name among the image's texts."""
        vocabulary = result["vocabulary"]
        names = self.classes.get(vocabulary) or get_vocabulary(vocabulary).classes
        classes = [_class_of(region, names, vocabulary, record) for region in regions]
        chosen = class_texts(names, classes, record, self.max_texts)
        if chosen.texts is not None:
            result["texts"], result["vocabulary"] = chosen.texts, None
        if chosen.ignore_negative is not None:
            result["ignore_negative"] = chosen.ignore_negative
        return [chosen.positions[k] for k in classes]


def _class_of(region: Region, names: Sequence[str], vocabulary: str, record: Mapping) -> int:
    index = region.class_index
    if index < 0 and region.text in names:
        index = names.index(region.text)
    if not 0 <= index < len(names):
        raise ValueError(
            f"{record_name(record)}: region '{region.text}' with class_index "
            f"{region.class_index} is none of the {len(names)} classes of vocabulary '{vocabulary}'"
        )
    return index


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
