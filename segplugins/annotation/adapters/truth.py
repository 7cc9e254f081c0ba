"""An annotator that looks answers up in the truth and spoils some of them, by numbers you choose.

It plays every role, so that recipes, filters and verifiers can be tried and measured without any
weights: how much noise is in its answers is known. The same seed gives the same answers, whatever
the batches and the order of images.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from segplugins.annotation.filters import box_iou
from segplugins.annotation.inputs import draw_share
from segplugins.annotation.interfaces import (
    ROLES,
    Detection,
    Image,
    Masks,
    Phrase,
    Segment,
    View,
)
from segplugins.annotation.model_spec import ModelSpec
from segplugins.annotation.stage import check_share
from segplugins.files.digests import path_digest
from segplugins.files.lines import LineEntry, read_region_lines
from segplugins.structures.regions import Region, Task, box_of_mask
from segplugins.structures.vocabulary import folded

_MATCH = 0.5  # IoU of boxes from which on the box segmenter sees the object
_LOWEST, _SPAN = 0.12, 0.18  # of the scorer's cosines


@dataclass(frozen=True, kw_only=True)
class TruthSpec(ModelSpec):
    """Describes it.

    Args:
        lines: region lines that hold the truth, such as datasets/drawn/regions/val.jsonl.
        seed: another seed spoils other answers.
        noisy_images: share of the images that are spoiled at all.
        wrong_box: share of their boxes that are moved off their object.
        wrong_name: share of their names, captions and tags that are another's.
        ragged: share of their masks whose border is torn.
        score_noise: standard deviation of the scorer's error.
    """

    kind: ClassVar[str] = "truth"
    roles: ClassVar[Tuple[str, ...]] = tuple(ROLES)

    lines: str
    seed: int = 0
    noisy_images: float = 1.0
    wrong_box: float = 0.0
    wrong_name: float = 0.0
    ragged: float = 0.0
    score_noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("noisy_images", "wrong_box", "wrong_name", "ragged", "score_noise"):
            check_share(name, getattr(self, name))

    def check(self) -> None:
        if not Path(self.lines).exists():
            raise FileNotFoundError(f"no region lines '{self.lines}' with the truth")

    def identity(self) -> Dict[str, Any]:
        """Returns the options, with the digest of the truth instead of its path."""
        options = super().identity()
        options.pop("lines")
        return {**options, "digest": path_digest(self.lines)}

    def build(self, device: str) -> "TruthAnnotator":
        """Returns the annotator; the device plays no part."""
        return TruthAnnotator(self)


class TruthAnnotator:
    """Plays all roles; see the module.

    Args:
        spec: where the truth is and how much of it is spoiled.
    """

    def __init__(self, spec: TruthSpec):
        self._spec = spec
        entries = read_region_lines(Path(spec.lines), task=Task.INSTANCE)
        for entry in entries:
            size = (entry.height, entry.width)
            entry.regions = [_with_box(region, size) for region in entry.regions]
        self._entries = {entry.file_name: entry for entry in entries}
        self.names = sorted({region.text for entry in entries for region in entry.regions})

    def truth(self, image: Image) -> LineEntry:
        """Returns what is true of an image.

        Raises:
            ValueError: the truth has no such image, or one of another size.
        """
        entry = self._entries.get(image.file_name)
        if entry is None:
            raise ValueError(f"'{self._spec.lines}' has no image '{image.file_name}'")
        if (entry.height, entry.width) != image.size:
            raise ValueError(f"'{image.file_name}' is of another size in '{self._spec.lines}'")
        return entry

    def is_noisy(self, file_name: str) -> bool:
        """Returns whether answers about an image may be spoiled."""
        return self._draw(file_name, "noisy") < self._spec.noisy_images

    def _draw(self, *parts: Any) -> float:
        return draw_share(" ".join(map(str, (self._spec.seed, *parts))))

    def _is_spoiled(self, file_name: str, what: str, *parts: Any) -> bool:
        share = getattr(self._spec, what)
        return self.is_noisy(file_name) and self._draw(file_name, what, *parts) < share

    def tag(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the true names, and for spoiled ones another name beside them."""
        answers = []
        for image in images:
            names = dict.fromkeys(region.text for region in self.truth(image).regions)
            tags = [Phrase(name, 0.7 + 0.3 * self._draw(image.file_name, name)) for name in names]
            for name in names:
                if self._is_spoiled(image.file_name, "wrong_name", "tag", name):
                    other = self._other_name(image.file_name, name)
                    tags.append(Phrase(other, 0.5 + 0.4 * self._draw(image.file_name, other)))
            answers.append(tags)
        return answers

    def _other_name(self, file_name: str, name: str) -> str:
        others = [each for each in self.names if each != name] or [name]
        return others[int(self._draw(file_name, "other", name) * len(others))]

    def detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        """Returns the boxes of things whose name is asked for."""
        return [self._detections(image, asked) for image, asked in zip(images, names)]

    def _detections(self, image: Image, names: Sequence[str]) -> List[Detection]:
        wanted, found = {folded(name) for name in names}, []
        for number, region in enumerate(self.truth(image).regions):
            if not region.is_thing or region.box is None or folded(region.text) not in wanted:
                continue
            text, box, score = (
                region.text,
                region.box,
                0.55 + 0.45 * self._draw(image.file_name, "score", number),
            )
            if self._is_spoiled(image.file_name, "wrong_box", number):
                box, score = self._moved(image, box, number), score - 0.25
            if self._is_spoiled(image.file_name, "wrong_name", "box", number):
                text, score = self._other_name(image.file_name, text), score - 0.15
            found.append(Detection(text, box, score))
        return found

    def _moved(self, image: Image, box: Sequence[float], number: int) -> Tuple[float, ...]:
        """Returns a box of about the same size beside the object, inside the image."""
        height, width = image.size
        sides = np.array([box[2] - box[0], box[3] - box[1]])
        draws = [self._draw(image.file_name, "moved", number, axis) for axis in (0, 1, 2)]
        angle = 2 * np.pi * draws[0]
        step = (0.6 + 0.6 * draws[1]) * sides * [np.cos(angle), np.sin(angle)]
        sides = np.minimum(sides * (0.8 + 0.6 * draws[2]), [width, height])
        low = np.clip(np.array(box[:2]) + step, 0, np.array([width, height]) - sides)
        return (*low.tolist(), *(low + sides).tolist())

    def segment_boxes(self, images: Sequence[Image], boxes: Sequence[np.ndarray]) -> List[Masks]:
        """Returns the mask of the object that a box shows, an ellipse where it shows none."""
        answers = []
        for image, its in zip(images, boxes):
            entry = self.truth(image)
            things = [region for region in entry.regions if region.box is not None]
            overlap = box_iou(its, np.array([r.box for r in things]).reshape(-1, 4))
            masks, scores = np.zeros((len(its), *image.size), bool), np.zeros(len(its))
            for row, box in enumerate(its):
                best = int(overlap[row].argmax()) if things else -1
                scores[row] = overlap[row, best] if things else 0.0
                if scores[row] >= _MATCH and things[best].mask is not None:
                    mask = things[best].bitmap(*image.size)
                    place = np.round(box).astype(int).tolist()
                    if self._is_spoiled(image.file_name, "ragged", things[best].box):
                        mask = self._torn(image.file_name, mask, place)
                    masks[row] = mask
                else:
                    masks[row] = _ellipse(box, image.size)
            answers.append(Masks(masks, scores.astype(np.float32)))
        return answers

    def _torn(self, file_name: str, mask: np.ndarray, place: Any) -> np.ndarray:
        """Returns a mask whose border runs too far out and in, differently for every box."""
        seed = int(self._draw(file_name, "torn", place) * 2**32)
        coarse = np.random.default_rng(seed).random([side // 8 + 2 for side in mask.shape])
        field = cv2.resize(coarse, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        reach = max(2, int(np.sqrt(mask.sum()) / 3))
        kernel = np.ones((2 * reach + 1,) * 2, np.uint8)
        wide = cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)
        narrow = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
        torn = np.where(field > 0.5, wide, narrow)
        return torn if torn.any() else mask

    def caption(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the captions of an image; spoiled, those of another image come with them."""
        answers, names = [], list(self._entries)
        for image in images:
            own = _texts(self.truth(image).more.get("captions"))
            if self._is_spoiled(image.file_name, "wrong_name", "caption"):
                other = names[int(self._draw(image.file_name, "caption of") * len(names))]
                own = [*_texts(self._entries[other].more.get("captions"))[:1], *own]
            answers.append([Phrase(text, prompt_id=number) for number, text in enumerate(own)])
        return answers

    def caption_boxes(
        self, images: Sequence[Image], boxes: Sequence[np.ndarray], count: int
    ) -> List[List[List[Phrase]]]:
        """Returns the captions of the object that a box shows most of."""
        answers = []
        for image, its in zip(images, boxes):
            regions = [r for r in self.truth(image).regions if r.box is not None and r.is_thing]
            overlap = box_iou(its, np.array([r.box for r in regions]).reshape(-1, 4))
            listed = []
            for row in range(len(its)):
                best = int(overlap[row].argmax()) if regions else -1
                if best >= 0 and self._is_spoiled(image.file_name, "wrong_name", "words", best):
                    best = (best + 1) % len(regions)
                texts = _phrases_of(regions[best])[:count] if best >= 0 else []
                listed.append([Phrase(t, 1 - 0.1 * n, n) for n, t in enumerate(texts)])
            answers.append(listed)
        return answers

    def segment_phrases(
        self, images: Sequence[Image], phrases: Sequence[Sequence[str]]
    ) -> List[Masks]:
        """Returns the union of all that a phrase means, empty where the image has none of it."""
        answers = []
        for image, its in zip(images, phrases):
            masks, scores = np.zeros((len(its), *image.size), bool), np.zeros(len(its), np.float32)
            for row, phrase in enumerate(its):
                mask = self.meaning(image, phrase)
                if mask.any() and self._is_spoiled(image.file_name, "ragged", phrase):
                    mask = self._torn(image.file_name, mask, phrase)
                masks[row], scores[row] = mask, float(mask.any())
            answers.append(Masks(masks, scores))
        return answers

    def segment_stuff(self, images: Sequence[Image]) -> List[List[Segment]]:
        """Returns the background."""
        return [
            [
                Segment(region.text, region.bitmap(*image.size), 0.9)
                for region in self.truth(image).regions
                if not region.is_thing and region.mask is not None
            ]
            for image in images
        ]

    def score(self, views: Sequence[View], texts: Sequence[Sequence[str]]) -> List[np.ndarray]:
        """Returns 0.12 + 0.18 x the share of what is visible that the text means, with an error."""
        answers = []
        for view, its in zip(views, texts):
            x0, y0, x1, y1 = view.box
            weights = np.ones((y1 - y0, x1 - x0))
            if view.shown is not None:
                weights[~view.shown[y0:y1, x0:x1]] = 1 - view.fade
            total = max(float(weights.sum()), 1e-9)
            scores = []
            for text in its:
                meant = self.meaning(view.image, text)[y0:y1, x0:x1]
                share = float(weights[meant].sum()) / total
                name = (view.image.file_name, "score", text, view.box, round(total, 3))
                scores.append(_LOWEST + _SPAN * share + self._error(name))
            answers.append(np.array(scores))
        return answers

    def _error(self, name: Tuple[Any, ...]) -> float:
        if self._spec.score_noise == 0:
            return 0.0
        one, other = self._draw(*name, 0), self._draw(*name, 1)
        normal = np.sqrt(-2 * np.log(1 - one)) * np.cos(2 * np.pi * other)
        return float(self._spec.score_noise * normal)

    def meaning(self, image: Image, phrase: str) -> np.ndarray:
        """Returns (H, W) bool, all that a name, a caption or "all <name>" means in an image."""
        mask = np.zeros(image.size, bool)
        for region in meant_regions(self.truth(image), phrase):
            if region.mask is not None:
                mask |= region.bitmap(*image.size)
        return mask


def meant_regions(entry: LineEntry, phrase: str) -> List[Region]:
    """Returns the regions that a name, a caption or "all <name>" means."""
    key = folded(phrase).removeprefix("all ")
    by_name = [region for region in entry.regions if folded(region.text) == key]
    if by_name:
        return by_name
    by_caption = [r for r in entry.regions if key in map(folded, _phrases_of(r))]
    if by_caption:
        return by_caption
    # A caption of the image means the things that it names.
    words = f" {key} "
    return [r for r in entry.regions if r.is_thing and f" {folded(r.text)} " in words]


def is_true(
    entry: LineEntry, text: str, box: Sequence[float], mask: Optional[np.ndarray], iou: float = 0.5
) -> bool:
    """Returns whether a region is right: what it shows and what its text means overlap enough.

    Args:
        entry: the truth.
        text: of the region.
        box: x0, y0, x1, y1.
        mask: (H, W) bool, or None: then boxes are compared.
        iou: that is enough.
    """
    size = (entry.height, entry.width)
    meant = [region for region in meant_regions(entry, text) if region.mask is not None]
    masks = [region.bitmap(*size) for region in meant]
    if len(masks) > 1:
        masks.append(np.logical_or.reduce(masks))  # "all dogs"
    if mask is not None:
        unions = [int((mask | each).sum()) for each in masks]
        return any(
            union and (mask & each).sum() / union >= iou for each, union in zip(masks, unions)
        )
    boxes = np.array([box_of_mask(each) for each in masks if each.any()]).reshape(-1, 4)
    return bool((box_iou(np.array([box], np.float64), boxes) >= iou).any())


def _phrases_of(region: Region) -> List[str]:
    return _texts(region.extra.get("captions")) or [region.text]


def _texts(given: Any) -> List[str]:
    return [each["text"] if isinstance(each, dict) else str(each) for each in given or ()]


def _with_box(region: Region, size: Tuple[int, int]) -> Region:
    """Returns a region with the box of its mask where it has none; lines may hold masks alone."""
    if region.box is not None or region.mask is None:
        return region
    mask = region.bitmap(*size)
    return replace(region, box=box_of_mask(mask)) if mask.any() else region


def _ellipse(box: Sequence[float], size: Tuple[int, int]) -> np.ndarray:
    rows, columns = np.arange(size[0])[:, None] + 0.5, np.arange(size[1]) + 0.5
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    a, b = max((box[2] - box[0]) / 2, 0.5), max((box[3] - box[1]) / 2, 0.5)
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1
