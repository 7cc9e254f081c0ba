"""Vocabulary: the class names a model answers with, as an argument that travels with the data.

One form for every paper and every source: a data set's metadata, a file, or the command line.
K is the number of classes.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import yaml

PLACEHOLDER = "{}"
_FILE_KINDS = (".txt", ".json", ".yaml", ".yml")
_FILE_KEYS = ("name", "classes", "templates", "none_class")
_CLASS_KEYS = ("name", "synonyms", "thing")


def check_templates(templates: Sequence[str], *, of: str) -> Tuple[str, ...]:
    """Returns the templates as a tuple.

    Args:
        templates: prompts with one placeholder "{}" each, for example "a photo of a {}.".
        of: whose templates they are, for the error message.

    Raises:
        ValueError: there is none, or one has not exactly one placeholder.
    """
    if isinstance(templates, str) or not templates:
        raise ValueError(f"templates of {of}: expected a list of at least one, got {templates!r}")
    for template in templates:
        if not isinstance(template, str) or template.count(PLACEHOLDER) != 1:
            raise ValueError(
                f"templates of {of}: {template!r} must hold the placeholder {PLACEHOLDER!r} "
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
        ValueError: no class, an empty or duplicate name, an empty synonym, lists of different
            lengths, a template without placeholder, or a none-class that is not among the classes.
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
            if not texts or any(not text.strip() for text in texts):
                raise ValueError(
                    f"vocabulary '{self.name}': class '{name}' has an empty synonym in {texts!r}"
                )
        if self.templates is not None:
            checked = check_templates(self.templates, of=f"vocabulary '{self.name}'")
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
                    f"vocabulary '{self.name}': class {index} has an empty name {name!r}"
                )
            if name in first:
                raise ValueError(
                    f"vocabulary '{self.name}': '{name}' stands twice, as class {first[name]} and "
                    f"class {index}; names must differ"
                )
            first[name] = index

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


_VOCABULARIES: Dict[str, Vocabulary] = {}


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
        KeyError: there is none; the message lists those that are known.
    """
    if name not in _VOCABULARIES:
        raise KeyError(
            f"unknown vocabulary '{name}'. Known: {sorted(_VOCABULARIES)}. "
            "Registering a data set registers its own; for free text call "
            "register_vocabulary(parse_vocabulary(...)) first."
        )
    return _VOCABULARIES[name]


def parse_vocabulary(text: str) -> Vocabulary:
    """Reads what a user writes after `--vocabulary`.

    Args:
        text: the name of a registered vocabulary; a file; or class names separated by commas, with
            synonyms separated by "|": "red car, tree|shrub, sky". Files are .txt (one class a
            line, synonyms after ", "), .json or .yaml (a list of names, or a mapping with
            "classes" and optionally "name", "templates", "none_class"; a class is a name or a
            mapping with "name", "synonyms", "thing").

    Raises:
        FileNotFoundError: it looks like a file and is none.
        ValueError: the file or the text does not describe a vocabulary.
    """
    if text in _VOCABULARIES:
        return _VOCABULARIES[text]
    path = Path(text)
    if path.suffix.lower() in _FILE_KINDS:
        if not path.is_file():
            raise FileNotFoundError(
                f"no vocabulary file '{text}'; give a file or names like 'a, b'"
            )
        return _read_file(path)
    entries = [entry.strip() for entry in text.split(",")]
    if entries and not entries[-1]:
        entries = entries[:-1]  # a trailing comma is a habit, not a class
    synonyms = [tuple(part.strip() for part in entry.split("|")) for entry in entries]
    return Vocabulary(
        name=text, classes=tuple(texts[0] for texts in synonyms), synonyms=tuple(synonyms)
    )


def _read_file(path: Path) -> Vocabulary:
    content = path.read_text(encoding="utf-8")
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in content.splitlines()]
        return Vocabulary(name=path.stem, classes=tuple(line for line in lines if line))
    try:
        parsed = json.loads(content) if path.suffix.lower() == ".json" else yaml.safe_load(content)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"vocabulary file {path} is not readable: {error}") from error
    return vocabulary_from_data(parsed, name=path.stem, source=str(path))


def vocabulary_from_data(
    data: Union[Sequence[Any], Mapping[str, Any]], *, name: str, source: str
) -> Vocabulary:
    """Builds a vocabulary from parsed JSON or YAML; see `parse_vocabulary` for its form.

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
        synonyms.append(tuple(entry.get("synonyms") or entry["name"].split(", ")))
        is_thing.append(bool(entry.get("thing", False)))
    return Vocabulary(
        name=str(data.get("name", name)),
        classes=tuple(classes),
        synonyms=tuple(synonyms),
        is_thing=tuple(is_thing),
        templates=data.get("templates"),
        none_class=data.get("none_class"),
    )


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], source: str) -> None:
    unknown = sorted(set(map(str, mapping)) - set(known))
    if unknown:
        raise ValueError(f"{source}: unknown keys {unknown}; known are {list(known)}")
