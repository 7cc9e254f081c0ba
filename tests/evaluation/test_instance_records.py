"""The true instances of the catalog's records: accepted forms, and what is no instance."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from segplugins.evaluation.instance_records import truth_from_records
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.structures.regions import Region, encode_mask

MASK = np.zeros((8, 8), bool)
MASK[:4, :3] = True
RECORD = {"image_id": 1, "file_name": "a.jpg", "height": 8, "width": 8}
ANNOTATION = {
    "bbox": [0.0, 0.0, 3.0, 4.0],
    "bbox_mode": BoxMode.XYXY_ABS,
    "category_id": 1,
    "segmentation": encode_mask(MASK),
}
NAMES = ("cat", "dog", "owl")


def read(**changes):
    record = {**RECORD, "annotations": [{**ANNOTATION, **changes}]}
    (instance,) = truth_from_records([record], NAMES).images[1].instances
    return instance


@pytest.mark.parametrize("category", [1, 1.0, "1", np.int64(1)])
@pytest.mark.parametrize("crowd", [None, 0, "0", False, "false", 0.0, np.int64(0)])
def test_values_count_in_every_form_of_annotation_files(category, crowd):
    instance = read(category_id=category, iscrowd=crowd, area="7")
    assert (instance.category, instance.crowd, instance.area) == (1, False, 7.0)
    assert read(iscrowd="1").crowd and read(iscrowd=True).ignored


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"category_id": 1.5}, r"class 1.5, expected 0\.\.2"),
        ({"category_id": True}, "class True"),
        ({"category_id": None}, "class None"),
        ({"category_id": "dog"}, "class 'dog'"),
        ({"category_id": 3}, "class 3"),
        ({"category_id": -1}, "class -1"),
        ({"iscrowd": 2}, "class 1 has iscrowd 2, expected 0 or 1"),
        ({"iscrowd": "no"}, "iscrowd 'no'"),
        ({"area": float("nan")}, "area nan, expected 0 to 64"),
        ({"area": 65}, "area 65, expected 0 to 64"),
        ({"area": True}, "area True"),
        ({"bbox": [0, 0, float("nan"), 4]}, "expected 4 finite numbers"),
        ({"bbox": [0, 0, 3]}, "expected 4 finite numbers"),
        ({"bbox": [3, 4, 0, 0]}, r"the box \[3, 4, 0, 0\] ends before it begins"),
        ({"bbox": [0, 0, -3, 4], "bbox_mode": BoxMode.XYWH_ABS}, "ends before it begins"),
        ({"bbox_mode": 7}, "bbox_mode 7, expected BoxMode.XYXY_ABS or XYWH_ABS"),
        ({"bbox_mode": None}, "bbox_mode None"),
        ({"bbox": None, "segmentation": []}, "neither a box nor a mask"),
        ({"segmentation": "text"}, "segmentation 'text', expected an RLE or polygons"),
        ({"segmentation": {"size": [4, 4], "counts": [16]}}, r"RLE has size \[4, 4\]"),
    ],
)
def test_what_is_no_instance_names_the_image(changes, message):
    with pytest.raises(ValueError, match=rf"^a.jpg \(image_id 1\): .*{message}") as caught:
        read(**changes)
    assert "\n" not in str(caught.value)


def test_box_and_area_come_from_the_mask_where_they_are_not_given():
    # 4 rows of 3 pixels from the corner.
    instance = read(bbox=None)
    assert (instance.box, instance.area) == ((0, 0, 3, 4), 12)
    # XYXY and XYWH mean the same box here, which begins at 0.
    assert read(bbox_mode=BoxMode.XYWH_ABS).box == instance.box
    assert read(bbox=[1, 1, 2, 3], bbox_mode=BoxMode.XYWH_ABS).box == (1, 1, 2, 3)
    without_mask = read(segmentation=[])
    assert without_mask.mask is None and without_mask.area == 12


def test_a_region_counts_as_its_annotation_does():
    region = Region("dog", mask=encode_mask(MASK), class_index=1, extra={"iscrowd": "0"})
    (instance,) = truth_from_records([{**RECORD, "regions": [region]}], NAMES).images[1].instances
    assert instance == read(bbox=None)
    crowd = Region("dog", mask=encode_mask(MASK), class_index=1, extra={"iscrowd": "maybe"})
    with pytest.raises(ValueError, match="a.jpg .*iscrowd 'maybe'"):
        truth_from_records([{**RECORD, "regions": [crowd]}], NAMES)


@pytest.mark.parametrize("side", ["height", "width"])
def test_a_record_without_its_size_is_named(side):
    record = {**RECORD, "annotations": []}
    assert truth_from_records([{**record, side: 8.0}], NAMES).images[1].height == 8
    for value in (None, 0, 8.5, "tall"):
        with pytest.raises(ValueError, match=rf"a.jpg .*{side} .*expected a number of pixels"):
            truth_from_records([{**record, side: value}], NAMES)
    with pytest.raises(ValueError, match="a.jpg .*neither regions nor annotations"):
        truth_from_records([RECORD], NAMES)


def predicted(box=(0.0, 0.0, 3.0, 4.0), score=0.9):
    return Instances(
        (8, 8),
        pred_boxes=Boxes(torch.tensor([box])),
        pred_masks=torch.from_numpy(MASK)[None],
        scores=torch.as_tensor([score]),
        pred_classes=torch.tensor([1]),
    )


@pytest.mark.parametrize(
    "instances, options, message",
    [
        (predicted((3.0, 4.0, 0.0, 0.0)), {}, r"the box \(3.0, 4.0, 0.0, 0.0\), which ends before"),
        (predicted((0.0, 4.0, 3.0, 0.0)), {}, r"\(0.0, 4.0, 3.0, 0.0\), which ends before"),
        (predicted(score=True), {}, "scores of instances are torch.bool"),
        (predicted(score=3.0), {"presence": True}, "scores from 3 to 3, but cgF1 is of prob"),
        (predicted(score=-1.0), {"presence": True}, "scores from -1 to -1, but cgF1 is of prob"),
    ],
)
def test_boxes_and_scores_that_mean_something_else_name_the_image(
    catalog, instances, options, message
):
    records = [{**RECORD, "annotations": [ANNOTATION]}]
    evaluator = InstanceEvaluator(catalog(records, thing_classes=list(NAMES)), **options)
    with pytest.raises(ValueError, match=rf"a.jpg \(image_id 1\): .*{message}"):
        evaluator.process(records, [{"instances": instances}])
    evaluator.process(records, [{"instances": predicted()}])  # the image did not count as done
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100.0)
