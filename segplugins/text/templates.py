"""Prompt template sets, as data: one text file a set, one template a line, the order kept.

The order matters: a paper may use the template's index as an input channel.
"""

from pathlib import Path
from typing import Tuple

from segplugins.structures import check_templates

_FOLDER = Path(__file__).parent / "template_sets"


def template_names() -> Tuple[str, ...]:
    """Returns the names of the sets that come with the library."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))


def template_set(name: str) -> Tuple[str, ...]:
    """Returns the templates of a set, each with one placeholder "{}".

    Args:
        name: one of `template_names()`, or the path of a .txt file with one template a line.

    Raises:
        ValueError: no such set, an empty file, or a line without exactly one placeholder.
    """
    path = Path(name) if name.endswith(".txt") else _FOLDER / f"{name}.txt"
    if not path.is_file():
        raise ValueError(
            f"unknown template set '{name}'. Known: {', '.join(template_names())}; "
            "or the path of a .txt file with one template a line"
        )
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return check_templates([line for line in lines if line.strip()], owner=f"'{name}'")
