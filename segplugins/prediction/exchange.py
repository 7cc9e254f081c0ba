"""Results in the forms of other programs, and back: supervision, COCO, region lines, pandas."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from segplugins.structures.regions import Task, encode_mask

from .result import Result


def to_supervision(result: Result) -> Any:
    """Returns `supervision.Detections` with boxes, masks, scores, class ids and names.

    Raises:
        ImportError: the package supervision is not installed.
    """
    supervision = _package("supervision", "annotators and trackers")
    names = np.array([result.names[index] for index in result.classes], dtype=object)
    return supervision.Detections(
        xyxy=result.boxes,
        mask=result.masks,
        confidence=result.scores,
        class_id=result.classes.astype(int),
        data={"class_name": names.astype(str)},
    )


def from_supervision(
    detections: Any, names: Sequence[str], *, size: Optional[Tuple[int, int]] = None
) -> Result:
    """Makes a result of `supervision.Detections`.

    Args:
        detections: with masks and class ids.
        names: that the class ids count.
        size: (H, W) of the picture; needed where there is no detection.

    Raises:
        ValueError: detections without masks or class ids.
    """
    if len(detections) and (detections.mask is None or detections.class_id is None):
        raise ValueError("detections without masks or class ids are no segmentation")
    if detections.mask is None:
        if size is None:
            raise ValueError("no detection, so size=(H, W) must say how large the picture is")
        masks = np.zeros((0, *size), bool)
    else:
        masks = np.asarray(detections.mask)
    classes = [] if detections.class_id is None else detections.class_id
    return Result.from_masks(masks, classes, names, scores=detections.confidence)


def to_coco(
    result: Result, image_id: Any, category_ids: Optional[Sequence[int]] = None
) -> List[Dict[str, Any]]:
    """Returns COCO results: "image_id", "category_id", "segmentation", "bbox" (XYWH), "score".

    Args:
        result: of one picture.
        image_id: of the picture in the data set.
        category_ids: the data set's id of each name; None = 1, 2, ... in order.

    A region without a score gets 1.0, since COCO asks for one; empty masks are left out.
    """
    ids = _category_ids(result.names, category_ids)
    entries = []
    for number, (box, area) in enumerate(zip(result.boxes, result.areas)):
        if area:
            x0, y0, x1, y1 = box.tolist()
            score = 1.0 if result.scores is None else float(result.scores[number])
            entries.append(
                {
                    "image_id": image_id,
                    "category_id": ids[result.classes[number]],
                    "segmentation": encode_mask(result.mask(number)),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": score,
                }
            )
    return entries


def from_coco(
    entries: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    *,
    size: Tuple[int, int],
    category_ids: Optional[Sequence[int]] = None,
) -> Result:
    """Makes a result of COCO results or annotations of one picture.

    Args:
        entries: with "category_id", "segmentation" (RLE or polygons) and perhaps "score".
        names: the classes.
        size: (H, W) of the picture.
        category_ids: the data set's id of each name; None = 1, 2, ... in order.

    Raises:
        ValueError: a category that has no name, ids that are not one for each name, a mask that
            does not fit, or entries of several pictures.
    """
    images = {entry["image_id"] for entry in entries if "image_id" in entry}
    if len(images) > 1:
        raise ValueError(f"entries are of {len(images)} pictures; give those of one")
    ids = _category_ids(names, category_ids)
    unknown = sorted({entry["category_id"] for entry in entries} - set(ids))
    if unknown:
        raise ValueError(f"categories {unknown} have no name; known are {ids}")
    scored = [entry.get("score") for entry in entries]
    return Result.from_masks(
        [entry["segmentation"] for entry in entries],
        [ids.index(entry["category_id"]) for entry in entries],
        names,
        size=size,
        scores=None if None in scored else scored,
    )


def to_panoptic(
    result: Result, image_id: Any, category_ids: Optional[Sequence[int]] = None
) -> Tuple[Image.Image, Dict[str, Any]]:
    """Returns COCO's panoptic PNG (id = R + 256 G + 65536 B) and its annotation.

    Where regions overlap, the one of the highest score has the pixel; a region that has none left
    is left out. Pixels of no region are 0.

    Args:
        result: of one picture.
        image_id: of the picture in the data set.
        category_ids: the data set's id of each name; None = 1, 2, ... in order.
    """
    ids = _category_ids(result.names, category_ids)
    numbers = np.zeros(result.size, np.uint32)
    ranks = np.zeros(len(result)) if result.scores is None else result.scores
    for number in np.argsort(-ranks, kind="stable")[::-1]:
        numbers[result.mask(int(number))] = number + 1
    segments = []
    for number, index in enumerate(result.classes):
        mask = numbers == number + 1
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x0, y0 = int(columns[0]), int(rows[0])
            segments.append(
                {
                    "id": number + 1,
                    "category_id": ids[index],
                    "isthing": int(result.is_thing[index]),
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": [x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0],
                }
            )
    png = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
    file_name = f"{result.name or image_id}.png"
    annotation = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
    return Image.fromarray(png), annotation


def from_panoptic(
    png: Image.Image,
    annotation: Mapping[str, Any],
    names: Sequence[str],
    *,
    category_ids: Optional[Sequence[int]] = None,
    is_thing: Sequence[bool] = (),
) -> Result:
    """Makes a result of COCO's panoptic PNG and its annotation; see `to_panoptic`.

    Raises:
        ValueError: a category that has no name, or ids that are not one for each name.
    """
    pixels = np.asarray(png.convert("RGB")).astype(np.int32)
    numbers = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    ids = _category_ids(names, category_ids)
    segments = annotation["segments_info"]
    unknown = sorted({each["category_id"] for each in segments} - set(ids))
    if unknown:
        raise ValueError(f"categories {unknown} have no name; known are {ids}")
    return Result.from_segments(
        numbers,
        [each["id"] for each in segments],
        [ids.index(each["category_id"]) for each in segments],
        names,
        is_thing=tuple(is_thing),
    )


def to_line(result: Result, file_name: str) -> Dict[str, Any]:
    """Returns a region line: JSON that training reads as a data set of kind "regions".

    Args:
        result: of one picture.
        file_name: of the picture, relative to the data set's folder of images.
    """
    regions = []
    for region in result:
        entry: Dict[str, Any] = {"text": region.text, "is_thing": region.is_thing}
        if region.has_target:
            entry |= {"box": list(region.box), "mask": region.mask, "score": region.score}
        regions.append(entry)
    height, width = result.size
    return {
        "file_name": file_name,
        "height": height,
        "width": width,
        "task": str(result.task),
        "regions": regions,
    }


def from_line(line: Mapping[str, Any], names: Optional[Sequence[str]] = None) -> Result:
    """Makes a result of a region line; see `to_line`.

    Args:
        line: with "height", "width" and "regions"; regions without a target are empty masks.
        names: the classes; None = the regions' texts in order.

    Raises:
        ValueError: a text that is not among the names, or a mask that does not fit the picture.
    """
    size = (line["height"], line["width"])
    regions = line["regions"]
    names = list(names or dict.fromkeys(region["text"] for region in regions))
    unknown = sorted({region["text"] for region in regions} - set(names))
    if unknown:
        raise ValueError(f"texts {unknown} are none of the names {names}")
    empty = encode_mask(np.zeros(size, bool))
    things = {region["text"] for region in regions if region.get("is_thing", True)}
    return Result.from_masks(
        [region.get("mask") or empty for region in regions],
        [names.index(region["text"]) for region in regions],
        names,
        size=size,
        task=Task(line.get("task", Task.REFERRING)),
        scores=[region.get("score", 1.0) for region in regions],
        is_thing=[name in things for name in names],
    )


def to_pandas(result: Result) -> Any:
    """Returns a `pandas.DataFrame` with a row per region: name, class, score, pixels, share, box.

    Raises:
        ImportError: the package pandas is not installed.
    """
    pandas = _package("pandas", "tables")
    pixels = result.size[0] * result.size[1]
    scores = [np.nan] * len(result) if result.scores is None else result.scores
    columns = {
        "name": [result.names[index] for index in result.classes],
        "class_index": result.classes,
        "score": np.asarray(scores, np.float64),
        "pixels": result.areas,
        "share": result.areas / pixels,
    }
    columns |= dict(zip(("x0", "y0", "x1", "y1"), result.boxes.T))
    return pandas.DataFrame(columns)


def _category_ids(names: Sequence[str], category_ids: Optional[Sequence[int]]) -> List[int]:
    """Returns the id of each name, as Python's int, which JSON can hold."""
    if category_ids is None:
        return list(range(1, len(names) + 1))
    ids = [int(each) for each in category_ids]
    if len(ids) != len(names):
        raise ValueError(f"{len(ids)} category ids for {len(names)} names; give one each")
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise ValueError(f"category ids {twice} are given to several names; give each its own")
    return ids


def _package(name: str, purpose: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the package '{name}' ({purpose}) is not installed: pip install {name}"
        ) from error
