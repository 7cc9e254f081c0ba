"""The evaluator of panoptic segmentation; what it counts stands in panoptic_quality.py."""

from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from segplugins.evaluation.gallery import Gallery, Thinned
from segplugins.evaluation.panoptic_quality import (
    panoptic_counts,
    panoptic_quality,
    summed,
)
from segplugins.evaluation.samples import Samples, check_size, describe, output_of
from segplugins.files.panoptic_ids import read_segment_ids
from segplugins.structures import get_vocabulary


def categories_of(dataset_name: str) -> Tuple[Tuple[str, ...], Tuple[bool, ...]]:
    """Returns the names of the K categories of a panoptic set and which of them are things.

    They come from the metadata's "vocabulary", else from detectron2's thing and stuff maps.

    Raises:
        ValueError: things and stuff share indices, or the metadata holds neither.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("vocabulary"):
        vocabulary = get_vocabulary(metadata.vocabulary)
        return vocabulary.classes, vocabulary.is_thing
    things = set(metadata.get("thing_dataset_id_to_contiguous_id", {}).values())
    # A set may list its things among the stuff as well: then the stuff names cover all.
    stuff = set(metadata.get("stuff_dataset_id_to_contiguous_id", {}).values())
    names = {}
    for index in sorted(things | stuff):
        of = "thing_classes" if index in things else "stuff_classes"
        listed = metadata.get(of, [])
        names[index] = listed[index] if index < len(listed) else str(index)
    if not names or sorted(names) != list(range(len(names))):
        raise ValueError(
            f"data set '{dataset_name}' has no 'vocabulary' in its metadata, and its thing and "
            f"stuff maps do not number the categories 0..K-1 (got {sorted(names)[:5]}...)"
        )
    shared = things & stuff
    if shared and len(stuff) < len(names):
        raise ValueError(
            f"data set '{dataset_name}' numbers things and stuff apart: both have {min(shared)}; "
            "use the set that gives each category one index (coco_2017_val_panoptic)"
        )
    return tuple(names.values()), tuple(index in things for index in names)


def _image_quality(counts: np.ndarray) -> float:
    """Returns the PQ of one image in percent, NaN without a segment."""
    return panoptic_quality(counts[:, 1:])["PQ"]


class PanopticEvaluator(DatasetEvaluator):
    """Scores "panoptic_seg" against the panoptic PNG of each image.

    Reads of an output: "panoptic_seg", a pair: the map (H, W) of ids, 0 = void, tensor or array;
    and segments_info, a list of {"id", "category_id"} with indices of the vocabulary. Reads of a
    catalog record: "pan_seg_file_name" and "segments_info" ({"id", "category_id", "area",
    "iscrowd"}).

    Args:
        dataset_name: registered in DatasetCatalog; its metadata names the categories, see
            `categories_of`.
        class_agnostic: adds PQ_agnostic, SQ_agnostic, RQ_agnostic: all categories as one.
        per_class: adds "PQ-<name>" of each category.
        gallery: keeps the pictures of the highest and the lowest PQ; None = no pictures.
        read_truth: panoptic PNG to (H, W) segment ids.
        distributed: gather over all processes.
    """

    reads = frozenset({"panoptic_seg"})

    def __init__(
        self,
        dataset_name: str,
        *,
        class_agnostic: bool = False,
        per_class: bool = True,
        gallery: Optional[Gallery] = None,
        read_truth: Callable[[str], np.ndarray] = read_segment_ids,
        distributed: bool = True,
    ):
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self._names, is_thing = categories_of(dataset_name)
        self._is_thing = np.array(is_thing, dtype=bool)
        self._class_agnostic = class_agnostic
        self._per_class = per_class
        self._read_truth = read_truth
        self.sample_scores: List[float] = []

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Matches the segments of each image; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            prediction, predicted_segments = self._prediction(known, output)
            truth = self._read_truth(known["pan_seg_file_name"])
            check_size(known, "the map of panoptic_seg", prediction.shape, truth.shape)
            true_segments = known["segments_info"]
            try:
                row = [self._count(prediction, predicted_segments, truth, true_segments)]
                if self._class_agnostic:
                    one = [[{**s, "category_id": 0} for s in predicted_segments]]
                    one.append([{**s, "category_id": 0} for s in true_segments])
                    row.append(panoptic_counts(prediction, one[0], truth, one[1], 1))
            except ValueError as error:
                raise ValueError(f"{describe(known)}: {error}") from error
            self._samples.add(record, row)
            if self.gallery is not None:
                score = _image_quality(row[0])
                maps = ((prediction, predicted_segments), (truth, true_segments))
                shown = self._class_maps(*maps)
                self._samples.show(known, score, "PQ {}", self._names, truth.shape, shown)

    def _class_maps(self, *maps: Tuple[np.ndarray, Sequence]) -> Thinned:
        """Returns what a gallery asks of maps of segment ids: their categories, K for void."""

        def thinned(step: int) -> Tuple[np.ndarray, ...]:
            shown = []
            for ids, segments in maps:
                ids = ids[::step, ::step]
                labels = np.full(ids.shape, len(self._names), np.int64)
                for segment in segments:
                    labels[ids == segment["id"]] = segment["category_id"]
                shown.append(labels)
            return tuple(shown)

        return thinned

    def _count(
        self, prediction: np.ndarray, predicted: Sequence, truth: np.ndarray, true: Sequence
    ) -> np.ndarray:
        for segment in true:
            if not 0 <= segment["category_id"] < len(self._names):
                raise ValueError(
                    f"true segment {segment['id']} is of category {segment['category_id']}, "
                    f"expected 0..{len(self._names) - 1}"
                )
        return panoptic_counts(prediction, predicted, truth, true, len(self._names))

    def _prediction(self, known: dict, output: Mapping) -> Tuple[np.ndarray, List[dict]]:
        ids, segments = output_of(known, output, "panoptic_seg")
        if segments is None:
            raise ValueError(
                f"{describe(known)}: panoptic_seg has no segments_info; give a list with the id "
                "and the category of each segment"
            )
        ids = ids.cpu().numpy() if hasattr(ids, "cpu") else np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise ValueError(f"{describe(known)}: segment ids must be integers, got {ids.dtype}")
        return ids, list(segments)

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"panoptic_seg": scores in percent}; {} on all processes but the first.

        Keys as in detectron2: PQ SQ RQ, PQ_th SQ_th RQ_th, PQ_st SQ_st RQ_st. `sample_scores` then
        holds the PQ of each image.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        num_categories = len(self._names)
        counts = summed([row[0] for row in rows], num_categories)
        scores = dict(panoptic_quality(counts))
        for suffix, group in (("th", self._is_thing), ("st", ~self._is_thing)):
            of = panoptic_quality(counts, group)
            scores.update({f"{name}_{suffix}": value for name, value in of.items()})
        if self._class_agnostic:
            of = panoptic_quality(summed([row[1] for row in rows], 1))
            scores.update({f"{name}_agnostic": value for name, value in of.items()})
        if self._per_class:
            for index, name in enumerate(self._names):
                scores[f"PQ-{name}"] = panoptic_quality(counts[index : index + 1])["PQ"]
        self.sample_scores = [_image_quality(row[0]) for row in rows]
        return {"panoptic_seg": scores}
