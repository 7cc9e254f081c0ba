"""What instances of a data set are compared: its truth, held against its records, and its tasks."""

from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from detectron2.data import MetadataCatalog

from segplugins.evaluation.instance_records import truth_from_records
from segplugins.evaluation.instance_truth import InstanceTruth, truth_from_file
from segplugins.evaluation.sample_identity import describe
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task

TASKS = ("bbox", "segm", "boundary")


def read_truth(
    dataset_name: str, records: Sequence[Mapping], tasks: Optional[Sequence[str]]
) -> InstanceTruth:
    """Returns the true instances of a data set, from its file or else from its records.

    Args:
        dataset_name: for its metadata.
        records: of the catalog.
        tasks: of `TASKS`; None = those that suit the truth.

    Raises:
        ValueError: unknown tasks, a fault of the truth, records without or with equal image ids,
            or other images in the file than in the records.
    """
    if tasks is not None and (isinstance(tasks, str) or not tasks or set(tasks) - set(TASKS)):
        raise ValueError(f"tasks must be a list of one or more of {TASKS}, got {tasks!r}")
    _check_ids(dataset_name, records)
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("json_file"):
        boxes_only = metadata.get("task") == Task.DETECTION if tasks is None else False
        truth = truth_from_file(
            metadata.json_file,
            with_masks=not boxes_only and (tasks is None or set(tasks) != {"bbox"}),
            image_root=metadata.get("image_root"),
            **metadata.get("reading", {}),
        )
        _check_images(dataset_name, records, truth, metadata.json_file)
        return truth
    if metadata.get("vocabulary"):
        names = get_vocabulary(metadata.vocabulary).classes
    else:
        names = tuple(metadata.get("thing_classes", ()))
    if not names:
        raise ValueError(
            f"data set '{dataset_name}' has no vocabulary: task instance needs a vocabulary to be "
            "scored; name its classes where the set is registered (vocabulary: [...])"
        )
    return truth_from_records(records, names)


def _check_ids(dataset_name: str, records: Sequence[Mapping]) -> None:
    first: Dict[Any, Mapping] = {}
    for record in records:
        if "image_id" not in record:
            raise ValueError(
                f"data set '{dataset_name}': {describe(record)} has no image_id, by which "
                "instances are compared with their truth"
            )
        other = first.setdefault(record["image_id"], record)
        if other is not record:
            raise ValueError(
                f"data set '{dataset_name}': {describe(other)} and {describe(record)} have one "
                f"image_id {record['image_id']!r}; each image needs its own"
            )


def _check_images(
    dataset_name: str, records: Sequence[Mapping], truth: InstanceTruth, file: str
) -> None:
    ids = {record["image_id"] for record in records}
    for record in records:
        if record["image_id"] not in truth.images:
            raise ValueError(f"{describe(record)}: {file} knows no such image")
    absent = [identity for identity in truth.images if identity not in ids]
    if absent:
        raise ValueError(
            f"data set '{dataset_name}' has no record of {len(absent)} of the {len(truth.images)} "
            f"images in {file}, of image {absent[0]!r} for one: what they show would not count as "
            "missed. Register all images of the file, or a file of these images only"
        )


def tasks_of_truth(
    dataset_name: str, truth: InstanceTruth, tasks: Optional[Sequence[str]]
) -> Tuple[str, ...]:
    """Returns what is compared: the tasks that were asked for, or those that suit the truth.

    These are boxes; and masks, unless the set is one of boxes.

    Raises:
        ValueError: masks are to be compared, but true instances have none.
    """
    instances, masks = truth.count_masks()
    if tasks is None:
        is_of_boxes = MetadataCatalog.get(dataset_name).get("task") == Task.DETECTION or not masks
        tasks = TASKS[:1] if truth.is_known and is_of_boxes else TASKS[:2]
    if set(tasks) != {"bbox"} and masks < instances:
        raise ValueError(
            f"data set '{dataset_name}': {instances - masks} of {instances} true instances "
            "have no mask; register it for detection, or mend its annotations"
        )
    return tuple(tasks)
