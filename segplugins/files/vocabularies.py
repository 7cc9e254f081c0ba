"""Vocabularies that users write: after `--vocabulary`, in files, in descriptions of data sets."""

import json
import logging
import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, List, Mapping

from segplugins.files.text import read_lines, read_text, read_yaml
from segplugins.structures.vocabulary import (
    Vocabulary,
    get_vocabulary,
    nearest_vocabulary,
    registered_vocabularies,
    vocabulary_doubts,
    vocabulary_from_data,
)

__all__ = ["KINDS_OF_THINGS", "parse_vocabulary", "read_vocabulary", "vocabulary_of"]

logger = logging.getLogger(__name__)

_ENDINGS = (".txt", ".json", ".yaml", ".yml")
_WHAT = "vocabulary file"
# A single name as similar as this to a registered one is taken for it, mistyped, if it looks like
# an identifier. A plain word stays a class, and one line says which registered name is near.
_MISTYPED = 0.7
_NEAR = 0.85
_IDENTIFIER = re.compile(r"\w*[\d_]\w*")
# Kinds of data sets whose classes are things; `Source.things` says the same of their readers.
KINDS_OF_THINGS = ("coco", "regions", "labelme", "cvat", "yolo")
_DOUBTS_SHOWN = 5


def parse_vocabulary(text: str) -> Vocabulary:
    """Reads what a user writes after `--vocabulary`.

    Args:
        text: the name of a registered vocabulary; a file, see `read_vocabulary`; or class names
            separated by commas, with synonyms separated by "|": "red car, tree|shrub, sky". A
            single class that looks like the name of a registered vocabulary ("drawn_sen") is
            followed by a comma.

    Raises:
        FileNotFoundError: it looks like a file and there is no such file.
        ValueError: the file or the text does not describe a vocabulary, or it is nearly the name
            of a registered one.

    Example:
        >>> parse_vocabulary("red car, tree|shrub").synonyms
        (('red car',), ('tree', 'shrub'))
    """
    if text in registered_vocabularies():
        return get_vocabulary(text)
    if Path(text).suffix.lower() in _ENDINGS:
        return read_vocabulary(Path(text))
    if "," not in text and "|" not in text:
        _check_single(text)
    entries = [entry.strip() for entry in text.split(",")]
    if entries and not entries[-1]:
        entries = entries[:-1]  # a trailing comma is a habit, not a class
    synonyms = [tuple(part.strip() for part in entry.split("|")) for entry in entries]
    return _with_doubts_logged(
        Vocabulary(
            name=text, classes=tuple(texts[0] for texts in synonyms), synonyms=tuple(synonyms)
        )
    )


def _check_single(text: str) -> None:
    """Refuses a single name that is likely no class; logs a line where a plain word may be none."""
    is_identifier = _IDENTIFIER.fullmatch(text) is not None
    cutoff = _MISTYPED if is_identifier else _NEAR
    nearest = get_close_matches(text.lower(), registered_vocabularies(), n=1, cutoff=cutoff)
    if nearest and is_identifier:
        raise ValueError(
            f"no vocabulary '{text}' is registered; the nearest is '{nearest[0]}'. If it is the "
            f"name of a class, write '{text},'"
        )
    if nearest:
        logger.warning(
            "'%s' is read as the name of one class; the registered vocabulary of a similar name "
            "is '%s'",
            text,
            nearest[0],
        )
    if Path(text).is_file():
        raise ValueError(
            f"vocabulary '{text}' is a file that ends in none of {', '.join(_ENDINGS)}; rename it"
        )


def read_vocabulary(path: Path) -> Vocabulary:
    """Reads a vocabulary file.

    Args:
        path: .txt (one class a line, synonyms after ", "), .json or .yaml (a list of names, or a
            mapping with "classes" and optionally "name", "templates", "none_class"; a class is a
            name or a mapping with "name", "synonyms", "thing"), or the .yaml file that describes
            data sets, see `data.register_yaml`: it has their vocabulary.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not describe a vocabulary.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no vocabulary file '{path}'; give a file or names like 'a, b'")
    ending = path.suffix.lower()
    if ending == ".txt":
        names = tuple(read_lines(path, what=_WHAT))
        return _with_doubts_logged(Vocabulary(name=path.stem, classes=names))
    if ending == ".json":
        try:
            data = json.loads(read_text(path, what=_WHAT))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"vocabulary file {path} is not readable: {error}") from error
    else:
        data = read_yaml(path, what=_WHAT)
    if isinstance(data, Mapping) and "sets" in data and "classes" not in data:
        return _vocabulary_of_data_sets(data, path)
    return _with_doubts_logged(vocabulary_from_data(data, name=path.stem, source=str(path)))


def _vocabulary_of_data_sets(described: Mapping[str, Any], path: Path) -> Vocabulary:
    """Returns the one vocabulary of the data sets that a file describes."""
    sets = described["sets"]
    if not isinstance(sets, Mapping) or not sets:
        raise ValueError(f"data set file {path}: 'sets' names no data set")
    settings = [{**described, **own} for own in sets.values() if isinstance(own, Mapping)]
    given: List[Any] = []
    for setting in settings or [described]:
        if setting.get("vocabulary") is not None and setting["vocabulary"] not in given:
            given.append(setting["vocabulary"])
    if len(given) != 1:
        count = f"{len(given)} vocabularies" if given else "no vocabulary"
        raise ValueError(
            f"data set file {path} has {count} and one is needed; name a file of the classes, or "
            "the classes themselves"
        )
    _check_no_description(given[0], path)
    source = f"data set file {path}, key 'vocabulary'"
    words = vocabulary_of(given[0], name=path.name, source=source, folder=path.absolute().parent)
    if isinstance(given[0], str) and given[0] in registered_vocabularies():
        return words
    things = any(setting.get("kind") in KINDS_OF_THINGS for setting in settings or [described])
    if things and not any(words.is_thing):
        words = replace(words, is_thing=(True,) * len(words))
    return words


def _check_no_description(given: Any, path: Path) -> None:
    """Raises ValueError where the vocabulary of a description is in a description: a circle."""
    if not isinstance(given, str) or Path(given).suffix.lower() not in (".yaml", ".yml", ".json"):
        return
    file = path.absolute().parent / given
    data = read_yaml(file, what=_WHAT) if file.is_file() else None
    if isinstance(data, Mapping) and "sets" in data:
        raise ValueError(
            f"data set file {path}: its vocabulary '{given}' is a description of data sets itself; "
            "name a file of classes"
        )


def _with_doubts_logged(vocabulary: Vocabulary) -> Vocabulary:
    doubts = vocabulary_doubts(vocabulary)
    for doubt in doubts[:_DOUBTS_SHOWN]:
        logger.warning("%s", doubt)
    if len(doubts) > _DOUBTS_SHOWN:
        logger.warning(
            "vocabulary '%s': %d more such", vocabulary.name, len(doubts) - _DOUBTS_SHOWN
        )
    return vocabulary


def vocabulary_of(given: object, *, name: str, source: str, folder: Path) -> Vocabulary:
    """Returns the vocabulary that a description of a data set names or spells out.

    Args:
        given: the name of a registered vocabulary, the path of a file, a list of classes, or a
            mapping as in vocabulary files.
        name: of a vocabulary that is spelt out without a name.
        source: where it stands, for messages.
        folder: that paths are relative to.

    Raises:
        ValueError: it is neither; the message gives the nearest name.
    """
    if not isinstance(given, str):
        return _with_doubts_logged(vocabulary_from_data(given, name=name, source=source))
    if given in registered_vocabularies():
        return get_vocabulary(given)
    if Path(given).suffix.lower() in _ENDINGS:
        return read_vocabulary(folder / given)
    raise ValueError(
        f"{source}: '{given}' is neither a registered vocabulary nor a file ending in one of "
        f"{', '.join(_ENDINGS)}; {nearest_vocabulary(given)}; classes are a list"
    )
