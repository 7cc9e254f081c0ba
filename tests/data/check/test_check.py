import importlib.util
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.data import register_salient, register_semantic
from segplugins.data.check import as_data, as_text, check_dataset
from segplugins.data.check import run as checking
from segplugins.data.check.record import Findings

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[2] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


def told(checked):
    return [(fault.kind, fault.record, fault.field) for fault in checked.findings.faults]


def test_a_set_without_a_fault_is_counted(instances, content):
    content["annotations"][1]["iscrowd"] = 1
    checked = check_dataset(instances(content))
    found = checked.findings
    assert found.faults == [] and checked.faults == checked.remarks == []
    assert found.sizes == {(8, 10): 3}
    assert found.kinds == {"mask": 2, "crowd": 1}
    assert found.regions == {0: 1, 1: 1} and found.images == {0: 1, 1: 1}
    assert list(checked.classes) == ["cat", "dog"]


def test_processes_find_what_one_finds(instances, content):
    content["annotations"][0]["segmentation"] = {"size": [8, 10], "counts": [80, 1]}
    content["images"][2]["width"] = 9
    name = instances(content)
    steps = []
    here = check_dataset(name)
    there = check_dataset(name, workers=2, advance=lambda done, total: steps.append((done, total)))
    assert there.findings == here.findings and len(here.faults) == 2
    assert steps[-1] == (3, 3)


def test_a_part_of_the_records_is_spread_evenly(instances, content):
    assert check_dataset(instances(content), limit=1).findings.sizes == {(8, 10): 1}


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"segmentation": {"size": [8, 10], "counts": [5]}}, "rle", "add up to 5"),
        ({"segmentation": {"size": [10, 8], "counts": [80]}}, "rle", "expected .8, 10"),
        ({"segmentation": {"size": [8, 10], "counts": "0"}}, "rle", "add up to 0"),
        ({"segmentation": {"size": [8, 10], "counts": [80]}}, "empty-mask", "no pixel"),
        ({"segmentation": [[0, 0, 1, float("inf"), 5, 5]]}, "polygon", "not finite"),
        ({"segmentation": [[0, 0, 1e8, 3, 5, 5]]}, "polygon", "too far"),
        ({"segmentation": [[20, 1, 25, 1, 25, 5]]}, "empty-mask", "no pixel"),
        ({"bbox": [12, 1, 3, 3]}, "box", r"the mask has \[1, 1, 4, 4\]"),
    ],
)
def test_a_region_that_does_not_fit_its_image_is_a_fault(instances, content, change, kind, message):
    content["annotations"][0].update(change)
    checked = check_dataset(instances(content))
    [fault] = checked.faults
    assert (fault.kind, fault.record, fault.entry) == (kind, "1", ("annotations", 0))
    assert fault.field == "annotation 11" and fault.file.endswith("small.json")
    assert re.search(message, fault.message)


def test_what_is_cut_at_the_border_is_a_remark_and_no_fault(instances, content):
    content["annotations"][0].update(segmentation=[[5, 1, 15, 1, 15, 5, 5, 5]], bbox=[5, 1, 10, 4])
    content["annotations"][1]["bbox"] = [2, 2, 16, 2]
    checked = check_dataset(instances(content))
    assert checked.faults == []
    assert [(fault.kind, fault.field) for fault in checked.remarks] == [
        ("box", "annotation 11, box"),
        ("polygon", "annotation 11, mask"),
        ("box", "annotation 12, box"),
    ]


def test_masks_beside_boxes_are_a_fault(instances, content):
    del content["annotations"][0]["segmentation"]
    [fault] = check_dataset(instances(content)).faults
    assert (
        fault.kind == "mixed" and "1 objects have a box and no mask, others have" in fault.message
    )


def test_images_that_are_missing_damaged_or_of_another_size_are_faults(images, instances, content):
    (images / "1.png").unlink()
    path = images / "2.png"
    path.write_bytes(path.read_bytes()[:-30])
    content["images"][2]["height"] = 7
    checked = check_dataset(instances(content))
    missing, cut, size = checked.faults
    assert (missing.kind, missing.record) == ("missing", "1") and "does not exist" in str(missing)
    assert (cut.kind, cut.record) == ("unreadable", "2") and "truncated" in cut.message
    assert (size.kind, size.field) == ("image-size", "height, width")
    assert "the image is 8x10 (height x width), its record says 7x10" in size.message
    assert not checked.findings.sizes  # none of the three can be trained on


def test_the_regions_of_an_image_that_cannot_be_read_are_checked_as_well(
    images, instances, content
):
    (images / "1.png").write_bytes(b"no image")
    content["annotations"][0]["segmentation"] = {"size": [8, 10], "counts": [5]}
    checked = check_dataset(instances(content))
    assert [(fault.kind, fault.record) for fault in checked.faults] == [
        ("rle", "1"),
        ("unreadable", "1"),
    ]


def turned(path, height, width, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    image.save(path.with_suffix(".jpg"), exif=exif)
    return path.with_suffix(".jpg").name


def test_images_with_exif_data_are_remarks_that_say_how_they_are_read(images, instances, content):
    # Stored 8 x 10; orientation 6 turns it by 90 degrees, 3 upside down.
    for image, orientation in zip(content["images"], (6, 3, 1)):
        file = images / image["file_name"]
        image["file_name"] = turned(file, 8, 10, orientation)
    checked = check_dataset(instances(content))
    assert not checked.faults
    stored, turned_over = checked.remarks
    assert (stored.kind, stored.record) == ("exif", "1")
    assert "orientation 6 is not applied" in stored.message
    assert (turned_over.kind, turned_over.record) == ("exif", "2")
    assert "orientation 3 turns the image" in turned_over.message


def semantic(root, save, labels):
    ext = "tif" if labels.dtype == np.int32 else "png"
    save(root / "images/a.png", np.zeros((4, 5, 3), np.uint8))
    save(root / f"labels/a.{ext}", labels)
    register_semantic(
        "maps",
        image_root="images",
        label_root="labels",
        image_ext="png",
        label_ext=ext,
        vocabulary=["x", "y"],
    )
    return check_dataset("maps")


def test_labels_are_counted_per_class(root, save):
    labels = np.array([[0, 0, 1, 255, 255]] * 4, np.uint8)
    found = semantic(root, save, labels).findings
    assert found.faults == [] and found.pixels == {0: 8, 1: 4} and found.images == {0: 1, 1: 1}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_labels_outside_the_vocabulary_are_told_with_their_pixels(root, save, kind):
    labels = np.array([[0, 2, 7, 7, 255]] * 4, kind)
    checked = semantic(root, save, labels)
    [fault] = checked.faults
    assert (fault.kind, fault.record) == ("label-value", "a") and "labels/a." in fault.file
    assert "holds 2 (4 pixels), 7 (8 pixels); expected 0 to 1, or 255" in fault.message
    assert checked.findings.pixels == {0: 4}


def test_a_label_map_of_another_size_or_of_colours_is_a_fault(root, save):
    checked = semantic(root, save, np.zeros((5, 4), np.uint8))
    [fault] = checked.faults
    assert fault.kind == "map-size" and "is 5x4 (height x width), its image 4x5" in fault.message
    save(root / "labels/a.png", np.zeros((4, 5, 3), np.uint8))
    [fault] = check_dataset("maps").faults
    assert fault.kind == "map-form" and "expected one channel" in fault.message


def test_every_label_without_an_image_is_told_and_the_others_are_read(root, save):
    for name in ("b", "c"):
        save(root / f"labels/{name}.png", np.zeros((4, 5), np.uint8))
    checked = semantic(root, save, np.zeros((4, 5), np.uint8))
    assert [fault.kind for fault in checked.faults] == ["missing", "missing"]
    assert [Path(fault.file).name for fault in checked.faults] == ["b.png", "c.png"]
    assert checked.findings.sizes == {(4, 5): 1}


def test_panoptic_maps_and_segments_are_compared_both_ways(panoptic):
    assert check_dataset(panoptic()).findings.pixels == {0: 20, 1: 40}


@pytest.mark.parametrize(
    "change, kind, field, message",
    [
        (lambda s, ids: ids.__setitem__((7, 9), 17), "segment-id", "", "17 (1 pixels) of 1 ids"),
        (lambda s, ids: ids.__setitem__(ids == 5, 300), "segment-id", "segment 5", "no pixel"),
        (
            lambda s, ids: s[0].update(area=39),
            "area",
            "segment 300",
            "area is 39, the map holds 40",
        ),
    ],
)
def test_what_stands_only_in_the_map_or_only_in_the_file_is_told(
    panoptic, change, kind, field, message
):
    def both(content, ids):
        change(content["annotations"][0]["segments_info"], ids)

    # Pixels that change hands also make the area of the other segment wrong.
    checked = check_dataset(panoptic(both))
    [first] = [fault for fault in checked.findings.faults if fault.field == field]
    assert first.remark == (kind == "area")  # which is counted from the map
    assert (first.kind, first.record) == (kind, "1")
    assert message in first.message and first.file.endswith("maps/1.png")


def test_an_empty_mask_is_a_remark(root, save):
    save(root / "images/a.jpg", np.zeros((4, 5, 3), np.uint8))
    grey = np.full((4, 5), 128, np.uint8)  # 128 is background still
    grey[0, :2] = 0, 64
    save(root / "masks/a.png", grey)
    register_salient("grey", image_root="images", mask_root="masks")
    checked = check_dataset("grey")
    assert [fault.kind for fault in checked.remarks] == ["empty-mask"] and not checked.faults
    assert checked.findings.kinds == {"no target": 1} and checked.findings.phrases == 1


def test_phrases_are_counted_and_those_without_a_target_told_apart(referring):
    refs = [small.ref(1, 11, "a cat", "the cat"), small.ref(2, [-1], "a horse")]
    found = check_dataset(referring(refs)).findings
    assert found.faults == [] and found.phrases == 3 and found.kinds == {"mask": 1, "no target": 1}


def test_a_record_that_kills_its_process_is_named_and_the_others_are_read(
    instances, content, monkeypatch
):
    here = os.getpid()

    def read(record, metadata, position, annotation_file):
        if record["image_id"] == 2 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return Findings(phrases=1)

    monkeypatch.setattr(checking, "check_record", read)
    checked = check_dataset(instances(content), workers=2)
    [fault] = checked.faults
    assert (fault.kind, fault.record) == ("deadly", "2") and "kills the process" in fault.message
    assert checked.findings.phrases == 2


def test_a_record_that_never_ends_is_named(instances, content, monkeypatch):
    def read(record, metadata, position, annotation_file):
        if record["image_id"] == 3:
            time.sleep(60)
        return Findings(phrases=1)

    monkeypatch.setattr(checking, "check_record", read)
    checked = check_dataset(instances(content), workers=1, seconds=2.0)
    assert [(fault.kind, fault.record) for fault in checked.faults] == [("deadly", "3")]
    assert "takes over 2 s" in checked.faults[0].message and checked.findings.phrases == 2


def test_the_report_says_what_people_ask_for(instances, content):
    content["annotations"][0]["segmentation"] = {"size": [8, 10], "counts": [5]}
    content["categories"].append({"id": 3, "name": "cow"})
    checked = check_dataset(instances(content))
    text = as_text(checked)
    for part in (
        "records   3, 3 images read",
        "height    8 to 8, median 8",
        "classes   3, 1 of them shown",
        "never shown: cow, cat",
        "faults: 1",
        "rle: 1",
        "small.json, record 1, annotation 11: RLE runs add up to 5 pixels",
        "no remarks",
    ):
        assert part in text, part
    data = as_data(checked)
    assert data["records"] == 3 and data["faults"][0]["field"] == "annotation 11"
    assert [each["name"] for each in data["classes"]] == ["cow", "cat", "dog"]  # by their ids


def test_faults_beyond_the_shown_ones_are_counted(instances, content):
    wrong = {"segmentation": {"size": [8, 10], "counts": [5]}}
    for number in (20, 21, 22):
        content["annotations"].append({**content["annotations"][0], **wrong, "id": number})
    checked = check_dataset(instances(content))
    assert "and 2 more; --show 0" in as_text(checked, show=1)
    assert "more" not in as_text(checked, show=0).split("faults: 3")[1]
