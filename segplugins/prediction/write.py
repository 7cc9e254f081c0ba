"""One result as files: a label map or masks, an overlay to look at, and a report as JSON."""

from pathlib import Path
from typing import Any, Dict

import numpy as np
from PIL import Image

from segplugins.files.write import write_json
from segplugins.pictures import save_picture
from segplugins.structures.regions import Task

from .drawing import draw
from .exchange import to_coco, to_panoptic
from .result import NOTHING, Result


def write_result(output: Path, result: Result, **style: Any) -> None:
    """Writes `<name>.*` for a result with its image; `<name>.json` last: then it is finished.

    Label maps: `<name>.labels.png`, a pixel is the index of its class (8 bits up to 255 classes,
    else 16), the highest value is none of them. Phrases: `<name>.mask0.png` and so on, 255 inside.
    Panoptic: COCO's `<name>.panoptic.png`. Instances stand in the JSON as COCO results. And
    `<name>.overlay.jpg`.

    Args:
        output: the folder.
        result: with its image.
        style: of the overlay, see `Result.draw`.
    """
    stem = output / result.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    height, width = result.size
    report: Dict[str, Any] = {"image": result.name, "height": height, "width": width}
    report |= _content(stem, result)
    save_picture(f"{stem}.overlay.jpg", draw(result, **style))
    report["overlay"] = f"{stem.name}.overlay.jpg"
    write_json(f"{stem}.json", report)


def label_values(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns labels (H, W) as they are written: uint8 or uint16, `NOTHING` as the highest value.

    Args:
        labels: (H, W) integers, `NOTHING` or 0..count-1.
        count: number of classes.
    """
    kind = np.uint8 if count < 256 else np.uint16
    values = labels.astype(kind)
    values[labels == NOTHING] = np.iinfo(kind).max
    return values


def _content(stem: Path, result: Result) -> Dict[str, Any]:
    if result.task is Task.REFERRING:
        return {"prompts": [_phrase(stem, result, number) for number in range(len(result))]}
    if result.task is Task.PANOPTIC:
        png, annotation = to_panoptic(result, result.name)
        png.save(f"{stem}.panoptic.png")
        return {"names": result.names, "panoptic": f"{stem.name}.panoptic.png", **annotation}
    if result.task is Task.INSTANCE:
        return {"names": result.names, "instances": to_coco(result, result.name)}
    values = label_values(result.label_map, len(result.names))
    Image.fromarray(values).save(f"{stem}.labels.png")
    return {
        "label_map": f"{stem.name}.labels.png",
        "none_of_these": int(np.iinfo(values.dtype).max),
        "classes": _classes(result),
    }


def _phrase(stem: Path, result: Result, number: int) -> Dict[str, Any]:
    mask = result.mask(number)
    Image.fromarray(mask.astype(np.uint8) * 255).save(f"{stem}.mask{number}.png")
    entry = {
        "text": result.names[number],
        "mask": f"{stem.name}.mask{number}.png",
        "pixels": int(mask.sum()),
        "share": round(float(mask.mean()), 6),
    }
    return entry if result.scores is None else {**entry, "score": _score(result, number)}


def _classes(result: Result) -> list:
    """The classes that occur, the largest first."""
    entries = []
    for number in np.argsort(-result.areas, kind="stable"):
        index, pixels = int(result.classes[number]), int(result.areas[number])
        entry = {
            "index": index,
            "name": result.names[index],
            "pixels": pixels,
            "share": round(pixels / (result.size[0] * result.size[1]), 6),
        }
        entries.append(
            entry if result.scores is None else {**entry, "score": _score(result, number)}
        )
    return entries


def _score(result: Result, number: int) -> float:
    return round(float(result.scores[number]), 4)
