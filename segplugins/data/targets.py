"""Targets: what a record says about its image, moved with the image, as a model reads it.

N regions, K texts, H and W the size of the augmented image in pixels.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import torch
from detectron2.data import transforms as T

from segplugins.data.augmentations import is_mirrored
from segplugins.data.instances import instances_of_map, instances_of_regions
from segplugins.data.read_images import check_same_size, record_name
from segplugins.data.read_regions import (
    IGNORED,
    LabelMap,
    has_label_map,
    read_label_map,
    read_regions,
)
from segplugins.data.texts import NamePool, class_texts, drawn_text, phrase_texts
from segplugins.structures.regions import Region
from segplugins.structures.vocabulary import get_vocabulary


class Targets:
    """Reads targets before the augmentation and adds them to the record after it.

    Args:
        with_sem_seg: whether label maps are wanted.
        with_instances: whether regions are wanted.
        max_texts: most class names that an image is asked for; 0: all.
        vocabularies: names of those that the records use, and None for free text.
    """

    def __init__(
        self,
        *,
        with_sem_seg: bool,
        with_instances: bool,
        max_texts: int,
        vocabularies: Set[Optional[str]],
    ) -> None:
        self.with_sem_seg, self.with_instances = with_sem_seg, with_instances
        self.max_texts = max_texts
        # Kept here, because a worker that is spawned knows only the data sets that ship.
        words = [get_vocabulary(name) for name in vocabularies - {None}]
        self.classes = {each.name: each.classes for each in words}
        self.none_classes = {each.name: each.none_index for each in words}
        self._pools: Dict[int, Tuple[Mapping[str, float], NamePool]] = {}

    def read(
        self, record: Mapping[str, Any], metadata: Any, image: np.ndarray
    ) -> Tuple[Optional[LabelMap], Optional[List[Region]]]:
        """Reads the targets of a catalog record, each in the form that is cheapest to move.

        Args:
            record: of the catalog.
            metadata: of its data set.
            image: (H, W, 3), before the augmentation.

        Returns:
            The map that the targets stand in, and the regions of those that do not.

        Raises:
            FileNotFoundError, ValueError: see `read_label_map` and `read_regions`; also where map
                and image differ in size.
        """
        from_map = has_label_map(record)
        label_map = regions = None
        if self.with_sem_seg or from_map:
            label_map = read_label_map(record, metadata)
            check_same_size(label_map.ids, image, label_map.path, record)
        if self.with_instances and not from_map:
            regions = read_regions(record, metadata)
        return label_map, regions

    def add_map(
        self,
        result: Dict[str, Any],
        label_map: LabelMap,
        moved: np.ndarray,
        metadata: Any,
        transforms: T.TransformList,
    ) -> None:
        """Adds "sem_seg", "instances" and, of a mask file or with `max_texts`, "texts".

        Args:
            result: the record for the model; its "vocabulary" becomes None where texts are drawn.
            label_map: as it was read.
            moved: its ids after the augmentation, (H, W) floats.
            metadata: of the data set.
            transforms: what was done to the image.
        """
        ids = moved.astype(np.int64)
        flipped = is_mirrored(transforms)
        if flipped and label_map.segments is None:
            ids = _swap(ids, getattr(metadata, "flip_pairs", ()))
        if label_map.sentences:
            result["texts"] = [drawn_text(label_map.sentences, flipped)]
        if self.with_instances:
            regions = ids
            if label_map.segments is None:
                regions = self._without_none_class(ids, result["vocabulary"])
            result["instances"] = instances_of_map(regions, label_map.segments)
        ignore_label = getattr(metadata, "ignore_label", 255)
        if self.with_sem_seg:
            result["sem_seg"] = torch.from_numpy(_classes(ids, label_map, ignore_label))
        if self.max_texts and result["vocabulary"] is not None and not label_map.sentences:
            self._limit_classes(result, ignore_label)

    def _limit_classes(self, result: Dict[str, Any], ignore_label: int) -> None:
        """Numbers the targets of a map by a few names instead of the whole vocabulary."""
        vocabulary = result["vocabulary"]
        names = self.classes.get(vocabulary) or get_vocabulary(vocabulary).classes
        none = self.none_classes.get(vocabulary)
        present: Set[int] = set()
        if "instances" in result:
            present |= set(result["instances"].gt_classes.tolist())
        if "sem_seg" in result:
            present |= set(result["sem_seg"].unique().tolist()) - {ignore_label}
        # Regions are never "nothing of the others", so no image is asked for that name.
        never = () if "sem_seg" in result or none is None else (none,)
        chosen = class_texts(names, sorted(present), result, self.max_texts, never)
        table = torch.full((max(len(names), ignore_label + 1),), ignore_label)
        for index, place in chosen.positions.items():
            table[index] = place
        if "instances" in result:
            result["instances"].gt_classes = table[result["instances"].gt_classes]
        if "sem_seg" in result:
            result["sem_seg"] = table[result["sem_seg"]]
        result["texts"], result["vocabulary"] = chosen.texts, None
        if chosen.ignore_negative is not None:
            result["ignore_negative"] = chosen.ignore_negative

    def _without_none_class(self, ids: np.ndarray, vocabulary: Optional[str]) -> np.ndarray:
        """What is "nothing of the others" is a label of pixels, but no region."""
        none = self.none_classes.get(vocabulary)
        return ids if none is None else np.where(ids == none, IGNORED, ids)

    def add_regions(
        self,
        result: Dict[str, Any],
        record: Mapping,
        regions: Sequence[Region],
        metadata: Any,
        transforms: T.TransformList,
        sizes: Mapping[str, Tuple[int, int]],
    ) -> None:
        """Adds "instances" and, where the image is not asked for a whole vocabulary, "texts".

        Args:
            result: the record for the model; its "vocabulary" becomes None where texts are drawn.
            record: of the catalog.
            regions: as they were read.
            metadata: of the data set.
            transforms: what was done to the image.
            sizes: "before" and "after": (H, W) of the image.

        Raises:
            ValueError: a region is none of the classes, or its mask does not fit the image.
        """
        # A crowd is a place to leave alone, not a target; evaluators get it from the source.
        regions = [region for region in regions if not region.extra.get("iscrowd")]
        if result["vocabulary"] is None:
            partly = set(record.get("not_exhaustive", ()))
            classes = self._add_phrases(result, regions, metadata, is_mirrored(transforms), partly)
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
        self,
        result: Dict[str, Any],
        regions: Sequence[Region],
        metadata: Any,
        flipped: bool,
        partly: Set[str],
    ) -> List[int]:
        """Returns per region the place of its text among the image's texts.

        Of the texts `partly` not every object is annotated: they are not drawn as absent names.
        """
        texts = phrase_texts(regions, flipped)
        present = list(dict.fromkeys(texts))
        pool = getattr(metadata, "name_counts", None)
        if pool and self.max_texts:
            shown = [*present, *sorted(partly)]
            present += self._pool(pool).draw(shown, self.max_texts - len(present))
        result["texts"] = present
        position = {text: place for place, text in enumerate(present)}
        unknown = [position[t] for t, region in zip(texts, regions) if region.text in partly]
        if unknown:
            result["ignore_negative"] = torch.zeros(len(present), dtype=torch.bool)
            result["ignore_negative"][unknown] = True
        return [position[text] for text in texts]

    def _pool(self, counts: Mapping[str, float]) -> NamePool:
        """Returns the pool of a set's names, made once for each of few sets."""
        cached = self._pools.get(id(counts))
        if cached is None or cached[0] is not counts:
            cached = self._pools[id(counts)] = (counts, NamePool(counts))
        return cached[1]

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


def _swap(ids: np.ndarray, pairs: Sequence[Tuple[int, int]]) -> np.ndarray:
    """Exchanges classes that name a side: a mirrored left arm is a right arm."""
    swapped = ids.copy() if len(pairs) else ids
    for left, right in pairs:
        swapped[ids == left] = right
        swapped[ids == right] = left
    return swapped


def _classes(ids: np.ndarray, label_map: LabelMap, ignore_label: int) -> np.ndarray:
    """Returns (H, W) int64 classes of a map, ignored pixels = ignore_label; overwrites ids."""
    if label_map.segments is None:
        np.putmask(ids, ids == IGNORED, ignore_label)
        return ids
    table = [segment["category_id"] for segment in label_map.segments] + [ignore_label]
    return np.asarray(table, dtype=np.int64)[ids]  # IGNORED is -1: the last entry
