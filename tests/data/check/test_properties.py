"""What must hold for any annotation file: checker, training and cleaned copy read the same."""

import copy
import importlib.util
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from segplugins.data import (
    register_instances,
    register_panoptic,
    register_referring,
    register_regions,
)
from segplugins.data.check import check_dataset, load_by_policy, load_with_faults, write_cleaned
from segplugins.data.check.edits import OF_REGION
from segplugins.structures.regions import Task

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[2] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

BOUNDED = settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
VALUES = [
    None,
    True,
    0,
    1,
    2,
    -1,
    1.0,
    2.5,
    1e9,
    float("nan"),
    float("inf"),
    10**400,
    "1",
    "12",
    "x",
    "../a.png",
    "a\\b.png",
    [],
    {},
    [1, 2, 3],
    [1, 1, 4, 4],
    [0.1, 0.2, 0.3, 0.4],
    [[1, 1], [5, 1], [5, 5]],
    [[1, 2, 3, 4]],
    [[0, 0, 1e9, 3, 5, 5]],
    {"size": [8, 10], "counts": [5]},
    {"size": [8, 10], "counts": [80]},
    {"size": [10, 8], "counts": [10, 20, 50]},
    {"counts": [10, 20, 50]},
    {"size": [8, 10], "counts": [2**62, 2**62]},
    [{"size": [8, 10], "counts": [10, 20, 50]}],
    3,
    7,
    11,
    300,
    2**24,
    -0.0,
    "",
    " 11 ",
    "Cat ",
    "2.png",
    "./2.png",
    "2.PNG",
    [[]],
    [None],
    [11],
    [-1],
    [[1, 1, 5, 1, 5, 5], [1, 2]],
]
_NUMBERS = itertools.count()


def places(content, above=()):
    """Yields the places of all values in parsed JSON, those of entries of lists included."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*above, key))


class Same(NamedTuple):
    """Stands for the value at another place of the same file."""

    place: int


def value_at(content, place):
    for key in place:
        content = content[key]
    return content


def changed(content, changes):
    """Returns a copy in which some values are others, or missing."""
    content = json.loads(json.dumps(content))
    for choice, value in changes:
        every = [place for place in places(content) if len(place) > 1]
        if not every:
            return content
        *above, last = every[choice % len(every)]
        target = value_at(content, above)
        if isinstance(value, Same):
            value = value_at(content, every[value.place % len(every)])
        if value is Ellipsis:
            del target[last]
        else:
            target[last] = copy.deepcopy(value)
    return content


PLACES = st.integers(0, 200)
CHANGES = st.lists(
    st.tuples(PLACES, st.sampled_from([..., *VALUES]) | st.builds(Same, PLACES)), max_size=3
)


def panoptic():
    segments = [
        {"id": 300, "category_id": 9, "area": 40, "iscrowd": 0},
        {"id": 5, "category_id": 7, "area": 20},
    ]
    return {
        "images": small.coco()["images"][:2],
        "categories": [
            {"id": 7, "name": "cat", "isthing": 1},
            {"id": 9, "name": "sky", "isthing": 0},
        ],
        "annotations": [
            {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
            for number in (1, 2)
        ],
    }


@pytest.fixture
def folder(root):
    """Pictures and segment maps."""
    (root / "images").mkdir()
    (root / "maps").mkdir()
    ids = np.zeros((8, 10, 3), np.uint8)
    ids[:4, :, 0], ids[:4, :, 1], ids[6:, :, 0] = 44, 1, 5  # 300 and 5
    for number in (1, 2, 3):
        Image.fromarray(np.full((8, 10, 3), 40 * number, np.uint8)).save(
            root / f"images/{number}.png"
        )
        Image.fromarray(ids).save(root / f"maps/{number}.png")
    return root


def register(kind, file):
    """Registers a file anew and returns the name of the set."""
    name = f"property_{next(_NUMBERS)}"
    if kind == "instances":
        register_instances(name, json_file=file, image_root="images")
    elif kind == "boxes":
        register_instances(name, json_file=file, image_root="images", task=Task.DETECTION)
    elif kind == "panoptic":
        register_panoptic(name, json_file=file, map_root="maps", image_root="images")
    elif kind == "lines":
        register_regions(name, lines=file, image_root="images", task=Task.REFERRING)
    else:
        register_referring(
            name,
            refs_file=file,
            instances_file="instances.json",
            image_root="images",
            split="train",
            sample="object",
        )
    return name


def written(folder, kind, changes):
    """Writes a changed set and registers it."""
    if kind == "lines":
        lines = [
            small.line(1, ("a cat", [1, 1, 5, 5], [small.SQUARE]), ("b", None, small.rle())),
            small.line(2, ("nothing here",), ("c", [1, 1, 5, 5])),
        ]
        text = "\n".join(json.dumps(line) for line in changed(lines, changes))
    elif kind == "refs":
        (folder / "instances.json").write_text(json.dumps(small.coco()))
        refs = [small.ref(1, 11, "a cat", "the cat"), small.ref(2, [12, 11], "both")]
        text = json.dumps(changed([*refs, small.ref(3, [-1], "a cow", image=2)], changes))
    else:
        text = json.dumps(changed(panoptic() if kind == "panoptic" else small.coco(), changes))
    (folder / "set.json").write_text(text)
    return register(kind, "set.json")


@pytest.mark.parametrize("kind", ["instances", "panoptic", "lines", "refs", "boxes"])
@given(changes=CHANGES)
@BOUNDED
def test_strict_training_stops_where_the_checker_finds_a_fault_and_only_there(
    folder, kind, changes
):
    name = written(folder, kind, changes)
    faults = [fault for fault in load_with_faults(name).faults if not fault.remark]
    try:
        load_by_policy(name, "strict")
    except (ValueError, KeyError) as error:
        assert faults, f"training stops, the checker passes: {error!r}"
    else:
        assert not faults, f"training reads it, the checker says {faults[0]}"


def substance(records):
    """What training learns from records, without what is made from masks."""
    kept = []
    for record in records:
        record = {key: value for key, value in record.items() if key != "dataset"}
        if "annotations" in record:
            record["annotations"] = [
                {
                    key: value
                    for key, value in annotation.items()
                    if key not in ("bbox", "bbox_mode", "area") or "segmentation" not in annotation
                }
                for annotation in record["annotations"]
            ]
        if "segments_info" in record:
            record["segments_info"] = [
                {key: value for key, value in segment.items() if key != "area"}
                for segment in record["segments_info"]
            ]
        if "regions" in record:
            record["regions"] = [
                (r.text, r.mask or r.box, r.extra.get("sentences")) for r in record["regions"]
            ]
        record.pop("vocabulary", None)
        kept.append(record)
    return kept


def without_faults(checked, kind):
    """The records of a checked set without what the pictures show to be at fault."""
    faults = [f for f in checked.faults if f.position >= 0 and f.mend is None]
    regions = {(f.position, f.entry) for f in faults if f.kind in OF_REGION and f.entry is not None}
    whole = {f.position for f in faults if f.kind not in OF_REGION or f.entry is None}
    if kind == "refs":  # a phrase without one of its objects means something else
        numbers = {entry for _, entry in regions}
        whole |= {
            position
            for position, record in enumerate(checked.loaded.records)
            if numbers & {region.extra.get("id") for region in record["regions"]}
        }
    kept = []
    for position, record in enumerate(checked.loaded.records):
        if position in whole:
            continue
        for form in {"annotations", "regions"} & record.keys():
            entries = [
                (entry.get("id", index) if form == "annotations" else index, entry)
                for index, entry in enumerate(record[form])
            ]
            record = {**record, form: [e for n, e in entries if (position, n) not in regions]}
        kept.append(record)
    return kept


def usable_targets(records):
    """The number of objects, segments and regions that something can be learned from."""
    targets = [t for r in records for t in [*r.get("annotations", ()), *r.get("segments_info", ())]]
    regions = [region for record in records for region in record.get("regions", ())]
    return sum(not target.get("iscrowd") for target in targets) + sum(
        region.has_target and not region.extra.get("iscrowd") for region in regions
    )


@pytest.mark.parametrize("kind", ["instances", "panoptic", "lines", "refs", "boxes"])
@given(changes=CHANGES)
@example(changes=[(184, float("nan"))])  # the name of a category
@example(changes=[(130, [0.1, 0.2]), (141, "a")])  # a mask of a box
@example(changes=[(110, ...), (178, {"counts": [10, 20, 50]}), (68, "12")])
@BOUNDED
def test_a_cleaned_copy_reads_as_the_set_without_its_faults(folder, kind, changes):
    name = written(folder, kind, changes)
    checked = check_dataset(name)
    clean = folder / f"{name}.json"
    before = (folder / "set.json").read_bytes()
    expected = without_faults(checked, kind)
    try:
        write_cleaned(checked, clean)
    except ValueError as error:
        unreadable = "no annotation file" in str(error) or "unreadable" in str(error)
        assert unreadable or ("--fix" in str(error) and not usable_targets(expected)), error
        assert not clean.exists()
        return
    finally:
        assert (folder / "set.json").read_bytes() == before
    assert usable_targets(expected)
    records = load_by_policy(register(kind, clean.name), "strict")
    assert substance(records) == substance(expected)
