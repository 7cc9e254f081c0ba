"""What a report shows besides numbers, kept as a file beside them: confused classes, pictures."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from PIL import Image

from segplugins.evaluation.gallery import LONG_SIDE, Gallery, Picture, sample_title
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.files.pictures import read_picture
from segplugins.files.write import write_text
from segplugins.pictures import Style, draw_label_map, enlarged, picture_colours, seen_class_colours
from segplugins.pictures.page import data_url

FILE = "details.json"
_PAIRS = 12
_SAMPLES = 6
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
        gallery: Optional[Gallery] = getattr(part, "gallery", None)
        if gallery is not None:
            details["best"] += [_picture(picture) for picture in gallery.best()]
            details["worst"] += [_picture(picture) for picture in gallery.worst()]
        elif getattr(part, "sample_scores", None):
            samples = list(zip(part.sample_scores, part._samples.records))
            details["best"] += _samples(samples, sign=-1)
            details["worst"] += _samples(samples, sign=1)
    write_text(Path(output_dir, FILE), json.dumps(details))


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


def _samples(samples: Sequence[Tuple[float, Mapping]], sign: int) -> List[Dict[str, Any]]:
    """The samples of the lowest (sign 1) or highest (-1) scores, half of them at most."""
    scored = [sample for sample in samples if not np.isnan(sample[0])]
    scored.sort(key=lambda sample: (sign * sample[0], describe(sample[1])))
    return [
        {
            "caption": f"{sample_title(record)}: {score:.1f}",
            "images": [data_url(_read_image(record["file_name"]), quality=_JPEG_QUALITY)],
            "legend": [],
        }
        for score, record in scored[: min(_SAMPLES, (len(scored) + (sign < 0)) // 2)]
    ]


def _read_image(path: str, size: Optional[Tuple[int, int]] = None) -> np.ndarray:
    """(h, w, 3) uint8 RGB, of that width and height or of at most 320 pixels a side."""
    picture = read_picture(path)
    if size is None:
        image = Image.fromarray(picture.pixels)
        image.thumbnail((LONG_SIDE, LONG_SIDE))
        return np.asarray(image)
    # The truth, thinned, tells whether annotations follow the EXIF data of the picture.
    height, width = picture.size
    is_turned = (size[0] > size[1]) != (width > height)
    image = Image.fromarray(picture.fitted((width, height) if is_turned else (height, width)))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _picture(picture: Picture) -> Dict[str, Any]:
    image = _read_image(picture.file_name, picture.truth.shape[::-1])
    # Without the numbers of instances, which only draw the lines between them.
    labels = np.concatenate([picture.truth, picture.prediction]) % (len(picture.names) + 1)
    counts = np.bincount(labels.ravel(), minlength=len(picture.names) + 1)[:-1]
    present = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    colours = picture_colours(picture.names, present)
    seen = seen_class_colours(np.concatenate([image, image]), labels, colours)
    # Small pictures are enlarged, so that names can be read and lines stay thin.
    side = LONG_SIDE * min(image.shape[:2]) // max(image.shape[:2])
    style = Style(legend=False, short_side=side)
    maps = (
        draw_label_map(
            image,
            segments % (len(picture.names) + 1),
            picture.names,
            colours=colours,
            segments=segments,
            style=style,
        )
        for segments in (picture.truth, picture.prediction)
    )
    return {
        "caption": picture.caption,
        "images": [
            data_url(shown, quality=_JPEG_QUALITY) for shown in (enlarged(image, side), *maps)
        ],
        "legend": [
            {"class": picture.names[i], "colour": "#" + bytes(seen[i].tolist()).hex()}
            for i in present
        ],
    }
