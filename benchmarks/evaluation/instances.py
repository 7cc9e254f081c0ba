"""Measures the evaluator of instances: AP, masks to RLE, and the memory of 5,000 images.

Part of `python tools/benchmark.py evaluation`; `run` gets a `benchmarks.harness.Bench`.
"""

import contextlib
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segplugins.evaluation.average_precision import (
    coco_scores,
    count_positives,
    rank_detections,
)
from segplugins.evaluation.detections import COCO_LIMIT, Detections, Rules, match_image
from segplugins.evaluation.instance_truth import truth_from_file
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.mask_runs import encode_masks
from segplugins.structures.regions import Region, box_of_mask

_HEIGHT, _WIDTH = 480, 640
_CLASSES = 80
_SET = "evaluation_benchmark_instances"


def run(bench: Any) -> None:
    """Average precision, masks to RLE, memory."""
    _average_precision(bench)
    _encoding(bench)
    images = 20 if bench.quick else 5000
    bench.memory(f"instance evaluation of {images} images, 50 masks each", evaluate, images)


def _outline(generator: np.random.Generator, box: np.ndarray) -> List[float]:
    """A wavy polygon of 60 points that fills most of a box (x, y, width, height)."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 1 + 0.12 * np.sin(5 * angle + generator.uniform(0, 6))
    radius += 0.05 * generator.standard_normal(len(angle))
    x = box[0] + box[2] * (0.5 + radius * np.cos(angle) / 2.3)
    y = box[1] + box[3] * (0.5 + radius * np.sin(angle) / 2.3)
    points = np.stack([x.clip(0, _WIDTH), y.clip(0, _HEIGHT)], axis=1)
    return points.reshape(-1).round(2).tolist()


def _box(generator: np.random.Generator) -> np.ndarray:
    sides = np.exp(generator.uniform(2.5, 5.8, 2)).clip(None, [_WIDTH - 1, _HEIGHT - 1])
    return np.concatenate([generator.uniform(0, [_WIDTH, _HEIGHT] - sides), sides])


def _extent(outline: List[float]) -> List[float]:
    points = np.array(outline).reshape(-1, 2)
    return [*points.min(axis=0).tolist(), *np.ptp(points, axis=0).tolist()]


def _rle(outline: List[float]) -> dict:
    return coco_mask.merge(coco_mask.frPyObjects([outline], _HEIGHT, _WIDTH))


def coco_set(generator: np.random.Generator, images: int) -> Tuple[dict, List[dict]]:
    """Returns a COCO file, and results: several near each instance and 45 an image anywhere."""
    truth: Dict[str, list] = {
        "images": [{"id": i, "height": _HEIGHT, "width": _WIDTH} for i in range(images)],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(_CLASSES)],
        "annotations": [],
    }
    results: List[dict] = []

    def predict(image: int, category: int, box: np.ndarray) -> None:
        box = np.concatenate([box[:2].clip(0), box[2:].clip(2)])
        result = {"image_id": image, "category_id": category, "bbox": box.tolist()}
        result["segmentation"] = _rle(_outline(generator, box))
        results.append({**result, "score": float(generator.random())})

    for image in range(images):
        shown = generator.integers(1, _CLASSES + 1, 3)
        for _ in range(generator.integers(1, 14)):
            box, category = _box(generator), int(generator.choice(shown))
            outline = _outline(generator, box)
            rle = _rle(outline)
            annotation = {
                "id": len(truth["annotations"]) + 1,
                "image_id": image,
                "category_id": category,
                "bbox": _extent(outline),
                "area": float(coco_mask.area(rle)),
                "iscrowd": 0,
                "segmentation": [outline],
            }
            truth["annotations"].append(annotation)
            for _ in range(generator.integers(0, 6)):
                predict(image, category, box + generator.normal(0, 0.1, 4) * np.tile(box[2:], 2))
        for _ in range(45):
            right = generator.random() < 0.5
            category = generator.choice(shown) if right else generator.integers(1, _CLASSES + 1)
            predict(image, int(category), _box(generator))
    return truth, results


def _detections(results: List[dict]) -> Dict[int, Detections]:
    by_image: Dict[int, List[dict]] = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(result)
    return {
        image: Detections(
            np.array([r["category_id"] - 1 for r in own]),
            np.array([r["score"] for r in own]),
            np.array([r["bbox"] for r in own]),
            [r["segmentation"] for r in own],
        )
        for image, own in by_image.items()
    }


def _average_precision(bench: Any) -> None:
    images = 4 if bench.quick else 200
    bench.note(
        "AP of 80 classes, some 65 detections an image, against pycocotools; both read the truth "
        "from its file."
    )
    truth, results = coco_set(np.random.default_rng(1), images)
    with TemporaryDirectory() as folder:
        path = f"{folder}/truth.json"
        Path(path).write_text(json.dumps(truth))
        for task, kind in (("bbox", "box"), ("segm", "mask")):

            def plain(task: str = task) -> List[float]:
                return pycocotools_scores(path, results, task)

            def ours(task: str = task) -> List[float]:
                truth = truth_from_file(path, with_masks=task == "segm")
                detections, rules = _detections(results), Rules(False, COCO_LIMIT)
                matches = [
                    match_image(truth.images[i], detections[i], task, rules) for i in detections
                ]
                positives = count_positives(truth.images.values(), len(truth.names))
                return list(coco_scores(rank_detections(matches, positives)).values())[:6]

            claim = 10 if task == "segm" else 15
            name = f"{kind} AP of {images} images"
            bench.compare(name, plain, ours, check=_same(plain, ours), repeats=5, at_least=claim)


def pycocotools_scores(path: str, results: List[dict], task: str) -> List[float]:
    """Returns pycocotools' AP AP50 AP75 APs APm APl in percent."""
    # Results with a box in them make pycocotools take the box's area for the mask's.
    unused = "segmentation" if task == "bbox" else "bbox"
    kept = [{k: v for k, v in r.items() if k != unused} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        evaluation = COCOeval(truth, truth.loadRes(kept), task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return (100 * evaluation.stats[:6]).tolist()


def _same(plain: Callable[[], Any], ours: Callable[[], Any]) -> Callable[[], None]:
    def check() -> None:
        np.testing.assert_allclose(ours(), plain(), rtol=0, atol=1e-9)

    return check


def _masks(generator: np.random.Generator, count: int) -> torch.Tensor:
    rles = [_rle(_outline(generator, _box(generator))) for _ in range(count)]
    return torch.from_numpy(coco_mask.decode(rles).transpose(2, 0, 1).copy()).bool()


def _encoding(bench: Any) -> None:
    masks = _masks(np.random.default_rng(2), 4 if bench.quick else 100)

    def plain() -> List[bytes]:
        # As detectron2's instances_to_coco_json does it, mask by mask.
        columns = (np.array(m[:, :, None].numpy(), order="F", dtype="uint8") for m in masks)
        return [coco_mask.encode(each)[0]["counts"] for each in columns]

    def ours() -> List[bytes]:
        return [rle["counts"] for rle in encode_masks(masks)]

    def check() -> None:
        assert ours() == plain()

    bench.note(f"{_HEIGHT}x{_WIDTH} masks to COCO RLE, against detectron2's loop.")
    bench.compare(f"{len(masks)} masks to RLE", plain, ours, check=check, repeats=9, at_least=2)


def _predictions(generator: np.random.Generator, pool: torch.Tensor) -> Iterator[Instances]:
    boxes = torch.tensor([box_of_mask(mask.numpy()) for mask in pool])
    while True:
        chosen = torch.from_numpy(generator.integers(0, len(pool), generator.integers(30, 71)))
        yield Instances(
            (_HEIGHT, _WIDTH),
            pred_masks=pool[chosen],
            pred_boxes=Boxes(boxes[chosen]),
            scores=torch.from_numpy(generator.random(len(chosen))),
            pred_classes=chosen % _CLASSES,
        )


def evaluate(images: int) -> None:
    """Evaluates boxes and masks of many images, each with 7 true instances of a pool."""
    generator = np.random.default_rng(3)
    pool = _masks(generator, 300)
    rles = encode_masks(pool)
    records = []
    for image in range(images):
        chosen = generator.integers(0, len(pool), 7)
        regions = [Region("", mask=rles[i], class_index=int(i) % _CLASSES) for i in chosen]
        record = {"image_id": image, "height": _HEIGHT, "width": _WIDTH, "regions": regions}
        records.append(record)
    DatasetCatalog.register(_SET, lambda: records)
    MetadataCatalog.get(_SET).set(thing_classes=[str(k) for k in range(_CLASSES)])
    try:
        evaluator = InstanceEvaluator(_SET, distributed=False)
        for record, instances in zip(records, _predictions(generator, pool)):
            evaluator.process([record], [{"instances": instances}])
        evaluator.evaluate()
    finally:
        DatasetCatalog.remove(_SET)
        MetadataCatalog.remove(_SET)
