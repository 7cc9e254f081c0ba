"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO, over the images of COCO train2014.

Of each training split there are two forms: "..._train", a record per object, and
"..._train_images", a record per image with all its objects. Evaluation splits have a record per
object with all its sentences.
"""

from segplugins.data.register import register_referring

LICENCE = "annotations Apache-2.0 (repository), images by their Flickr terms"
IMAGES = ("coco/train2014", "coco/train2017")

# Name, folder, who split it, and the objects of each split.
_SETS = (
    ("refcoco", "refcoco", "unc", {"train": 42404, "val": 3811, "testA": 1975, "testB": 1810}),
    ("refcocop", "refcoco+", "unc", {"train": 42278, "val": 3805, "testA": 1975, "testB": 1798}),
    ("refcocog", "refcocog", "umd", {"train": 42226, "val": 2573, "test": 5023}),
    ("refcocog", "refcocog", "google", {"train": 44822, "val": 5000}),
    ("grefcoco", "grefcoco", "unc", dict.fromkeys(("train", "val", "testA", "testB"))),
)

for _name, _folder, _by, _splits in _SETS:
    _generalised = _name == "grefcoco"
    _refs = f"grefs({_by}).json" if _generalised else f"refs({_by}).p"
    for _split, _count in _splits.items():
        _forms = (("", "expressions"),)
        if _split == "train":
            _forms = (("", "object"), ("_images", "image"))
        for _suffix, _sample in _forms:
            register_referring(
                f"{_name}_{_by}_{_split}{_suffix}",
                refs_file=f"refer/{_folder}/{_refs}",
                instances_file=f"refer/{_folder}/instances.json",
                image_root=IMAGES,
                split=_split,
                sample=_sample,
                generalised=_generalised,
                licence=LICENCE,
                expected=None if _sample == "image" else _count,
            )
