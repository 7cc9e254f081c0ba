"""A data set with few labels: the truth of some pictures, machine-made labels of the others.

labelled.jsonl, unlabelled.jsonl    things of the two parts of the training pictures
all.jsonl, val.jsonl                things of all training and of the validation pictures
val_phrases.jsonl                   the latter as phrases, with names that a picture does not show
noisy, filtered                     annotations of the unlabelled part
sets.yaml                           registers pseudo_labelled, pseudo_noisy, pseudo_filtered,
                                    pseudo_kept (the pictures of which filters kept half of the
                                    regions), pseudo_all, pseudo_val, pseudo_phrases
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import yaml

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.filters import FILTERS, mask_iou
from segplugins.annotation.inputs import LineInputs
from segplugins.annotation.pipeline import Annotator
from segplugins.annotation.recipe import Recipe, read_recipe
from segplugins.annotation.shard import RECORDS
from segplugins.annotation.verify import VERIFIERS
from segplugins.files.json_file import dump_json
from segplugins.files.lines import LineEntry, read_region_lines
from segplugins.files.region_shards import region_data
from segplugins.files.write import write_text
from segplugins.structures.regions import Region, Task

_RIGHT = 0.7  # IoU with the truth
_ABSENT = 3  # names that a validation picture is asked for and does not show
_SHARD = 100
_KEPT = 0.5  # least share of a picture's regions, of pseudo_kept


def write_parts(world: Path, out: Path, labelled: int) -> None:
    """Writes the region lines of all parts, and sets.yaml.

    Args:
        world: folder of the drawn world.
        out: folder of the output.
        labelled: training pictures whose truth is used, the first ones.

    Raises:
        FileNotFoundError: no such world.
        ValueError: too few or too many of its pictures are labelled.
    """
    train, val = (
        read_region_lines(world / "regions" / f"{split}.jsonl", task=Task.INSTANCE)
        for split in ("train", "val")
    )
    if not 0 < labelled < len(train):
        raise ValueError(
            f"{labelled} labelled pictures, expected 1 to {len(train) - 1}: '{world}' has "
            f"{len(train)} training pictures"
        )
    names = sorted({region.text for entry in [*train, *val] for region in entry.regions})
    parts: Dict[str, List[Dict[str, Any]]] = {
        "labelled": [things_line(entry) for entry in train[:labelled]],
        "unlabelled": [things_line(entry) for entry in train[labelled:]],
        "all": [things_line(entry) for entry in train],
        "val": [things_line(entry) for entry in val],
        "val_phrases": [phrases_line(entry, names) for entry in val],
    }
    for name, lines in parts.items():
        write_text(out / f"{name}.jsonl", "".join(dump_json(line) + "\n" for line in lines))
    write_text(out / "sets.yaml", sets_yaml((world / "images").resolve(), names))


def things_line(entry: LineEntry) -> Dict[str, Any]:
    """Returns the region line of an entry with its things alone, without captions."""
    regions = [
        region_data(Region(region.text, region.box, region.mask))
        for region in entry.regions
        if region.is_thing
    ]
    size = {"height": entry.height, "width": entry.width}
    return {"file_name": entry.file_name, **size, "regions": regions}


def phrases_line(entry: LineEntry, names: Sequence[str]) -> Dict[str, Any]:
    """Returns a line of phrases: the names of an entry's things, and three that it does not show.

    Args:
        entry: of the truth.
        names: of all pictures, stuff too.
    """
    line = things_line(entry)
    shown = {region.text for region in entry.regions}
    absent = [name for name in names if name not in shown]
    start = entry.line % max(len(absent), 1)
    chosen = [*absent[start:], *absent[:start]][:_ABSENT]
    line["regions"] += [region_data(Region(name)) for name in chosen]
    return line


def sets_yaml(images: Path, names: Sequence[str]) -> str:
    """Returns the YAML that registers all parts; instances are of `names`, phrases are free."""
    words = {"task": str(Task.INSTANCE), "vocabulary": list(names)}
    lines = {
        "labelled": "labelled.jsonl",
        "noisy": f"noisy/{RECORDS}",
        "filtered": f"filtered/{RECORDS}",
        "all": "all.jsonl",
    }
    train, val = str(images / "train"), str(images / "val")
    sets = {
        f"pseudo_{name}": {"images": train, "lines": path, **words} for name, path in lines.items()
    }
    sets["pseudo_kept"] = {**sets["pseudo_filtered"], "least_kept": _KEPT}
    sets["pseudo_val"] = {"images": val, "lines": "val.jsonl", **words}
    phrases = {"lines": "val_phrases.jsonl", "task": str(Task.REFERRING)}
    sets["pseudo_phrases"] = {"images": val, **phrases}
    return yaml.safe_dump({"kind": "regions", "sets": sets}, sort_keys=False)


def noisy_and_filtered(path: Path, truth: Path, changes: Sequence[str] = ()) -> Dict[str, Recipe]:
    """Returns a recipe whose model looks answers up, without its filters and with them.

    Args:
        path: of a recipe whose model is called "looker".
        truth: region lines that it looks answers up in.
        changes: see `read_recipe`.
    """
    own = [f"models.looker.lines={dump_json(str(truth))}", f"task={Task.INSTANCE}"]
    filtered = read_recipe(path, KINDS, [*own, *changes])
    judges = (*FILTERS.values(), *VERIFIERS.values())
    makers = tuple(stage for stage in filtered.stages if not isinstance(stage, judges))
    return {"noisy": replace(filtered, stages=makers), "filtered": filtered}


def annotator_of(recipe: Recipe, world: Path, out: Path, name: str) -> Annotator:
    """Returns what annotates the unlabelled pictures into a folder."""
    inputs = LineInputs(out / "unlabelled.jsonl", world / "images" / "train")
    return Annotator(recipe, inputs, out / name, shard_size=_SHARD)


def agreement(folder: Path, truth: Path) -> Tuple[int, float, float]:
    """Returns the number of regions, the share that is right, and the share of the truth they show.

    A region is right, and an object shown, if there is an IoU of 0.7 with one of the same name.

    Args:
        folder: of annotations.
        truth: region lines of the same pictures.
    """
    entries = {entry.file_name: entry for entry in read_region_lines(truth, task=Task.INSTANCE)}
    made = right = objects = shown = 0
    for entry in read_region_lines(folder / RECORDS, task=Task.INSTANCE):
        fits = _fits(entry, entries[entry.file_name])
        made, objects = made + fits.shape[0], objects + fits.shape[1]
        right, shown = right + int(fits.any(axis=1).sum()), shown + int(fits.any(axis=0).sum())
    return made, right / max(made, 1), shown / max(objects, 1)


def _fits(entry: LineEntry, truth: LineEntry) -> np.ndarray:
    """Returns (regions, objects) bool."""
    size = (entry.height, entry.width)
    regions = [region for region in entry.regions if region.has_target]
    fits = np.zeros((len(regions), len(truth.regions)), bool)
    for row, one in enumerate(regions):
        mask = one.bitmap(*size)
        for column, other in enumerate(truth.regions):
            if one.text == other.text:
                fits[row, column] = mask_iou(mask, other.bitmap(*size)) >= _RIGHT
    return fits


def mapping_of_counts(counts: Mapping[str, Tuple[int, float, float]]) -> List[Dict[str, Any]]:
    """Returns the rows of a table of `agreement`, in percent."""
    return [
        {"labels": name, "regions": made, "right %": 100 * right, "of what there is %": 100 * shown}
        for name, (made, right, shown) in counts.items()
    ]
