"""Measures the evaluators against the ones people use: `python tools/benchmark.py evaluation`.

`run` gets a `benchmarks.harness.Bench`. K classes, H W pixels.
"""

from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.files.label_maps import read_label_map

SIZE = 512, 683
_IGNORE = 65535
_SET = "evaluation_benchmark"


class Given(NamedTuple):
    """A label map for detectron2's evaluator, which asks for scores and takes their argmax."""

    labels: Tensor

    def argmax(self, dim: int) -> Tensor:
        """Returns: the label map, at no cost."""
        return self.labels


def run(bench: Any) -> None:
    """Semantic segmentation from label maps and from scores."""
    size, images = ((64, 85), 2) if bench.quick else (SIZE, 4)
    bench.note(
        f"Semantic segmentation, {size[0]}x{size[1]} pixels, against detectron2's SemSegEvaluator "
        "with its boundary scores off. Label files are in memory unless said otherwise. 'coarse "
        "scores': predictions are the argmax of random scores of 1/16 resolution, made large "
        "bilinearly; 'regions': 80 random regions an image; '20 % noise': a fifth of the predicted "
        "pixels is any class."
    )
    for classes, claim in ((20, 1), (40, 1)) if bench.quick else ((150, 30), (847, 150)):
        _from_label_maps(bench, classes, size, images, claim)
        _from_scores(bench, classes, size)
    bench.note(
        "CPU time of an image, predicted regions in 16 bits, label files in memory; the goal with "
        "20 % noise is 1.3 times the time without."
    )
    for classes, goal in ((150, 1.5), (847, 2.0)):
        _cost_of_an_image(bench, classes, size, images, goal)


def _from_label_maps(
    bench: Any, classes: int, size: Tuple[int, int], images: int, claim: float
) -> None:
    generator = np.random.default_rng(classes)
    truths = [_regions(generator, classes, size, 40) for _ in range(images)]
    coarse = [smooth_scores(classes, size, i).argmax(dim=0).numpy() for i in range(images)]
    regions = [_regions(generator, classes, size, 80) for _ in truths]
    kinds = {"coarse scores": coarse, "regions": regions}
    for kind, clean in tuple(kinds.items()):
        kinds[f"{kind}, 20 % noise"] = [_noisy(generator, labels, classes) for labels in clean]
    for kind, labels in kinds.items():
        at_least = claim if kind == "coarse scores" else None
        # As a model with TEST.LABEL_MAPS answers.
        labels = [guess.astype(np.int16) for guess in labels]
        outputs = [{"sem_seg": torch.from_numpy(guess).to(bench.device)} for guess in labels]
        given = [{"sem_seg": Given(output["sem_seg"])} for output in outputs]
        with _data_set(classes, truths) as records:
            name = f"{images} label maps, {classes} classes, {kind}"
            _compare(bench, name, classes, truths, records, given, outputs, at_least)
    with TemporaryDirectory() as folder, _data_set(classes, truths, folder) as records:
        name = f"{images} label maps, {classes} classes, regions, 20 % noise, label files read"
        _compare(bench, name, classes, None, records, given, outputs, None)


def _cost_of_an_image(
    bench: Any, classes: int, size: Tuple[int, int], images: int, goal: float
) -> None:
    """Prints what an image costs in the middle of a data set, where the matrix is in use."""
    repeats = 2 if bench.quick else 30
    generator = np.random.default_rng(classes)
    truths = [_regions(generator, classes, size, 40) for _ in range(images)]
    clean = [_regions(generator, classes, size, 80) for _ in range(images)]
    noisy = [_noisy(generator, labels, classes) for labels in clean]
    for kind, maps in (("clean", clean), ("20 % noise", noisy)):
        outputs = [{"sem_seg": torch.from_numpy(labels.astype(np.int16))} for labels in maps]
        with _data_set(classes, truths * repeats) as records:
            in_memory = dict(enumerate(truths * repeats))
            evaluator, pending = _evaluator(classes, in_memory), iter(records)

            def process(
                evaluator: SemanticEvaluator = evaluator,
                pending: Iterator[dict] = pending,
                outputs: List[dict] = outputs,
            ) -> None:
                for output in outputs:
                    evaluator.process([next(pending)], [output])

            name = f"semantic, {classes} classes, {kind}, an image"
            least = bench.cost(name, process, images, repeats=repeats, goal=goal)
            goal = 1.3 * least


def _from_scores(bench: Any, classes: int, size: Tuple[int, int]) -> None:
    truths = [_regions(np.random.default_rng(1), classes, size, 40)]
    outputs = [{"sem_seg": smooth_scores(classes, size, 0).to(bench.device)}]
    with _data_set(classes, truths) as records:
        name = f"scores of one image, {classes} classes"
        _compare(bench, name, classes, truths, records, outputs, outputs, 1.5)
    del outputs
    bench.memory(
        f"extra memory, scores of one image, {classes} classes (claimed below 100)",
        count_scores,
        classes,
        size,
        bench.device.type,
        prepare=scores_to_count,
    )


def _compare(
    bench: Any,
    name: str,
    classes: int,
    truths: Any,
    records: List[dict],
    given: Sequence[Dict[str, Any]],
    outputs: Sequence[Dict[str, Any]],
    at_least: Any,
) -> None:
    """Both evaluators over the same images; their metrics must agree to 1e-9."""
    in_memory = None if truths is None else dict(enumerate(truths))
    baseline = SemSegEvaluator(
        _SET,
        distributed=False,
        sem_seg_loading_fn=_their_reader(in_memory),
    )
    baseline._compute_boundary_iou = False
    ours = _evaluator(classes, in_memory)

    def run_baseline() -> None:
        baseline.reset()
        for record, output in zip(records, given):
            baseline.process([record], [output])

    def run_ours() -> None:
        ours.reset()
        for record, output in zip(records, outputs):
            ours.process([record], [output])

    def check() -> None:
        run_baseline()
        run_ours()
        expected, result = (side.evaluate()["sem_seg"] for side in (baseline, ours))
        for key, value in expected.items():
            np.testing.assert_allclose(result[key], value, rtol=0, atol=1e-9, err_msg=key)

    bench.compare(name, run_baseline, run_ours, check=check, repeats=5, at_least=at_least)
    bench.rate(f"{name}, ours", bench.time(run_ours, repeats=5), len(records), "images")


def _evaluator(classes: int, in_memory: Any) -> SemanticEvaluator:
    return SemanticEvaluator(
        _SET,
        [str(index) for index in range(classes)],
        fold=ClassFold(classes, ignore_label=_IGNORE),
        read_truth=read_label_map if in_memory is None else in_memory.__getitem__,
        distributed=False,
    )


def _their_reader(in_memory: Any) -> Any:
    if in_memory is None:
        return lambda file, dtype: np.asarray(Image.open(file), dtype=dtype)
    # Its evaluator writes into the array that it gets.
    return lambda file, dtype: in_memory[file].astype(dtype)


@contextmanager
def _data_set(classes: int, truths: Sequence[np.ndarray], folder: str = "") -> Iterator[List[dict]]:
    """Registers images whose label file is a number of `truths`, or a file in a folder."""
    files = [f"{folder}/{i}.png" if folder else i for i in range(len(truths))]
    if folder:
        for truth, file in zip(truths, files):
            Image.fromarray(truth).save(file)
    records = [
        {"file_name": f"image {i}", "sem_seg_file_name": file} for i, file in enumerate(files)
    ]
    DatasetCatalog.register(_SET, lambda: records)
    names = [str(index) for index in range(classes)]
    MetadataCatalog.get(_SET).set(stuff_classes=names, ignore_label=_IGNORE)
    try:
        yield records
    finally:
        DatasetCatalog.remove(_SET)
        MetadataCatalog.remove(_SET)


def _regions(
    generator: np.random.Generator, classes: int, size: Tuple[int, int], count: int
) -> np.ndarray:
    """(H, W) uint16: each pixel has the class of the nearest of some random points."""
    points = generator.random((count, 2)) * size
    rows, columns = (np.arange(side)[:, None] for side in size)
    distance = ((rows - points[:, 0]) ** 2)[:, None] + ((columns - points[:, 1]) ** 2)[None]
    return generator.integers(0, classes, count)[distance.argmin(axis=-1)].astype(np.uint16)


def _noisy(generator: np.random.Generator, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns labels (H, W) of which a fifth is any class."""
    noise = generator.integers(0, classes, labels.shape)
    return np.where(generator.random(labels.shape) < 0.2, noise, labels)


def smooth_scores(classes: int, size: Tuple[int, int], seed: int) -> Tensor:
    """(K, H, W) float32 on the CPU: random scores of 1/16 resolution, made large bilinearly."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, size[0] // 16, size[1] // 16, generator=generator)
    return F.interpolate(coarse, size, mode="bilinear", align_corners=False)[0]


def scores_to_count(classes: int, size: Tuple[int, int], device: str) -> Any:
    """What `count_scores` gets, in its own process: an evaluator, a record and its scores."""
    truth = np.zeros(size, np.uint16)
    with _data_set(classes, [truth]) as records:
        evaluator = _evaluator(classes, {0: truth})
    return evaluator, records[0], smooth_scores(classes, size, 0).to(device)


def count_scores(given: Tuple[SemanticEvaluator, dict, Tensor]) -> None:
    """Counts the scores of one image."""
    evaluator, record, scores = given
    evaluator.process([record], [{"sem_seg": scores}])
