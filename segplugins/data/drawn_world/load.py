"""Load: catalog records from a drawn world on disk, for the tasks that are more than label maps.

Records have detectron2's keys, "task" and, where their targets are phrases, "regions" of which a
region without mask says that its phrase has no target.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping

import numpy as np
from PIL import Image

from segplugins.structures.regions import Region, Task, encode_mask

from .generate import WORLD_FILE

SALIENT_PHRASE = "the most salient object"


def check_world(root: Path, classes: List[str]) -> None:
    """Checks that a folder holds a complete world of these classes.

    Raises:
        FileNotFoundError: no world, or one that is not complete.
        ValueError: a world of other classes; its labels would mean something else.
    """
    file = root / WORLD_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"no drawn world in {root}; make it: python tools/make_drawn_world.py --out {root}"
        )
    world = json.loads(file.read_text(encoding="utf-8"))
    if not world.get("complete"):
        raise FileNotFoundError(
            f"the drawn world in {root} is not complete; the call that began it goes on where it "
            "stopped: python tools/make_drawn_world.py with the same options"
        )
    if world["classes"] != list(classes):
        raise ValueError(
            f"the drawn world in {root} has the classes {world['classes']}, expected "
            f"{list(classes)}; register it under a name of its own with register_drawn_world()"
        )


def panoptic_records(root: Path, split: str) -> List[Dict[str, Any]]:
    """Returns one record per image with "pan_seg_file_name", "sem_seg_file_name", "segments_info".

    Category ids of the segments are class indices.
    """
    folder = root / "annotations"
    content = _json(folder / f"panoptic_{split}.json")
    index = {entry["id"]: place for place, entry in enumerate(content["categories"])}
    is_thing = {entry["id"]: bool(entry["isthing"]) for entry in content["categories"]}
    images = {entry["id"]: entry for entry in content["images"]}
    return [
        {
            **_image(root / "images" / split, images[entry["image_id"]]),
            "pan_seg_file_name": str(folder / "panoptic" / split / entry["file_name"]),
            "sem_seg_file_name": str(folder / "semantic" / split / entry["file_name"]),
            "segments_info": [
                {
                    **segment,
                    "category_id": index[segment["category_id"]],
                    "isthing": is_thing[segment["category_id"]],
                }
                for segment in entry["segments_info"]
            ],
            "task": Task.PANOPTIC,
        }
        for entry in content["annotations"]
    ]


def referring_records(root: Path, split: str, *, generalised: bool) -> List[Dict[str, Any]]:
    """Returns one record per image; its regions are the targets of its phrases.

    Args:
        root: of the world.
        split: "train", "val" or "val_unseen".
        generalised: phrases with several targets or none, instead of those with exactly one.
    """
    folder = root / "referring"
    refs = _json(folder / f"{'grefs' if generalised else 'refs'}(drawn).json")
    instances = _json(folder / "instances.json")
    targets = {entry["id"]: entry for entry in instances["annotations"]}
    regions: Dict[int, List[Region]] = defaultdict(list)
    for ref in refs:
        if ref["split"] == split:
            ids = ref["ann_id"] if generalised else [ref["ann_id"]]
            for sentence in ref["sentences"]:
                regions[ref["image_id"]] += _regions(sentence["raw"], ids, targets)
    return [
        {**_image(root / "images", entry), "regions": regions[entry["id"]], "task": Task.REFERRING}
        for entry in instances["images"]
        if entry["id"] in regions
    ]


def _regions(text: str, ids: List[int], targets: Mapping[int, Mapping]) -> List[Region]:
    if ids == [-1]:
        return [Region(text=text)]
    found = [targets[one] for one in ids]
    return [Region(text=text, box=_xyxy(one["bbox"]), mask=one["segmentation"]) for one in found]


def salient_records(root: Path, split: str) -> List[Dict[str, Any]]:
    """Returns one record per image in which one thing stands out."""
    records = []
    for mask in sorted((root / "annotations" / "salient" / split).glob("*.png")):
        pixels = np.asarray(Image.open(mask)) > 128
        records.append(
            {
                "file_name": str(root / "images" / split / mask.name),
                "height": pixels.shape[0],
                "width": pixels.shape[1],
                "image_id": mask.stem,
                "mask_file_name": str(mask),
                "regions": [Region(text=SALIENT_PHRASE, mask=encode_mask(pixels))],
                "task": Task.SALIENT,
            }
        )
    return records


def video_records(root: Path, split: str) -> List[Dict[str, Any]]:
    """Returns one record per frame and phrase, "train" or "valid"."""
    folder = root / "videos"
    videos = _json(folder / "meta_expressions" / split / "meta_expressions.json")["videos"]
    records = []
    for name, video in videos.items():
        for frame in video["frames"]:
            mask = folder / split / "Annotations" / name / f"{frame}.png"
            objects = np.asarray(Image.open(mask))
            for number, expression in video["expressions"].items():
                shown = objects == int(expression["obj_id"])
                region = Region(
                    text=expression["exp"], mask=encode_mask(shown) if shown.any() else None
                )
                records.append(
                    {
                        "file_name": str(folder / split / "JPEGImages" / name / f"{frame}.jpg"),
                        "height": objects.shape[0],
                        "width": objects.shape[1],
                        "image_id": f"{name}/{number}/{frame}",
                        "video_id": name,
                        "expression_id": number,
                        "frame": frame,
                        "regions": [region],
                        "task": Task.REFERRING,
                    }
                )
    return records


def guarded(
    load: Callable[[], List[Dict[str, Any]]], root: Callable[[], Path], classes: List[str]
) -> Callable[[], List[Dict[str, Any]]]:
    """Returns a loader that first checks whether the folder holds the world that is meant."""

    def checked() -> List[Dict[str, Any]]:
        check_world(root(), classes)
        return load()

    return checked


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _image(folder: Path, entry: Mapping[str, Any]) -> Dict[str, Any]:
    return {
        "file_name": str(folder / entry["file_name"]),
        "height": entry["height"],
        "width": entry["width"],
        "image_id": entry["id"],
    }


def _xyxy(box: List[float]) -> "tuple[float, float, float, float]":
    left, top, width, height = map(float, box)
    return left, top, left + width, top + height
