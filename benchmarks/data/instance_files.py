"""Reads a COCO instance file to typed, checked records; baseline: json and pycocotools' index."""

import contextlib
import io
import json
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Iterator

import numpy as np
from pycocotools.coco import COCO

from segplugins.files.coco import InstanceFile, read_instances

SIZE = (480, 640)
CLASSES = 80


def run(bench: Any) -> None:
    """Time and memory of a file of 28 MB, then the time of half a million boxes."""
    masks, boxes = (200, 1000) if bench.quick else (32_500, 500_000)
    with TemporaryDirectory() as folder:
        path = write_instances(Path(folder) / "masks.json", masks)
        name = f"instance file, {path.stat().st_size / 1e6:.0f} MB, {masks:,} polygons"
        bench.note(
            "Baseline of instance files: json and the index of pycocotools' COCO, which check "
            "nothing. Ours: read_instances, strict: records in normal form, masks compared."
        )
        check = partial(_check, path)
        bench.compare(name, partial(read_plain, path), partial(read_instances, path), check=check)
        for who, read in (("json, pycocotools", read_plain), ("ours", read_instances)):
            seconds = min(_cpu_seconds(partial(read, path)) for _ in range(5))
            bench.figure(f"{name}, {who}", seconds, "CPU s")
            bench.memory(f"{name}, {who}", read, path)
        many = write_instances(Path(folder) / "boxes.json", boxes, outlines=False)
        bench.note(f"{boxes:,} boxes, {many.stat().st_size / 1e6:.0f} MB, are read once")
        seconds = _cpu_seconds(partial(read_instances, many, boxes_only=True))
        bench.figure(f"boxes alone, {boxes:,}", seconds, "CPU s")
        bench.rate(f"boxes alone, {boxes:,}", seconds, boxes, "boxes")


def read_plain(path: Path) -> COCO:
    """Reads a file as most programs do; what it prints is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def _cpu_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _check(path: Path) -> None:
    theirs, ours = read_plain(path), read_instances(path)
    assert [image.id for image in ours.images.values()] == list(theirs.imgs)
    assert len(ours.annotations) == len(theirs.anns)
    compare_annotations(theirs, ours)


def compare_annotations(theirs: COCO, ours: InstanceFile) -> None:
    """Asserts that both hold the same annotations."""
    for annotation in ours.annotations:
        other = theirs.anns[annotation.id]
        for key in ("image_id", "category_id", "iscrowd", "bbox", "area", "segmentation"):
            assert getattr(annotation, key) == other[key], (annotation.id, key)


def write_instances(
    path: Path, annotations: int, *, outlines: bool = True, per_image: int = 15
) -> Path:
    """Writes a COCO file of objects with outlines of 8 to 80 points, or of boxes alone.

    Args:
        path: of the file.
        annotations: how many.
        outlines: whether they have polygons.
        per_image: objects per image.

    Returns:
        The path.
    """
    generator = np.random.default_rng(0)
    images = -(-annotations // per_image)
    height, width = SIZE
    places = (_outlined if outlines else _boxed)(generator, annotations)
    classes = (generator.integers(CLASSES, size=annotations) + 1).tolist()
    objects = [
        {"id": n + 1, "image_id": n // per_image, "category_id": label, "iscrowd": 0, **place}
        for n, (label, place) in enumerate(zip(classes, places))
    ]
    content = {
        "images": [
            {"id": n, "file_name": f"{n:012d}.jpg", "height": height, "width": width}
            for n in range(images)
        ],
        "annotations": objects,
        "categories": [{"id": n + 1, "name": f"class {n}"} for n in range(CLASSES)],
    }
    path.write_text(json.dumps(content))
    return path


def _boxed(generator: np.random.Generator, count: int) -> Iterator[dict]:
    """Yields boxes with their areas; all are drawn at once, since there may be half a million."""
    height, width = SIZE
    sides = generator.uniform(2, 90, (count, 2))
    corners = generator.random((count, 2)) * ([width, height] - sides)
    boxes = np.concatenate([corners, sides], axis=1).round(2)
    for box, area in zip(boxes.tolist(), boxes[:, 2:].prod(axis=1).round(2).tolist()):
        yield {"bbox": box, "area": area}


def _outlined(generator: np.random.Generator, count: int) -> Iterator[dict]:
    """Yields outlines around a middle with their boxes and areas."""
    height, width = SIZE
    for _ in range(count):
        angles = np.sort(generator.random(int(generator.integers(8, 80)))) * 2 * np.pi
        x = (width * generator.uniform(0.2, 0.8) + 90 * np.cos(angles)).clip(0, width).round(2)
        y = (height * generator.uniform(0.3, 0.7) + 90 * np.sin(angles)).clip(0, height).round(2)
        sides = [max(float(v), 1.0) for v in np.round([np.ptp(x), np.ptp(y)], 2)]
        yield {
            "bbox": [float(x.min()), float(y.min()), *sides],
            "area": round(abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2, 2),
            "segmentation": [np.stack([x, y], axis=1).ravel().tolist()],
        }
