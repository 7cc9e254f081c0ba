"""The evaluator of salient objects; the measures stand in saliency.py and structure.py."""

from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from segplugins.evaluation.gallery import Gallery, of_masks
from segplugins.evaluation.saliency import dataset_scores, saliency_scores
from segplugins.evaluation.samples import Samples, describe
from segplugins.evaluation.targets import one_phrase, phrase_masks, phrase_targets, truth_size

# Pictures show as object what is brighter.
GREY = 127


def grey_map(scores: Tensor) -> np.ndarray:
    """Returns what a saliency map would be on disk.

    Args:
        scores: (H, W), float 0-1, or uint8 grey values, which stay as they are.

    Returns:
        (H, W) uint8: 255 * score, rounded.

    Raises:
        ValueError: bool, or values outside 0-1: curves over thresholds need a grey map.
    """
    if scores.dtype == torch.uint8:
        return scores.cpu().numpy()
    if not scores.is_floating_point():
        raise ValueError(
            f"a saliency map must hold scores 0-1 or grey values (uint8), got {scores.dtype}; a "
            "binary mask has no curve over thresholds"
        )
    low, high = (float(value) for value in torch.aminmax(scores))
    if low < 0 or high > 1:
        raise ValueError(
            f"saliency scores range from {low:g} to {high:g}, expected 0-1 (a sigmoid)"
        )
    return (scores.float() * 255).round().to(torch.uint8).cpu().numpy()


class SalientEvaluator(DatasetEvaluator):
    """Scores the saliency map of each image.

    Reads of an output: "phrase_masks" (1, H, W), scores 0-1 or uint8 grey values, of the record's
    one phrase. Truth: see `phrase_targets`; a region or mask file at the size of the image.

    Args:
        dataset_name: registered in DatasetCatalog.
        gallery: keeps the best and the worst pictures; None = no pictures.
        distributed: gather over all processes.
    """

    reads = frozenset({"phrase_masks"})

    def __init__(
        self, dataset_name: str, *, gallery: Optional[Gallery] = None, distributed: bool = True
    ):
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self.sample_scores: List[float] = []

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Scores each map; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            texts = one_phrase(record, known)
            target, _ = phrase_targets(known, texts, truth_size(known, record))
            scores = phrase_masks(known, output, texts, target.shape[1:])
            try:
                grey = grey_map(scores[0])
                row = saliency_scores(grey, target[0])
            except ValueError as error:
                raise ValueError(f"{describe(known)}: {error}") from error
            self._samples.add(record, row)
            shown = of_masks((grey > GREY)[None], target)
            told, size = "100 (1 - MAE) = {}", target.shape[1:]
            self._samples.show(known, 100 * (1 - row.mae), told, texts, size, shown)

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"salient": see `dataset_scores`}; {} on all processes but the first.

        `sample_scores` then holds 100 (1 - MAE) of each image.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        self.sample_scores = [100 * (1 - row.mae) for row in rows]
        return {"salient": dataset_scores(rows)}
