import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from segplugins.data import SegMapper, load_dataset, register_regions, register_salient
from segplugins.structures.regions import Region, Task, encode_mask, validate_record

CAT = {"text": "cat", "box": [0, 0, 2, 2], "mask": [[0, 0, 2, 0, 2, 2, 0, 2]], "score": 0.5}


def write(root, *lines):
    (root / "images").mkdir(exist_ok=True)
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (root / "set.jsonl").write_text("\n".join(text))


def register(**keywords):
    register_regions(
        "test_lines",
        **{"lines": "set.jsonl", "image_root": "images", "task": Task.REFERRING, **keywords},
    )


def line(*regions, **more):
    return {"file_name": "a.png", "height": 4, "width": 6, "regions": list(regions), **more}


def test_lines_become_records_and_keep_what_else_they_know(root, save):
    save(root / "images/a.png", np.zeros((4, 6, 3), np.uint8))
    write(root, line(CAT, {"text": "no dog"}, source="tagger"), "", {"error": "cut off"})
    register()
    (given,) = load_dataset("test_lines")
    assert given["regions"] == [
        Region("cat", (0, 0, 2, 2), CAT["mask"], score=0.5),
        Region("no dog"),
    ]
    assert given["source"] == "tagger" and given["task"] is Task.REFERRING
    record = SegMapper(True, augmentations=[])(given)
    validate_record(record, training=True)
    assert record["texts"] == ["cat", "no dog"] and len(record["instances"]) == 1
    assert "regions" not in record
    tested = SegMapper(False, augmentations=[])(given)
    assert tested["texts"] == ["cat", "no dog"] and tested["regions"] == given["regions"]


def test_texts_can_be_classes(root):
    write(root, line(CAT))
    register(vocabulary=["dog", "cat"], task=Task.INSTANCE)
    assert load_dataset("test_lines")[0]["regions"][0].class_index == 1
    assert MetadataCatalog.get("test_lines").evaluator_type == "coco"


def test_what_is_not_exhaustive_is_learnt_from_no_image_without_it(root, save):
    save(root / "images/a.png", np.zeros((4, 6, 3), np.uint8))
    write(root, line(CAT, not_exhaustive=["Dog", "cat"]))
    register(vocabulary=["dog", "cow", "cat"], task=Task.INSTANCE)
    (given,) = load_dataset("test_lines")
    assert given["not_exhaustive_classes"] == [0, 2] and "not_exhaustive" not in given
    metadata = {"test_lines": MetadataCatalog.get("test_lines")}
    record = SegMapper(True, augmentations=[], metadata=metadata)(given)
    assert record["ignore_negative"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("least_kept", "names"), [(0, "abcde"), (0.5, "abde"), (0.51, "ade"), (2 / 3, "ade"), (1, "ad")]
)
def test_images_of_which_filters_dropped_too_much_are_left_out(root, least_kept, names):
    cow, aside = {**CAT, "text": "cow"}, {"set_aside": [CAT]}
    lines = [
        line({"text": "cow"}, file_name="a.png"),  # nothing was proposed
        line(CAT, file_name="b.png", not_exhaustive=["cat"], **aside),  # 1 of 2
        line(CAT, file_name="c.png", not_exhaustive=["cat", "cow"]),  # 1 of 3
        line(CAT, file_name="d.png", not_exhaustive=[]),
        line(CAT, cow, file_name="e.png", not_exhaustive=["cow"], **aside),  # 2 of 3
    ]
    write(root, *lines)
    register(least_kept=least_kept)
    assert [Path(r["file_name"]).stem for r in load_dataset("test_lines")] == list(names)


def test_a_share_that_leaves_no_image_is_refused_and_tells_the_highest(root):
    write(root, line(CAT, not_exhaustive=["cat", "cow"]), line(file_name="b.png", set_aside=[CAT]))
    register(least_kept=0.5)
    with pytest.raises(ValueError, match="of no image the share 0.5 of .* the highest is 0.33; lo"):
        load_dataset("test_lines")
    with pytest.raises(ValueError, match="least_kept.*expected a number from 0 to 1"):
        register(least_kept=50)


def test_of_a_phrase_with_unannotated_objects_nothing_else_is_a_negative(root, save):
    save(root / "images/a.png", np.zeros((4, 6, 3), np.uint8))
    write(root, line({"text": "dog"}, CAT, not_exhaustive=["cat", "cow"]))
    register()
    (given,) = load_dataset("test_lines")
    metadata = MetadataCatalog.get("test_lines")
    metadata.set(name_counts={"cow": 1, "hen": 1, "cat": 1})
    mapper = SegMapper(True, augmentations=[], metadata={"test_lines": metadata}, max_texts=9)
    record = mapper(given)
    assert record["texts"] == ["dog", "cat", "hen"]
    assert record["ignore_negative"].tolist() == [False, True, False]


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "line 2: "),
        ("[]", "line 2: expected a record in braces"),
        ({"file_name": "a.png"}, "line 2: key 'regions' is missing"),
        (line({"text": " "}, file_name="b.png"), "line 2, regions.0.: a region has the text ' '"),
        (
            line({"text": "a", "bbox": []}, file_name="b.png"),
            r"line 2, regions.0.: a region has the keys \['bbox'\]",
        ),
        (
            line({"text": "a", "box": [3, 3, 1, 1]}, file_name="b.png"),
            "line 2, regions.0.: a box must have x1 > x0",
        ),
        (line(task="dancing"), "line 2: 'dancing' is not a valid Task"),
    ],
)
def test_a_line_that_is_no_record_is_told_by_its_number(root, bad, message):
    write(root, line(CAT), bad)
    register()
    with pytest.raises(ValueError, match=message):
        load_dataset("test_lines")


def test_a_text_that_is_no_class_is_an_error(root):
    write(root, line(CAT))
    register(vocabulary=["dog"], task=Task.INSTANCE)
    with pytest.raises(ValueError, match="line 1, regions.0.: region 'cat' is no class"):
        load_dataset("test_lines")


def test_label_maps_are_not_described_by_lines(root):
    with pytest.raises(
        ValueError, match="'test_lines', task: got .*semantic.*expected one of instance"
    ):
        register(task=Task.SEMANTIC)


def test_a_mask_of_another_size_is_an_error_with_record_and_text(root, save):
    save(root / "images/a.png", np.zeros((4, 6, 3), np.uint8))
    write(root, line({"text": "cat", "mask": encode_mask(np.ones((6, 4), bool))}))
    register()
    with pytest.raises(ValueError, match="a.png, line 1, regions.0.: RLE has size"):
        SegMapper(True, augmentations=[])(load_dataset("test_lines")[0])


def test_salient_folders_ask_for_their_phrase(root, save):
    save(root / "im/a.jpg", np.zeros((4, 6, 3), np.uint8))
    grey = np.zeros((4, 6), np.uint8)
    grey[1:3, 1:4] = 255
    save(root / "gt/a.png", grey)
    register_salient("test_salient", image_root="im", mask_root="gt", expected=1)
    (given,) = load_dataset("test_salient")
    record = SegMapper(True, augmentations=[])(given)
    assert record["texts"] == ["the most salient object"] and record["task"] is Task.SALIENT
    assert record["instances"].gt_boxes.tensor.tolist() == [[1, 1, 4, 3]]
    assert SegMapper(False, augmentations=[])(given)["texts"] == record["texts"]
    assert MetadataCatalog.get("test_salient").evaluator_type == "salient"


def test_an_empty_mask_is_kept_as_an_image_without_target(root, save):
    save(root / "im/a.jpg", np.zeros((4, 6, 3), np.uint8))
    save(root / "gt/a.png", np.zeros((4, 6), np.uint8))
    register_salient("test_salient", image_root="im", mask_root="gt")
    record = SegMapper(True, augmentations=[])(load_dataset("test_salient")[0])
    validate_record(record, training=True)
    assert len(record["instances"]) == 0 and len(record["texts"]) == 1
