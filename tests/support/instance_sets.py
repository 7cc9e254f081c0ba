"""Random sets of instances for tests: files, results, and what the references make of them."""

import contextlib
import copy
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segplugins.evaluation.average_precision import count_positives, rank_detections
from segplugins.evaluation.detections import Detections, Rules, match_image
from segplugins.evaluation.instance_truth import truth_from_file

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
    rules = Rules(bool(truth.frequency), limit or 100)
    images = [
        match_image(truth.images[i], found[i], task, rules, one_class=agnostic)
        for i in sorted(found)
    ]
    classes = 1 if agnostic else len(truth.names)
    positives = count_positives(truth.images.values(), classes, one_class=agnostic)
    return rank_detections(images, positives, recall_at=(1, 2))


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
