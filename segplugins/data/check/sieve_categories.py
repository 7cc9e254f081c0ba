"""Categories and images of COCO files: those that can be used, and which stand for the same."""

from typing import Any, Dict, List, Mapping, Optional, Tuple

from segplugins.data.check.notes import Notes, is_id, is_size
from segplugins.structures.vocabulary import Vocabulary

# Entries that are kept, and per id that a file uses the id that is kept for it.
Kept = Tuple[List[Dict[str, Any]], Dict[Any, Any]]


def sift_categories(
    listed: List[Mapping[str, Any]],
    notes: Notes,
    *,
    words: Optional[Vocabulary] = None,
    renamed: Optional[Mapping[int, str]] = None,
) -> Kept:
    """Takes out categories without id or name, of an id or name seen before, or unknown ones.

    Args:
        listed: "categories" of the file.
        notes: gets the faults.
        words: classes that the names must be among; None: the file's own.
        renamed: better names by id, see `register_instances`.
    """
    kept: List[Dict[str, Any]] = []
    alias: Dict[Any, Any] = {}
    first: Dict[str, Any] = {}
    known = None if words is None else {plain(t) for texts in _texts(words) for t in texts}
    for position, category in enumerate(listed):
        number, field = category.get("id"), f"categories[{position}]"
        name = (renamed or {}).get(number, category.get("name")) if is_id(number) else None
        if not is_id(number):
            notes.note("id", f"category without an id: {number!r:.40}", field=f"{field}.id")
        elif number in alias:
            notes.note("id", f"category id {number} stands twice", field=f"{field}.id")
        elif not isinstance(name, str) or not name.strip():
            notes.note("name", f"category {number} has the name {name!r:.40}", field=field)
        elif known is not None and plain(name) not in known:
            notes.note(
                "name",
                f"category {number} '{name}' is none of the {len(words)} classes of vocabulary "
                f"'{words.name}'",
                field=f"{field}.name",
            )
        elif plain(name) in first:
            alias[number] = first[plain(name)]
            notes.note(
                "name",
                f"category {number} has the name '{name}' of category {alias[number]}",
                field=f"{field}.name",
            )
        else:
            alias[number] = first[plain(name)] = number
            kept.append(dict(category))
    return kept, alias


def plain(name: str) -> str:
    """Returns a class name as files of different authors agree on it."""
    return name.strip().lower().replace("_", " ")


def _texts(words: Vocabulary) -> List[Tuple[str, ...]]:
    return [(name, *texts) for name, texts in zip(words.classes, words.synonyms)]


def sift_images(listed: List[Mapping[str, Any]], notes: Notes) -> Kept:
    """Takes out images without id, file or size, and of an id or file seen before."""
    kept: List[Dict[str, Any]] = []
    alias: Dict[Any, Any] = {}
    first: Dict[str, Any] = {}
    for position, image in enumerate(listed):
        number, field = image.get("id"), f"images[{position}]"
        file = image.get("file_name") or image.get("coco_url")
        sizes = {key: image.get(key) for key in ("height", "width")}
        wrong = {key: value for key, value in sizes.items() if not is_size(value)}
        if not is_id(number) or number in alias:
            what = f"id {number} stands twice" if is_id(number) else f"no id: {number!r:.40}"
            notes.note("id", f"image: {what}", record=number, field=f"{field}.id")
        elif not isinstance(file, str) or "\0" in file:
            message = f"got {file!r:.60}, expected the path of the image"
            notes.note("path", message, record=number, field=f"{field}.file_name")
        elif wrong:
            message = f"got {wrong}, expected numbers of pixels"
            notes.note("image-size", message, record=number, field=field)
        elif file in first:
            alias[number] = first[file]
            message = f"{file} is image {first[file]} already; the two share the annotations"
            notes.note("id", message, record=number, field=f"{field}.file_name")
        else:
            alias[number] = first[file] = number
            kept.append(dict(image))
    return kept, alias
