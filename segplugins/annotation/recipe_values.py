"""Values of a recipe against the types of the fields that they are for."""

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from typing import Any, Collection, Dict, Mapping, Type, Union, get_args, get_origin, get_type_hints

_WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


def fill(
    kind: Type, given: Mapping[str, Any], place: str, hidden: Collection[str] = ()
) -> Dict[str, Any]:
    """Returns the arguments of a dataclass from a mapping of YAML.

    Args:
        kind: the dataclass.
        given: what the recipe says.
        place: for messages, such as "recipe.yaml, stage 2 (filter_clip)".
        hidden: fields that a recipe does not set.

    Raises:
        ValueError: an unknown or missing key, or a value of another type.
    """
    known = {field.name: field for field in fields(kind) if field.name not in hidden}
    check_keys(given, known, place)
    hints = get_type_hints(kind)
    for name, field in known.items():
        if name not in given and not _has_default(field):
            raise ValueError(f"{place}: key '{name}' is missing")
    return {
        key: checked(value, hints[key], f"{place}, key '{key}'") for key, value in given.items()
    }


def check_keys(given: Mapping[str, Any], known: Collection[str], place: str) -> None:
    """Raises ValueError at a key that is not known, and names the nearest."""
    for key in given:
        if key not in known:
            nearest = get_close_matches(str(key), list(known), n=1, cutoff=0.0)
            step = f", the nearest is '{nearest[0]}'" if nearest else "; it takes no keys"
            raise ValueError(f"{place}: unknown key '{key}'{step}")


def checked(value: Any, hint: Any, place: str) -> Any:
    """Returns a value in the form of a type; lists become tuples.

    Raises:
        ValueError: it is of another type.
    """
    if hint is Any:
        return value
    if get_origin(hint) is Union:
        for option in get_args(hint):
            try:
                return checked(value, option, place)
            except ValueError:
                continue
    elif hint is type(None):
        if value is None:
            return None
    elif get_origin(hint) in (Sequence, tuple):
        (inner, *_) = get_args(hint)
        if isinstance(value, (list, tuple)):
            return tuple(
                checked(each, inner, f"{place}[{number}]") for number, each in enumerate(value)
            )
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{place} is {value!r:.60}, expected {_words(hint)}")


def _words(hint: Any) -> str:
    if get_origin(hint) is Union:
        named = [_words(option) for option in get_args(hint) if option is not type(None)]
        return " or ".join(named)
    if get_origin(hint) in (Sequence, tuple):
        return f"a list of {_words(get_args(hint)[0]).removeprefix('a ')}s"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _has_default(field: Field) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
