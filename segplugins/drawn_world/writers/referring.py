"""Referring: RefCOCO files (one target a phrase) and gRefCOCO files (several, or none)."""

import pickle
import re
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..classes import ClassList
from ..dice import Dice
from ..options import WorldOptions
from ..phrases import Phrase, absent_phrase, group_phrase, joint_phrase, unique_phrases
from ..splits import PHRASES_STREAM, STREAMS, Drawing
from .coco import annotation_id, instance_file
from .files import write_json

SPLIT_BY = "drawn"


def referring_record(drawing: Drawing, options: WorldOptions) -> Dict[str, Any]:
    """Returns {"refs", "grefs"} of one image.

    Ids and sentence ids are unique in the world: image id times 256, plus a running number.
    """
    dice = Dice(options.seed, PHRASES_STREAM + STREAMS[drawing.split], drawing.index)
    classes = options.class_list
    width = drawing.picture.segments.shape[1]
    single = [
        unique_phrases(dice, region, drawing.things, width)
        for region in drawing.things
        if region.worded
    ]
    refs = [_entry(drawing, classes, phrases) for phrases in single if phrases]
    hidden = drawing.split == "val_unseen"
    names = [name for name in (classes.names if hidden else classes.seen) if classes.is_thing(name)]
    banned = () if hidden else classes.unseen_pairs
    flat = [phrase for phrases in single for phrase in phrases]
    general = [
        group_phrase(dice, drawing.things, width),
        joint_phrase(dice, flat),
        absent_phrase(dice, drawing.things, names, banned, width),
        dice.pick(flat) if flat else None,
    ]
    grefs = [_entry(drawing, classes, [phrase]) for phrase in general if phrase]
    _number(refs, drawing.image_id)
    _number(grefs, drawing.image_id)
    for ref in refs:  # RefCOCO knows exactly one target
        ref["ann_id"], ref["category_id"] = ref["ann_id"][0], ref["category_id"][0]
    return {"refs": refs, "grefs": grefs}


def _entry(drawing: Drawing, classes: ClassList, phrases: Sequence[Phrase]) -> Dict[str, Any]:
    targets = [region for region in drawing.things if region.segment in phrases[0].segments]
    return {
        "image_id": drawing.image_id,
        "file_name": f"{drawing.split}/{drawing.stem}.png",
        "split": drawing.split,
        "ann_id": [annotation_id(drawing, region) for region in targets] or [-1],
        "category_id": [classes.names.index(region.name) + 1 for region in targets] or [-1],
        "sentences": [
            {
                "raw": phrase.text,
                "sent": phrase.text,
                "tokens": re.findall(r"\w+", phrase.text),
                "meaning": [meaning.as_data() for meaning in phrase.meanings],
            }
            for phrase in phrases
        ],
    }


def _number(entries: List[Dict[str, Any]], image_id: int) -> None:
    sentence_id = image_id * 256
    for place, entry in enumerate(entries):
        entry["ref_id"] = image_id * 256 + place
        for sentence in entry["sentences"]:
            sentence["sent_id"] = sentence_id
            sentence_id += 1
        entry["sent_ids"] = [sentence["sent_id"] for sentence in entry["sentences"]]


def write_referring(folder: Path, records: Sequence[Dict[str, Any]], classes: ClassList) -> None:
    """Writes refs(drawn).p, the same as JSON, grefs(drawn).json and instances.json.

    Args:
        folder: to write them in.
        records: of the images of all splits; file names get their split's folder before them.
        classes: of the world.
    """
    refs = [entry for record in records for entry in record["referring"]["refs"]]
    grefs = [entry for record in records for entry in record["referring"]["grefs"]]
    write_json(folder / f"refs({SPLIT_BY}).json", refs)
    write_json(folder / f"grefs({SPLIT_BY}).json", grefs)
    # Plain lists, dicts and strings in the form that the readers of RefCOCO expect.
    (folder / f"refs({SPLIT_BY}).p").write_bytes(pickle.dumps(refs, protocol=2))
    instances = instance_file(records, classes)
    for record, image in zip(records, instances["images"]):
        split = record["split"]
        image["file_name"] = f"{split}/{image['file_name']}"
    write_json(folder / "instances.json", instances)
