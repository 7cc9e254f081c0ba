"""Sets of whole pictures with one class each: a folder of pictures for every class."""

from dataclasses import dataclass
from typing import ClassVar, Dict, List, Optional, Sequence, Union

from segplugins.data.catalog import as_vocabulary, check_count, existing_folder
from segplugins.data.sources import values
from segplugins.data.sources.description import Source, key
from segplugins.files.faults import Fault, FaultPolicy
from segplugins.files.folders import FileFolder
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

_NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassFolderSource(Source):
    """A folder that holds a folder of pictures for every class, as ImageNet's validation set.

    Args:
        image_root: that folder, relative to $DETECTRON2_DATASETS.
        vocabulary: registered name, vocabulary, or class names.
        folders: names of the classes' folders in the order of the vocabulary. None: class names.
        image_ext: how image files end, one or several; None: any known ending.
    """

    task: ClassVar[Task] = Task.CLASSIFICATION

    image_root: Union[str, Sequence[str]] = key("images", values.paths, is_path=True)
    vocabulary: Union[str, Vocabulary, Sequence[str]] = key("vocabulary", values.words)
    folders: Optional[Sequence[str]] = key("folders", values.classes, default=None)
    image_ext: Union[str, Sequence[str], None] = key("image_ext", values.endings, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        words = as_vocabulary(self.vocabulary, self.name)
        object.__setattr__(self, "vocabulary", words)
        folders = tuple(map(str, self.folders or words.classes))
        object.__setattr__(self, "folders", folders)
        if len(folders) != len(words) or len(set(folders)) < len(folders):
            raise ValueError(
                f"data set '{self.name}': {len(folders)} folders ({len(set(folders))} different) "
                f"for {len(words)} classes; name one for each class, in their order"
            )

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per picture, class by class; its id is folder and stem."""
        root = existing_folder(self.image_root, self.name, self.prepare)
        files = FileFolder(root, self.image_ext or ()).files()
        number = {folder: index for index, folder in enumerate(self.folders)}
        records: List[dict] = []
        other: List[str] = []
        for stem, paths in files.items():
            index = number.get(stem.partition("/")[0] if "/" in stem else "")
            if index is None:
                other += paths
                continue
            records += [
                {
                    "file_name": path,
                    "class_index": index,
                    "image_id": stem,
                    "dataset": self.name,
                    "task": Task.CLASSIFICATION,
                    "vocabulary": self.vocabulary.name,
                }
                for path in paths
            ]
        if other:
            message = f"{len(other)} pictures of {root} are in no folder of a class"
            policy.report(Fault("class", f"{message}, first {other[0]}", other[0]))
        if not records:
            names = ", ".join(self.folders[:_NAMED])
            raise FileNotFoundError(
                f"data set '{self.name}': {root} has no picture in folders such as {names}"
            )
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return sorted(records, key=lambda record: record["class_index"])

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": "classification", "vocabulary": self.vocabulary.name}
