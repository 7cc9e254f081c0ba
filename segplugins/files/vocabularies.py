"""Vocabularies that users write: after `--vocabulary`, in files, in descriptions of data sets."""

import json
import logging
from difflib import get_close_matches
from pathlib import Path

from segplugins.files.text import read_lines, read_text, read_yaml
from segplugins.structures.vocabulary import (
    Vocabulary,
    get_vocabulary,
    nearest_vocabulary,
    registered_vocabularies,
    vocabulary_doubts,
    vocabulary_from_data,
)

__all__ = ["parse_vocabulary", "read_vocabulary", "vocabulary_of"]

logger = logging.getLogger(__name__)

_ENDINGS = (".txt", ".json", ".yaml", ".yml")
_WHAT = "vocabulary file"
# As alike as this, a single name is taken for a mistyped name of a registered vocabulary.
_MISTYPED = 0.85
_TOLD = 5


def parse_vocabulary(text: str) -> Vocabulary:
    """Reads what a user writes after `--vocabulary`.

    Args:
        text: the name of a registered vocabulary; a file, see `read_vocabulary`; or class names
            separated by commas, with synonyms separated by "|": "red car, tree|shrub, sky". A
            single class is followed by a comma if its name is like that of a registered
            vocabulary.

    Raises:
        FileNotFoundError: it looks like a file and is none.
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
    return _with_doubts_told(
        Vocabulary(
            name=text, classes=tuple(texts[0] for texts in synonyms), synonyms=tuple(synonyms)
        )
    )


def _check_single(text: str) -> None:
    nearest = get_close_matches(text.lower(), registered_vocabularies(), n=1, cutoff=_MISTYPED)
    if nearest:
        raise ValueError(
            f"no vocabulary '{text}' is registered; the nearest is '{nearest[0]}'. If it is the "
            f"name of a class, write '{text},'"
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
            name or a mapping with "name", "synonyms", "thing").

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not describe a vocabulary.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no vocabulary file '{path}'; give a file or names like 'a, b'")
    ending = path.suffix.lower()
    if ending == ".txt":
        names = tuple(read_lines(path, what=_WHAT))
        return _with_doubts_told(Vocabulary(name=path.stem, classes=names))
    if ending == ".json":
        try:
            data = json.loads(read_text(path, what=_WHAT))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"vocabulary file {path} is not readable: {error}") from error
    else:
        data = read_yaml(path, what=_WHAT)
    return _with_doubts_told(vocabulary_from_data(data, name=path.stem, source=str(path)))


def _with_doubts_told(vocabulary: Vocabulary) -> Vocabulary:
    doubts = vocabulary_doubts(vocabulary)
    for doubt in doubts[:_TOLD]:
        logger.warning("%s", doubt)
    if len(doubts) > _TOLD:
        logger.warning("vocabulary '%s': %d more such", vocabulary.name, len(doubts) - _TOLD)
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
        return _with_doubts_told(vocabulary_from_data(given, name=name, source=source))
    if given in registered_vocabularies():
        return get_vocabulary(given)
    if Path(given).suffix.lower() in _ENDINGS:
        return read_vocabulary(folder / given)
    raise ValueError(
        f"{source}: '{given}' is neither a registered vocabulary nor a file ending in one of "
        f"{', '.join(_ENDINGS)}; {nearest_vocabulary(given)}; classes are a list"
    )
