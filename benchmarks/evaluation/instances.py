"""Measures the evaluator of instances: AP, masks to RLE, and the memory of 5,000 images.

Part of `python tools/benchmark.py evaluation`; `run` gets a `benchmarks.harness.Bench`.
"""

import contextlib
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

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
from segplugins.structures.regions import box_of_mask

_HEIGHT, _WIDTH = 480, 640
_CLASSES = 80
_SET = "evaluation_benchmark_instances"


def run(bench: Any) -> None:
    """Average precision, masks to RLE, memory."""
    _average_precision(bench)
    _encoding(bench)
    _memory(bench, 20 if bench.quick else 5000)


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


class Scene(NamedTuple):
    """A registered data set, and the masks that predictions are drawn from."""

    folder: TemporaryDirectory  # of the annotation file
    records: List[dict]
    masks: torch.Tensor  # (N, H, W) bool
    boxes: torch.Tensor  # (N, 4)


def _memory(bench: Any, images: int) -> None:
    bench.note(
        f"Memory that {images} images with 7 true instances (an annotation file of polygons) and "
        "some 50 predicted masks each add: making the predictions, 15 MB an image, without an "
        "evaluator; then with boxes and masks evaluated. The claim is of the latter."
    )
    name = f"of {images} images"
    bench.memory(f"predictions {name}", predict, images, prepare=scene)
    value = bench.memory(f"instance evaluation {name}", evaluate, images, prepare=scene)
    assert value <= 1000, f"instance evaluation {name} adds {value:.0f} MiB, claimed 1000"


def scene(images: int) -> Scene:
    """Writes the annotation file of some images and registers them."""
    generator = np.random.default_rng(3)
    outlines = [_outline(generator, _box(generator)) for _ in range(300)]
    rles = [_rle(outline) for outline in outlines]
    masks = torch.from_numpy(coco_mask.decode(rles).transpose(2, 0, 1).copy()).bool()
    annotations = []
    for image in range(images):
        for i in generator.integers(0, len(outlines), 7).tolist():
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": i % _CLASSES + 1,
                "bbox": _extent(outlines[i]),
                "area": float(coco_mask.area(rles[i])),
                "iscrowd": 0,
                "segmentation": [outlines[i]],
            }
            annotations.append(annotation)
    sizes = [{"id": i, "height": _HEIGHT, "width": _WIDTH} for i in range(images)]
    categories = [{"id": k + 1, "name": str(k)} for k in range(_CLASSES)]
    file = {"images": sizes, "categories": categories, "annotations": annotations}
    folder = TemporaryDirectory()
    path = Path(folder.name, "truth.json")
    path.write_text(json.dumps(file))
    records = [{"image_id": i, "height": _HEIGHT, "width": _WIDTH} for i in range(images)]
    DatasetCatalog.register(_SET, lambda: records)
    names = [str(k) for k in range(_CLASSES)]
    MetadataCatalog.get(_SET).set(thing_classes=names, json_file=str(path))
    boxes = torch.tensor([box_of_mask(mask.numpy()) for mask in masks])
    return Scene(folder, records, masks, boxes)


def _predictions(scene: Scene) -> Iterator[Instances]:
    """Yields the predictions of each image, in memory of their own as those of a model."""
    generator = np.random.default_rng(4)
    for _ in scene.records:
        count = generator.integers(30, 71)
        chosen = torch.from_numpy(generator.integers(0, len(scene.masks), count))
        yield Instances(
            (_HEIGHT, _WIDTH),
            pred_masks=scene.masks[chosen],
            pred_boxes=Boxes(scene.boxes[chosen]),
            scores=torch.from_numpy(generator.random(len(chosen))),
            pred_classes=chosen % _CLASSES,
        )


def predict(scene: Scene) -> None:
    """Makes the predictions of all images, and drops them."""
    for _ in _predictions(scene):
        pass


def evaluate(scene: Scene) -> None:
    """Evaluates boxes and masks of all images."""
    evaluator = InstanceEvaluator(_SET, distributed=False)
    for record, instances in zip(scene.records, _predictions(scene)):
        evaluator.process([record], [{"instances": instances}])
    evaluator.evaluate()
