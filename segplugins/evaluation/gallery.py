"""The best and the worst pictures of an evaluation, kept small while it runs."""

import math
import os
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

# Pixels on the long side of a kept label map. The page shows it at about this size.
LONG_SIDE = 320
# Given a step, every step-th pixel of prediction and truth.
Thinned = Callable[[int], Tuple[np.ndarray, np.ndarray]]


@dataclass
class Picture:
    """One sample with what was predicted for it.

    Args:
        sample: identity of the sample, see `samples.describe`.
        file_name: of the image.
        caption: for the page: the file, the phrases, and the score.
        score: by which it was chosen, in percent.
        names: of the N labels.
        truth: (h, w) uint16 labels, N for everything else; thinned to at most 320 pixels a side.
            Instances of one label may be numbered: label + (N + 1) * number.
        prediction: (h, w) uint16, as `truth`.
    """

    sample: str
    file_name: str
    caption: str
    score: float
    names: Tuple[str, ...]
    truth: np.ndarray
    prediction: np.ndarray


class Gallery:
    """Keeps the pictures with the highest and the lowest score.

    Args:
        keep: pictures of either kind.
    """

    def __init__(self, keep: int = 4):
        self._keep = keep
        self.reset()

    def reset(self) -> None:
        """Forgets all pictures."""
        self.pictures: List[Picture] = []

    def offer(
        self,
        sample: str,
        record: Mapping[str, Any],
        score: float,
        score_text: str,
        names: Sequence[str],
        size: Tuple[int, int],
        thinned: Thinned,
    ) -> None:
        """Takes a picture in if it is among the best or the worst so far.

        Args:
            sample: identity of the sample.
            record: of the catalog.
            score: percent; a sample with NaN is left out.
            score_text: what the page says of the score, with {} in its place.
            names: of the N labels.
            size: (H, W) of its label maps.
            thinned: given a step, returns every step-th pixel of prediction and truth, labels up to
                65535. Called only if the picture is taken.
        """
        if math.isnan(score):
            return
        full = len(self.pictures) >= 2 * self._keep
        if full and self.worst()[-1].score <= score <= self.best()[-1].score:
            return
        prediction, truth = thinned(-(-max(size) // LONG_SIDE))
        kept = (labels.astype(np.uint16) for labels in (truth, prediction))
        caption = f"{sample_title(record)}: {score_text.format(f'{score:.1f}')}"
        picture = Picture(sample, record["file_name"], caption, float(score), tuple(names), *kept)
        self.join([self.pictures, [picture]])

    def join(self, parts: Sequence[Sequence[Picture]]) -> None:
        """Replaces the pictures by the best and worst of several galleries."""
        everything = {picture.sample: picture for part in parts for picture in part}
        self.pictures = sorted(everything.values(), key=lambda p: (p.score, p.sample))
        if len(self.pictures) > 2 * self._keep:
            self.pictures = self.pictures[: self._keep] + self.pictures[-self._keep :]

    def worst(self) -> List[Picture]:
        """Returns up to `keep` pictures, worst first; those of `best` are not among them."""
        return self.pictures[: min(self._keep, len(self.pictures) // 2)]

    def best(self) -> List[Picture]:
        """Returns up to `keep` pictures, best first."""
        return self.pictures[len(self.worst()) :][::-1][: self._keep]


def sample_title(record: Mapping[str, Any]) -> str:
    """Returns a sample's file name and the phrases that a model was asked for."""
    texts = record.get("texts") or dict.fromkeys(
        region["text"] if isinstance(region, Mapping) else region.text
        for region in record.get("regions", ())
    )
    name = os.path.basename(record["file_name"])
    return f"{name}, “{'”, “'.join(texts)}”" if texts else name


def thinned_masks(
    prediction: Union[Tensor, np.ndarray], truth: Union[Tensor, np.ndarray]
) -> Thinned:
    """Returns the function that thins masks (N, H, W) bool, on any device, to label maps."""

    def thinned(step: int) -> Tuple[np.ndarray, np.ndarray]:
        both = (torch.as_tensor(masks)[:, ::step, ::step] for masks in (prediction, truth))
        return tuple(mask_label_map(masks.cpu().numpy()) for masks in both)

    return thinned


def mask_label_map(masks: np.ndarray) -> np.ndarray:
    """Returns masks as one label map, small masks on top of large ones.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (H, W) int64: the index of a mask, N where there is none.
    """
    labels = np.full(masks.shape[1:], len(masks), np.int64)
    for index in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        labels[masks[index]] = index
    return labels
