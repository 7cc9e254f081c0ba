"""Prompts and class names, as data, of 21 sets of zero-shot classification."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from segplugins.structures.vocabulary import check_templates

_FILE = Path(__file__).with_name("zero_shot_sets.json")


class ZeroShotSet(NamedTuple):
    """How one set is asked.

    Args:
        templates: prompts with the placeholder "{}".
        classes: names in the order of the labels; None = take those of the set's own folders or
            lists, underscores as blanks.
        wnids: WordNet ids in the same order, for folders that are named by them; None = others.
    """

    templates: Tuple[str, ...]
    classes: Optional[Tuple[str, ...]]
    wnids: Optional[Tuple[str, ...]] = None


@lru_cache(maxsize=1)
def _content() -> Dict[str, dict]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def zero_shot_names() -> Tuple[str, ...]:
    """Returns the names of the sets."""
    return tuple(sorted(_content()["sets"]))


def zero_shot_set(name: str) -> ZeroShotSet:
    """Returns prompts and classes of a set.

    Args:
        name: one of `zero_shot_names()`.

    Raises:
        ValueError: an unknown name.
    """
    content = _content()
    if name not in content["sets"]:
        raise ValueError(
            f"unknown zero-shot set '{name}'; known are {', '.join(zero_shot_names())}"
        )
    entry = content["sets"][name]
    templates = check_templates(content["templates"][entry["templates"]], owner=f"'{name}'")
    classes = content["classes"].get(entry.get("classes"))
    if not entry.get("classes", "").startswith("imagenet"):
        return ZeroShotSet(templates, None if classes is None else tuple(classes))
    every = content["wnids"]["imagenet1k"]
    wnids = content["wnids"][entry["wnids"]]
    place = {wnid: index for index, wnid in enumerate(every)}
    return ZeroShotSet(templates, tuple(classes[place[wnid]] for wnid in wnids), tuple(wnids))
