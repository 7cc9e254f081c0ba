"""Vocabulary: the class names a model answers with, as an argument that travels with the data.

One form for every paper and every source: a data set's metadata, a file, or the command line.
K is the number of classes.
"""

import hashlib
import html
import json
import re
import unicodedata
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

PLACEHOLDER = "{}"
_FILE_KEYS = ("name", "classes", "templates", "none_class")
_CLASS_KEYS = ("name", "synonyms", "thing")


def check_templates(templates: Sequence[str], *, owner: str) -> Tuple[str, ...]:
    """Returns the templates as a tuple.

    Args:
        templates: prompts with one placeholder "{}" each, for example "a photo of a {}.".
        owner: whose templates they are, for the error message.

    Raises:
        ValueError: there is none, or one has not exactly one placeholder.
    """
    if not isinstance(templates, (list, tuple)) or not templates:
        raise ValueError(
            f"templates of {owner}: expected a list of at least one, got {templates!r}"
        )
    for template in templates:
        if not isinstance(template, str) or template.count(PLACEHOLDER) != 1:
            raise ValueError(
                f"templates of {owner}: {template!r} must hold the placeholder {PLACEHOLDER!r} "
                "exactly once, where the class name goes"
            )
    return tuple(templates)


@dataclass(frozen=True)
class Vocabulary:
    """Ordered class names with all that belongs to them.

    Args:
        name: for messages, caches and result files.
        classes: K names, in the order of the model's output. They are shown as they stand.
        synonyms: per class the texts that are encoded for it, at least one. Left out: the class
            name split at ", ", the way the papers' class lists write synonyms.
        is_thing: per class whether its instances are counted apart. Left out: all False.
        templates: prompts with the placeholder "{}"; None = those of the model.
        none_class: the class that means "nothing of the others", or None.

    Raises:
        ValueError: no class, an empty name, names that are equal but for case and blanks, an empty
            synonym, a text instead of a list of synonyms, lists of different lengths, a template
            without placeholder, or a none-class that is not among the classes.
    """

    name: str
    classes: Tuple[str, ...]
    synonyms: Tuple[Tuple[str, ...], ...] = ()
    is_thing: Tuple[bool, ...] = ()
    templates: Optional[Tuple[str, ...]] = None
    none_class: Optional[str] = None

    def __post_init__(self) -> None:
        if isinstance(self.classes, str):
            raise ValueError(
                f"vocabulary '{self.name}': classes must be a list of names, got the text "
                f"{self.classes!r}; parse_vocabulary() reads text"
            )
        object.__setattr__(self, "classes", tuple(self.classes))
        self._check_names()
        listed = [self.synonyms] if isinstance(self.synonyms, str) else self.synonyms
        bare = [texts for texts in listed if isinstance(texts, str)]
        if bare:
            raise ValueError(
                f"vocabulary '{self.name}': synonyms must be a list of texts per class, got the "
                f"text {bare[0]!r}; put it in a list"
            )
        synonyms = self.synonyms or [name.split(", ") for name in self.classes]
        object.__setattr__(self, "synonyms", tuple(tuple(texts) for texts in synonyms))
        is_thing = self.is_thing or [False] * len(self.classes)
        object.__setattr__(self, "is_thing", tuple(bool(thing) for thing in is_thing))
        for what in ("synonyms", "is_thing"):
            if len(getattr(self, what)) != len(self.classes):
                raise ValueError(
                    f"vocabulary '{self.name}': {len(getattr(self, what))} entries in {what} for "
                    f"{len(self.classes)} classes; give one per class"
                )
        for name, texts in zip(self.classes, self.synonyms):
            if not texts or any(not isinstance(t, str) or not t.strip() for t in texts):
                raise ValueError(
                    f"vocabulary '{self.name}': class '{name}' has an empty synonym in {texts!r}; "
                    "take it out (in text, a | too many)"
                )
        if self.templates is not None:
            checked = check_templates(self.templates, owner=f"vocabulary '{self.name}'")
            object.__setattr__(self, "templates", checked)
        if self.none_class is not None and self.none_class not in self.classes:
            raise ValueError(
                f"vocabulary '{self.name}': none_class '{self.none_class}' is not one of its "
                f"{len(self.classes)} classes; add it to them"
            )

    def _check_names(self) -> None:
        if not self.classes:
            raise ValueError(f"vocabulary '{self.name}' is empty: give at least one class name")
        first: Dict[str, int] = {}
        for index, name in enumerate(self.classes):
            if not isinstance(name, str) or not name.strip():
                raise ValueError(
                    f"vocabulary '{self.name}': class {index} has an empty name {name!r}; take "
                    "out a comma, a line or an entry that holds none"
                )
            key = folded(name)
            if key in first:
                other = self.classes[first[key]]
                alike = "" if other == name else f" ('{other}' but for case and blanks)"
                raise ValueError(
                    f"vocabulary '{self.name}': '{name}' stands twice, as class {first[key]}"
                    f"{alike} and class {index}; names must differ"
                )
            first[key] = index

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def none_index(self) -> Optional[int]:
        """Index of the none-class, or None."""
        return None if self.none_class is None else self.classes.index(self.none_class)

    def digest(self) -> str:
        """Returns 16 hex digits that change with anything in it but its name."""
        content = [self.classes, self.synonyms, self.is_thing, self.templates, self.none_class]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def select(self, indices: Sequence[int], name: Optional[str] = None) -> "Vocabulary":
        """Returns the vocabulary of these classes in this order: a subset or a permutation."""
        classes = tuple(self.classes[i] for i in indices)
        return replace(
            self,
            name=name or self.name,
            classes=classes,
            synonyms=tuple(self.synonyms[i] for i in indices),
            is_thing=tuple(self.is_thing[i] for i in indices),
            none_class=self.none_class if self.none_class in classes else None,
        )


def folded(name: str) -> str:
    """Returns a name without differences that do not tell classes apart: case and blanks."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def _token_text(text: str) -> str:
    """Returns what tokenizers leave of a text: without case, entities, signs and double blanks."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", plain).split()) or plain


def vocabulary_doubts(vocabulary: Vocabulary) -> List[str]:
    """Returns what is allowed in a vocabulary and still likely a mistake, one line each.

    These are synonyms of two classes, and texts of two classes that most tokenizers make one of:
    the model then cannot tell these classes apart by them.
    """
    first: Dict[str, Tuple[int, str]] = {}
    doubts = []
    for index, texts in enumerate(vocabulary.synonyms):
        for text in texts:
            other_index, other = first.setdefault(_token_text(text), (index, text))
            if other_index == index:
                continue
            what = f"'{text}' is a synonym"
            if folded(text) != folded(other):
                what = f"'{other}' and '{text}' are one text for a tokenizer, as if a synonym"
            doubts.append(
                f"vocabulary '{vocabulary.name}': {what} of class {other_index} "
                f"'{vocabulary.classes[other_index]}' and of class {index} "
                f"'{vocabulary.classes[index]}'; a model cannot tell them apart by it"
            )
    return doubts


_VOCABULARIES: Dict[str, Vocabulary] = {}


def registered_vocabularies() -> List[str]:
    """Returns the names of the registered vocabularies, sorted."""
    return sorted(_VOCABULARIES)


def nearest_vocabulary(name: str) -> str:
    """Returns "the nearest registered one is '...'", for messages."""
    nearest = get_close_matches(name, registered_vocabularies(), n=1, cutoff=0.0)
    return f"the nearest registered one is '{nearest[0]}'" if nearest else "none is registered"


def register_vocabulary(vocabulary: Vocabulary) -> None:
    """Makes a vocabulary known under its name.

    Raises:
        ValueError: another vocabulary has that name already. The same one again does no harm.
    """
    known = _VOCABULARIES.setdefault(vocabulary.name, vocabulary)
    if known != vocabulary:
        raise ValueError(
            f"a vocabulary '{vocabulary.name}' of {len(known)} classes is registered already and "
            f"differs from this one of {len(vocabulary)}; choose another name"
        )


def get_vocabulary(name: str) -> Vocabulary:
    """Returns the vocabulary registered under `name`.

    Raises:
        KeyError: there is none; the message gives the nearest name.
    """
    if name not in _VOCABULARIES:
        raise KeyError(
            f"unknown vocabulary '{name}'; {nearest_vocabulary(name)}. Registering a data set "
            "registers its own; for free text call register_vocabulary(parse_vocabulary(...)) first"
        )
    return _VOCABULARIES[name]


def record_vocabulary(record: Mapping[str, Any]) -> Vocabulary:
    """Returns the vocabulary that a record names, or one made of its "texts" as they stand."""
    if record.get("vocabulary") is not None:
        return get_vocabulary(record["vocabulary"])
    texts = tuple(record["texts"])
    return Vocabulary("texts", texts, synonyms=tuple((text,) for text in texts))


def vocabulary_from_data(
    data: Union[Sequence[Any], Mapping[str, Any]], *, name: str, source: str
) -> Vocabulary:
    """Builds a vocabulary from parsed JSON or YAML; see `files.vocabularies` for its form.

    Args:
        data: a list of classes, or a mapping with "classes".
        name: used where the data gives none.
        source: where the data comes from, for error messages.

    Raises:
        ValueError: an unknown key, or an entry that is no class.
    """
    if isinstance(data, (list, tuple)):
        data = {"classes": data}
    if not isinstance(data, Mapping) or not isinstance(data.get("classes"), (list, tuple)):
        raise ValueError(f"{source}: expected a list of classes or a mapping with 'classes'")
    _check_keys(data, _FILE_KEYS, source)
    classes: List[str] = []
    synonyms: List[Tuple[str, ...]] = []
    is_thing: List[bool] = []
    for index, entry in enumerate(data["classes"]):
        if isinstance(entry, str):
            entry = {"name": entry}
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ValueError(
                f"{source}: class {index} is {entry!r}; expected a name or a mapping with 'name' "
                "(YAML reads an unquoted yes, no or number as something else: quote it)"
            )
        _check_keys(entry, _CLASS_KEYS, f"{source}, class {index}")
        classes.append(entry["name"])
        listed = entry.get("synonyms") or entry["name"].split(", ")
        if not isinstance(listed, (list, tuple)) or not all(isinstance(t, str) for t in listed):
            raise ValueError(
                f"{source}: class {index} has the synonyms {listed!r}; expected a list of texts"
            )
        synonyms.append(tuple(listed))
        is_thing.append(_thing(entry.get("thing"), f"{source}, class {index}"))
    return Vocabulary(
        name=str(data.get("name", name)),
        classes=tuple(classes),
        synonyms=tuple(synonyms),
        is_thing=tuple(is_thing),
        templates=data.get("templates"),
        none_class=data.get("none_class"),
    )


def _thing(value: Any, source: str) -> bool:
    if value is None or value in (0, 1):  # also true and false
        return bool(value)
    raise ValueError(f"{source}: thing is {value!r:.40}, expected true or false")


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], source: str) -> None:
    for key in mapping:
        if key not in known:
            nearest = get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{source}: unknown key '{key}', the nearest is '{nearest}'; keys are {list(known)}"
            )
