"""ADE20K: the 150 classes of the scene-parsing challenge and the 847 of the full set."""

from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_ADE20K_847
from segplugins.data.register import register_semantic

LICENCE = "annotations BSD 3-Clause; images for non-commercial research and education"

for _name, _split, _count in (
    ("ade20k_150_train_sem_seg", "training", 20_210),
    ("ade20k_150_test_sem_seg", "validation", 2_000),
):
    register_semantic(
        _name,
        image_root=f"ADEChallengeData2016/images/{_split}",
        label_root=f"ADEChallengeData2016/annotations_detectron2/{_split}",
        vocabulary=shipped_vocabulary("ade20k_150"),
        licence=LICENCE,
        expected=_count,
        prepare="python datasets/prepare_ade20k_150.py",
    )

# The same classes with the richer synonyms of FC-CLIP, for --vocabulary.
shipped_vocabulary("ade20k_847_synonyms")

register_semantic(
    "ade20k_full_sem_seg_freq_val_all",
    image_root="ADE20K_2021_17_01/images_detectron2/validation",
    label_root="ADE20K_2021_17_01/annotations_detectron2/validation",
    label_ext="tif",
    vocabulary=shipped_vocabulary("ade20k_847"),
    ignore_label=IGNORE_ADE20K_847,
    licence=LICENCE,
    expected=2_000,
    prepare="python datasets/prepare_ade20k_full.py",
)
