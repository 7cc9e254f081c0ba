"""What descriptions of data sets have in common: keys, checks of values, registration."""

import functools
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from segplugins.data.catalog import existing_path, register
from segplugins.data.sources import values
from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

# Keywords this alike to one of a source are taken for a mistyped one, not for further metadata.
_MISTYPED = 0.8


def key(
    name: Optional[str], check: values.Check, *, default: Any = MISSING, is_path: bool = False
) -> Any:
    """Declares a field of a description.

    Args:
        name: of the key in YAML files; None if only Python has it.
        check: of the value.
        default: MISSING if the key is required.
        is_path: whether paths in YAML are relative to the root of the file.
    """
    metadata = {"key": name, "check": check, "is_path": is_path}
    return field(default=default, metadata=MappingProxyType(metadata))


@dataclass(frozen=True, kw_only=True)
class Source:
    """What every description of a data set says.

    Args:
        name: of the data set.
        licence: under which the source gives it out.
        expected: number of records, or several that are right.
        prepare: command that makes the files, for messages.
        metadata: what else the set is known by.

    Raises:
        ValueError: a value of another type or outside its range; names set, key and value.
    """

    # Whether bare class names are counted apart, object by object.
    things: ClassVar[bool] = False
    # A class variable here and there, a field where a description may choose.
    task: ClassVar[Task]

    name: str = key(None, values.set_name)
    licence: Optional[str] = key("licence", values.text, default=None)
    expected: Union[int, Sequence[int], None] = key("expected", values.count, default=None)
    prepare: Optional[str] = key(None, values.text, default=None)
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if "check" in each.metadata and value is not each.default:
                check = each.metadata["check"]
                value = values.checked(check, value, where=f"data set '{self.name}'", key=each.name)
                object.__setattr__(self, each.name, value)

    @classmethod
    def yaml_keys(cls) -> Dict[str, Any]:
        """Returns the fields by their key in YAML files."""
        return {each.metadata["key"]: each for each in fields(cls) if each.metadata.get("key")}

    @classmethod
    def of_keywords(cls, name: str, keywords: Mapping[str, object]) -> "Source":
        """Returns the description of what `register_*` was called with.

        Keywords that are no fields are further metadata.

        Raises:
            TypeError: a field is missing, or a keyword is nearly the name of a field.
        """
        accepted = {each.name for each in fields(cls)}
        given = {key: value for key, value in keywords.items() if key in accepted}
        more = {key: value for key, value in keywords.items() if key not in accepted}
        for keyword in more:
            nearest = get_close_matches(keyword, accepted, n=1, cutoff=_MISTYPED)
            if nearest:
                raise TypeError(
                    f"data set '{name}': unknown keyword '{keyword}', the nearest is '{nearest[0]}'"
                )
        return cls(name=name, **{**given, "metadata": {**given.get("metadata", {}), **more}})

    def check_paths(self) -> None:
        """Raises FileNotFoundError where a folder or a file of the description is not there."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.metadata.get("is_path") and value:
                existing_path(value, self.name, self.prepare)

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns the catalog records."""
        raise NotImplementedError

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            _comparable(getattr(self, each.name)) == _comparable(getattr(other, each.name))
            for each in fields(self)
        )

    __hash__ = None

    def differences(self, other: "Source") -> List[str]:
        """Returns the names of fields in which another description of the kind differs."""
        return [
            each.name
            for each in fields(self)
            if _comparable(getattr(self, each.name)) != _comparable(getattr(other, each.name, None))
        ]


def _comparable(value: Any) -> Any:
    if isinstance(value, functools.partial):
        return value.func, value.args, tuple(sorted(value.keywords.items()))
    return value


def seen_indices(
    seen: Optional[Sequence[Union[int, str]]], names: Sequence[str], name: str
) -> Optional[Tuple[int, ...]]:
    """Returns the indices of the seen classes.

    Raises:
        ValueError: no such class.
    """
    if seen is None:
        return None
    try:
        return tuple(values.class_index(each, names, "seen") for each in seen)
    except ValueError as error:
        raise ValueError(f"data set '{name}': {error}") from error


def known_classes(words: Optional[Vocabulary], names: str) -> Dict[str, object]:
    """Returns what metadata can say of the classes before the file is read.

    Args:
        words: the vocabulary, or None if the file decides.
        names: "thing_classes" or "stuff_classes".
    """
    return {} if words is None else {"vocabulary": words.name, names: list(words.classes)}


def register_source(source: Source) -> None:
    """Makes a data set known under its name. The same one again does no harm.

    Raises:
        ValueError: another data set has that name already.
    """
    metadata = {
        "licence": source.licence,
        "task": source.task,
        **source.known(),
        **source.metadata,
    }
    register(source.name, source.records, source=source, **metadata)
