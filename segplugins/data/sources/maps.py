"""Folders of images with a folder of label maps or masks, one file each, of the same stem."""

from dataclasses import dataclass
from typing import ClassVar, Dict, List, Optional, Sequence, Tuple, Union

from segplugins.data.catalog import (
    as_vocabulary,
    check_count,
    check_order,
    dataset_root,
    existing_file,
    existing_folder,
)
from segplugins.data.sources import values
from segplugins.data.sources.description import Source, key, seen_indices
from segplugins.files.faults import FaultPolicy
from segplugins.files.folders import LABEL_ENDINGS, FileFolder, Pair, listed_pairs, pair_files
from segplugins.files.json_file import read_json
from segplugins.files.label_coding import LabelCoding, colour_number
from segplugins.files.raster import ENDINGS
from segplugins.files.text import read_lines
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

Words = Union[str, Vocabulary, Sequence[str]]
Folder = Union[str, Sequence[str]]

_IGNORED = 255
_IGNORED_OF_16_BITS = 65535

# Vocabularies whose names count as other classes (class_map), with a set that says how. Label maps
# do not hold indices of these names.
_FOLDED: Dict[str, str] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderSource(Source):
    """What sets of two folders have in common.

    Args:
        image_root: folder of images, relative to $DETECTRON2_DATASETS; of several the first that
            exists.
        image_ext: how image files end, one or several; None: any known ending.
        image_prefix: what stands in front of the stem of image names.
        image_suffix: what stands between stem and ending, such as "_leftImg8bit".
        label_prefix, label_suffix: the same of label files, such as "_mask".
        list_file: names of the files that belong to the set, one a line; None: all.
    """

    image_root: Folder = key("images", values.paths, is_path=True)
    image_ext: Union[str, Sequence[str], None] = key("image_ext", values.endings, default=None)
    image_prefix: str = key("image_prefix", values.affix, default="")
    image_suffix: str = key("image_suffix", values.affix, default="")
    label_prefix: str = key("label_prefix", values.affix, default="")
    label_suffix: str = key("label_suffix", values.affix, default="")
    list_file: Optional[str] = key("list_file", values.path, default=None, is_path=True)

    def pairs(
        self,
        label_root: Folder,
        label_ext: Optional[Sequence[str]],
        policy: FaultPolicy,
        default: Sequence[str],
    ) -> Dict[str, Pair]:
        """Returns (image file, label file) by stem.

        Raises:
            FileNotFoundError: a folder, the list or every label file is missing.
        """
        images = FileFolder(
            existing_folder(self.image_root, self.name, self.prepare),
            self.image_ext or (),
            self.image_prefix,
            self.image_suffix,
        )
        labels = FileFolder(
            existing_folder(label_root, self.name, self.prepare),
            label_ext or (),
            self.label_prefix,
            self.label_suffix,
            default,
        )
        pairs = pair_files(images, labels, policy)
        if self.list_file is not None:
            path = existing_file(self.list_file, self.name, self.prepare)
            names = read_lines(path, policy)
            pairs = listed_pairs(pairs, names, (images, labels), str(path), policy)
        check_count(self.name, len(pairs), self.expected, self.prepare, policy)
        return pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class SemanticSource(FolderSource):
    """A folder of images and a folder of label maps.

    Args:
        label_root: folder of label maps, relative to $DETECTRON2_DATASETS.
        vocabulary: registered name, vocabulary, or class names; label k is its class k.
        label_ext: how label files end, one or several; None: any format that keeps values.
        ignore_label: label of pixels that carry no class, or several. None: 255.
        first_label: label of the first class; the others follow.
        label_values: class (name or index) of every label instead, None for labels of no class.
        label_colours: colour of every class, or several, if the maps are coloured.
        ignore_colours: colours of pixels that carry no class.
        seen: names or indices of the classes whose masks a model may have been trained on; the
            others are reported as unseen.
        class_map: per class of the vocabulary the evaluated class it counts as. None: itself.
        eval_classes: names of the evaluated classes, for `class_map`. None: the vocabulary's.
        categories_file: COCO JSON of the source; if it exists, its categories must be the classes
            in their order.
        task: SEMANTIC, or PART.
    """

    label_root: Folder = key("labels", values.paths, is_path=True)
    vocabulary: Words = key("vocabulary", values.words)
    label_ext: Union[str, Sequence[str], None] = key(
        "label_ext", values.label_endings, default=None
    )
    ignore_label: Union[int, Sequence[int], None] = key("ignore_label", values.labels, default=None)
    first_label: int = key("first_label", values.whole(0, 65535), default=0)
    label_values: Optional[Sequence] = key("label_values", values.label_values, default=None)
    label_colours: Optional[Sequence] = key("label_colours", values.colour_table, default=None)
    ignore_colours: Sequence = key("ignore_colours", values.colours, default=())
    seen: Optional[Sequence] = key("seen", values.classes, default=None)
    class_map: Optional[Sequence[int]] = key(None, values.classes, default=None)
    eval_classes: Optional[Sequence[str]] = key(None, values.classes, default=None)
    categories_file: Optional[str] = key(None, values.path, default=None)
    task: Task = key("task", values.tasks(Task.SEMANTIC, Task.PART), default=Task.SEMANTIC)

    def __post_init__(self) -> None:
        super().__post_init__()
        words = as_vocabulary(self.vocabulary, self.name)
        object.__setattr__(self, "vocabulary", words)
        evaluated = self.eval_classes if self.eval_classes is not None else words.classes
        object.__setattr__(self, "eval_classes", tuple(evaluated))
        object.__setattr__(self, "seen", seen_indices(self.seen, self.eval_classes, self.name))
        self._check_class_map(words)
        try:
            self.label_coding()
        except ValueError as error:
            raise ValueError(f"data set '{self.name}': {error}") from error

    def _check_class_map(self, words: Vocabulary) -> None:
        evaluated, class_map = self.eval_classes, self.class_map
        where = f"data set '{self.name}'"
        if class_map is None and len(evaluated) != len(words):
            raise ValueError(
                f"{where}: {len(evaluated)} eval_classes for {len(words)} classes of vocabulary "
                f"'{words.name}' need a class_map from the one to the other"
            )
        if class_map is None and words.name in _FOLDED:
            raise ValueError(
                f"{where}, vocabulary: '{words.name}' holds names to ask for, several of which "
                f"count as one class (class_map of '{_FOLDED[words.name]}'), so labels are not "
                f"their indices; name the classes of the label maps, as 'voc_21' does for VOC"
            )
        if class_map is not None and len(class_map) != len(words):
            raise ValueError(
                f"{where}: class_map has {len(class_map)} entries for {len(words)} classes"
            )
        for index in class_map or ():
            if not 0 <= index < len(evaluated):
                raise ValueError(
                    f"{where}: class_map holds {index}, expected 0 to {len(evaluated) - 1}"
                )
        if class_map is not None:
            _FOLDED[words.name] = self.name

    def label_coding(self) -> LabelCoding:
        """Returns what the pixels of the label files mean.

        Raises:
            ValueError: keys that exclude each other, an unknown class, a class without a colour.
        """
        names = self.eval_classes
        given = [
            name
            for name, is_given in (
                ("first_label", self.first_label != 0),
                ("label_values", self.label_values is not None),
                ("label_colours", self.label_colours is not None),
            )
            if is_given
        ]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} exclude each other; give one of them")
        if self.label_colours is not None:
            return self._colour_coding(names)
        if self.ignore_colours:
            raise ValueError("ignore_colours needs label_colours, the colours of the classes")
        if self.label_values is not None:
            return self._value_coding(names)
        ignored = self.ignore_label if self.ignore_label is not None else (_IGNORED,)
        return LabelCoding(len(names), ignored, first_label=self.first_label)

    def _value_coding(self, names: Sequence[str]) -> LabelCoding:
        pairs, ignored = [], list(self.ignore_label or ())
        for label, meaning in self.label_values:
            if meaning is None:
                ignored.append(label)
            elif label in ignored:
                raise ValueError(f"label {label} is both class {meaning!r} and in ignore_label")
            else:
                pairs.append((label, values.class_index(meaning, names, "label_values")))
        if self.ignore_label is None and _IGNORED not in dict(self.label_values):
            ignored.append(_IGNORED)
        return LabelCoding(len(names), tuple(ignored), values=tuple(pairs))

    def _colour_coding(self, names: Sequence[str]) -> LabelCoding:
        if self.ignore_label is not None:
            raise ValueError("ignore_label is for numbers; colours of no class are ignore_colours")
        without = sorted(set(names) - {name for name, _ in self.label_colours})
        if without:
            raise ValueError(f"label_colours gives no colour for class '{without[0]}'")
        pairs = tuple(
            (colour_number(colour), values.class_index(name, names, "label_colours"))
            for name, colours in self.label_colours
            for colour in colours
        )
        ignored = tuple(colour_number(colour) for colour in self.ignore_colours)
        return LabelCoding(len(names), ignored, values=pairs, colours=True)

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per pair of files; its id is the stem."""
        if self.categories_file is not None:
            self._check_categories()
        pairs = self.pairs(self.label_root, self.label_ext, policy, LABEL_ENDINGS)
        return [
            {
                "file_name": image,
                "sem_seg_file_name": label,
                "image_id": stem,
                "dataset": self.name,
                "task": self.task,
                "vocabulary": self.vocabulary.name,
            }
            for stem, (image, label) in pairs.items()
        ]

    def _check_categories(self) -> None:
        path = dataset_root() / self.categories_file
        if path.is_file():
            listed = sorted(read_json(path, "categories")["categories"], key=lambda c: c["id"])
            words = self.vocabulary
            without_none = [name for name in words.classes if name != words.none_class]
            check_order(without_none, [category["name"] for category in listed], path)

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        coding = self.label_coding()
        ignore_label = coding.ignored[0] if coding.is_plain else _IGNORED
        if not coding.is_plain and len(self.eval_classes) > _IGNORED:
            ignore_label = _IGNORED_OF_16_BITS
        root = self.image_root if isinstance(self.image_root, str) else self.image_root[0]
        return {
            "evaluator_type": "sem_seg",
            "vocabulary": self.vocabulary.name,
            "stuff_classes": list(self.eval_classes),
            "ignore_label": ignore_label,
            "label_coding": coding,
            "seen": self.seen,
            "class_map": self.class_map,
            "image_root": root,
            "sem_seg_root": self.label_root,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SalientSource(FolderSource):
    """A folder of images and a folder of grey masks: salient, dichotomous, foreground.

    Args:
        mask_root: folder of masks, relative to $DETECTRON2_DATASETS; above 128 is object.
        phrase: what a model is asked for.
        mask_ext: how mask files end, one or several; None: any known ending.
    """

    mask_root: Folder = key("masks", values.paths, is_path=True)
    phrase: str = key("phrase", values.text, default="the most salient object")
    mask_ext: Union[str, Sequence[str], None] = key("mask_ext", values.endings, default=None)
    task: ClassVar[Task] = Task.SALIENT

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per pair of files; its id is the stem."""
        pairs: Dict[str, Tuple[str, str]] = self.pairs(
            self.mask_root, self.mask_ext, policy, ENDINGS
        )
        return [
            {
                "file_name": image,
                "mask_file_name": mask,
                "texts": [self.phrase],
                "image_id": stem,
                "task": Task.SALIENT,
                "vocabulary": None,
            }
            for stem, (image, mask) in pairs.items()
        ]

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": "salient", "vocabulary": None}
