"""The evaluator of instances: average precision of boxes and masks, by COCO's or LVIS's rules."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from detectron2.evaluation import DatasetEvaluator

from segplugins.evaluation.average_precision import (
    coco_scores,
    count_positives,
    lvis_scores,
    percent,
    rank_detections,
)
from segplugins.evaluation.detection_calibration import detection_calibration_error
from segplugins.evaluation.detections import (
    COCO_LIMIT,
    LVIS_LIMIT,
    Detections,
    ImageMatches,
    Rules,
    match_image,
)
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.instance_classes import category_names, class_mapping
from segplugins.evaluation.instance_pictures import image_quality, thinned_instances
from segplugins.evaluation.instance_predictions import Expected, read_predictions
from segplugins.evaluation.instance_setting import read_truth, tasks_of_truth
from segplugins.evaluation.instance_truth import TrueImage
from segplugins.evaluation.output_checks import output_of
from segplugins.evaluation.presence import presence_counts, presence_scores
from segplugins.evaluation.result_file import ResultFile, result_text
from segplugins.evaluation.sample_evaluator import full_precision
from segplugins.evaluation.sample_identity import describe, sample_key
from segplugins.evaluation.samples import Samples


class InstanceEvaluator(DatasetEvaluator):
    """Average precision of "instances" by the rules of COCO, or of LVIS for an LVIS file.

    Reads of an output: "instances", see `read_predictions`. Truth: the file in the metadata's
    "json_file", else the "regions" or "annotations" of the catalog's records (see
    instance_truth.py and instance_records.py). Records need "image_id". Images are matched as they
    come: what is kept of a detection takes some 15 bytes a task.

    Args:
        dataset_name: registered in DatasetCatalog.
        tasks: of "bbox", "segm" and "boundary" (the smaller one of mask IoU and boundary IoU);
            None = boxes, and masks unless the set has boxes only.
        class_agnostic: adds "AP_agnostic", "AP50_agnostic" and "AR100_agnostic": all classes as
            one. Not for LVIS, whose images do not tell of all classes.
        presence: adds "cgF1", "pmF1" and "IL_MCC" of boxes and masks, see presence.py; scores must
            lie in 0 to 1.
        calibration: adds "D-ECE", see detection_calibration.py; likewise.
        max_per_image: detections that count: per class and image (COCO, default 100) or per image
            (LVIS, default 300). Their recall is called after it: AR200.
        output_dir: where coco_instances_results.json is written, which COCO's and LVIS's servers
            read; None = nowhere.
        gallery: keeps the pictures of the highest and the lowest `image_quality`; None = none.
        distributed: gather over all processes.

    Raises:
        ValueError: an option that makes no sense, a truth with a fault, records that are not those
            of the annotation file, or a test set without truth and no `output_dir`; later, a
            prediction that cannot be scored.

    Example:
        >>> cat = Region("cat", box=(0.0, 0.0, 4.0, 4.0), class_index=0)
        >>> records = [{"image_id": 1, "height": 8, "width": 8, "regions": [cat]}]
        >>> DatasetCatalog.register("one_cat", lambda: records)
        >>> metadata = MetadataCatalog.get("one_cat").set(thing_classes=["cat"])
        >>> instances = Instances(
        ...     (8, 8),
        ...     pred_boxes=Boxes(torch.tensor([[0.0, 0.0, 4.0, 3.0]])),
        ...     scores=torch.tensor([0.9]),
        ...     pred_classes=torch.tensor([0]),
        ... )
        >>> evaluator = InstanceEvaluator("one_cat")
        >>> evaluator.process(records, [{"instances": instances}])
        >>> # An IoU of 3/4 reaches 6 of the 10 thresholds.
        >>> round(evaluator.evaluate()["bbox"]["AP"], 1)
        60.0
    """

    reads = frozenset({"instances"})

    def __init__(
        self,
        dataset_name: str,
        *,
        tasks: Optional[Sequence[str]] = None,
        class_agnostic: bool = False,
        presence: bool = False,
        calibration: bool = False,
        max_per_image: Optional[int] = None,
        output_dir: Optional[str] = None,
        gallery: Optional[Gallery] = None,
        distributed: bool = True,
    ):
        if max_per_image is not None and (
            isinstance(max_per_image, bool)
            or not isinstance(max_per_image, int)
            or max_per_image < 1
        ):
            raise ValueError(f"max_per_image must be a whole number from 1, got {max_per_image!r}")
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self.truth = read_truth(dataset_name, self._samples.records, tasks)
        categories = class_mapping(dataset_name, self.truth)
        self.names = category_names(dataset_name, self.truth, categories)
        federated = bool(self.truth.frequency)
        if class_agnostic and federated:
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
        self._presence = presence
        self._calibration = calibration
        self._tasks = tasks_of_truth(dataset_name, self.truth, tasks)
        self._rules = Rules(federated, max_per_image or (LVIS_LIMIT if federated else COCO_LIMIT))
        self._expected = Expected(
            dataset_name, categories, "bbox" in self._tasks, set(self._tasks) != {"bbox"}
        )
        self._file = None
        if output_dir is not None:
            name = "coco_instances_results.json"
            self._file = ResultFile(output_dir, name, distributed=distributed)

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()
        if self._file is not None:
            self._file.reset()

    @full_precision
    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Checks and matches the predictions; see the class for what is read."""
        for _, record, output in self._samples.pairs(inputs, outputs):
            image = self.truth.images[record["image_id"]]
            instances = output_of(record, output, "instances")
            detections = read_predictions(record, instances, image, self._expected)
            row = self._matches(record, image, detections) if self.truth.is_known else {}
            quality = None
            if self.gallery is not None and self.truth.is_known:
                quality = image_quality(image, detections, federated=self._rules.federated)
            # From here on the image counts as done.
            self._samples.add(record, row)
            if self._file is not None:
                text = result_text(record["image_id"], self.truth.category_ids, detections)
                self._file.add(sample_key(record), text)
            if quality is not None:
                shown = thinned_instances(image, detections, len(self.names))
                size = image.height, image.width
                self._samples.show(record, quality, "PQ of the image {}", self.names, size, shown)

    def _matches(
        self, record: Mapping[str, Any], image: TrueImage, detections: Detections
    ) -> Dict[str, Any]:
        """What is kept of an image, by task."""
        scores = detections.scores
        for is_asked, reader in ((self._calibration, "calibration"), (self._presence, "cgF1")):
            if is_asked and len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
                raise ValueError(
                    f"{describe(record)}: scores from {scores.min():g} to {scores.max():g}, but "
                    f"{reader} is of probabilities, 0 to 1"
                )
        row: Dict[str, Any] = {}
        for task in self._tasks:
            row[task] = match_image(image, detections, task, self._rules)
            if self._class_agnostic:
                one = match_image(image, detections, task, self._rules, one_class=True)
                row[f"{task}, one class"] = one
            if self._presence and task != "boundary":
                row[f"{task}, presence"] = presence_counts(
                    image, detections, task, len(self.names), federated=self._rules.federated
                )
        return row

    @full_precision
    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"bbox": scores, "segm": scores} in percent; {} on all processes but the first.

        COCO: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl; LVIS: see `lvis_scores`; both
        with "AP-<name>" per class. NaN where nothing is there to be found. Of a test set without
        truth {"instances": {"images": their number}}.
        """
        if self._file is not None:
            self._file.join()
        rows = self._samples.gather()
        if rows is None:
            return {}
        if self._file is not None:
            self._file.write([sample_key(record) for record in self._samples.records])
        if not self.truth.is_known:
            return {"instances": {"images": float(len(rows))}}
        # By ascending image id, as pycocotools ranks equal scores; text stands behind numbers.
        ids = [record["image_id"] for record in self._samples.records]
        order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
        rows = [rows[i] for i in order]
        return {task: self._scores(task, rows) for task in self._tasks}

    def _scores(self, task: str, rows: List[Dict[str, Any]]) -> Dict[str, float]:
        images: List[ImageMatches] = [row[task] for row in rows]
        limit, frequency = self._rules.limit, self.truth.frequency
        true = self.truth.images.values()
        fewer = [] if frequency else [at for at in (1, 10) if at < limit]
        positives = count_positives(true, len(self.names))
        curves = rank_detections(images, positives, recall_at=fewer)
        if frequency:
            scores = lvis_scores(curves, frequency, limit)
        else:
            scores = coco_scores(curves, limit)
        if self._class_agnostic:
            one = [row[f"{task}, one class"] for row in rows]
            positives = count_positives(true, 1, one_class=True)
            agnostic = coco_scores(rank_detections(one, positives, recall_at=()), limit)
            for name in ("AP", "AP50", f"AR{limit}"):
                scores[f"{name}_agnostic"] = agnostic[name]
        if self._presence and task != "boundary":
            counts = [row[f"{task}, presence"] for row in rows]
            scores.update(presence_scores(np.sum(counts, axis=0)))
        if self._calibration:
            scores["D-ECE"] = detection_calibration_error(images)
        for name, precision in zip(self.names, curves.precision):
            scores[f"AP-{name}"] = percent(precision[0])
        return scores
