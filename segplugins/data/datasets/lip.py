"""LIP (Look into Person): 19 parts of people and clothes, and background."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.register import register_semantic
from segplugins.structures.regions import Task

LICENCE = "for non-commercial research"
# Arms, legs and shoes: what is left in a picture is right in its mirror.
FLIP_PAIRS = ((14, 15), (16, 17), (18, 19))

for _split, _count in (("train", 30462), ("val", 10000)):
    register_semantic(
        f"lip_{_split}_parts",
        image_root=f"LIP/TrainVal_images/{_split}_images",
        label_root=f"LIP/TrainVal_parsing_annotations/{_split}_segmentations",
        vocabulary=shipped_vocabulary("lip"),
        licence=LICENCE,
        expected=_count,
        task=Task.PART,
        flip_pairs=FLIP_PAIRS,
    )
