"""Salient, high-resolution and dichotomous objects: one image, one mask, one phrase.

Every set is registered twice: "salient_<set>" asks for the most salient object, "fg_<set>" for the
foreground object.
"""

from typing import Dict, Tuple

from segplugins.data.register import register_salient

PHRASES = {"salient": "the most salient object", "fg": "foreground object"}
_UNSTATED = "no licence stated; for research"
_DIS = "DIS5K terms of use, for research"

# Set: folders of images and of masks, number of pairs, licence.
_SETS: Dict[str, Tuple[object, object, int, str]] = {
    "duts_train": ("DUTS/DUTS-TR/DUTS-TR-Image", "DUTS/DUTS-TR/DUTS-TR-Mask", 10553, _UNSTATED),
    "duts_test": ("DUTS/DUTS-TE/DUTS-TE-Image", "DUTS/DUTS-TE/DUTS-TE-Mask", 5019, _UNSTATED),
    "ecssd": ("ECSSD/images", "ECSSD/ground_truth_mask", 1000, _UNSTATED),
    "pascal_s": (("PASCAL-S/images", "PASCAL-S"), ("PASCAL-S/masks", "PASCAL-S"), 850, _UNSTATED),
    "sod": (("SOD/images", "SOD"), ("SOD/masks", "SOD"), 300, _UNSTATED),
    "hrsod_train": ("HRSOD/HRSOD_train", "HRSOD/HRSOD_train_mask", 1610, _UNSTATED),
    "hrsod_test": ("HRSOD/HRSOD_test", "HRSOD/HRSOD_test_mask", 400, _UNSTATED),
    "uhrsd_train": ("UHRSD/UHRSD_TR_2K/image", "UHRSD/UHRSD_TR_2K/mask", 4932, _UNSTATED),
    "uhrsd_test": ("UHRSD/UHRSD_TE_2K/image", "UHRSD/UHRSD_TE_2K/mask", 988, _UNSTATED),
    "dis_train": ("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt", 3000, _DIS),
    "dis_val": ("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt", 470, _DIS),
    **{
        f"dis_te{n}": (f"DIS5K/DIS-TE{n}/im", f"DIS5K/DIS-TE{n}/gt", 500, _DIS) for n in range(1, 5)
    },
    "msra10k": ("MSRA10K/Imgs", "MSRA10K/Imgs", 10000, _UNSTATED),
    "coift": ("COIFT/images", "COIFT/masks", 280, _UNSTATED),
}
_THIN_OBJECT = {"train": 4748, "val": 500, "test": 500}

for _kind, _phrase in PHRASES.items():
    for _name, (_images, _masks, _count, _licence) in _SETS.items():
        register_salient(
            f"{_kind}_{_name}",
            image_root=_images,
            mask_root=_masks,
            image_ext="jpg",  # some sets keep images and masks in one folder
            mask_ext="png",
            phrase=_phrase,
            licence=_licence,
            expected=_count,
        )
    for _split, _count in _THIN_OBJECT.items():
        register_salient(
            f"{_kind}_thin_object_{_split}",
            image_root="ThinObject5K/images",
            mask_root="ThinObject5K/masks",
            image_ext="jpg",
            mask_ext="png",
            list_file=f"ThinObject5K/list/{_split}.txt",
            phrase=_phrase,
            licence=_UNSTATED,
            expected=_count,
        )
