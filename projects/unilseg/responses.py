"""Turns responses into results at the size of the image: scores and label maps.

T phrases · K classes · (h, w) grid of the responses · (H, W) size of the result in pixels.
"""

from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

RESIZES = ("paper", "official")


class Placement(NamedTuple):
    """Position of an image on the canvas of the model, and the size of its result.

    Args:
        canvas: (height, width) that the responses cover, in pixels.
        box: (x0, y0, x1, y1) of the image on the canvas.
        size: (H, W).
    """

    canvas: Tuple[int, int]
    box: Tuple[float, float, float, float]
    size: Tuple[int, int]


def probabilities(responses: Tensor, placement: Placement, resize: str) -> Tensor:
    """Returns (T, H, W) float32, 0-1, of logits (T, h, w).

    Args:
        responses: logits over the whole canvas.
        placement: of the image.
        resize: "paper": logits bilinearly to the image, then the sigmoid; "official": bilinearly to
            the canvas with corners aligned, the sigmoid, then bicubically to the image,
            pixel index to pixel index.
    """
    (height, width), (x0, y0, x1, y1), size = placement
    rows, columns = (torch.arange(side, device=responses.device) for side in size)
    step_y, step_x = (y1 - y0) / size[0], (x1 - x0) / size[1]
    maps = responses.float()[None]
    if resize == "paper":
        # Sampled directly at the size of the image. -1 and 1 are the outer borders.
        y = 2 * (y0 + step_y * (rows + 0.5)) / height - 1
        x = 2 * (x0 + step_x * (columns + 0.5)) / width - 1
        return _sampled(maps, y, x, mode="bilinear", corners=False).sigmoid_()
    maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=True).sigmoid_()
    # Pixel i is read at step * i + start. -1 and 1 are the middles of the outermost pixels.
    y = 2 * (y0 + step_y * rows) / max(height - 1, 1) - 1
    x = 2 * (x0 + step_x * columns) / max(width - 1, 1) - 1
    return _sampled(maps, y, x, mode="bicubic", corners=True).clamp_(0, 1)


def _sampled(maps: Tensor, y: Tensor, x: Tensor, *, mode: str, corners: bool) -> Tensor:
    """Returns (T, H, W) of (1, T, h, w), read where rows y (H,) and columns x (W,) cross."""
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    padding = "zeros" if corners else "border"
    return F.grid_sample(maps, places, mode=mode, padding_mode=padding, align_corners=corners)[0]


class PhraseGroups:
    """The classes or texts of a record, each with the phrases that stand for it.

    Phrases are answered in alphabetical order, so that the result does not depend on the caller's
    order, not even in the last bit.

    Args:
        groups: per class its phrases; the class gets the mean of their probabilities.
    """

    def __init__(self, groups: Sequence[Sequence[str]]):
        self.groups = [tuple(dict.fromkeys(group)) for group in groups]
        self.distinct = sorted({phrase for group in self.groups for phrase in group})

    def __len__(self) -> int:
        return len(self.groups)

    def chunks(self, most: int) -> Iterator[Tuple[List[str], List[Tuple[int, int, float]]]]:
        """Yields at most that many phrases, and [(class, place in the chunk, share), ...]."""
        meaning: Dict[str, List[Tuple[int, float]]] = {}
        for index, group in enumerate(self.groups):
            for phrase in group:
                meaning.setdefault(phrase, []).append((index, 1 / len(group)))
        for start in range(0, len(self.distinct), most):
            chunk = self.distinct[start : start + most]
            yield (
                chunk,
                [(k, row, share) for row, text in enumerate(chunk) for k, share in meaning[text]],
            )


Answer = Callable[[List[str]], Tensor]  # phrases to probabilities (T, H, W)


def score_map(groups: PhraseGroups, answer: Answer, chunk: int) -> Tensor:
    """Returns (K, H, W) probabilities, filled a chunk of phrases at a time."""
    scores = None
    for phrases, meaning in groups.chunks(chunk):
        answers = answer(phrases)
        if scores is None:
            scores = answers.new_zeros(len(groups), *answers.shape[1:])
        for index, row, share in meaning:
            scores[index].add_(answers[row], alpha=share)
    return scores


def label_map(
    groups: PhraseGroups,
    answer: Answer,
    chunk: int,
    *,
    none: Optional[int] = None,
    threshold: Optional[float] = None,
) -> Tensor:
    """Returns (H, W) int64, the labels of `best_classes`."""
    return best_classes(groups, answer, chunk, none=none, threshold=threshold)[0]


def best_classes(
    groups: PhraseGroups,
    answer: Answer,
    chunk: int,
    *,
    none: Optional[int] = None,
    threshold: Optional[float] = None,
) -> Tuple[Tensor, Tensor]:
    """Returns the most probable class of each pixel, the lower index of equals.

    Memory does not grow with K, where each class has one phrase.

    Args:
        groups: K classes.
        answer: phrases to probabilities.
        chunk: phrases at a time.
        none: class that means "none of the others", not in the running where there is a threshold.
        threshold: probabilities below it are `none`. None: the best class is always taken.

    Returns:
        (H, W) int64, and (H, W) float32, the highest probability of a class in the running.
    """
    rule = none is not None and threshold is not None
    kept = [() if rule and k == none else group for k, group in enumerate(groups.groups)]
    best = labels = None
    for index, scores in _class_scores(PhraseGroups(kept), answer, chunk):
        if best is None:
            best, labels = scores.clone(), torch.full_like(scores, index, dtype=torch.int64)
            continue
        better = (scores > best) | ((scores == best) & (index < labels))
        labels.masked_fill_(better, index)
        torch.maximum(best, scores, out=best)
    if best is None:
        raise ValueError("a vocabulary of nothing but its none-class cannot be told apart")
    return labels.masked_fill_(best < threshold, none) if rule else labels, best


def _class_scores(groups: PhraseGroups, answer: Answer, chunk: int) -> Iterator[Tuple[int, Tensor]]:
    """Yields a class and its probabilities (H, W), as soon as its last phrase is answered."""
    missing = [len(group) for group in groups.groups]
    started: Dict[int, Tensor] = {}
    for phrases, meaning in groups.chunks(chunk):
        answers = answer(phrases)
        for index, row, share in meaning:
            part = answers[row] if share == 1 else answers[row] * share
            started[index] = started[index] + part if index in started else part
            missing[index] -= 1
            if not missing[index]:
                yield index, started.pop(index)
