"""SeginW, segmentation in the wild: 25 small sets from all over, under their own names."""

import json
from pathlib import Path

from segplugins.data.register import register_instances
from segplugins.structures.vocabulary import Vocabulary

LICENCE = "Roboflow collections, a licence of its own each"
CLASSES = json.loads(Path(__file__).with_name("seginw.json").read_text(encoding="utf-8"))
NAMES = tuple(f"seginw_{name}_val" for name in CLASSES)

for _set, _classes in CLASSES.items():
    _vocabulary = Vocabulary(
        f"seginw_{_set}",
        tuple(_classes),
        synonyms=tuple((name,) for name in _classes),
        is_thing=(True,) * len(_classes),
    )
    for _split, _folder in (("train", "train"), ("val", "valid")):
        register_instances(
            f"seginw_{_set}_{_split}",
            json_file=f"seginw/{_set}/{_folder}/_annotations_min1cat.coco.json",
            image_root=f"seginw/{_set}/{_folder}",
            vocabulary=_vocabulary,
            licence=LICENCE,
            group="seginw",
        )
