"""Measures the evaluators of regions against plain per-image code and pycocotools.

Part of `python tools/benchmark.py evaluation`; `run` gets a `benchmarks.harness.Bench`.
"""

from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy import ndimage

from segplugins.evaluation.boundary import j_and_f
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.panoptic_quality import panoptic_quality
from segplugins.evaluation.saliency import dataset_scores, saliency_scores
from segplugins.files.panoptic_ids import read_segment_ids

from . import plain_code

_SET = "evaluation_benchmark_regions"
_CATEGORIES = 20


def run(bench: Any) -> None:
    """Panoptic quality, salient objects, J and F."""
    _panoptic(bench)
    _salient(bench)
    _video(bench)


def _blob(generator: np.random.Generator, size: Tuple[int, int], share: float) -> np.ndarray:
    """An ellipse whose axes are up to `share` of the image."""
    y, x = np.mgrid[: size[0], : size[1]]
    cy, cx = generator.uniform(0, size)
    a, b = generator.uniform(0.03, share, 2) * size
    return ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1


def _segments(generator: np.random.Generator, size: Tuple[int, int], count: int) -> np.ndarray:
    """Regions that cover one another: ids 1..count, 0 where none lies."""
    ids = np.zeros(size, np.int64)
    for identity in range(1, count + 1):
        ids[_blob(generator, size, 0.3)] = identity
    return ids


def _wobbled(generator: np.random.Generator, ids: np.ndarray, reach: float) -> np.ndarray:
    """A map whose outlines are moved by a smooth field of up to about `reach` pixels."""
    offsets = generator.normal(size=(2, *ids.shape))
    offsets = np.stack([ndimage.gaussian_filter(o, 4) for o in offsets])
    at = np.indices(ids.shape) + offsets * reach / offsets.std()
    y, x = (np.clip(a.round().astype(int), 0, side - 1) for a, side in zip(at, ids.shape))
    return ids[y, x]


def _listed(ids: np.ndarray, kinds: np.ndarray) -> List[Dict[str, int]]:
    areas = np.bincount(ids.reshape(-1))
    ids_present = [int(i) for i in np.flatnonzero(areas) if i]
    return [
        {"id": i, "category_id": int(kinds[i]), "area": int(areas[i]), "iscrowd": 0}
        for i in ids_present
    ]


def _panoptic(bench: Any) -> None:
    size, images = ((64, 85), 2) if bench.quick else ((512, 683), 12)
    generator = np.random.default_rng(0)
    records, outputs, truths = [], [], {}
    with TemporaryDirectory() as folder:
        for i in range(images):
            truth = _wobbled(generator, _segments(generator, size, 40), 1.5)
            kinds = generator.integers(0, _CATEGORIES, 41)
            guess = _wobbled(generator, truth, 1.5)
            file = f"{folder}/{i}.png"
            plain_code.segment_picture(truth).save(file)
            truths[file] = truth.astype(np.uint32)
            segments = _listed(truth, kinds)
            records.append({"image_id": i, "pan_seg_file_name": file, "segments_info": segments})
            tensor = torch.from_numpy(guess).int().to(bench.device)
            outputs.append({"panoptic_seg": (tensor, _listed(guess, kinds))})
        bench.note(
            f"PQ, {size[0]}x{size[1]} pixels, up to 40 segments, against the plain per-image "
            "algorithm, which writes its answer as PNG and reads it back. The true maps are in "
            "memory unless said otherwise."
        )
        name = f"PQ of {images} images"
        in_memory = truths.__getitem__, truths.__getitem__
        _compare_panoptic(bench, name, records, outputs, folder, in_memory, 8)
        files = plain_code.read_ids, read_segment_ids
        _compare_panoptic(bench, f"{name}, true PNG read", records, outputs, folder, files, None)


def _compare_panoptic(
    bench: Any,
    name: str,
    records: List[dict],
    outputs: List[dict],
    folder: str,
    readers: Tuple[Callable[[str], np.ndarray], Callable[[str], np.ndarray]],
    at_least: Any,
) -> None:
    with _registered(records):
        evaluator = PanopticEvaluator(_SET, read_truth=readers[1], distributed=False)

        def process() -> None:
            evaluator.reset()
            for record, output in zip(records, outputs):
                evaluator.process([record], [output])

        def ours() -> float:
            process()
            return evaluator.evaluate()["panoptic_seg"]["PQ"]

        def plain() -> float:
            counts = np.zeros((_CATEGORIES, 4))
            for record, output in zip(records, outputs):
                truth = readers[0](record["pan_seg_file_name"])
                counts += plain_code.panoptic(
                    truth,
                    record["segments_info"],
                    *output["panoptic_seg"],
                    num_categories=_CATEGORIES,
                    folder=folder,
                )
            return panoptic_quality(counts)["PQ"]

        bench.compare(name, plain, ours, check=_same(plain, ours), repeats=5, at_least=at_least)
        bench.rate(f"{name}, ours", bench.time(ours, repeats=5), len(records), "images")
        goal = 1.5 if at_least is not None else 3.0
        bench.cost(f"{name}, an image", process, len(records), goal=goal)


@contextmanager
def _registered(records: List[dict]) -> Iterator[None]:
    indices = {i: i for i in range(_CATEGORIES)}
    DatasetCatalog.register(_SET, lambda: records)
    MetadataCatalog.get(_SET).set(stuff_dataset_id_to_contiguous_id=indices)
    try:
        yield
    finally:
        DatasetCatalog.remove(_SET)
        MetadataCatalog.remove(_SET)


def _same(plain: Callable[[], Any], ours: Callable[[], Any]) -> Callable[[], None]:
    def check() -> None:
        np.testing.assert_allclose(ours(), plain(), rtol=0, atol=1e-9)

    return check


def _salient(bench: Any) -> None:
    size, images = ((48, 64), 2) if bench.quick else ((300, 400), 4)
    generator = np.random.default_rng(2)
    cases = []
    for _ in range(images):
        target = _blob(generator, size, 0.4)
        noisy = ndimage.gaussian_filter(np.roll(target, 9, 1).astype(float), 6)
        noisy += generator.normal(0, 0.03, size)
        cases.append(((noisy.clip(0, 1) * 255).astype(np.uint8), target))

    def ours() -> List[float]:
        scores = dataset_scores([saliency_scores(*case) for case in cases])
        return [scores[name] for name in ("MAE", "maxF", "meanF", "maxE", "meanE", "wF")]

    def plain() -> List[float]:
        rows = [plain_code.saliency(*case) for case in cases]
        mae, f, e, weighted = (np.mean(values, axis=0) for values in zip(*rows))
        return [mae, f.max(), f.mean(), e.max(), e.mean(), weighted]

    bench.note(
        f"Salient objects, {size[0]}x{size[1]} pixels: MAE, F, E and weighted F (ours: S, adaptive "
        "and binary scores too) against a plain loop over images and 256 thresholds."
    )
    bench.compare(
        f"salient scores of {images} maps",
        plain,
        ours,
        check=_same(plain, ours),
        at_least=3,
    )
    _salient_reference(bench, cases)


def _salient_reference(bench: Any, cases: List[Tuple[np.ndarray, np.ndarray]]) -> None:
    """Compares all scores with PySODMetrics, where it is installed."""
    theirs = plain_code.reference_saliency()
    if theirs is None:
        bench.note("PySODMetrics is not installed (pip install pysodmetrics): not compared.")
        return
    names = ("MAE", "maxF", "meanF", "adpF", "maxE", "meanE", "adpE", "S", "wF")

    def ours() -> List[float]:
        scores = dataset_scores([saliency_scores(*case) for case in cases])
        return [scores[name] for name in names]

    bench.compare(
        f"salient scores of {len(cases)} maps, against PySODMetrics",
        lambda: theirs(cases),
        ours,
        check=_same(lambda: theirs(cases), ours),
        repeats=9,
        at_least=4,
    )


def _video(bench: Any) -> None:
    size, frames = ((96, 170), 2) if bench.quick else ((480, 854), 10)
    generator = np.random.default_rng(3)
    truth = np.stack([_blob(generator, size, 0.3) for _ in range(frames)])
    guess = np.stack([np.roll(m, generator.integers(-9, 10, 2), axis=(0, 1)) for m in truth])
    dilate, library = plain_code.dilation()

    def ours() -> np.ndarray:
        return np.stack([j_and_f(p, t) for p, t in zip(guess, truth)])

    def plain() -> np.ndarray:
        return np.stack([plain_code.j_and_f(p, t, dilate) for p, t in zip(guess, truth)])

    bench.note(
        f"J and F, {size[0]}x{size[1]} pixels, against a plain loop over frames with the dilation "
        f"of {library}."
    )
    bench.compare(
        f"J and F of {frames} frames",
        plain,
        ours,
        check=_same(plain, ours),
        at_least=3,
    )
