"""Every registered source is read from a miniature in its own on-disk layout."""

import functools
import json
import pickle

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json
from detectron2.data.datasets.lvis import load_lvis_json
from detectron2.structures import Boxes, Instances

from segplugins.data import SegMapper, dataset_metadata, load_dataset, read_regions
from segplugins.data.catalog import PARTIAL_VARIABLE
from segplugins.data.datasets import seginw
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import get_vocabulary

# When tests are collected, so without the sets that other tests register.
REGISTERED = tuple(DatasetCatalog.list())

SQUARE = [[0, 0, 2, 0, 2, 2, 0, 2]]


@pytest.fixture(autouse=True)
def partial(monkeypatch):
    monkeypatch.setenv(PARTIAL_VARIABLE, "1")


def photo(save, path, size=(4, 6)):
    return save(path, np.zeros((*size, 3), np.uint8))


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco(file_name, categories, **image):
    return {
        "images": [{"id": 1, "file_name": file_name, "height": 4, "width": 6, **image}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": categories[0]["id"], "bbox": [0, 0, 2, 2]}
            | {"area": 4, "iscrowd": 0, "segmentation": SQUARE}
        ],
        "categories": categories,
    }


def regions_of(name):
    (record,) = load_dataset(name)
    return record, read_regions(record, dataset_metadata(name))


@pytest.mark.parametrize(
    "name, folder, refs, split",
    [
        ("refcoco_unc_testA", "refcoco", "refs(unc).p", "testA"),
        ("refcocop_unc_val", "refcoco+", "refs(unc).p", "val"),
        ("refcocog_umd_test", "refcocog", "refs(umd).p", "test"),
        ("refcocog_google_val", "refcocog", "refs(google).p", "val"),
        ("grefcoco_unc_testB", "grefcoco", "grefs(unc).json", "testB"),
    ],
)
def test_refcoco_and_its_kin(root, save, name, folder, refs, split):
    file = "COCO_train2014_000000000009.jpg"
    photo(save, root / "coco/train2014" / file)
    ref = {"ref_id": 3, "ann_id": 1, "image_id": 1, "split": split}
    ref["sentences"] = [{"raw": "the cup", "sent": "the cup", "sent_id": 0, "tokens": []}]
    content = [{**ref, "ann_id": [1]}] if refs.endswith("json") else [ref]
    write_json(root / "refer" / folder / "instances.json", coco(file, [{"id": 1, "name": "cup"}]))
    path = root / "refer" / folder / refs
    path.write_bytes(
        json.dumps(content).encode() if refs.endswith("json") else pickle.dumps(content, 2)
    )
    record, (cup,) = regions_of(name)
    assert record["texts"] == ["the cup"] and cup.mask == SQUARE
    assert SegMapper(False, augmentations=[])(record)["image"].shape == (3, 4, 6)
    kind = "generalised_referring" if name.startswith("g") else "referring"
    assert MetadataCatalog.get(name).evaluator_type == kind


def test_training_splits_of_refcoco_have_two_forms():
    for name in ("refcoco_unc", "refcocop_unc", "refcocog_umd", "grefcoco_unc"):
        assert f"{name}_train" in DatasetCatalog and f"{name}_train_images" in DatasetCatalog


@pytest.mark.parametrize(
    "name, image, mask",
    [
        ("duts_train", "DUTS/DUTS-TR/DUTS-TR-Image/a.jpg", "DUTS/DUTS-TR/DUTS-TR-Mask/a.png"),
        ("ecssd", "ECSSD/images/a.jpg", "ECSSD/ground_truth_mask/a.png"),
        ("pascal_s", "PASCAL-S/a.jpg", "PASCAL-S/a.png"),
        ("sod", "SOD/images/a.jpg", "SOD/masks/a.png"),
        ("duts_test", "DUTS/DUTS-TE/DUTS-TE-Image/a.jpg", "DUTS/DUTS-TE/DUTS-TE-Mask/a.png"),
        ("hrsod_test", "HRSOD/HRSOD_test/a.jpg", "HRSOD/HRSOD_test_mask/a.png"),
        ("uhrsd_train", "UHRSD/UHRSD_TR_2K/image/a.jpg", "UHRSD/UHRSD_TR_2K/mask/a.png"),
        ("dis_train", "DIS5K/DIS-TR/im/a.jpg", "DIS5K/DIS-TR/gt/a.png"),
        ("msra10k", "MSRA10K/Imgs/a.jpg", "MSRA10K/Imgs/a.png"),
        ("coift", "COIFT/images/a.jpg", "COIFT/masks/a.png"),
        ("dis_te4", "DIS5K/DIS-TE4/im/a.jpg", "DIS5K/DIS-TE4/gt/a.png"),
    ],
)
def test_salient_and_foreground_folders(root, save, name, image, mask):
    photo(save, root / image)
    save(root / mask, np.full((4, 6), 255, np.uint8))
    _, (region,) = regions_of(f"salient_{name}")
    assert region.text == "the most salient object" and region.bitmap(4, 6).all()
    assert load_dataset(f"fg_{name}")[0]["texts"] == ["foreground object"]


def test_thin_objects_are_told_apart_by_lists(root, save):
    for stem in ("a", "b"):
        photo(save, root / f"ThinObject5K/images/{stem}.jpg")
        save(root / f"ThinObject5K/masks/{stem}.png", np.zeros((4, 6), np.uint8))
    listing = root / "ThinObject5K/list/val.txt"
    listing.parent.mkdir()
    listing.write_text("b.jpg\n")
    (record,) = load_dataset("fg_thin_object_val")
    assert record["image_id"] == "b"
    listing.write_text("c.jpg\n")
    with pytest.raises(FileNotFoundError, match="val.txt: .c.jpg. has no image and label file"):
        load_dataset("fg_thin_object_val")


def test_lip_is_mirrored_with_its_sides(root, save):
    photo(save, root / "LIP/TrainVal_images/val_images/a.jpg", size=(1, 3))
    labels = np.array([[14, 13, 0]], np.uint8)
    save(root / "LIP/TrainVal_parsing_annotations/val_segmentations/a.png", labels)
    (record,) = load_dataset("lip_val_parts")
    metadata = {"lip_val_parts": dataset_metadata("lip_val_parts")}
    mapper = SegMapper(
        True,
        augmentations=[T.RandomFlip(prob=1.0)],
        targets=["sem_seg", "instances"],
        metadata=metadata,
    )
    mapped = mapper(record)
    names = get_vocabulary("lip").classes
    assert [names[k] for k in mapped["sem_seg"][0]] == ["background", "face", "right arm"]
    # The background is a label of pixels, but no region to look for.
    assert [names[k] for k in mapped["instances"].gt_classes] == ["face", "right arm"]
    assert mapped["task"] is Task.PART


def test_part_imagenet_is_checked_against_its_own_list(root, save):
    folder = root / "PartImageNet"
    photo(save, folder / "images/val/n01.JPEG", size=(1, 2))
    save(folder / "annotations/val/n01.png", np.array([[0, 40]], np.uint8))
    names = [name.title() for name in get_vocabulary("part_imagenet").classes[:40]]
    listed = [{"id": k, "name": name} for k, name in enumerate(names)]
    write_json(folder / "annotations/val.json", {"categories": listed})
    _, regions = regions_of("part_imagenet_val_parts")
    assert [region.text for region in regions] == ["quadruped head", "background"]
    shifted = [{"id": (k + 1) % 40, "name": name} for k, name in enumerate(names)]
    write_json(folder / "annotations/val.json", {"categories": shifted})
    with pytest.raises(ValueError, match="val.json: 40 of 40 class names are others"):
        load_dataset("part_imagenet_val_parts")


def test_seginw_is_25_sets_with_their_own_names(root, save):
    assert len(seginw.NAMES) == 25 and all(name in DatasetCatalog for name in seginw.NAMES)
    folder = root / "seginw/Hand-Metal/valid"
    photo(save, folder / "a.jpg")
    categories = [{"id": 0, "name": "hand"}, {"id": 1, "name": "metal"}]
    write_json(folder / "_annotations_min1cat.coco.json", coco("a.jpg", categories))
    _, (hand,) = regions_of("seginw_Hand-Metal_val")
    assert (hand.text, hand.class_index) == ("hand", 0)
    # Names go to the model as they stand, commas and underscores included.
    assert get_vocabulary("seginw_Salmon-Fillet").synonyms == (("Salmon_fillet",),)
    assert len(get_vocabulary("seginw_Trash")) == 22


def test_objects365_has_boxes_and_better_names(root, save):
    photo(save, root / "objects365/val/patch16/a.jpg")
    categories = [{"id": 38, "name": "Moniter/TV "}, {"id": 1, "name": "Person "}]
    content = coco("images/v2/patch16/a.jpg", categories)
    write_json(root / "objects365/annotations/zhiyuan_objv2_val.json", content)
    record, (screen,) = regions_of("objects365_v2_val")
    assert record["file_name"] == str(root / "objects365/val/patch16/a.jpg")
    assert (screen.text, screen.class_index, screen.mask) == ("Monitor/TV", 1, None)
    assert dataset_metadata("objects365_v2_val").thing_classes == ["Person", "Monitor/TV"]


def test_ade20k_panoptic_takes_the_categories_of_its_file(root, save):
    folder = root / "ADEChallengeData2016"
    photo(save, folder / "images/validation/a.jpg", size=(1, 2))
    ids = np.array([[[1, 0, 0], [2, 0, 0]]], np.uint8)
    save(folder / "ade20k_panoptic_val/a.png", ids)
    categories = [{"id": 0, "name": "wall", "isthing": 0}, {"id": 7, "name": "bed", "isthing": 1}]
    segments = [{"id": 1, "category_id": 0, "area": 1}, {"id": 2, "category_id": 7, "area": 1}]
    content = {
        "images": [{"id": "a", "file_name": "a.jpg", "height": 1, "width": 2}],
        "annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": segments}],
        "categories": categories,
    }
    write_json(folder / "ade20k_panoptic_val.json", content)
    _, (wall, bed) = regions_of("ade20k_panoptic_val")
    assert (wall.text, wall.is_thing, bed.text, bed.class_index) == ("wall", False, "bed", 1)
    # The same file under FC-CLIP's words, which number all 150 classes.
    _, (wall, bed) = regions_of("openvocab_ade20k_panoptic_val")
    assert (wall.class_index, bed.class_index, bed.is_thing) == (0, 7, True)
    assert len(get_vocabulary(dataset_metadata("openvocab_ade20k_panoptic_val").vocabulary)) == 150


def test_instances_under_words_of_things_and_stuff_are_measured_by_the_classes_of_the_file(
    root, save
):
    photo(save, root / "ADEChallengeData2016/images/validation/a.jpg")
    content = coco("a.jpg", [{"id": 8, "name": "bed "}, {"id": 9, "name": "windowpane"}])
    write_json(root / "ADEChallengeData2016/ade20k_instance_val.json", content)
    record, (bed,) = regions_of("openvocab_ade20k_instance_val")
    assert (bed.text, bed.class_index) == ("bed", 7)
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:2, :2] = True
    found = Instances(
        (4, 6),
        pred_masks=mask[None],
        pred_boxes=Boxes(torch.tensor([[0.0, 0.0, 2.0, 2.0]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([7]),
    )
    evaluator = InstanceEvaluator("openvocab_ade20k_instance_val")
    evaluator.process([record], [{"instances": found}])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100.0)


def test_coco_and_lvis_are_read_by_detectron2_and_become_regions(root, save):
    photo(save, root / "coco/val2017/a.jpg")
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = coco("a.jpg", categories, coco_url="http://images.org/val2017/a.jpg")
    content["images"][0].update(neg_category_ids=[2], not_exhaustive_category_ids=[1])
    write_json(root / "file.json", content)
    folders = {"test_coco": (load_coco_json, "coco/val2017", "test_coco")}
    folders["test_lvis_file"] = (load_lvis_json, "coco", None)  # knows its classes by release
    for name, (load, folder, known_as) in folders.items():
        MetadataCatalog.get(name).set(thing_classes=["cat", "dog"])
        read = functools.partial(load, str(root / "file.json"), f"{root / folder}/", known_as)
        DatasetCatalog.register(name, read)
        record, (cat,) = regions_of(name)
        assert record["file_name"] == str(root / "coco/val2017/a.jpg")
        assert (cat.text, cat.class_index, cat.mask) == ("cat", 0, SQUARE)
    assert (record["negative_classes"], record["not_exhaustive_classes"]) == ([1], [0])


def test_lvis_of_detectron2_gets_our_names_for_what_is_not_there(root, monkeypatch):
    records = [{"file_name": "a", "neg_category_ids": [3], "not_exhaustive_category_ids": [1]}]
    DatasetCatalog.register("test_lvis", lambda: records)
    MetadataCatalog.get("test_lvis").set(thing_classes=["a", "b", "c"])
    (record,) = load_dataset("test_lvis")
    assert (record["negative_classes"], record["not_exhaustive_classes"]) == ([2], [0])


def test_every_set_that_we_register_names_its_licence():
    ours = [
        name
        for name in REGISTERED
        if "licence" in MetadataCatalog.get(name).as_dict() and not name.startswith("test_")
    ]
    assert len(ours) > 150
    assert not [name for name in ours if not MetadataCatalog.get(name).licence]
    for name in ("coco_2017_val", "coco_2017_val_panoptic", "lvis_v1_train", "lvis_v1_val"):
        assert "CC BY 4.0" in MetadataCatalog.get(name).licence  # detectron2 names none
