"""Registration of sets with phrases: referring expressions, salient objects, videos, region lines.

Folders and files are relative to $DETECTRON2_DATASETS and are looked at when a set is loaded.
"""

from pathlib import Path
from typing import Callable, List, Optional

from segplugins.data.catalog import (
    as_vocabulary,
    check_count,
    existing_file,
    existing_folder,
    register,
    update_metadata,
)
from segplugins.data.read_folders import listed_pairs, pair_by_stem
from segplugins.data.readers.lines import region_records
from segplugins.data.readers.referring import referring_records
from segplugins.data.register import Count, Folder, Words, known_classes
from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Task


def register_referring(
    name: str,
    *,
    refs_file: str,
    instances_file: str,
    image_root: Folder,
    split: str,
    sample: str,
    text: str = "raw",
    generalised: bool = False,
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers one split of RefCOCO, RefCOCO+, RefCOCOg or gRefCOCO.

    Args:
        name: of the data set.
        refs_file: refs(<split by>).p or grefs(<split by>).json, relative to $DETECTRON2_DATASETS.
        instances_file: instances.json beside it.
        image_root: folder of COCO train2014 or train2017.
        split: "train", "val", "testA", ...
        sample: what a record is, see `referring_records`.
        text: "raw" or "sent".
        generalised: scored as gRefCOCO is.
        licence: under which the source gives it out.
        expected: number of records.
        prepare: command that makes the files.
        metadata: what else the set is known by.

    Raises:
        FileNotFoundError, ValueError: on loading, see `referring_records`.
    """

    def load(policy: FaultPolicy) -> List[dict]:
        refs = existing_file(refs_file, name, prepare)
        instances = existing_file(instances_file, name, prepare)
        update_metadata(name, annotation_source=("refs", str(refs), str(instances)))
        images = existing_folder(image_root, name, prepare)
        records = referring_records(
            refs, instances, images, split=split, sample=sample, text=text, policy=policy
        )
        check_count(name, len(records), expected, prepare, policy)
        return records

    register(
        name,
        load,
        evaluator_type="generalised_referring" if generalised else "referring",
        vocabulary=None,
        licence=licence,
        task=Task.REFERRING,
        **metadata,
    )


def register_salient(
    name: str,
    *,
    image_root: Folder,
    mask_root: Folder,
    phrase: str = "the most salient object",
    image_ext: str = "jpg",
    mask_ext: str = "png",
    list_file: Optional[str] = None,
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers a folder of images and a folder of grey masks: salient, dichotomous, foreground.

    Args:
        name: of the data set.
        image_root: folder of images, relative to $DETECTRON2_DATASETS.
        mask_root: folder of masks, one per image, of the same stem; above 128 is object.
        phrase: what a model is asked for.
        image_ext: how image files end.
        mask_ext: how mask files end.
        list_file: names of the files that belong to the set, one a line; None: all.
        licence: under which the source gives it out.
        expected: number of images.
        prepare: command that makes the folders.
        metadata: what else the set is known by.

    Raises:
        FileNotFoundError: on loading: a folder is missing, or a mask without an image.
        ValueError: on loading: another number of images than expected.
    """

    def load(policy: FaultPolicy) -> List[dict]:
        images = existing_folder(image_root, name, prepare)
        masks = existing_folder(mask_root, name, prepare)
        pairs = pair_by_stem(images, masks, image_ext, mask_ext, policy)
        if list_file is not None:
            listed = existing_file(list_file, name, prepare).read_text().split()
            pairs = listed_pairs(pairs, listed, list_file, policy)
        check_count(name, len(pairs), expected, prepare, policy)
        return [
            {
                "file_name": image,
                "mask_file_name": mask,
                "texts": [phrase],
                "image_id": Path(mask).stem,
                "task": Task.SALIENT,
                "vocabulary": None,
            }
            for image, mask in pairs
        ]

    register(
        name,
        load,
        evaluator_type="salient",
        vocabulary=None,
        licence=licence,
        task=Task.SALIENT,
        **metadata,
    )


def register_videos(
    name: str,
    records: Callable[[Path], List[dict]],
    *,
    root: str,
    evaluator_type: str = "video",
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers videos with referring expressions; a record is a frame.

    Args:
        name: of the data set.
        records: a reader of read_video.py, from the folder to the records.
        root: folder, relative to $DETECTRON2_DATASETS.
        evaluator_type: "video" or "ref_davis".
        licence: under which the source gives it out.
        expected: number of videos.
        prepare: command that makes the folder.
        metadata: what else the set is known by.

    Raises:
        FileNotFoundError, ValueError: on loading: files are missing or do not fit.
    """

    def load(policy: FaultPolicy) -> List[dict]:
        found = records(existing_folder(root, name, prepare))
        check_count(name, len({record["video_id"] for record in found}), expected, prepare, policy)
        return found

    register(
        name,
        load,
        evaluator_type=evaluator_type,
        vocabulary=None,
        licence=licence,
        task=Task.REFERRING,
        **metadata,
    )


_EVALUATOR_OF_LINES = {
    Task.INSTANCE: "coco",
    Task.DETECTION: "coco",
    Task.REFERRING: "generalised_referring",
    Task.SALIENT: "salient",
}


def register_regions(
    name: str,
    *,
    lines: str,
    image_root: str,
    task: Task,
    vocabulary: Optional[Words] = None,
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers region lines: JSON lines of images with (text, box, mask) regions.

    Args:
        name: of the data set.
        lines: file, relative to $DETECTRON2_DATASETS; see `region_records` for its form.
        image_root: folder that its file names are relative to.
        task: of lines that name none.
        vocabulary: the texts are its classes; None: texts are free.
        licence: under which the source gives it out.
        expected: number of images.
        prepare: command that makes the file.
        metadata: what else the set is known by.

    Raises:
        FileNotFoundError: on loading: file or folder is missing.
        ValueError: a task that regions do not describe; on loading: a line that is no record.
    """
    if task not in _EVALUATOR_OF_LINES:
        raise ValueError(
            f"data set '{name}': region lines are for {[str(t) for t in _EVALUATOR_OF_LINES]}, "
            f"got '{task}'"
        )
    words = None if vocabulary is None else as_vocabulary(vocabulary, name, things=True)

    def load(policy: FaultPolicy) -> List[dict]:
        path = existing_file(lines, name, prepare)
        images = existing_folder(image_root, name, prepare)
        update_metadata(name, annotation_source=("lines", str(path), "", str(images)))
        records = region_records(path, images, task=task, vocabulary=words, policy=policy)
        check_count(name, len(records), expected, prepare, policy)
        return records

    register(
        name,
        load,
        evaluator_type=_EVALUATOR_OF_LINES[task],
        licence=licence,
        task=task,
        **{**(known_classes(words, "thing_classes") or {"vocabulary": None}), **metadata},
    )
