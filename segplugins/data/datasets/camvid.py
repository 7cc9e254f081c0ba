"""CamVid: 11 classes of street scenes, the 480x360 version of the SegNet tutorial."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.register import register_semantic

LICENCE = "research use; cite Brostow, Fauqueur, Cipolla, Pattern Recognition Letters 2009"

for _split, _count in (("train", 367), ("val", 101)):
    register_semantic(
        f"camvid_{_split}_sem_seg",
        image_root=f"camvid/images/{_split}",
        label_root=f"camvid/annotations/{_split}",
        vocabulary=shipped_vocabulary("camvid"),
        licence=LICENCE,
        expected=_count,
    )
