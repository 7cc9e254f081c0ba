"""SegMapper: a catalog record to what a model reads, for every task and kind of supervision.

N regions, K texts, H and W the size of the augmented image in pixels.
"""

from types import SimpleNamespace
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from segplugins.data.augmentations import build_augmentations, tasks_apart
from segplugins.data.catalog import dataset_metadata
from segplugins.data.hide_and_seek import HideAndSeek
from segplugins.data.read_images import read_image, record_name
from segplugins.data.read_regions import read_regions, task_of
from segplugins.data.targets import Targets
from segplugins.structures.regions import Task

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
    where a set does not know of all its classes whether they are absent. At test an image that was
    padded has "image_box", the pixels (x0, y0, x1, y1) that it takes up. Images without a target
    are kept, with empty instances. A record with a "crop" (x0, y0, x1, y1) in pixels stands for
    that part of its image alone, at test. What else the catalog record holds is handed through.

    Args:
        is_train: whether to read targets.
        augmentations: applied in order; see augmentations.py for how label maps look to them.
        targets: of "sem_seg" and "instances" those that the model learns from.
        max_texts: sets with many classes give an image only that many names: those it shows, and
            others drawn at random; 0: all, by the name of the vocabulary.
        by_task: augmentations instead of those, for records of a task.
        hide: hides parts of training images last of all.
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
        by_task: Optional[Mapping[Task, Sequence[T.Augmentation]]] = None,
        hide: Optional[HideAndSeek] = None,
        metadata: Optional[Mapping[str, Any]] = None,
    ) -> None:
        unknown = [target for target in targets if target not in TARGETS]
        if unknown or not targets:
            raise ValueError(f"targets are {list(targets)}, expected one or more of {TARGETS}")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.by_task = {task: T.AugmentationList(list(a)) for task, a in (by_task or {}).items()}
        self.hide = hide
        self.metadata = dict(metadata or {})
        self.targets = Targets(
            with_sem_seg="sem_seg" in targets,
            with_instances="instances" in targets,
            max_texts=max_texts,
            vocabularies={getattr(entry, "vocabulary", None) for entry in self.metadata.values()},
        )
        for name, entry in self.metadata.items():
            if is_train and getattr(entry, "class_map", None) is not None:
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
            "by_task": {
                task: build_augmentations(cfg, is_train, task)
                for task in (*tasks_apart(cfg), *(() if is_train else (Task.CLASSIFICATION,)))
            },
            "hide": HideAndSeek.from_config(cfg),
            "metadata": {name: dataset_metadata(name) for name in names},
        }

    def __call__(self, record: Mapping[str, Any]) -> Dict[str, Any]:
        """Returns the record for the model; see the class.

        Raises:
            FileNotFoundError, ValueError: a file is missing, cannot be read or does not fit; the
                message names file and record.
        """
        metadata = self._metadata_of(record)
        image = _part(read_image(record), record.get("crop"))
        result = {key: value for key, value in record.items() if key not in _CONSUMED}
        result["height"], result["width"] = image.shape[:2]
        result["task"] = task_of(record, metadata)
        result["vocabulary"] = record.get("vocabulary", getattr(metadata, "vocabulary", None))
        if self.is_train:
            self._add_targets(result, record, metadata, image)
            if self.hide is not None:
                self.hide(result, record, getattr(metadata, "ignore_label", 255))
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

    def _augmentations(self, task: Task) -> T.AugmentationList:
        return self.by_task.get(task, self.augmentations)

    def _add_test_input(
        self, result: Dict[str, Any], record: Mapping, metadata: Any, image: np.ndarray
    ) -> None:
        result.update(input_at_test(image, self._augmentations(result["task"])))
        if "regions" in record:
            result["regions"] = record["regions"]  # the truth, for evaluators
        if result["vocabulary"] is None and "texts" not in record:
            texts = [region.text for region in read_regions(record, metadata)]
            result["texts"] = list(dict.fromkeys(texts))

    def _add_targets(
        self, result: Dict[str, Any], record: Mapping, metadata: Any, image: np.ndarray
    ) -> None:
        label_map, regions = self.targets.read(record, metadata, image)
        # float64, as detectron2 resamples it: whole numbers of any size, nearest as torch takes it
        ids = None if label_map is None else label_map.ids.astype(np.float64)
        augmented = T.AugInput(image, sem_seg=ids)
        transforms = self._augmentations(result["task"])(augmented)
        result["image"] = _image_tensor(augmented.image)
        if label_map is not None:
            self.targets.add_map(result, label_map, augmented.sem_seg, metadata, transforms)
        if regions is not None:
            sizes = {"before": image.shape[:2], "after": augmented.image.shape[:2]}
            self.targets.add_regions(result, record, regions, metadata, transforms, sizes)


def input_at_test(image: np.ndarray, augmentations: T.AugmentationList) -> Dict[str, Any]:
    """Brings an image to the size at which a model sees it.

    Args:
        image: (H, W, 3) uint8 RGB.
        augmentations: of `build_augmentations` for test.

    Returns:
        "image" (3, h, w) uint8, and where it was padded "image_box", the pixels (x0, y0, x1, y1)
        that it takes up.
    """
    augmented = T.AugInput(image)
    transforms = augmentations(augmented)
    result: Dict[str, Any] = {"image": _image_tensor(augmented.image)}
    height, width = image.shape[:2]
    box = transforms.apply_box(np.array([[0.0, 0.0, width, height]]))[0].round()
    tall, wide = augmented.image.shape[:2]
    box = box.clip(0, [wide, tall, wide, tall])  # of a cut image the part that is left
    if box.tolist() != [0, 0, wide, tall]:
        result["image_box"] = tuple(int(value) for value in box)
    return result


def _part(image: np.ndarray, box: Optional[Sequence[int]]) -> np.ndarray:
    """Returns the part of an image (H, W, 3) in a box (x0, y0, x1, y1); without one all of it."""
    if box is None:
        return image
    x0, y0, x1, y1 = box
    return image[y0:y1, x0:x1]


def _image_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) array to (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
