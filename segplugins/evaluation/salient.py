"""The evaluator of salient objects; the measures stand in saliency.py and structure.py."""

from typing import Dict, List, Mapping

import numpy as np
import torch
from torch import Tensor

from segplugins.evaluation.gallery import thinned_masks
from segplugins.evaluation.image_statistics import ImageStatistics, dense_rows
from segplugins.evaluation.saliency import (
    SaliencyScores,
    dataset_scores,
    saliency_scores,
    saliency_sums,
)
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.targets import (
    check_phrase_truth,
    one_phrase,
    phrase_masks,
    phrase_targets,
    truth_size,
)

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
    low, high = (float(value) for value in torch.aminmax(scores)) if scores.numel() else (0, 1)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"saliency scores range from {low:g} to {high:g}, expected 0-1 (a sigmoid)"
        )
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return (scores * 255).round().to(torch.uint8).cpu().numpy()


class SalientEvaluator(SampleEvaluator):
    """Scores the saliency map of each image.

    Reads of an output: "phrase_masks" (1, H, W), scores 0-1 or uint8 grey values, of the record's
    one phrase. Truth: see `phrase_targets`; a region or mask file at the size of the image.

    Args:
        dataset_name: registered in DatasetCatalog.
        gallery: keeps the best and the worst pictures; None = no pictures.
        distributed: gather over all processes.

    Raises:
        ValueError: later, a map that is missing, of another size or without grey values; names the
            image.

    Example:
        >>> truth = encode_mask(np.array([[True, True, False, False]]))
        >>> record = {"file_name": "a.jpg", "height": 1, "width": 4}
        >>> records = [{**record, "regions": [Region("salient object", mask=truth)]}]
        >>> DatasetCatalog.register("objects", lambda: records)
        >>> evaluator = SalientEvaluator("objects")
        >>> evaluator.process(records, [{"phrase_masks": torch.tensor([[[1.0, 0.6, 0.2, 0.0]]])}])
        >>> scores = evaluator.evaluate()["salient"]  # fractions, as that field prints them
        >>> {name: round(scores[name], 2) for name in ("MAE", "maxF", "S")}
        {'MAE': 0.15, 'maxF': 1.0, 'S': 0.85}
    """

    task = "salient"
    reads = frozenset({"phrase_masks"})

    def check_truth(self) -> None:
        """Compares all phrases with their truth and reads the masks of the first record."""
        check_phrase_truth(self._samples.records, single=True)

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> SaliencyScores:
        texts = one_phrase(model_input, record)
        target, _ = phrase_targets(record, texts, truth_size(record, model_input))
        scores = phrase_masks(record, output, texts, target.shape[1:])
        try:
            grey = grey_map(scores[0])
            row = saliency_scores(grey, target[0])
        except ValueError as error:
            raise ValueError(f"{describe(record)}: {error}") from error
        shown = thinned_masks((grey > GREY)[None], target)
        caption, size = "100 (1 - MAE) = {}", target.shape[1:]
        self._samples.show(record, 100 * (1 - row.mae), caption, texts, size, shown)
        return row

    def _scores(self, rows: List[SaliencyScores]) -> Dict[str, float]:
        """Returns `dataset_scores`; `sample_scores` then holds 100 (1 - MAE) of each image."""
        self.sample_scores = [100 * (1 - row.mae) for row in rows]
        sums = saliency_sums(rows)
        table = dense_rows(sums, sums.shape[1])
        names = self._samples.names
        self.image_statistics = ImageStatistics(self.task, "salient", names, table, {})
        return dataset_scores(rows)
