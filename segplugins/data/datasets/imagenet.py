"""ImageNet-1K's validation set and its relatives, for zero-shot classification.

A folder of each class below imagenet/val (imagenet-v2, -a, -r, -sketch), named by its WordNet id.
Class names and their order are those of CLIP (segplugins/structures/zero_shot.py); two of its names
mean two classes each, which are told apart here and asked for alike.
"""

from collections import Counter

from segplugins.data.register import register_classes
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary
from segplugins.structures.zero_shot import zero_shot_set

LICENCE = "ImageNet's terms: non-commercial research"

for _name, _set, _folder, _images in (
    ("imagenet_1k_val", "imagenet_v2", "imagenet/val", 50_000),
    ("imagenet_v2", "imagenet_v2", "imagenet-v2", 10_000),
    ("imagenet_sketch", "imagenet_sketch", "imagenet-sketch", 50_889),
    ("imagenet_a", "imagenet_a", "imagenet-a", 7_500),
    ("imagenet_r", "imagenet_r", "imagenet-r", 30_000),
):
    _entry = zero_shot_set(_set)
    _times = Counter(_entry.classes)
    _vocabulary = Vocabulary(
        f"{_name}_clip",
        tuple(
            word if _times[word] == 1 else f"{word} ({wnid})"
            for word, wnid in zip(_entry.classes, _entry.wnids)
        ),
        synonyms=tuple((word,) for word in _entry.classes),
    )
    register_vocabulary(_vocabulary)
    register_classes(
        _name,
        image_root=_folder,
        vocabulary=_vocabulary,
        folders=_entry.wnids,
        licence=LICENCE,
        expected=_images,
    )
