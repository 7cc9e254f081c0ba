"""World file: drawn.json holds the options of a world and says whether it is complete."""

import json
import shutil
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

from .classes import ClassList, choose_classes
from .options import WorldOptions
from .writers.files import write_json
from .writers.labels import attribute_names, part_names

WORLD_FILE = "drawn.json"
# Of the drawing and of the files. It rises whenever either changes, or a folder that was begun by
# older code would be finished by newer code.
FORMAT = 1


def claim(root: Path, options: WorldOptions, *, force: bool) -> bool:
    """Reserves a folder for a world, or checks that it holds this world.

    Args:
        root: the folder.
        options: of the world that is to stand there.
        force: removes a world of other options.

    Returns:
        Whether the world stands there complete.

    Raises:
        FileExistsError: it holds a world of other options, or anything that is no world.
    """
    file = root / WORLD_FILE
    if root.exists() and any(root.iterdir()) and not file.is_file():
        raise FileExistsError(
            f"{root} is not empty and holds no {WORLD_FILE}; choose another folder"
        )
    if file.is_file():
        present, required = read_world(root), _description(options, complete=True)
        if {**present, "complete": True} == required:
            return bool(present["complete"])
        if not force:
            raise FileExistsError(
                f"{root} holds a world of other options ({_difference(present, required)}); "
                "choose another folder, or --force to write over it"
            )
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    describe(root, options, complete=False)
    return False


def describe(root: Path, options: WorldOptions, *, complete: bool) -> None:
    """Writes the world file."""
    write_json(root / WORLD_FILE, _description(options, complete=complete))


def read_world(root: Path) -> Dict[str, Any]:
    """Returns the content of the world file.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: it is no world file.
    """
    file = root / WORLD_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"no drawn world in {root}; make it: python tools/make_drawn_world.py --out {root}"
        )
    try:
        present = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(present, dict) or not {"format", "complete", "options", "classes"} <= set(
        present
    ):
        raise ValueError(f"{file} describes no drawn world; it lacks format, options or classes")
    return present


def classes_of(root: Path) -> ClassList:
    """Returns the classes of the world in a folder; errors as for `read_world`."""
    options = read_world(root)["options"]
    return choose_classes(options["classes"], options["unseen"], options["unseen_pairs"])


def check_world(root: Path, classes: Sequence[str]) -> None:
    """Checks that a folder holds a complete world of these classes.

    Raises:
        FileNotFoundError: no world, or one that is not complete.
        ValueError: a world of other classes, whose labels would mean something else.
    """
    world = read_world(root)
    if not world["complete"]:
        raise FileNotFoundError(
            f"the drawn world in {root} is not complete; call tools/make_drawn_world.py with the "
            "same options again, it goes on where it stopped"
        )
    if world["classes"] != list(classes):
        raise ValueError(
            f"the drawn world in {root} has the classes {world['classes']}, expected "
            f"{list(classes)}; register it under a name of its own with register_drawn_world()"
        )


def _description(options: WorldOptions, *, complete: bool) -> Dict[str, Any]:
    chosen = options.class_list
    return {
        "format": FORMAT,
        "complete": complete,
        "options": options.as_data(),
        "classes": list(chosen.names),
        "num_seen": chosen.num_seen,
        "is_thing": [chosen.is_thing(name) for name in chosen.names],
        "parts": part_names(chosen),
        "attributes": attribute_names(chosen),
    }


def _difference(present: Mapping[str, Any], required: Mapping[str, Any]) -> str:
    old, new = present["options"], required["options"]
    keys = [key for key in new if old.get(key) != new[key]]
    return ", ".join(f"{key} {old.get(key)} there, {new[key]} asked" for key in keys[:3]) or (
        f"format {present['format']} there, {required['format']} asked"
    )
