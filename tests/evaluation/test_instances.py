"""Average precision against pycocotools and lvis, by hand, and as an evaluator."""

import contextlib
import copy
import io
import json
import logging
import math

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segplugins.evaluation.average_precision import coco_scores, lvis_scores, rank_detections
from segplugins.evaluation.detections import Detections, as_one_class, encode_masks, images_of
from segplugins.evaluation.instance_truth import to_rle, truth_from_file
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.matching import IOU_THRESHOLDS, Pair, match
from segplugins.structures.regions import Region, Task, encode_mask

HEIGHT, WIDTH = 130, 140


def box(generator):
    """x, y, width, height of a box of any size class, in half pixels: equal IoUs do occur."""
    width, height = 2 * np.exp(generator.uniform(0, np.log([65, 60])))
    x, y = generator.uniform(0, [WIDTH - width, HEIGHT - height])
    return [float(np.floor(2 * v) / 2) for v in (x, y, width, height)]


def near(generator, of):
    return [max(v + float(d), 0.5) for v, d in zip(of, generator.integers(-6, 7, 4) / 2)]


def rle(of):
    x, y, w, h = of
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return coco_mask.frPyObjects([polygon], HEIGHT, WIDTH)[0]


def random_set(generator, images=4, classes=3, lvis=False):
    """A COCO or LVIS file and results: near hits, false alarms, equal scores, crowds, all sizes."""
    truth = {
        "images": [{"id": 5 * i + 1, "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "categories": [{"id": 3 * k + 2, "name": f"c{k}"} for k in range(classes + 1)],
        "annotations": [],
    }
    results = []
    ids = [category["id"] for category in truth["categories"]]
    for image in truth["images"]:
        for _ in range(generator.integers(0, 6)):
            of, category = box(generator), int(generator.choice(ids[:-1]))
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": of,
                    "area": of[2] * of[3] * float(generator.choice([0.5, 1, 1.3])),
                    "iscrowd": int(not lvis and generator.random() < 0.2),
                    "segmentation": rle(of),
                }
            )
            for _ in range(generator.integers(0, 4)):
                right = generator.random() < 0.8
                category_id = category if right else int(generator.choice(ids))
                results.append({"bbox": near(generator, of), "category_id": category_id})
                results[-1]["image_id"] = image["id"]
        for _ in range(generator.integers(0, 3)):
            results.append({"bbox": box(generator), "category_id": int(generator.choice(ids))})
            results[-1]["image_id"] = image["id"]
        if lvis:
            present = {
                a["category_id"] for a in truth["annotations"] if a["image_id"] == image["id"]
            }
            others = [i for i in ids if i not in present]
            image["neg_category_ids"] = [int(i) for i in others if generator.random() < 0.4]
            image["not_exhaustive_category_ids"] = [i for i in ids if generator.random() < 0.2]
            image["coco_url"] = ""
    for result in results:
        result["score"] = float(generator.integers(1, 9)) / 10
        result["segmentation"] = rle(result["bbox"])
    if lvis:
        for category, frequency in zip(truth["categories"], "rcfrcf"):
            category["frequency"] = frequency
    return truth, results


def for_json(data):
    """Masks with counts as text instead of bytes."""
    copied = copy.deepcopy(data)
    for entry in copied["annotations"] if isinstance(copied, dict) else copied:
        entry["segmentation"]["counts"] = entry["segmentation"]["counts"].decode()
    return copied


def ours_of(path, results, task, limit=None, agnostic=False):
    truth = truth_from_file(str(path))
    index = {identity: i for i, identity in enumerate(truth.category_ids)}
    found = {}
    for identity in truth.images:
        mine = [r for r in results if r["image_id"] == identity]
        found[identity] = Detections(
            np.array([index[r["category_id"]] for r in mine], np.int64),
            np.array([r["score"] for r in mine], np.float64),
            np.array([r["bbox"] for r in mine], np.float64).reshape(-1, 4),
            [r["segmentation"] for r in mine],
        )
    images = images_of(truth, found, task, limit)
    if agnostic:
        images, classes = map(as_one_class, images), 1
    else:
        classes = len(truth.names)
    return rank_detections(images, classes, max_per_class=limit or 100, recall_at=(1, 2))


def theirs_of(path, results, task, limit=100, agnostic=False):
    results = copy.deepcopy(results)
    for result in results:
        # With a box in it pycocotools takes the box's area for the mask's.
        result.pop("segmentation" if task == "bbox" else "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(results), task)
        evaluation.params.maxDets = [1, 2, limit]
        evaluation.params.useCats = int(not agnostic)
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    unknown = lambda a: np.where(a < 0, np.nan, a)  # noqa: E731
    return unknown(precision).transpose(2, 3, 0, 1, 4), unknown(recall).transpose(1, 2, 0, 3)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_200_random_sets_equal_pycocotools(tmp_path, task):
    generator = np.random.default_rng(0)
    crowds = 0
    for round_ in range(200):
        truth, results = random_set(generator)
        crowds += sum(a["iscrowd"] for a in truth["annotations"])
        if not results:
            continue
        path = tmp_path / f"{round_}.json"
        path.write_text(json.dumps(for_json(truth)))
        limit = int(generator.choice([3, 100]))
        agnostic = bool(round_ % 4 == 0)
        ours = ours_of(path, results, task, limit, agnostic)
        precision, recall = theirs_of(path, results, task, limit, agnostic)
        np.testing.assert_allclose(ours.precision, precision[..., 2], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.recall, recall[..., 2], rtol=0, atol=1e-12)
        for at, limited in enumerate(ours.recall_at.values()):
            np.testing.assert_allclose(limited, recall[:, 0, :, at], rtol=0, atol=1e-12)
    assert crowds > 20


@contextlib.contextmanager
def numpy_float():
    """Lends numpy the name that lvis 0.5.3 still uses, and takes it away after."""
    lent = "float" not in vars(np)
    if lent:
        np.float = float
    try:
        yield
    finally:
        if lent:
            del np.float


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_200_random_sets_equal_lvis(tmp_path, task):
    from lvis import LVIS, LVISEval, LVISResults

    logging.getLogger("lvis").setLevel(logging.ERROR)
    generator = np.random.default_rng(1)
    for round_ in range(200):
        truth, results = random_set(generator, classes=5, lvis=True)
        path = tmp_path / f"{round_}.json"
        path.write_text(json.dumps(for_json(truth)))
        limit = int(generator.choice([3, 300]))
        name = f"AR@{limit}"
        theirs = copy.deepcopy(results)
        for result in theirs:
            result.pop("segmentation" if task == "bbox" else "bbox")
        with numpy_float():
            reference = LVIS(str(path))
            evaluation = LVISEval(reference, LVISResults(reference, theirs, limit), task)
            evaluation.params.max_dets = limit
            evaluation.run()
        expected = evaluation.get_results()
        scores = lvis_scores(ours_of(path, results, task, limit), "rcfrcf")
        for key in ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"):
            value = expected[key] if expected[key] >= 0 else float("nan")
            assert scores[key] == pytest.approx(100 * value, abs=1e-9, nan_ok=True), key
        value = expected[name] if expected[name] >= 0 else float("nan")
        assert scores["AR@300"] == pytest.approx(100 * value, abs=1e-9, nan_ok=True)
    assert "float" not in vars(np)


def pair(ious, ignored=None, crowd=None, areas=None, true_areas=None):
    ious = np.array(ious, np.float64)
    detections, true = ious.shape
    return Pair(
        ious,
        np.full(detections, 50.0) if areas is None else np.array(areas, np.float64),
        np.full(true, 50.0) if true_areas is None else np.array(true_areas, np.float64),
        np.zeros(true, bool) if ignored is None else np.array(ignored, bool),
        np.zeros(true, bool) if crowd is None else np.array(crowd, bool),
    )


def test_the_first_detection_takes_the_best_and_the_second_what_is_left():
    ((matched, disregarded),) = match([pair([[0.9, 0.7], [0.8, 0.6]])])
    reached = np.count_nonzero(IOU_THRESHOLDS <= 0.9), np.count_nonzero(IOU_THRESHOLDS <= 0.6)
    # Where 0.9 is reached the first takes truth 0, the second must do with truth 1 at 0.6.
    assert matched[0].sum(axis=0).tolist() == [reached[0], reached[1]]
    assert not disregarded[0].any()


def test_a_crowd_takes_many_detections_that_are_neither_right_nor_wrong():
    crowded = pair([[0.9], [0.8], [0.7]], ignored=[True], crowd=[True])
    ((matched, disregarded),) = match([crowded])
    assert matched[0, 0].all() and disregarded[0, 0].all()
    ignored = pair([[0.9], [0.8], [0.7]], ignored=[True])
    ((matched, _),) = match([ignored])
    assert matched[0, 0].tolist() == [True, False, False]


def test_an_ignored_truth_is_taken_only_where_no_other_is_left():
    ((matched, disregarded),) = match([pair([[0.6, 0.9]], ignored=[False, True])])
    assert matched[0, 0, 0] and not disregarded[0, 0, 0]  # 0.6 reaches 0.5
    assert matched[0, 5, 0] and disregarded[0, 5, 0]  # but not 0.75


def test_pairs_do_not_influence_each_other():
    generator = np.random.default_rng(2)
    pairs = [
        pair(
            generator.random((d, t)),
            ignored=generator.random(t) < 0.3,
            true_areas=generator.uniform(0, 20000, t),
        )
        for d, t in generator.integers(1, 6, (40, 2))
    ]
    for one, (matched, disregarded) in zip(pairs, match(pairs)):
        ((alone, ignored),) = match([one])
        assert np.array_equal(alone, matched) and np.array_equal(ignored, disregarded)


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
    assert math.isnan(run(catalog([], json_file=str(path)), [], [], tasks=["bbox"])["bbox"]["AP"])


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


def test_masks_are_encoded_as_they_are():
    masks = torch.rand(3, 5, 7) > 0.5
    decoded = coco_mask.decode(encode_masks(masks))
    assert np.array_equal(decoded.transpose(2, 0, 1), masks.numpy())


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
    ]
    for output, message in cases:
        with pytest.raises(ValueError, match=rf"{file}.*{message}"):
            run(name, records[at : at + 1], [output])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("categories"), r"has no \['categories'\]; is it one of COCO's form"),
        (lambda t: t.pop("annotations"), "has no annotations to score by: give an output_dir"),
        (lambda t: t["annotations"][0].update(image_id=77), "of image 77 and category"),
        (lambda t: t["annotations"][0].update(category_id=77), "and category 77"),
        (lambda t: t["annotations"][0].update(area=float("nan")), "the area nan"),
        (lambda t: t["annotations"][0].update(bbox=[0, 0, 1]), r"the box \[0, 0, 1\]"),
        (
            lambda t: t["annotations"][0].update(segmentation={"size": [9, 9], "counts": [81]}),
            r"annotation 1: RLE has size \[9, 9\], expected \[130, 140\]",
        ),
        (lambda t: t["annotations"][2].update(segmentation=None), "1 of .* have no mask"),
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
    name = catalog([], json_file=str(path))
    assert InstanceEvaluator(name).truth.frequency == ("r", "c", "f", "r")
    with pytest.raises(ValueError, match="of LVIS's kind.*class-agnostic"):
        InstanceEvaluator(name, class_agnostic=True)
    with pytest.raises(ValueError, match=r"one or more of .*got \('keypoints',\)"):
        InstanceEvaluator(name, tasks=["keypoints"])
    other = catalog([], json_file=str(path), thing_dataset_id_to_contiguous_id={2: 0})
    with pytest.raises(ValueError, match=r"categories \[5, 8, 11\] of its annotations are not in"):
        InstanceEvaluator(other)
    both = catalog(
        [], json_file=str(path), thing_dataset_id_to_contiguous_id=dict.fromkeys([2, 5, 8, 11], 0)
    )
    with pytest.raises(ValueError, match="4 categories of its annotations stand for 1 classes"):
        InstanceEvaluator(both)


def test_a_set_of_boxes_is_scored_by_boxes_whatever_its_file_holds(catalog, world):
    name, records, _, _ = world
    path = MetadataCatalog.get(name).json_file
    boxes = catalog(records, json_file=path, task=Task.DETECTION)
    nothing = [{"instances": Instances((HEIGHT, WIDTH))} for _ in records]
    assert set(run(boxes, records, nothing)) == {"bbox"}


def test_small_medium_and_large_are_scored_apart(tmp_path):
    # One box of 20 x 20 that is found and one of 60 x 60 that is not.
    truth = {
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 50, 60, 60], "area": 3600},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(truth))
    found = [{"bbox": [0.0, 0, 20, 20], "category_id": 1, "image_id": 1, "score": 0.5}]
    found[0]["segmentation"] = None
    scores = coco_scores(ours_of(tmp_path / "x.json", found, "bbox"))
    assert (scores["APs"], scores["APm"], scores["AR100"]) == pytest.approx((100, 0, 50))
    assert math.isnan(scores["APl"])
    # Precision is 1 up to a recall of 0.5: 51 of the 101 points.
    assert scores["AP"] == pytest.approx(100 * 51 / 101)
