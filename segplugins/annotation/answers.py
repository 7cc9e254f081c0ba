"""What models answer, checked before a stage uses it.

A model that gives too few answers, masks of another size or numbers that are none would otherwise
lose images and regions in silence. An error here leaves the image out and says why.

N boxes of an image of height H and width W.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from segplugins.annotation.interfaces import Image, Masks

_MASK_PIXELS = 2**28  # of the masks that a segmenter gives at a time


def one_each(answers: Sequence[Any], asked: Sequence[Any], what: str) -> List[Any]:
    """Returns the answers, one to each thing that was asked about.

    Raises:
        ValueError: there are more or fewer.
    """
    listed = list(answers)
    if len(listed) != len(asked):
        raise ValueError(f"a model gave {len(listed)} answers for {len(asked)} {what}")
    return listed


def checked_text(text: Any) -> str:
    """Returns a text that can be written.

    Raises:
        ValueError: it is none, or it holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise ValueError(f"a model said {text!r:.60}, expected a text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"a model said {text!a:.60}, which is no Unicode") from None
    return text


def checked_score(score: Any) -> float:
    """Returns a score as a number.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(score)
    except (TypeError, ValueError):
        raise ValueError(f"a model gave the score {score!r:.40}, expected a number") from None
    if not np.isfinite(value):
        raise ValueError(f"a model gave the score {value}, expected a number")
    return value


def checked_scores(scores: Any, texts: Sequence[str]) -> np.ndarray:
    """Returns the scores (T,) of T texts.

    Raises:
        ValueError: there are more or fewer, or one is no number.
    """
    values = np.asarray(scores, np.float64)
    if values.shape != (len(texts),):
        raise ValueError(f"a model gave scores {values.shape} for {len(texts)} texts")
    if not np.isfinite(values).all():
        raise ValueError("a model gave a score that is no number")
    return values


def checked_mask(mask: Any, image: Image) -> np.ndarray:
    """Returns a mask (H, W) bool.

    Raises:
        ValueError: it has another size than its image.
    """
    mask = np.asarray(mask)
    if mask.shape != tuple(image.size):
        raise ValueError(f"a model gave a mask {mask.shape} for an image {tuple(image.size)}")
    return mask.astype(bool, copy=False)


def checked_masks(answer: Masks, count: int, image: Image) -> Masks:
    """Returns N masks with their scores.

    Raises:
        ValueError: they are not `count`, of another size than the image, or without a number each.
    """
    masks, scores = np.asarray(answer.masks), np.asarray(answer.scores, np.float64)
    if masks.shape != (count, *image.size):
        raise ValueError(
            f"a model gave masks {masks.shape} for {count} questions about an image "
            f"{tuple(image.size)}"
        )
    if scores.shape != (count,) or not np.isfinite(scores).all():
        raise ValueError(f"a model gave {count} masks the scores {scores.tolist()!r:.60}")
    return Masks(masks.astype(bool, copy=False), scores)


class MaskPart(NamedTuple):
    """Masks of some boxes of an image.

    Args:
        image: position of the image among those asked about.
        start: position of the first box among those of the image.
        masks: (n, H, W) bool.
        scores: (n,).
    """

    image: int
    start: int
    masks: np.ndarray
    scores: np.ndarray


def segment_in_parts(
    model: Any, images: Sequence[Image], boxes: Sequence[np.ndarray], group: int = 1
) -> Iterator[MaskPart]:
    """Yields the masks of boxes, a bounded number of pixels at a time.

    An image may have thousands of boxes, whose masks would fill the memory all at once.

    Args:
        model: a box segmenter.
        images: B of them.
        boxes: of each image (N, 4).
        group: boxes that stay together.

    Raises:
        ValueError: the model's answer is not one mask of the image's size for each box.
    """
    for call in _calls(images, boxes, group):
        asked = [boxes[image][start:stop] for image, start, stop in call]
        answers = model.segment_boxes([images[image] for image, _, _ in call], asked)
        for (image, start, stop), answer in zip(call, one_each(answers, call, "images")):
            part = checked_masks(answer, stop - start, images[image])
            yield MaskPart(image, start, part.masks, part.scores)


def _calls(
    images: Sequence[Image], boxes: Sequence[np.ndarray], group: int
) -> Iterator[List[Tuple[int, int, int]]]:
    """Yields lists of (image, first box, box behind the last) whose masks fit into the memory."""
    call: List[Tuple[int, int, int]] = []
    room: Optional[int] = None
    for number, (image, its) in enumerate(zip(images, boxes)):
        pixels = max(image.size[0] * image.size[1], 1)
        step = max(_MASK_PIXELS // (pixels * group), 1) * group
        for start in range(0, len(its), step):
            stop = min(start + step, len(its))
            taken = pixels * (stop - start)
            if call and taken > room:
                yield call
                call = []
            room = (room if call else _MASK_PIXELS) - taken
            call.append((number, start, stop))
    if call:
        yield call
