"""The evaluator of panoptic segmentation; what it counts stands in panoptic_quality.py."""

from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from detectron2.data import MetadataCatalog

from segplugins.evaluation.gallery import Gallery, Thinned
from segplugins.evaluation.image_statistics import ImageStatistics, sparse_rows
from segplugins.evaluation.output_checks import check_size, output_of
from segplugins.evaluation.panoptic_quality import (
    count_segments,
    grouped_quality,
    overlaps,
    panoptic_quality,
    summed,
)
from segplugins.evaluation.panoptic_segments import Segments
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
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
        key = "thing_classes" if index in things else "stuff_classes"
        class_names = metadata.get(key, [])
        names[index] = class_names[index] if index < len(class_names) else str(index)
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


class PanopticEvaluator(SampleEvaluator):
    """Scores "panoptic_seg" against the panoptic PNG of each image.

    Reads of an output: "panoptic_seg", a pair: the map (H, W) of ids, 0 = void, tensor or array;
    and segments_info, a list of {"id", "category_id"} with indices of the vocabulary. Reads of a
    catalog record: "pan_seg_file_name" and "segments_info" ({"id", "category_id", "iscrowd"}).
    In truth and prediction the map and the list must name the same ids. Areas are counted from
    the maps.

    Args:
        dataset_name: registered in DatasetCatalog; its metadata names the categories, see
            `categories_of`.
        class_agnostic: adds PQ_agnostic, SQ_agnostic, RQ_agnostic: all categories as one.
        per_class: adds "PQ-<name>" of each category.
        gallery: keeps the pictures of the highest and the lowest PQ; None = no pictures.
        read_truth: panoptic PNG to (H, W) segment ids.
        distributed: gather over all processes.

    Raises:
        ValueError: a record lacks its PNG or its list; later, a truth or a prediction whose map and
            list differ, or a prediction of another size; each names the image.

    Example:
        >>> segments = [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 1}]
        >>> record = {"file_name": "a.jpg", "pan_seg_file_name": "a.png"}
        >>> records = [{**record, "segments_info": segments}]
        >>> DatasetCatalog.register("cats", lambda: records)
        >>> categories = {0: 0, 1: 1}
        >>> metadata = MetadataCatalog.get("cats").set(
        ...     stuff_classes=["cat", "sky"], stuff_dataset_id_to_contiguous_id=categories
        ... )
        >>> truth, prediction = np.array([[1, 1, 1, 2]]), np.array([[1, 1, 2, 2]])
        >>> evaluator = PanopticEvaluator("cats", read_truth={"a.png": truth}.get)
        >>> evaluator.process(records, [{"panoptic_seg": (prediction, segments)}])
        >>> scores = evaluator.evaluate()["panoptic_seg"]
        >>> {name: round(scores[name], 1) for name in ("PQ", "PQ-cat", "PQ-sky")}
        {'PQ': 33.3, 'PQ-cat': 66.7, 'PQ-sky': 0.0}
    """

    task = "panoptic_seg"
    reads = frozenset({"panoptic_seg"})
    required = ("pan_seg_file_name", "segments_info")

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
        super().__init__(dataset_name, gallery=gallery, distributed=distributed)
        self._names, is_thing = categories_of(dataset_name)
        self._is_thing = np.array(is_thing, dtype=bool)
        self._class_agnostic = class_agnostic
        self._per_class = per_class
        self._read_truth = read_truth

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> List[np.ndarray]:
        prediction, predicted_list = self._prediction(record, output)
        truth = self._read_truth(record["pan_seg_file_name"])
        check_size(record, "the map of panoptic_seg", prediction.shape, truth.shape)
        size = len(self._names)
        try:
            table, predicted, true = overlaps(
                prediction, predicted_list, truth, record["segments_info"], size
            )
        except ValueError as error:
            raise ValueError(f"{describe(record)}: {error}") from error
        row = [count_segments(table, predicted, true, size)]
        if self._class_agnostic:
            one = (of._replace(categories=np.zeros_like(of.ids)) for of in (predicted, true))
            row.append(count_segments(table, *one, 1))
        if self.gallery is not None:
            shown = self._class_maps((prediction, predicted), (truth, true))
            score = _image_quality(row[0])
            self._samples.show(record, score, "PQ {}", self._names, truth.shape, shown)
        return row

    def check_truth(self) -> None:
        """Reads the first panoptic map, and raises ValueError if it does not fit its segments."""
        for record in self._samples.records[:1]:
            truth = self._read_truth(record["pan_seg_file_name"])
            try:
                overlaps(np.zeros_like(truth), [], truth, record["segments_info"], len(self._names))
            except ValueError as error:
                raise ValueError(f"{describe(record)}: {error}") from error

    def _class_maps(self, *maps: Tuple[np.ndarray, Segments]) -> Thinned:
        """Returns what a gallery asks of maps of segment ids: their categories, K for void."""

        def thinned(step: int) -> Tuple[np.ndarray, ...]:
            shown = []
            for ids, segments in maps:
                ids = ids[::step, ::step]
                labels = np.full(ids.shape, len(self._names), np.int64)
                for identity, category in zip(segments.ids, segments.categories):
                    labels[ids == identity] = category
                shown.append(labels)
            return tuple(shown)

        return thinned

    def _prediction(self, record: dict, output: Mapping) -> Tuple[np.ndarray, List[dict]]:
        pair = output_of(record, output, "panoptic_seg")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(
                f"{describe(record)}: panoptic_seg is a {type(pair).__name__}, expected a pair of "
                "a map and segments_info"
            )
        ids, segments = pair
        if segments is None:
            raise ValueError(
                f"{describe(record)}: panoptic_seg has no segments_info; give a list with the id "
                "and the category of each segment"
            )
        ids = ids.cpu().numpy() if hasattr(ids, "cpu") else np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise ValueError(f"{describe(record)}: segment ids must be integers, got {ids.dtype}")
        return ids, list(segments)

    def _scores(self, rows: List[List[np.ndarray]]) -> Dict[str, float]:
        """Returns the keys of detectron2: PQ SQ RQ, PQ_th SQ_th RQ_th, PQ_st SQ_st RQ_st.

        `sample_scores` then holds the PQ of each image.
        """
        size = len(self._names)
        counts = summed([row[0] for row in rows], size)
        scores = grouped_quality(counts, self._is_thing)
        if self._class_agnostic:
            agnostic = panoptic_quality(summed([row[1] for row in rows], 1))
            scores.update({f"{name}_agnostic": value for name, value in agnostic.items()})
        if self._per_class:
            for index, name in enumerate(self._names):
                scores[f"PQ-{name}"] = panoptic_quality(counts[index : index + 1])["PQ"]
        self.sample_scores = [_image_quality(row[0]) for row in rows]
        self.image_statistics = self._statistics([row[0] for row in rows])
        return scores

    def _statistics(self, rows: Sequence[np.ndarray]) -> ImageStatistics:
        size, counted = len(self._names), range(4)
        columns = [np.concatenate([row[:, 0] + size * k for k in counted]) for row in rows]
        table = sparse_rows(columns, [row[:, 1:].T.reshape(-1) for row in rows], 4 * size)
        facts = {"is_thing": self._is_thing.tolist(), "classes": list(self._names)}
        return ImageStatistics(self.task, "panoptic", self._samples.names, table, facts)
