"""The evaluator of instances: what it reads, refuses, keeps and gives."""

import contextlib
import copy
import io
import json
import math
import pickle

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segplugins.evaluation.instance_truth import to_rle
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.structures.regions import Region, Task, encode_mask
from tests.support.instance_sets import HEIGHT, WIDTH, for_json, random_set


@pytest.fixture
def world(catalog, tmp_path):
    """A random set on disk, registered, with its results as Instances."""
    truth, results = random_set(np.random.default_rng(4), images=6)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(for_json(truth)))
    ids = [category["id"] for category in truth["categories"]]
    records = [
        {"file_name": f"{image['id']}.jpg", "image_id": image["id"]} for image in truth["images"]
    ]
    outputs = []
    for record in records:
        mine = [r for r in results if r["image_id"] == record["image_id"]]
        instances = Instances((HEIGHT, WIDTH))
        boxes = torch.tensor([r["bbox"] for r in mine]).reshape(-1, 4)
        instances.pred_boxes = Boxes(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
        instances.scores = torch.tensor([r["score"] for r in mine])
        instances.pred_classes = torch.tensor([ids.index(r["category_id"]) for r in mine])
        instances.pred_classes = instances.pred_classes.long()
        decoded = [coco_mask.decode(r["segmentation"]) for r in mine]
        instances.pred_masks = torch.from_numpy(np.stack(decoded)).bool()
        outputs.append({"instances": instances})
    name = catalog(
        records,
        json_file=str(path),
        thing_dataset_id_to_contiguous_id={identity: i for i, identity in enumerate(ids)},
        thing_classes=["c0", "c1", "c2", "c3"],
    )
    return name, records, outputs, truth


def run(name, records, outputs, **options):
    evaluator = InstanceEvaluator(name, **options)
    evaluator.process(records, outputs)
    return evaluator.evaluate()


def test_the_evaluator_equals_detectron2s(world):
    name, records, outputs, _ = world
    reference = COCOEvaluator(name, distributed=False)
    reference.reset()
    reference.process(records, outputs)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = reference.evaluate()
    results = run(name, records, outputs)
    assert set(results) == {"bbox", "segm"}
    for task, scores in expected.items():
        assert scores["AP50"] > 1
        for key, value in scores.items():
            assert results[task][key] == pytest.approx(value, abs=1e-9, nan_ok=True), (task, key)


def test_predictions_are_written_as_the_servers_read_them(world, tmp_path):
    name, records, outputs, truth = world
    expected = run(name, records, outputs, output_dir=str(tmp_path / "scored"))
    written = tmp_path / "scored" / "coco_instances_results.json"
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(tmp_path / "instances.json"))
        evaluation = COCOeval(known, known.loadRes(str(written)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 100 * evaluation.stats[0] == pytest.approx(expected["bbox"]["AP"])
    # The same from the file of a test set, which has no annotations.
    del truth["annotations"]
    (tmp_path / "instances.json").write_text(json.dumps(truth))
    results = run(name, records, outputs, output_dir=str(tmp_path / "test"))
    assert results == {"instances": {"images": 6}}
    assert (tmp_path / "test" / written.name).read_text() == written.read_text()


def test_an_annotation_with_the_id_0_is_found_too(world, tmp_path):
    name, records, outputs, truth = world
    expected = run(name, records, outputs)
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    (tmp_path / "instances.json").write_text(json.dumps(for_json(truth)))
    for task, scores in run(name, records, outputs).items():
        assert scores == pytest.approx(expected[task], nan_ok=True)


def test_order_and_batches_do_not_matter(world):
    name, records, outputs, _ = world
    expected = run(name, records, outputs)
    evaluator = InstanceEvaluator(name)
    for batch in ([5, 2], [0], [3, 1, 4]):
        evaluator.process([records[i] for i in batch], [outputs[i] for i in batch])
    for task, scores in evaluator.evaluate().items():
        assert scores == pytest.approx(expected[task], abs=0, nan_ok=True)
    evaluator.reset()
    with pytest.raises(ValueError, match="6 of 6 records"):
        evaluator.evaluate()


def perfect(truth, records):
    ids = [category["id"] for category in truth["categories"]]
    for record in records:
        mine = [a for a in truth["annotations"] if a["image_id"] == record["image_id"]]
        instances = Instances((HEIGHT, WIDTH))
        boxes = torch.tensor([a["bbox"] for a in mine]).reshape(-1, 4)
        instances.pred_boxes = Boxes(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
        instances.scores = torch.ones(len(mine))
        instances.pred_classes = torch.tensor([ids.index(a["category_id"]) for a in mine])
        masks = [coco_mask.decode(a["segmentation"]) for a in mine]
        shape = (0, HEIGHT, WIDTH)
        instances.pred_masks = torch.from_numpy(np.stack(masks) if masks else np.zeros(shape)) > 0
        yield {"instances": instances}


def test_a_perfect_answer_is_100_and_an_empty_one_0(world):
    name, records, _, truth = world
    results = run(name, records, list(perfect(truth, records)), class_agnostic=True)
    for scores in results.values():
        for key in ("AP", "AP50", "AP75", "AR100", "AP_agnostic"):
            assert scores[key] == pytest.approx(100)
    nothing = [{"instances": Instances((HEIGHT, WIDTH))} for _ in records]
    for scores in run(name, records, nothing, class_agnostic=True).values():
        assert {scores[k] for k in ("AP", "AP50", "AR1", "AR100", "AP_agnostic")} == {0.0}
        assert math.isnan(scores["AP-c3"])  # is nowhere in the truth


def test_renaming_the_classes_does_not_change_the_class_agnostic_score(world):
    name, records, outputs, _ = world
    before = run(name, records, outputs, class_agnostic=True)
    for output in outputs:
        instances = output["instances"]
        instances.scores = instances.scores + torch.arange(len(instances)) * 1e-4  # no ties
    tied = run(name, records, outputs, class_agnostic=True)
    for output in outputs:
        output["instances"].pred_classes = (output["instances"].pred_classes + 1) % 4
    after = run(name, records, outputs, class_agnostic=True)
    for task in before:
        assert after[task]["AP_agnostic"] == pytest.approx(tied[task]["AP_agnostic"], abs=1e-12)
        assert after[task]["AP"] != pytest.approx(tied[task]["AP"])


def test_without_a_true_instance_there_is_no_number(catalog, tmp_path):
    path = tmp_path / "none.json"
    images = [{"id": 1, "height": 4, "width": 4}]
    categories = [{"id": 1, "name": "cat"}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    records = [{"image_id": 1}]
    name = catalog(records, json_file=str(path))
    results = run(name, records, [{"instances": Instances((4, 4))}], tasks=("bbox", "segm"))
    assert set(results) == {"bbox", "segm"}
    assert all(math.isnan(v) for scores in results.values() for v in scores.values())
    assert math.isnan(run(catalog([], thing_classes=["cat"]), [], [], tasks=["bbox"])["bbox"]["AP"])


def test_truth_may_stand_in_the_records(catalog, world):
    file_name, records, outputs, truth = world
    expected = run(file_name, records, outputs)
    ids = [category["id"] for category in truth["categories"]]
    with_regions, with_annotations = [], []
    for record in records:
        mine = [a for a in truth["annotations"] if a["image_id"] == record["image_id"]]
        facts = {**record, "height": HEIGHT, "width": WIDTH}
        regions, annotations = [], []
        for a in mine:
            x, y, w, h = a["bbox"]
            mask = for_json([a])[0]["segmentation"]
            index = ids.index(a["category_id"])
            extra = {"iscrowd": a["iscrowd"], "area": a["area"]}
            kept = Region("", (x, y, x + w, y + h), mask, index, extra=extra)
            regions.append(kept)
            annotations.append(
                {
                    "bbox": [x, y, x + w, y + h],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "segmentation": mask,
                    "category_id": index,
                    **extra,
                }
            )
        with_regions.append({**facts, "regions": regions})
        with_annotations.append({**facts, "annotations": annotations})
    for kind in (with_regions, with_annotations):
        name = catalog(kind, thing_classes=["c0", "c1", "c2", "c3"])
        for task, scores in run(name, records, outputs).items():
            assert scores == pytest.approx(expected[task], abs=1e-9, nan_ok=True)


def test_without_a_file_the_area_is_that_of_the_mask_or_else_of_the_box(catalog):
    mask = np.zeros((40, 40), bool)
    mask[5:15, 5:11] = True
    records = [
        {
            "image_id": 0,
            "height": 40,
            "width": 40,
            "regions": [
                Region("cat", mask=encode_mask(mask), class_index=0),
                Region("cat", box=(0.0, 0.0, 4.0, 5.0), class_index=0),
                Region("dog", class_index=1),  # says that there is no dog
            ],
        }
    ]
    name = catalog(records, thing_classes=["cat", "dog"])
    with pytest.raises(ValueError, match=f"'{name}': 1 of 2 true instances have no mask; register"):
        InstanceEvaluator(name)
    evaluator = InstanceEvaluator(name, tasks=["bbox"])
    first, second = evaluator.truth.images[0].instances
    assert (first.area, first.box) == (60, (5, 5, 6, 10))
    assert (second.area, second.box) == (20, (0, 0, 4, 5))
    assert evaluator.truth.count_masks() == (2, 1)


def test_polygons_and_both_kinds_of_counts_become_the_same_mask():
    mask = np.zeros((6, 5), bool)
    mask[1:4, 2:4] = True
    polygon = [[2, 1, 4, 1, 4, 4, 2, 4]]
    listed = {"size": [6, 5], "counts": [13, 3, 3, 3, 8]}  # column after column
    for form in (polygon, listed, encode_mask(mask)):
        assert np.array_equal(coco_mask.decode(to_rle(form, 6, 5)), mask)


@pytest.mark.parametrize(
    "mask, message",
    [
        ({"size": [5, 6], "counts": [30]}, r"size \[5, 6\], expected \[6, 5\]"),
        ({"size": [6, 5], "counts": [13, 3]}, "add up to 16 pixels"),
        ([[0, 0, 1, float("nan"), 1, 1]], "not finite"),
        ([[0, 0, 1e9, 0, 1, 1]], "leaves the 6x5 image too far"),
        ([[0, 0, 1, 1]], "3 or more"),
    ],
)
def test_a_hostile_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        to_rle(mask, 6, 5)


def broken(instances, **changes):
    copied = Instances(instances.image_size, **copy.deepcopy(instances.get_fields()))
    for name, value in changes.items():
        copied.remove(name)
        if value is not None:
            copied.set(name, value)
    return {"instances": copied}


def test_a_prediction_that_cannot_be_scored_names_the_image(world):
    name, records, outputs, _ = world
    at = next(i for i, output in enumerate(outputs) if len(output["instances"]))
    instances, file = outputs[at]["instances"], records[at]["file_name"]
    n = len(instances)
    nan_boxes = Boxes(torch.full((n, 4), float("nan")))
    cases = [
        ({}, "no 'instances'"),
        (broken(instances, scores=torch.full((n,), float("nan"))), "scores of instances holds NaN"),
        (broken(instances, pred_boxes=nan_boxes), "pred_boxes holds NaN"),
        (broken(instances, pred_boxes=None), r"instances lack \['pred_boxes'\]"),
        (broken(instances, pred_masks=torch.zeros(n, 4, 5)), rf"shape \({n}, 4, 5\), the truth"),
        (broken(instances, pred_classes=torch.full((n,), 9)), "class 9, which is no class"),
        (broken(instances, pred_classes=torch.zeros(n)), "torch.float32, expected whole numbers"),
        (broken(instances, scores=torch.ones(n, 1)), rf"shape \({n}, 1\), the truth \({n},\)"),
        (
            broken(instances, pred_masks=torch.full((n, HEIGHT, WIDTH), 0.7)),
            "float32 and holds 0.7",
        ),
        (broken(instances, pred_masks=torch.full((n, HEIGHT, WIDTH), 255)), "int64 and holds 255"),
        (broken(instances, pred_masks=[[0]] * n), "pred_masks is a list, expected a tensor"),
        ({"instances": [{"score": 1.0}]}, "'instances' is a list, expected .*Instances"),
        ({"instances": Instances((9, 9))}, r"an image of \(9, 9\) pixels .*, the truth of"),
    ]
    for output, message in cases:
        with pytest.raises(ValueError, match=rf"{file}.*{message}"):
            run(name, records[at : at + 1], [output])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("categories"), r"has no \['categories'\]; is it the right file"),
        (lambda t: t.pop("annotations"), "has no annotations to score by: give an output_dir"),
        (
            lambda t: t["annotations"][0].update(image_id=77),
            "annotation 1: image_id 77 is",
        ),
        (
            lambda t: t["annotations"][0].update(category_id=77),
            "annotation 1: category_id 77",
        ),
        (lambda t: t["annotations"][0].update(area=float("nan")), "annotation 1: area is nan"),
        (
            lambda t: t["annotations"][0].update(bbox=[0, 0, 1]),
            r"bbox is \[0, 0, 1\], expected 4",
        ),
        (
            lambda t: t["annotations"][0].update(segmentation={"size": [9, 9], "counts": [81]}),
            r"annotation 1: RLE has size \[9, 9\], expected \[130, 140\]",
        ),
        (
            lambda t: t["annotations"][2].update(segmentation=None),
            "1 objects have a box and no mask",
        ),
    ],
)
def test_a_file_with_a_fault_is_refused(world, tmp_path, change, message):
    name, _, _, truth = world
    truth = for_json(truth)
    change(truth)
    (tmp_path / "instances.json").write_text(json.dumps(truth))
    with pytest.raises(ValueError, match=message):
        InstanceEvaluator(name)


def test_settings_that_make_no_sense_are_refused(catalog, tmp_path):
    truth, _ = random_set(np.random.default_rng(0), lvis=True)
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(for_json(truth)))
    records = [{"image_id": image["id"]} for image in truth["images"]]
    name = catalog(records, json_file=str(path))
    assert InstanceEvaluator(name).truth.frequency == ("r", "c", "f", "r")
    with pytest.raises(ValueError, match="of LVIS's kind.*class-agnostic"):
        InstanceEvaluator(name, class_agnostic=True)
    with pytest.raises(ValueError, match=r"one or more of .*got \['keypoints'\]"):
        InstanceEvaluator(name, tasks=["keypoints"])
    with pytest.raises(ValueError, match="one or more of .*got 'segm'"):
        InstanceEvaluator(name, tasks="segm")
    for limit in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"whole number from 1, got {limit}"):
            InstanceEvaluator(name, max_per_image=limit)
    other = catalog(records, json_file=str(path), thing_dataset_id_to_contiguous_id={2: 0})
    with pytest.raises(ValueError, match=r"categories \[5, 8, 11\] of its annotations are not in"):
        InstanceEvaluator(other)
    same = dict.fromkeys([2, 5, 8, 11], 0)
    both = catalog(records, json_file=str(path), thing_dataset_id_to_contiguous_id=same)
    with pytest.raises(ValueError, match="4 categories of its annotations stand for 1 classes"):
        InstanceEvaluator(both)


def test_a_set_of_boxes_is_scored_by_boxes_whatever_its_file_holds(catalog, world):
    name, records, _, _ = world
    path = MetadataCatalog.get(name).json_file
    boxes = catalog(records, json_file=path, task=Task.DETECTION)
    nothing = [{"instances": Instances((HEIGHT, WIDTH))} for _ in records]
    assert set(run(boxes, records, nothing)) == {"bbox"}


def one_box(score=0.9, box=(0.0, 0.0, 4.0, 3.0), size=(8, 8), label=0):
    """One prediction whose box covers three quarters of that of `one_cat`."""
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor([box]))
    instances.scores = torch.tensor([score])
    instances.pred_classes = torch.tensor([label])
    return {"instances": instances}


def one_cat(image_id=1, label=0):
    region = Region("cat", box=(0.0, 0.0, 4.0, 4.0), class_index=label)
    return {"image_id": image_id, "height": 8, "width": 8, "regions": [region]}


def test_numbers_that_are_0_or_1_are_masks(world):
    name, records, outputs, _ = world
    expected = run(name, records, outputs)
    for dtype in (torch.float16, torch.uint8, torch.float32):
        other = [
            broken(o["instances"], pred_masks=o["instances"].pred_masks.to(dtype)) for o in outputs
        ]
        assert run(name, records, other)["segm"] == pytest.approx(expected["segm"], nan_ok=True)


def test_half_precision_is_compared_in_full(catalog):
    # 2050 - 1 = 2049 would be 2048 in half precision: the IoU of one half would not be reached.
    region = Region("cat", box=(1.0, 0.0, 4099.0, 4.0), class_index=0)
    record = {"image_id": 1, "height": 8, "width": 4100, "regions": [region]}
    name = catalog([record], thing_classes=["cat"])
    output = one_box(box=(1.0, 0.0, 2050.0, 4.0), size=(8, 4100))
    instances = output["instances"]
    instances.pred_boxes.tensor = instances.pred_boxes.tensor.half()
    instances.scores = instances.scores.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        scores = run(name, [record], [output])["bbox"]
    assert scores["AP50"] == pytest.approx(100)


def test_more_than_255_masks_in_one_image_are_scored(catalog):
    # 300 masks of one pixel each, as many as LVIS allows, on their 300 true instances.
    masks = torch.eye(300, dtype=torch.bool).reshape(300, 15, 20)
    regions = [Region("dot", mask=encode_mask(mask.numpy()), class_index=0) for mask in masks]
    record = {"image_id": 1, "height": 15, "width": 20, "regions": regions}
    name = catalog([record], thing_classes=["dot"])
    instances = Instances((15, 20))
    instances.pred_masks = masks
    instances.scores = torch.linspace(0.9, 0.1, 300)
    instances.pred_classes = torch.zeros(300, dtype=torch.long)
    evaluator = InstanceEvaluator(name, tasks=["segm"], max_per_image=300)
    evaluator.process([record], [{"instances": instances}])
    scores = evaluator.evaluate()["segm"]
    assert scores["AP"] == pytest.approx(100)
    assert scores["AR300"] == pytest.approx(100)
    assert scores["AR10"] == pytest.approx(100 * 10 / 300)


def test_a_recall_is_called_after_the_number_of_detections_that_it_is_of(catalog, tmp_path):
    name = catalog([one_cat()], thing_classes=["cat"])
    for limit, names in ((200, {"AR1", "AR10", "AR200"}), (5, {"AR1", "AR5"}), (1, {"AR1"})):
        scores = run(name, [one_cat()], [one_box()], max_per_image=limit)["bbox"]
        assert {key for key in scores if key[2:].isdigit() and key[:2] == "AR"} == names
    truth, _ = random_set(np.random.default_rng(0), lvis=True)
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(for_json(truth)))
    records = [{"image_id": image["id"]} for image in truth["images"]]
    nothing = [{"instances": Instances((HEIGHT, WIDTH))} for _ in records]
    name = catalog(records, json_file=str(path))
    scores = run(name, records, nothing, max_per_image=50)["bbox"]
    assert {"AR@50", "ARs@50"} <= set(scores) and "AR@300" not in scores


def test_records_and_annotations_must_be_of_the_same_images(catalog, world):
    name, records, _, _ = world
    path = MetadataCatalog.get(name).json_file
    fewer = catalog(records[:2], json_file=path)
    with pytest.raises(ValueError, match=r"no record of 4 of the 6 images in .*, of image 11 for"):
        InstanceEvaluator(fewer)
    other = catalog([*records, {"file_name": "x.jpg", "image_id": 77}], json_file=path)
    with pytest.raises(ValueError, match=r"x.jpg \(image_id 77\): .*json knows no such image"):
        InstanceEvaluator(other)
    # Two expressions of one image are two records, but not two images.
    twice = [{"image_id": 1, "ref_id": ref, "file_name": f"{ref}.jpg"} for ref in (4, 5)]
    with pytest.raises(ValueError, match="4.jpg .* and 5.jpg .* have one image_id 1; each"):
        InstanceEvaluator(catalog(twice, json_file=path))
    with pytest.raises(ValueError, match="y.jpg has no image_id, by which"):
        InstanceEvaluator(catalog([{"file_name": "y.jpg"}], json_file=path))


def test_classes_are_called_as_the_vocabulary_calls_them(catalog, tmp_path):
    # The file spells the seen class otherwise: what is seen goes by the index, not by the name.
    truth = {
        "images": [{"id": 1, "height": 8, "width": 8}],
        "categories": [{"id": 3, "name": "Wild_Cat"}, {"id": 8, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 4], "area": 16},
            {"id": 2, "image_id": 1, "category_id": 8, "bbox": [4, 4, 4, 4], "area": 16},
        ],
    }
    path = tmp_path / "cats.json"
    path.write_text(json.dumps(truth))
    records = [{"image_id": 1}]
    indices = {3: 1, 8: 0}
    name = catalog(
        records,
        json_file=str(path),
        thing_classes=["dog", "wild cat"],
        thing_dataset_id_to_contiguous_id=indices,
    )
    whole = OpenVocabEvaluator(name, [InstanceEvaluator(name)], [1], classes=["dog", "wild cat"])
    whole.reset()
    whole.process(records, [one_box(label=1)])
    scores = whole.evaluate()["bbox"]
    assert scores["AP_seen"] == pytest.approx(60)
    assert scores["AP_unseen"] == 0
    assert scores["AP-wild cat"] == pytest.approx(60) and scores["AP-dog"] == 0
    # Without the mapping, class k is the k-th category: names that say otherwise are an error.
    swapped = catalog(records, json_file=str(path), thing_classes=["dog", "wild cat"])
    message = "category 'Wild_Cat' of its annotations is number 0 by id, but class 1 of its"
    with pytest.raises(ValueError, match=message):
        InstanceEvaluator(swapped)
    more = catalog(records, json_file=str(path), thing_classes=["wild cat", "dog", "sky"])
    with pytest.raises(ValueError, match="2 categories in its annotations, 3 classes in its voc"):
        InstanceEvaluator(more)


def test_an_image_that_failed_can_be_given_again(catalog):
    name = catalog([one_cat()], thing_classes=["cat"])
    evaluator = InstanceEvaluator(name)
    with pytest.raises(ValueError, match="scores of instances holds NaN"):
        evaluator.process([one_cat()], [one_box(score=float("nan"))])
    with pytest.raises(ValueError, match="1 of 1 records .* have no prediction"):
        evaluator.evaluate()
    evaluator.process([one_cat()], [one_box()])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(60)  # IoU 0.75: 6 of 10 thresholds
    with pytest.raises(ValueError, match="two predictions for image_id 1"):
        evaluator.process([one_cat()], [one_box()])


def test_image_ids_may_be_numbers_and_text(catalog):
    records = [one_cat(identity) for identity in (10, "a", 9, 2.5)]
    name = catalog(records, thing_classes=["cat"])
    assert run(name, records, [one_box()] * 4)["bbox"]["AP"] == pytest.approx(60)


def test_what_is_kept_of_an_image_does_not_grow_with_its_masks(catalog):
    mask = np.zeros((400, 400), bool)
    mask[::2] = True  # 80,000 runs, half a megabyte as text
    record = {"image_id": 1, "height": 400, "width": 400}
    record["regions"] = [Region("cat", mask=encode_mask(mask), class_index=0)]
    name = catalog([record], thing_classes=["cat"])
    instances = Instances((400, 400))
    instances.pred_masks = torch.from_numpy(mask).repeat(3, 1, 1)
    instances.scores = torch.tensor([0.9, 0.8, 0.7])
    instances.pred_classes = torch.zeros(3, dtype=torch.long)
    evaluator = InstanceEvaluator(name, tasks=["segm", "boundary"])
    evaluator.process([record], [{"instances": instances}])
    assert len(pickle.dumps(evaluator._samples._rows)) < 5000
    results = evaluator.evaluate()
    assert results["segm"]["AP"] == results["boundary"]["AP"] == pytest.approx(100)


def test_presence_and_calibration_are_measured_on_request(catalog):
    records = [one_cat(1, label=0), one_cat(2, label=1)]
    name = catalog(records, thing_classes=["cat", "dog"])
    outputs = [one_box(0.75, label=0), one_box(0.75, label=0)]  # the second one is wrong
    scores = run(name, records, outputs, presence=True, calibration=True)["bbox"]
    # Of four pairs of image and class: one rightly there, one wrongly, one missed, one rightly not.
    assert scores["IL_MCC"] == 0 and scores["cgF1"] == 0
    # Shown pairs: one found at 6 of 10 thresholds, none wrong where something is shown, one missed.
    assert scores["pmF1"] == pytest.approx(100 * 0.6 * 2 / 3)
    assert scores["D-ECE"] == pytest.approx(100 * abs(0.5 - 0.75))
    assert not {"cgF1", "D-ECE"} & set(run(name, records, outputs)["bbox"])
    with pytest.raises(ValueError, match="image_id 1: scores from 3 to 3, but calibration is of"):
        run(name, records[:1], [one_box(3.0)], calibration=True)


def test_an_area_that_is_negative_too_large_or_not_finite_names_the_annotation(catalog, tmp_path):
    truth = {
        "images": [{"id": 1, "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "area": 64}
        ],
    }
    path = tmp_path / "areas.json"
    name = catalog([{"image_id": 1}], json_file=str(path))
    for area, shown in ((64.5, "64.5"), (-1, "-1"), (float("nan"), "nan"), (float("inf"), "inf")):
        truth["annotations"][0]["area"] = area
        path.write_text(json.dumps(truth))
        with pytest.raises(ValueError, match=f"annotation 5: area is {shown}, expected 0 to 64"):
            InstanceEvaluator(name)


def test_autocast_changes_no_metric_of_instances(world):
    name, records, outputs, _ = world
    options = {"tasks": ["bbox", "segm", "boundary"], "class_agnostic": True, "presence": True}
    expected = run(name, records, outputs, **options, calibration=True)
    with torch.autocast("cpu", torch.bfloat16):
        scores = run(name, records, outputs, **options, calibration=True)
    assert any(0 < value < 100 for value in expected["segm"].values())
    for task, values in expected.items():
        assert scores[task] == pytest.approx(values, abs=0, nan_ok=True), task
