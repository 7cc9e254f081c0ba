"""Objects365 v2: boxes of 365 classes."""

from segplugins.data.register import register_instances
from segplugins.structures.regions import Task

LICENCE = "annotations CC BY 4.0; images by their Flickr terms"
# The names in the annotation file are misspelt here.
RENAMED = {
    38: "Monitor/TV",
    53: "Basket",
    99: "Dining Table",
    123: "Teapot",
    203: "Extension Cord",
    229: "Hot air balloon",
    290: "Hami melon",
    292: "Mushroom",
    300: "Tape Measure/ Ruler",
    308: "Camel",
    314: "Meatball",
    322: "Butterfly",
    355: "Table Tennis paddle",
}

for _split in ("train", "val"):
    register_instances(
        f"objects365_v2_{_split}",
        json_file=f"objects365/annotations/zhiyuan_objv2_{_split}.json",
        image_root=f"objects365/{_split}",
        task=Task.DETECTION,
        licence=LICENCE,
        keep_parts=2,  # .../patch16/objects365_v2_00908726.jpg
        renamed=RENAMED,
    )
