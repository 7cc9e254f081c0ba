"""The drawn world (segplugins/data/drawn_world), as `tools/make_drawn_world.py` writes it."""

from segplugins.data.drawn_world import choose_classes
from segplugins.data.drawn_world.writers.coco import LICENCE
from segplugins.data.register import register_semantic
from segplugins.structures.vocabulary import register_vocabulary

PREPARE = "python tools/make_drawn_world.py --out datasets/drawn"

_CLASSES = choose_classes()
register_vocabulary(_CLASSES.vocabulary("drawn"))

for _split in ("train", "val", "val_unseen"):
    register_semantic(
        f"drawn_{_split}_sem_seg",
        image_root=f"drawn/images/{_split}",
        label_root=f"drawn/annotations/semantic/{_split}",
        image_ext="png",
        vocabulary="drawn",
        seen=tuple(range(_CLASSES.num_seen)) if _split == "val_unseen" else None,
        licence=LICENCE,
        prepare=PREPARE,
    )
