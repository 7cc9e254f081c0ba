"""Video: clips in the layout of Ref-YouTube-VOS."""

import shutil
from pathlib import Path
from typing import Any, Dict, List, Sequence

import cv2
import numpy as np
from PIL import Image

from ..clips import FRAMES, Clip, clip_phrases, draw_clip, object_of
from ..options import WorldOptions
from ..paint import FIRST_THING
from ..splits import STREAMS
from .files import jpeg_bytes, write_json

FOLDERS = {"clips_train": "train", "clips_valid": "valid"}


def video_name(split: str, index: int) -> str:
    """Returns the name of a clip; it differs from that of every other clip of the world."""
    return f"drawn{STREAMS[split]}{index:05d}"


def frame_name(frame: int) -> str:
    """Returns the name of a frame: YouTube-VOS shows every fifth one."""
    return f"{5 * frame:05d}"


def write_clip(root: Path, options: WorldOptions, split: str, index: int) -> Dict[str, Any]:
    """Writes frames and masks of a clip; returns its entries for `write_video_files`."""
    clip = draw_clip(options, split, index)
    name = video_name(split, index)
    for kind in ("JPEGImages", "Annotations"):
        folder = root / FOLDERS[split] / kind / name
        shutil.rmtree(folder, ignore_errors=True)  # frames of an interrupted call
        folder.mkdir(parents=True)
    for frame, picture in enumerate(clip.pictures):
        file = f"{name}/{frame_name(frame)}"
        images, masks = (root / FOLDERS[split] / kind for kind in ("JPEGImages", "Annotations"))
        (images / f"{file}.jpg").write_bytes(jpeg_bytes(picture.image))
        _write_palette_png(masks / f"{file}.png", object_map(picture.segments))
    phrases = clip_phrases(clip, options, split, index)
    return {"video": name, "meta": _objects(clip), "expressions": _expressions(phrases)}


def object_map(segments: np.ndarray) -> np.ndarray:
    """Returns (H, W) uint8: the object's number, 0 = background."""
    objects = segments.astype(np.int16) - (FIRST_THING - 1)
    return np.maximum(objects, 0).astype(np.uint8)


def _objects(clip: Clip) -> Dict[str, Any]:
    objects: Dict[str, Any] = {}
    for frame, regions in enumerate(clip.visible):
        for region in regions:
            entry = {"category": region.name, "frames": []}
            objects.setdefault(str(object_of(region.segment)), entry)["frames"].append(
                frame_name(frame)
            )
    return {"objects": dict(sorted(objects.items(), key=lambda item: int(item[0])))}


def _expressions(phrases: Dict[int, List[Any]]) -> Dict[str, Any]:
    flat = [(number, phrase) for number, texts in sorted(phrases.items()) for phrase in texts]
    return {
        str(place): {
            "exp": phrase.text,
            "obj_id": str(number),
            "meaning": [meaning.as_data() for meaning in phrase.meanings],
        }
        for place, (number, phrase) in enumerate(flat)
    }


def write_video_files(root: Path, split: str, records: Sequence[Dict[str, Any]]) -> None:
    """Writes meta.json and meta_expressions.json of a split.

    Unlike the original, the validation files name the objects too: there is no server to hide them.
    """
    frames = [frame_name(frame) for frame in range(FRAMES)]
    write_json(
        root / FOLDERS[split] / "meta.json",
        {"videos": {record["video"]: record["meta"] for record in records}},
    )
    videos = {
        record["video"]: {"expressions": record["expressions"], "frames": frames}
        for record in records
    }
    write_json(
        root / "meta_expressions" / FOLDERS[split] / "meta_expressions.json", {"videos": videos}
    )


def _write_palette_png(path: Path, objects: np.ndarray) -> None:
    image = Image.fromarray(objects, mode="P")
    image.putpalette(_palette().tobytes())
    image.save(path)


def _palette() -> np.ndarray:
    """(256, 3) uint8: black, then hues far apart from each other."""
    hues = np.arange(256) * 67 % 180
    hsv = np.stack([hues, np.full(256, 190), np.full(256, 235)], axis=-1).astype(np.uint8)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]
    colours[0] = 0
    return colours
