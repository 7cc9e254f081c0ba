"""The "categories" of COCO, LVIS and panoptic files."""

from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

import msgspec

from segplugins.files.faults import FileFaults
from segplugins.files.values import LARGEST, Id, as_flag, as_id, is_unicode
from segplugins.structures.vocabulary import Vocabulary, folded

_NO_GROUP = (None, "", "none")


class CategoryEntry(msgspec.Struct):
    """One class of a file; as decoded, then in normal form.

    Args:
        id: tells it from the others.
        name: of the class.
        supercategory: group that it belongs to.
        isthing: whether instances are counted apart.
        frequency: LVIS: "r", "c" or "f".
        position: index in the file.
    """

    id: Any = None
    name: Any = None
    supercategory: Any = None
    isthing: Any = None
    frequency: Any = None
    position: int = -1


def folded_name(name: str) -> str:
    """Returns a class name without what authors spell differently: case, blanks, underscores."""
    return folded(name.replace("_", " "))


def class_of_name(vocabulary: Vocabulary) -> Dict[str, int]:
    """Returns the class index by folded name; synonyms are names too, class names go first."""
    indices: Dict[str, int] = {}
    for index, texts in enumerate(vocabulary.synonyms):
        for text in texts:
            indices.setdefault(folded_name(text), index)
    indices.update({folded_name(name): i for i, name in enumerate(vocabulary.classes)})
    return indices


def read_categories(
    listed: List[Tuple[int, CategoryEntry]],
    faults: FileFaults,
    *,
    used: Collection[Id],
    vocabulary: Optional[Vocabulary] = None,
    renamed: Optional[Mapping[int, str]] = None,
) -> Tuple[List[CategoryEntry], Dict[Id, Id]]:
    """Brings categories to normal form, in the order of their ids.

    Without id or name, of an id or name that came before, or of a name that the vocabulary lacks:
    faults. A category that only groups others and has no annotation is left out with a remark.

    Args:
        listed: position in the file and entry.
        faults: receives what is wrong.
        used: ids of the categories that annotations have.
        vocabulary: classes that the names must be among; None: the file decides.
        renamed: better names by id, where those of the file are misspelt.

    Returns:
        The categories, and for each id of the file the id of the category that it stands for.
    """
    class_indices = None if vocabulary is None else class_of_name(vocabulary)
    named = [(position, category) for position, category in listed if _name(category, renamed)]
    groups = _groups([category for _, category in named], used, class_indices)
    kept: List[CategoryEntry] = []
    alias: Dict[Id, Id] = {}
    first: Dict[str, Id] = {}
    for position, category in listed:
        field, entry = f"categories[{position}]", ("categories", position)
        number, name = category.id, category.name
        category.position = position
        try:
            number = category.id = as_id(number)
        except ValueError as error:
            message = f"category without an id: {error}"
            faults.report("id", message, field=f"{field}.id", entry=entry)
            continue
        if number in alias:
            message = f"category id {number} stands twice"
            faults.report("id", message, field=f"{field}.id", entry=entry)
        elif not isinstance(name, str) or not name:
            message = f"category {number} has the name {name!r:.40}"
            faults.report("name", message, field=field, entry=entry)
        elif not is_unicode(name):
            message = f"category {number} has the name {name!r:.40}, which is no Unicode text"
            faults.report("name", message, field=field, entry=entry)
        elif any(category is group for group in groups):
            message = f"category {number} '{name}' only groups others and has no annotation"
            faults.report("name", message, field=field, entry=entry, remark=True)
        elif class_indices is not None and folded_name(name) not in class_indices:
            message = (
                f"category {number} '{name}' is none of the {len(vocabulary)} classes of "
                f"vocabulary '{vocabulary.name}'"
            )
            faults.report("name", message, field=f"{field}.name", entry=entry)
        elif folded_name(name) in first:
            alias[number] = first[folded_name(name)]
            message = f"category {number} has the name '{name}' of category {alias[number]}"
            mend = ("same as", alias[number])
            faults.report("name", message, field=f"{field}.name", entry=entry, mend=mend)
        else:
            alias[number] = first[folded_name(name)] = number
            kept.append(category)
    return sorted(kept, key=lambda category: _order(category.id)), alias


def _name(category: CategoryEntry, renamed: Optional[Mapping[int, str]]) -> bool:
    """Brings a name to normal form; False if there is none."""
    try:
        number = as_id(category.id)
    except ValueError:
        number = None
    name = (renamed or {}).get(number, category.name)
    if isinstance(name, (int, float)) and not isinstance(name, bool) and abs(name) < LARGEST:
        name = str(name)  # classes such as 7 or 2024
    category.name = name.strip() if isinstance(name, str) else name
    return isinstance(name, str) and bool(category.name)


def _groups(
    categories: List[CategoryEntry],
    used: Collection[Id],
    class_indices: Optional[Mapping[str, int]],
) -> List[CategoryEntry]:
    """Returns the categories without annotations that only group others."""
    by_name: Dict[str, List[CategoryEntry]] = {}
    parents = set()
    for category in categories:
        by_name.setdefault(folded_name(category.name), []).append(category)
        parent = category.supercategory
        if isinstance(parent, str) and folded_name(parent) not in _NO_GROUP:
            parents.add(folded_name(parent))
    groups = []
    for category in categories:
        folded = folded_name(category.name)
        if _is_used(category, used) or not _is_root(category):
            continue
        twins = [other for other in by_name[folded] if other is not category]
        repeated = any(_is_used(twin, used) or not _is_root(twin) for twin in twins)
        # Of a vocabulary that names it, it is a class that this file happens not to show.
        empty_parent = folded in parents and (class_indices is None or folded not in class_indices)
        if repeated or (empty_parent and not twins):
            groups.append(category)
    return groups


def _is_root(category: CategoryEntry) -> bool:
    parent = category.supercategory
    return parent is None or (isinstance(parent, str) and folded_name(parent) in _NO_GROUP)


def _is_used(category: CategoryEntry, used: Collection[Id]) -> bool:
    try:
        return as_id(category.id) in used
    except ValueError:
        return False


def _order(number: Id) -> Tuple[bool, Any]:
    return isinstance(number, str), number


def is_thing(category: CategoryEntry) -> bool:
    """Returns whether instances of a category are counted apart; True where the file is silent.

    Raises:
        ValueError: "isthing" is no truth value.
    """
    return True if category.isthing is None else as_flag(category.isthing)
