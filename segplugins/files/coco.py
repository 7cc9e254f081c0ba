"""COCO instance files and what has their form: LVIS, Objects365, SeginW, boxes only.

The one reading of such a file: training, evaluation, the checker and the cleaned copy all start
here. Entries come out in normal form (see values.py); what is wrong goes to a fault policy.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Type,
    Union,
)

import msgspec
from tqdm import tqdm

from segplugins.files.coco_annotations import InstanceEntry, read_annotations
from segplugins.files.coco_categories import CategoryEntry, read_categories
from segplugins.files.coco_images import ImageEntry, read_images
from segplugins.files.coco_masks import span_of_masks
from segplugins.files.exchange import is_foreign, read_foreign
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.json_file import read_json, without_collection
from segplugins.files.values import Id, as_id
from segplugins.structures.vocabulary import Vocabulary

_MANY = 100_000  # annotations from which on a progress bar is shown
_CATEGORY_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


class _Content(msgspec.Struct):
    """A file as it is decoded; an entry that is no mapping makes it be decoded as it is."""

    images: Union[List[ImageEntry], msgspec.UnsetType] = msgspec.UNSET
    annotations: Union[List[InstanceEntry], msgspec.UnsetType] = msgspec.UNSET
    categories: Union[List[CategoryEntry], msgspec.UnsetType] = msgspec.UNSET


class Meant(NamedTuple):
    """Ids of the images and annotations that another file refers to."""

    images: Set[Id]
    annotations: Set[Id]


@dataclass
class InstanceFile:
    """A COCO instance file in normal form.

    Args:
        path: of the file.
        images: by id, in the order of the file.
        categories: in the order of their ids; empty where nobody asked for them.
        annotations: in the order of the file, each of one of the images and categories.
        has_annotations: False for the file of a test set, which has no "annotations".
    """

    path: str
    images: Dict[Id, ImageEntry] = field(default_factory=dict)
    categories: List[CategoryEntry] = field(default_factory=list)
    annotations: List[InstanceEntry] = field(default_factory=list)
    has_annotations: bool = True


@without_collection()
def read_instances(
    path: Union[str, Path],
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    vocabulary: Optional[Vocabulary] = None,
    renamed: Optional[Mapping[int, str]] = None,
    keep_parts: Optional[int] = None,
    boxes_only: bool = False,
    with_categories: bool = True,
    with_annotations: bool = True,
    only: Optional[Meant] = None,
    foreign: Optional[Mapping[str, Any]] = None,
) -> InstanceFile:
    """Reads a COCO instance file, or one of an annotation program, to the end.

    Args:
        path: of the JSON file; of the others see `is_foreign`.
        policy: receives the faults of single entries, which are mended or left out if it returns.
        image_root: folder of the pictures, for sizes that the file lacks; None: unknown.
        vocabulary: classes that the categories must be among; None: the file decides.
        renamed: better names by category id.
        keep_parts: so many parts of the path of a picture stand below the folder; None: all.
        boxes_only: masks are neither read nor checked.
        with_categories: whether the classes matter; referring expressions have none.
        with_annotations: whether a file without "annotations" is refused.
        only: read only these images and annotations; the rest may be as it is.
        foreign: options of `read_foreign`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such JSON file; a `FaultError` of a strict policy is one too.
    """
    keys = ["images"]
    keys += ["annotations"] if with_annotations else []
    keys += ["categories"] if with_categories else []
    if is_foreign(path):
        content: Any = read_foreign(path, policy, image_root=image_root, **(foreign or {}))
    else:
        content = read_json(path, *keys, type=_Content, inner=_within_annotations)
    faults = FileFaults(str(path), policy)
    has_annotations = _has(content, "annotations")
    listed = entries_of(content, "annotations", InstanceEntry, faults) if has_annotations else []
    listed_images = entries_of(content, "images", ImageEntry, faults)
    if only is not None:
        listed = _chosen(listed, only.annotations)
        of_annotations = _numbers(annotation.image_id for _, annotation in listed)
        listed_images = _chosen(listed_images, of_annotations | only.images)
    images, image_of = read_images(
        listed_images,
        faults,
        image_root=image_root,
        keep_parts=keep_parts,
    )
    result = InstanceFile(str(path), images, has_annotations=has_annotations)
    category_of = None
    if with_categories:
        result.categories, category_of = read_categories(
            entries_of(content, "categories", CategoryEntry, faults),
            faults,
            used=_numbers(annotation.category_id for _, annotation in listed),
            vocabulary=vocabulary,
            renamed=renamed,
        )
        for image in images.values():
            _read_category_lists(image, category_of, faults)
    result.annotations = read_annotations(
        _shown(listed, str(path)), images, image_of, category_of, faults, boxes_only=boxes_only
    )
    return result


def _within_annotations(content: _Content, data: bytes) -> slice:
    listed = content.annotations
    return span_of_masks([] if listed is msgspec.UNSET else listed, data)


def _chosen(listed: List[Tuple[int, Any]], numbers: Set[Id]) -> List[Tuple[int, Any]]:
    return [pair for pair in listed if _numbers([pair[1].id]) & numbers]


def _has(content: Any, key: str) -> bool:
    if isinstance(content, msgspec.Struct):
        return getattr(content, key) is not msgspec.UNSET
    return key in content


def entries_of(
    content: Any, key: str, entry: Type[msgspec.Struct], faults: FileFaults
) -> List[Tuple[int, Any]]:
    """Returns (position, entry) of a list of a decoded file.

    Args:
        content: a struct with lists of entries, or what JSON holds.
        key: of the list.
        entry: type of its entries.
        faults: receives entries that are no mappings.
    """
    if isinstance(content, msgspec.Struct):
        return list(enumerate(getattr(content, key)))
    names = entry.__struct_fields__
    return [
        (position, entry(**{name: given[name] for name in names if name in given}))
        for position, given in faults.entries(content, key)
    ]


def _shown(listed: List[Any], path: str) -> Iterator[Any]:
    if len(listed) < _MANY:
        return iter(listed)
    return iter(tqdm(listed, desc=f"reading {Path(path).name}", unit="annotation", disable=None))


def _numbers(given: Iterable[Any]) -> Set[Id]:
    """Returns the ids among values."""
    given = list(given)
    if {int}.issuperset(map(type, given)):
        return set(given)
    numbers = set()
    for value in {(type(value), str(value)): value for value in given}.values():
        try:
            numbers.add(as_id(value))
        except ValueError:
            continue
    return numbers


def _read_category_lists(
    image: ImageEntry, category_of: Mapping[Id, Id], faults: FileFaults
) -> None:
    for key in _CATEGORY_LISTS:
        given = getattr(image, key)
        if given is None:
            continue
        unknown, kept = [], []
        for number in given if isinstance(given, list) else [given]:
            try:
                kept.append(category_of[as_id(number)])
            except (ValueError, KeyError):
                unknown.append(number)
        if unknown:
            message = f"{key} holds {unknown[:5]}, which is no category"
            place = {"record": image.id, "entry": ("images", image.position)}
            faults.report("unknown-id", message, field=key, mend=(key, kept), **place)
        setattr(image, key, kept)
