"""Measures the mapper against detectron2's on the same files.

`run` gets a `benchmarks.harness.Bench`. Images are synthetic photographs with 12 objects.
"""

import random
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import cv2
import numpy as np
import torch
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, BoxMode, Instances
from PIL import Image

from segplugins.data.augmentations import IGNORED
from segplugins.data.mapper import SegMapper
from segplugins.structures.regions import Region, Task, decode_mask, encode_mask
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

CLASSES = 80
OBJECTS = 12
_VOCABULARY = Vocabulary("data_benchmark", tuple(f"class {k}" for k in range(CLASSES)))
_METADATA = SimpleNamespace(
    thing_classes=list(_VOCABULARY.classes),
    stuff_classes=list(_VOCABULARY.classes),
    ignore_label=255,
    vocabulary=_VOCABULARY.name,
)

Record = Dict[str, Any]
Read = Callable[[Record], Record]


def run(bench: Any) -> None:
    """One row per kind of supervision, then the memory of a worker."""
    register_vocabulary(_VOCABULARY)
    size, images, square = ((60, 80), 2, 64) if bench.quick else ((480, 640), 24, 640)
    bench.note(
        f"{images} images of {size[0]}x{size[1]} pixels with {OBJECTS} objects; large-scale jitter "
        f"0.5-1.5 to {square}x{square}, random flip. Baseline of instances and boxes: "
        "detectron2's DatasetMapper (bitmasks, boxes recomputed). Of label maps: its steps with "
        "labels as float64, as SED's recipe has them. Of segments and phrases, which it does not "
        "read: one mask after the other, as the mappers of panoptic papers do."
    )
    with TemporaryDirectory() as folder:
        records = write_set(Path(folder), size, images)
        for name, make in _ROWS.items():
            _row(bench, name, *make(records, square))
    # Small images and many of them: allocators take some hundred to settle.
    for count in (2, 4) if bench.quick else (500, 1500):
        bench.memory(f"a worker after {count} images with masks", _work, (240, 320), count, 320)


def _row(bench: Any, name: str, records: List[Record], baseline: Read, ours: Read) -> None:
    ratio_of = partial(bench.compare, f"{name}, {len(records)} images")
    ratio_of(
        partial(_read_all, baseline, records),
        partial(_read_all, ours, records),
        check=partial(_check, records, baseline, ours),
    )
    seconds = bench.time(partial(_read_all, ours, records))
    bench.rate(f"{name}, a worker", seconds, len(records), "images")


def _read_all(read: Read, records: Sequence[Record]) -> None:
    for number, record in enumerate(records):
        _seeded(read, record, number)


def _seeded(read: Read, record: Record, number: int) -> Record:
    """Both mappers draw their augmentation from the same random numbers."""
    np.random.seed(number)
    random.seed(number)
    return read(record)


def _check(records: Sequence[Record], baseline: Read, ours: Read) -> None:
    for number, record in enumerate(records):
        baseline_record, our_record = (_seeded(read, record, number) for read in (baseline, ours))
        assert torch.equal(baseline_record["image"], our_record["image"])
        if "sem_seg" in baseline_record:
            assert torch.equal(baseline_record["sem_seg"], our_record["sem_seg"])
            continue
        a, b = baseline_record["instances"], our_record["instances"]
        assert len(a) == len(b)
        if a.has("gt_masks"):
            differing = (a.gt_masks.tensor != b.gt_masks.tensor).float().mean().item()
            # Polygons are cut before or after they are drawn: a pixel here and there.
            assert differing < 1e-4, differing
        else:
            torch.testing.assert_close(a.gt_boxes.tensor.float(), b.gt_boxes.tensor)


# What both mappers are given -------------------------------------------------------------------


def _augmentations(square: int, ignored: int) -> List[T.Augmentation]:
    crop = T.FixedSizeCrop((square, square), pad_value=128, seg_pad_value=ignored)
    return [T.ResizeScale(0.5, 1.5, square, square), crop, T.RandomFlip()]


def _ours(square: int, target: str = "instances") -> SegMapper:
    return SegMapper(
        True,
        augmentations=_augmentations(square, IGNORED),
        targets=[target],
        metadata={"benchmark": _METADATA},
    )


def _theirs(square: int, *, masks: bool) -> DatasetMapper:
    return DatasetMapper(
        True,
        augmentations=_augmentations(square, 0),
        image_format="RGB",
        use_instance_mask=masks,
        instance_mask_format="bitmask",
        recompute_boxes=masks,
    )


def _polygons(records: List[Record], square: int) -> Tuple[List[Record], Read, Read]:
    kept = [_only(record, "annotations") for record in records]
    return kept, _theirs(square, masks=True), _ours(square)


def _rles(records: List[Record], square: int) -> Tuple[List[Record], Read, Read]:
    kept = []
    for record in records:
        size = record["height"], record["width"]
        coded = [
            {**a, "segmentation": encode_mask(decode_mask(a["segmentation"], *size))}
            for a in record["annotations"]
        ]
        kept.append({**_only(record, "annotations"), "annotations": coded})
    return kept, _theirs(square, masks=True), _ours(square)


def _boxes(records: List[Record], square: int) -> Tuple[List[Record], Read, Read]:
    kept = []
    for record in records:
        boxes = [{k: a[k] for k in a if k != "segmentation"} for a in record["annotations"]]
        kept.append({**_only(record, "annotations"), "annotations": boxes})
    return kept, _theirs(square, masks=False), _ours(square)


def _label_maps(records: List[Record], square: int) -> Tuple[List[Record], Read, Read]:
    kept = [_only(record, "sem_seg_file_name") for record in records]
    return kept, partial(_plain_labels, square), _ours(square, "sem_seg")


def _segments(records: List[Record], square: int) -> Tuple[List[Record], Read, Read]:
    kept = [_only(record, "pan_seg_file_name", "segments_info") for record in records]
    return kept, partial(_plain_segments, square), _ours(square)


def _phrases(records: List[Record], square: int) -> Tuple[List[Record], Read, Read]:
    kept = []
    for record in records:
        regions = [
            Region(f"thing {n} on the left", mask=a["segmentation"])
            for n, a in enumerate(record["annotations"])
        ]
        kept.append({**_only(record), "regions": regions, "vocabulary": None})
    return kept, partial(_plain_phrases, square), _ours(square)


_ROWS = {
    "instances, polygons": _polygons,
    "instances, RLE": _rles,
    "boxes": _boxes,
    "label maps": _label_maps,
    "panoptic segments": _segments,
    "phrases": _phrases,
}


def _only(record: Record, *targets: str) -> Record:
    kept = ("file_name", "height", "width", "image_id", *targets)
    return {key: record[key] for key in kept}


# The plain way ---------------------------------------------------------------------------------


def _plain_image(record: Mapping[str, Any], square: int) -> Tuple[torch.Tensor, T.TransformList]:
    augmented = T.AugInput(detection_utils.read_image(record["file_name"], "RGB"))
    transforms = T.AugmentationList(_augmentations(square, 0))(augmented)
    image = np.ascontiguousarray(augmented.image.transpose(2, 0, 1))
    return torch.from_numpy(image), transforms


def _with_masks(image: torch.Tensor, masks: Sequence[np.ndarray]) -> Record:
    masks = [mask for mask in masks if mask.any()]
    stacked = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *image.shape[1:])
    bitmasks = BitMasks(stacked.bool())
    instances = Instances(image.shape[1:], gt_masks=bitmasks)
    instances.gt_boxes = bitmasks.get_bounding_boxes()
    return {"image": image, "instances": instances}


def _plain_labels(square: int, record: Record) -> Record:
    labels = detection_utils.read_image(record["sem_seg_file_name"]).astype(np.float64)
    augmented = T.AugInput(detection_utils.read_image(record["file_name"], "RGB"), sem_seg=labels)
    T.AugmentationList(_augmentations(square, 255))(augmented)
    image = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
    return {"image": image, "sem_seg": torch.from_numpy(augmented.sem_seg.astype(np.int64))}


def _plain_segments(square: int, record: Record) -> Record:
    image, transforms = _plain_image(record, square)
    rgb = detection_utils.read_image(record["pan_seg_file_name"], "RGB").astype(np.float64)
    moved = transforms.apply_segmentation(rgb).astype(np.int64)
    ids = moved[..., 0] + 256 * moved[..., 1] + 65536 * moved[..., 2]
    return _with_masks(image, [ids == segment["id"] for segment in record["segments_info"]])


def _plain_phrases(square: int, record: Record) -> Record:
    image, transforms = _plain_image(record, square)
    masks = []
    for region in record["regions"]:
        moved = transforms.apply_polygons([np.array(p).reshape(-1, 2) for p in region.mask])
        if moved:
            polygons = [p.reshape(-1) for p in moved]
            masks.append(BitMasks.from_polygon_masks([polygons], square, square).tensor[0].numpy())
    return _with_masks(image, masks)


# The set ---------------------------------------------------------------------------------------


def write_set(folder: Path, size: Tuple[int, int], images: int) -> List[Record]:
    """Writes photographs with label and segment maps; returns records in every form.

    Args:
        folder: to write into.
        size: (H, W) in pixels.
        images: how many.
    """
    generator = np.random.default_rng(0)
    return [_write_image(folder, size, number, generator) for number in range(images)]


def _write_image(
    folder: Path, size: Tuple[int, int], number: int, generator: np.random.Generator
) -> Record:
    height, width = size
    coarse = generator.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    picture = folder / f"{number}.jpg"
    Image.fromarray(cv2.resize(coarse, (width, height))).save(picture, quality=90)
    ids = np.full(size, 1, np.uint8)
    annotations = []
    for n in range(OBJECTS):
        polygon = _outline(size, generator)
        ids[decode_mask([polygon], *size)] = n + 2
        x, y = polygon[0::2], polygon[1::2]
        annotations.append(
            {
                "bbox": [min(x), min(y), max(x), max(y)],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": int(generator.integers(CLASSES)),
                "segmentation": [polygon],
                "iscrowd": 0,
            }
        )
    labels, segments = folder / f"{number}_labels.png", folder / f"{number}_segments.png"
    Image.fromarray(ids).save(labels)
    Image.fromarray(np.stack([ids, ids * 0, ids * 0], axis=-1)).save(segments)
    return {
        "file_name": str(picture),
        "height": height,
        "width": width,
        "image_id": number,
        "task": Task.INSTANCE,
        "annotations": annotations,
        "sem_seg_file_name": str(labels),
        "pan_seg_file_name": str(segments),
        "segments_info": [
            {"id": int(i), "category_id": int(i), "isthing": True} for i in np.unique(ids)
        ],
    }


def _outline(size: Tuple[int, int], generator: np.random.Generator) -> List[float]:
    """A lobed shape of 20 to 60 points, cut at the border."""
    height, width = size
    angles = np.sort(generator.random(generator.integers(20, 60))) * 2 * np.pi
    radius = generator.uniform(0.05, 0.2) * height * (1 + 0.3 * np.sin(3 * angles))
    x = generator.uniform(0.1, 0.9) * width + radius * np.cos(angles)
    y = generator.uniform(0.1, 0.9) * height + radius * np.sin(angles)
    points = np.stack([x.clip(0, width), y.clip(0, height)], axis=1)
    return points.round(2).ravel().tolist()


def _work(size: Tuple[int, int], images: int, square: int) -> None:
    """What a loader's worker does, for its memory."""
    register_vocabulary(_VOCABULARY)
    with TemporaryDirectory() as folder:
        records = [_only(r, "annotations") for r in write_set(Path(folder), size, 4)]
        mapper = _ours(square)
        for number in range(images):
            _seeded(mapper, records[number % 4], number)
