"""Sets with phrases: referring expressions, videos, region lines."""

from dataclasses import dataclass
from functools import partial
from typing import Callable, ClassVar, Dict, List, Optional, Sequence, Union

from segplugins.data.catalog import (
    as_vocabulary,
    check_count,
    dataset_root,
    existing_file,
    existing_folder,
    update_metadata,
)
from segplugins.data.read_video import youtube_evaluation_records, youtube_training_records
from segplugins.data.readers.lines import region_records
from segplugins.data.readers.referring import referring_records
from segplugins.data.sources import values
from segplugins.data.sources.description import Source, key, known_classes
from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

Words = Union[str, Vocabulary, Sequence[str], None]
Folder = Union[str, Sequence[str]]
ReadVideos = Callable[..., List[dict]]

SAMPLES = ("object", "image", "expressions")
_EVALUATOR_OF_LINES = {
    Task.INSTANCE: "coco",
    Task.DETECTION: "coco",
    Task.REFERRING: "generalised_referring",
    Task.SALIENT: "salient",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferringSource(Source):
    """One split of RefCOCO, RefCOCO+, RefCOCOg or gRefCOCO.

    Args:
        refs_file: refs(<split by>).p or grefs(<split by>).json, relative to $DETECTRON2_DATASETS.
        instances_file: instances.json beside it.
        image_root: folder of COCO train2014 or train2017.
        split: "train", "val", "testA", ...
        sample: what a record is, see `referring_records`.
        text: "raw" or "sent".
        generalised: scored as gRefCOCO is.
    """

    task: ClassVar[Task] = Task.REFERRING

    refs_file: str = key("refs", values.path, is_path=True)
    instances_file: str = key("annotations", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, is_path=True)
    split: str = key("split", values.text)
    sample: str = key("sample", values.choice(*SAMPLES))
    text: str = key(None, values.choice("raw", "sent"), default="raw")
    generalised: bool = key("generalised", values.boolean, default=False)

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns the records of the split."""
        refs = existing_file(self.refs_file, self.name, self.prepare)
        instances = existing_file(self.instances_file, self.name, self.prepare)
        update_metadata(self.name, annotation_source=("refs", str(refs), str(instances)))
        images = existing_folder(self.image_root, self.name, self.prepare)
        records = referring_records(
            refs,
            instances,
            images,
            split=self.split,
            sample=self.sample,
            text=self.text,
            policy=policy,
        )
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return records

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        kind = "generalised_referring" if self.generalised else "referring"
        return {"evaluator_type": kind, "vocabulary": None}


def youtube_reader(value: object) -> ReadVideos:
    """Returns the reader of a split of videos laid out as Ref-YouTube-VOS, or a reader as it is."""
    if callable(value):
        return value
    if value == "train":
        return youtube_training_records
    if value in ("valid", "test"):
        return partial(youtube_evaluation_records, split=value)
    raise ValueError("expected one of train, valid, test")


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoSource(Source):
    """Videos with referring expressions; a record is a frame.

    Args:
        video_records: a reader of read_video.py, from the folder and a policy for
            faults to the records.
        root: folder, relative to $DETECTRON2_DATASETS.
        evaluator_type: "video" or "ref_davis".
    """

    task: ClassVar[Task] = Task.REFERRING

    root: Folder = key("videos", values.paths, is_path=True)
    video_records: ReadVideos = key("split", youtube_reader)
    evaluator_type: str = key(None, values.choice("video", "ref_davis"), default="video")

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per frame."""
        folder = existing_folder(self.root, self.name, self.prepare)
        found = self.video_records(folder, policy=policy)
        number = len({record["video_id"] for record in found})
        check_count(self.name, number, self.expected, self.prepare, policy)
        return found

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": self.evaluator_type, "vocabulary": None}


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionSource(Source):
    """Region lines: JSON lines of images with (text, box, mask) regions.

    Args:
        lines: file or folder of shards, relative to $DETECTRON2_DATASETS; see `region_records`.
        image_root: folder that its file names are relative to.
        task: of lines that name none.
        vocabulary: the texts are its classes; None: texts are free.
        least_kept: images of which filters kept a smaller share of the regions are left out.
    """

    things: ClassVar[bool] = True

    lines: str = key("lines", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, is_path=True)
    task: Task = key("task", values.tasks(*_EVALUATOR_OF_LINES), default=Task.REFERRING)
    vocabulary: Words = key("vocabulary", values.words, default=None)
    least_kept: float = key("least_kept", values.share, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary is not None:
            words: Optional[Vocabulary] = as_vocabulary(self.vocabulary, self.name, things=True)
            object.__setattr__(self, "vocabulary", words)

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per line."""
        path = dataset_root() / self.lines
        if not path.is_dir():
            path = existing_file(self.lines, self.name, self.prepare)
        images = existing_folder(self.image_root, self.name, self.prepare)
        update_metadata(self.name, annotation_source=("lines", str(path), "", str(images)))
        records = region_records(
            path,
            images,
            task=self.task,
            vocabulary=self.vocabulary,
            least_kept=self.least_kept,
            policy=policy,
        )
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return records

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        classes = known_classes(self.vocabulary, "thing_classes") or {"vocabulary": None}
        return {"evaluator_type": _EVALUATOR_OF_LINES[self.task], **classes}
