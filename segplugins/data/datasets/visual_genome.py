"""Visual Genome: boxes of things by their free names, and boxes with a phrase each."""

import json
from typing import List

from segplugins.data.catalog import (
    check_count,
    existing_file,
    existing_folder,
    register,
    update_metadata,
)
from segplugins.data.readers.lines import region_records
from segplugins.data.register import register_regions
from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Task

LICENCE = "CC BY 4.0"
PREPARE = "python datasets/prepare_visual_genome.py"
_ROOT = "visual_genome"
_IMAGES = 108_077


def _objects(policy: FaultPolicy) -> List[dict]:
    name = "vg_train"
    names = existing_file(f"{_ROOT}/names.json", name, PREPARE)
    records = region_records(
        existing_file(f"{_ROOT}/objects.jsonl", name, PREPARE),
        existing_folder(_ROOT, name, PREPARE),
        task=Task.DETECTION,
        policy=policy,
    )
    check_count(name, len(records), _IMAGES, PREPARE, policy)
    # What an image does not show is drawn from all names, see INPUT.MAX_TEXTS.
    update_metadata(name, vocabulary=None, name_counts=json.loads(names.read_text()))
    return records


register("vg_train", _objects, licence=LICENCE, task=Task.DETECTION)

register_regions(
    "vg_regions_train",
    lines=f"{_ROOT}/region_descriptions.jsonl",
    image_root=_ROOT,
    task=Task.REFERRING,
    licence=LICENCE,
    expected=_IMAGES,
    prepare=PREPARE,
)
