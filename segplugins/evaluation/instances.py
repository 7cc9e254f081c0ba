"""The evaluator of instances: average precision of boxes and masks, by COCO's or LVIS's rules."""

from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode, Instances

from segplugins.evaluation.average_precision import (
    Curves,
    ImageDetections,
    coco_scores,
    lvis_scores,
    percent,
    rank_detections,
)
from segplugins.evaluation.detections import (
    LVIS_LIMIT,
    Detections,
    as_one_class,
    encode_masks,
    images_of,
    write_results,
)
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.instance_pictures import image_quality, label_maps
from segplugins.evaluation.instance_truth import (
    InstanceTruth,
    TrueImage,
    truth_from_file,
    truth_from_records,
)
from segplugins.evaluation.samples import (
    Samples,
    check_finite,
    check_size,
    describe,
    output_of,
)
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task

_TASKS = ("bbox", "segm")


def class_mapping(dataset_name: str, truth: InstanceTruth) -> Dict[int, int]:
    """Returns the true category of each class that a model may predict.

    The classes are those of the metadata's "thing_dataset_id_to_contiguous_id" where it has one
    (a panoptic vocabulary counts its stuff too); else class k is the k-th category by id.

    Raises:
        ValueError: a category of the truth has no class, or shares one with another.
    """
    contiguous = MetadataCatalog.get(dataset_name).get("thing_dataset_id_to_contiguous_id")
    index = {identity: i for i, identity in enumerate(truth.category_ids)}
    if not contiguous:
        return {i: i for i in range(len(truth.names))}
    unknown = sorted(set(index) - set(contiguous))
    if unknown:
        raise ValueError(
            f"data set '{dataset_name}': categories {unknown[:5]} of its annotations are not in "
            "thing_dataset_id_to_contiguous_id"
        )
    mapping = {contiguous[identity]: i for identity, i in index.items()}
    if len(mapping) < len(index):
        raise ValueError(
            f"data set '{dataset_name}': {len(index)} categories of its annotations stand for "
            f"{len(mapping)} classes in thing_dataset_id_to_contiguous_id; give each its own"
        )
    return mapping


class InstanceEvaluator(DatasetEvaluator):
    """Average precision of "instances" by the rules of COCO, or of LVIS for an LVIS file.

    Reads of an output: "instances", an Instances with `scores`, `pred_classes` and, by task,
    `pred_boxes` and `pred_masks` (N, H, W) bool. Truth: the file in the metadata's "json_file",
    else the "regions" or "annotations" of the catalog's records (see instance_truth.py). Records
    need "image_id".

    Args:
        dataset_name: registered in DatasetCatalog.
        tasks: of "bbox", "segm"; None = boxes, and masks unless the set has boxes only.
        class_agnostic: adds "AP_agnostic", "AP50_agnostic" and "AR100_agnostic": all classes as
            one. Not for LVIS, whose images do not tell of all classes.
        max_per_image: detections that count: per class and image (COCO, default 100) or per image
            (LVIS, default 300).
        output_dir: where coco_instances_results.json is written, which COCO's and LVIS's servers
            read; None = nowhere.
        gallery: keeps the pictures of the highest and the lowest `image_quality`; None = none.
        distributed: gather over all processes.

    Raises:
        ValueError: an unknown task, class-agnostic LVIS, a truth with a fault, or a test set
            without truth and no `output_dir`; later, a prediction that cannot be scored.
    """

    reads = frozenset({"instances"})

    def __init__(
        self,
        dataset_name: str,
        *,
        tasks: Optional[Sequence[str]] = None,
        class_agnostic: bool = False,
        max_per_image: Optional[int] = None,
        output_dir: Optional[str] = None,
        gallery: Optional[Gallery] = None,
        distributed: bool = True,
    ):
        if tasks is not None and (not tasks or set(tasks) - set(_TASKS)):
            raise ValueError(f"tasks must be one or more of {_TASKS}, got {tuple(tasks)}")
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self.truth = self._read_truth(dataset_name, tasks is None or "segm" in tasks)
        self._category_of = class_mapping(dataset_name, self.truth)
        if class_agnostic and self.truth.frequency:
            raise ValueError(
                f"data set '{dataset_name}' is of LVIS's kind, whose images name only some of "
                "their classes: a class-agnostic AP would call right detections wrong"
            )
        if not self.truth.is_known and output_dir is None:
            raise ValueError(
                f"data set '{dataset_name}' has no annotations to score by: give an output_dir, "
                "where its predictions are written for the server"
            )
        self._class_agnostic = class_agnostic
        self._output_dir = output_dir
        self._tasks = tuple(tasks or self._tasks_of_truth(dataset_name))
        self._max_per_image = max_per_image

    def _read_truth(self, dataset_name: str, with_masks: bool) -> InstanceTruth:
        metadata = MetadataCatalog.get(dataset_name)
        if metadata.get("json_file"):
            return truth_from_file(metadata.json_file, with_masks=with_masks)
        if metadata.get("vocabulary"):
            names = get_vocabulary(metadata.vocabulary).classes
        else:
            names = tuple(metadata.get("thing_classes", ()))
        return truth_from_records(self._samples.records, names)

    def _tasks_of_truth(self, dataset_name: str) -> Sequence[str]:
        """Boxes; and masks, unless the set is one of boxes."""
        instances, masks = self.truth.count_masks()
        if not self.truth.is_known:
            return _TASKS
        if MetadataCatalog.get(dataset_name).get("task") == Task.DETECTION or not masks:
            return _TASKS[:1]
        if masks < instances:
            raise ValueError(
                f"data set '{dataset_name}': {instances - masks} of {instances} true instances "
                "have no mask; register it for detection, or mend its annotations"
            )
        return _TASKS

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Checks and keeps the predictions, masks as RLE; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            image = self.truth.images.get(known["image_id"])
            if image is None:
                raise ValueError(f"{describe(known)}: the annotations know no such image")
            found = self._detections(known, output_of(known, output, "instances"), image)
            self._samples.add(record, found)
            if self.gallery is not None and self.truth.is_known:
                score = image_quality(image, found, federated=bool(self.truth.frequency))
                names, size = self.truth.names, (image.height, image.width)
                shown = label_maps(image, found, len(names))
                self._samples.show(known, score, "PQ of the image {}", names, size, shown)

    def _detections(self, known: dict, instances: Instances, image: TrueImage) -> Detections:
        if not instances.get_fields() or len(instances) == 0:
            return Detections(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)), [])
        needed = ["scores", "pred_classes"]
        needed += [f for t, f in zip(_TASKS, ("pred_boxes", "pred_masks")) if t in self._tasks]
        absent = [name for name in needed if not instances.has(name)]
        if absent:
            raise ValueError(f"{describe(known)}: instances lack {absent}")
        check_finite(known, "scores of instances", instances.scores)
        boxes = masks = None
        if "bbox" in self._tasks:
            tensor = instances.pred_boxes.tensor
            check_finite(known, "pred_boxes", tensor)
            boxes = BoxMode.convert(tensor.cpu(), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
            boxes = boxes.double().numpy()
        if "segm" in self._tasks:
            expected = (len(instances), image.height, image.width)
            check_size(known, "pred_masks", instances.pred_masks.shape, expected)
            masks = encode_masks(instances.pred_masks > 0)
        classes = instances.pred_classes.tolist()
        unknown = sorted(set(classes) - set(self._category_of))
        if unknown:
            raise ValueError(
                f"{describe(known)}: instances of class {unknown[0]}, which is no class of things "
                f"of data set '{self._samples.dataset_name}'"
            )
        classes = np.array([self._category_of[index] for index in classes], np.int64)
        return Detections(classes, instances.scores.double().cpu().numpy(), boxes, masks)

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"bbox": scores, "segm": scores} in percent; {} on all processes but the first.

        COCO: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl; LVIS: see `lvis_scores`; both
        with "AP-<name>" per class. NaN where nothing is there to be found. Of a test set without
        truth {"instances": {"images": their number}}.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        found = {r["image_id"]: row for r, row in zip(self._samples.records, rows)}
        if self._output_dir is not None:
            write_results(Path(self._output_dir, "coco_instances_results.json"), self.truth, found)
        if not self.truth.is_known:
            return {"instances": {"images": float(len(found))}}
        results = {}
        for task in self._tasks:
            images = images_of(self.truth, found, task, self._max_per_image)
            results[task] = self._score(self._rank(images, len(self.truth.names)))
            if self._class_agnostic:
                images = images_of(self.truth, found, task, self._max_per_image)
                scores = coco_scores(self._rank(map(as_one_class, images), 1))
                for name in ("AP", "AP50", "AR100"):
                    results[task][f"{name}_agnostic"] = scores[name]
        return results

    def _rank(self, images: Iterator[ImageDetections], num_classes: int) -> Curves:
        if self.truth.frequency:
            return rank_detections(
                images, num_classes, max_per_class=self._max_per_image or LVIS_LIMIT, recall_at=()
            )
        return rank_detections(images, num_classes, max_per_class=self._max_per_image or 100)

    def _score(self, curves: Curves) -> Dict[str, float]:
        frequency = self.truth.frequency
        scores = lvis_scores(curves, frequency) if frequency else coco_scores(curves)
        for name, precision in zip(self.truth.names, curves.precision):
            scores[f"AP-{name}"] = percent(precision[0])
        return scores
