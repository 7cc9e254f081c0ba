import json
import pickle

import numpy as np
import pytest

from segplugins.data import SegMapper, load_dataset, register_referring
from segplugins.data.readers.referring import in_split, referring_records
from segplugins.structures.regions import Task

LEFT = [[0, 0, 2, 0, 2, 4, 0, 4]]
RIGHT = [[4, 0, 6, 0, 6, 4, 4, 4]]


def ref(number, ann_id, *sentences, split="train", image_id=581857):
    return {
        "ref_id": number,
        "ann_id": ann_id,
        "image_id": image_id,
        "split": split,
        "file_name": "COCO_train2014_000000581857_16.jpg",
        "sentences": [
            {"raw": f" {s} ", "sent": s.lower(), "sent_id": 100 * number + i, "tokens": s.split()}
            for i, s in enumerate(sentences)
        ],
    }


def write(root, *refs, name="refs(unc).p", images="train2014"):
    folder = root / "refer"
    folder.mkdir(exist_ok=True)
    (root / images).mkdir(exist_ok=True)
    content = json.dumps(list(refs)).encode() if name.endswith("json") else None
    (folder / name).write_bytes(content or pickle.dumps(list(refs), protocol=2))
    image = {"id": 581857, "file_name": "COCO_train2014_000000581857.jpg", "height": 4, "width": 6}
    annotations = [
        {"id": 1, "image_id": 581857, "bbox": [0, 0, 2, 4], "segmentation": LEFT, "iscrowd": 0},
        {"id": 2, "image_id": 581857, "bbox": [4, 0, 2, 4], "segmentation": RIGHT, "iscrowd": 0},
        {"id": 3, "image_id": 581857, "segmentation": LEFT + RIGHT, "iscrowd": 1},
    ]
    (folder / "instances.json").write_text(
        json.dumps({"images": [image], "annotations": annotations})
    )
    return folder / name, folder / "instances.json", root / images


def read(files, **keywords):
    return referring_records(*files, **{"split": "train", "sample": "expressions", **keywords})


def test_for_evaluation_a_ref_asks_all_its_sentences(root):
    files = write(root, ref(5, 2, "Right man", "man in blue", "Right man"))
    (record,) = read(files)
    # Written twice by two people: two samples.
    assert record["texts"] == ["Right man", "man in blue", "Right man"]
    assert [r.text for r in record["regions"]] == ["Right man", "man in blue"]
    assert record["regions"][0].box == (4, 0, 6, 4) and record["regions"][0].mask == RIGHT
    assert (record["ref_id"], record["image_id"]) == (5, 581857)
    assert record["file_name"].endswith("train2014/COCO_train2014_000000581857.jpg")


def test_for_training_a_ref_is_a_region_with_sentences_to_draw_from(root):
    (record,) = read(write(root, ref(5, 2, "Right man", "man")), sample="object")
    (region,) = record["regions"]
    assert region.text == "Right man" and region.extra["sentences"] == ["Right man", "man"]
    assert "texts" not in record


def test_all_refs_of_an_image_can_be_one_sample(root):
    files = write(root, ref(5, 2, "right man"), ref(6, 1, "left man"))
    (record,) = read(files, sample="image")
    assert [region.text for region in record["regions"]] == ["right man", "left man"]


def test_images_of_2017_have_shorter_names(root):
    (record,) = read(write(root, ref(5, 2, "man"), images="train2017"))
    assert record["file_name"].endswith("train2017/000000581857.jpg")


def test_the_cleaned_text_can_be_asked_for(root):
    (record,) = read(write(root, ref(5, 2, "Right MAN")), text="sent")
    assert record["texts"] == ["right man"]


@pytest.mark.parametrize(
    "of, split, inside",
    [
        ("testA", "testA", True),
        ("testAB", "testB", True),
        ("testB", "testA", False),
        ("testA", "test", True),
        ("test", "test", True),
        ("val", "train", False),
        ("val", "val", True),
    ],
)
def test_test_splits_are_told_by_their_letters(of, split, inside):
    assert in_split(of, split) is inside


def test_generalised_refs_have_several_targets_or_none(root):
    files = write(
        root,
        ref(5, [1, 2], "both men"),
        ref(6, [-1], "a horse"),
        ref(7, [3, 1], "a crowd and a man"),
        name="grefs(unc).json",
    )
    both, none, crowd = read(files)
    assert [region.mask for region in both["regions"]] == [LEFT, RIGHT]
    assert [region.has_target for region in none["regions"]] == [False]
    assert [region.mask for region in crowd["regions"]] == [LEFT]  # crowds are not counted


def test_a_phrase_without_target_reaches_the_model(root, save):
    write(root, ref(6, [-1], "a horse"), name="grefs(unc).json")
    save(root / "train2014/COCO_train2014_000000581857.jpg", np.zeros((4, 6, 3), np.uint8))
    register_referring(
        "test_grefer",
        refs_file="refer/grefs(unc).json",
        instances_file="refer/instances.json",
        image_root="train2014",
        split="train",
        sample="object",
        generalised=True,
    )
    (given,) = load_dataset("test_grefer")
    record = SegMapper(True, augmentations=[])(given)
    assert record["texts"] == ["a horse"] and len(record["instances"]) == 0
    assert record["task"] is Task.REFERRING


@pytest.mark.parametrize(
    "refs, keywords, message",
    [
        ([ref(5, 2, "man")], {"split": "val"}, "no refs of split 'val'"),
        ([ref(5, 4, "man")], {}, "ref 5: it means annotation 4"),
        ([ref(5, 2, "man", "  ")], {}, "ref 5: the sentence .raw. is .    ."),
        ([ref(5, 2)], {}, "ref 5: no sentence at all"),
        ([ref(5, 2, "man")], {"sample": "pixel"}, "sample is 'pixel', expected one of"),
        ([{"ref_id": 5}], {}, "no list of refs"),
    ],
)
def test_refs_that_do_not_fit_are_an_error(root, refs, keywords, message):
    with pytest.raises(ValueError, match=message):
        read(write(root, *refs), **keywords)


def test_a_hostile_refs_file_runs_nothing(root, monkeypatch):
    files = write(root, ref(5, 2, "man"))
    files[0].write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")
    monkeypatch.chdir(root)
    with pytest.raises(ValueError, match=r"refs.unc..p is not read: .*os.system"):
        read(files)
    assert not (root / "harm").exists()
