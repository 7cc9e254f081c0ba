import json

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


def test_a_complete_set_has_the_images_whose_objects_are_all_annotated(root):
    more = {"vocabulary": ["cat"], "task": Task.INSTANCE, "complete": True}
    write(root, line(CAT, not_exhaustive=["cat"]), line(CAT, file_name="b.png", not_exhaustive=[]))
    register(**more)
    assert [r["file_name"] for r in load_dataset("test_lines")] == [str(root / "images/b.png")]
    write(root, line(CAT, not_exhaustive=["cat"]))
    with pytest.raises(ValueError, match="each of the 1 images has 'not_exhaustive', so `complete"):
        load_dataset("test_lines")


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
