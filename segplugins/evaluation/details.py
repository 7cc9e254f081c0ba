"""What a report shows besides numbers, kept as a file beside them: confused classes, pictures."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from PIL import Image, ImageOps

from segplugins.evaluation.gallery import Gallery, Picture
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.pictures import class_colours, overlay

FILE = "details.json"
_PAIRS = 12
_JPEG_QUALITY = 80


def write_details(output_dir: str, parts: Sequence[DatasetEvaluator]) -> None:
    """Writes details.json into a folder, over an earlier one.

    Args:
        output_dir: the folder; made if need be.
        parts: evaluators after `evaluate`; those that count a confusion matrix or keep pictures.
    """
    details: Dict[str, Any] = {"confused": [], "best": [], "worst": []}
    for part in parts:
        if isinstance(part, SemanticEvaluator):
            details["confused"] += confused_pairs(part.confusion, part.classes)
            if part.gallery is not None:
                details.update(_pictures(part.gallery, part.classes))
    os.makedirs(output_dir, exist_ok=True)
    Path(output_dir, FILE).write_text(json.dumps(details), encoding="utf-8")


def read_details(folder: Union[str, Path]) -> Dict[str, Any]:
    """Returns what `write_details` left in a folder; {} where there is nothing."""
    path = Path(folder, FILE)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def confused_pairs(
    confusion: np.ndarray, classes: Sequence[str], most: int = _PAIRS
) -> List[Dict[str, Any]]:
    """Returns the pairs of classes that are taken for each other most, by pixels.

    Args:
        confusion: (K + 1, K + 1), row = prediction, column = truth; see `semantic_metrics`.
        classes: the K names.
        most: number of pairs.

    Returns:
        [{"truth", "prediction", "pixels", "share": of the true class's pixels, 0-1}], most first.
        A prediction outside the classes is called "(another name)".
    """
    wrong = confusion[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    names = [*classes, "(another name)"]
    total = confusion[:, :-1].sum(axis=0)
    pairs = []
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        row, column = np.unravel_index(cell, wrong.shape)
        pixels = int(wrong[row, column])
        if pixels:
            share = pixels / int(total[column])
            pair = {"truth": names[column], "prediction": names[row]}
            pairs.append({**pair, "pixels": pixels, "share": share})
    return pairs


def _pictures(gallery: Gallery, classes: Sequence[str]) -> Dict[str, List[Dict[str, Any]]]:
    return {
        "best": [_picture(picture, classes) for picture in gallery.best()],
        "worst": [_picture(picture, classes) for picture in gallery.worst()],
    }


def _picture(picture: Picture, classes: Sequence[str]) -> Dict[str, Any]:
    height, width = picture.truth.shape
    with Image.open(picture.file_name) as file:
        upright = ImageOps.exif_transpose(file).convert("RGB")
        image = np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR))
    colours = class_colours(len(classes))
    shown = np.concatenate([picture.truth.ravel(), picture.prediction.ravel()])
    counts = np.bincount(shown, minlength=len(classes) + 1)[:-1]
    return {
        "name": os.path.basename(picture.file_name),
        "accuracy": picture.accuracy,
        "image": _data_uri(image),
        "truth": _data_uri(overlay(image, picture.truth, len(classes))),
        "prediction": _data_uri(overlay(image, picture.prediction, len(classes))),
        "legend": [
            {"class": classes[i], "colour": "#" + bytes(colours[i].tolist()).hex()}
            for i in np.argsort(-counts, kind="stable")[:8].tolist()
            if counts[i]
        ],
    }


def _data_uri(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
