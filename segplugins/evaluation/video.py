"""The evaluator of one phrase per video; the measures stand in boundary.py and davis.py."""

import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.evaluation.boundary import BOUND_TH, j_and_f
from segplugins.evaluation.davis import davis_metrics, statistics
from segplugins.evaluation.gallery import Gallery, thinned_masks
from segplugins.evaluation.image_statistics import ImageStatistics, dense_rows
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.submission import frame_path, write_mask, write_zip
from segplugins.evaluation.targets import (
    binary_masks,
    check_phrase_truth,
    check_threshold,
    has_truth,
    one_phrase,
    phrase_masks,
    phrase_targets,
    truth_size,
)
from segplugins.evaluation.tracks import Tracks, frame_names

logger = logging.getLogger(__name__)


def track_sums(tracks: Sequence[Tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns what `davis_metrics` needs the sums of: an expression is what an object is there.

    Args:
        tracks: J and F of the frames of each expression, (T,) fractions each.

    Returns:
        (N, 7): 1, then mean, recall and decay of J, then of F.
    """
    rows = [(1.0, *statistics(j), *statistics(f)) for j, f in tracks]
    return np.array(rows).reshape(-1, 7)


class VideoEvaluator(SampleEvaluator):
    """J, F and J&F of one phrase per video, as Ref-YouTube-VOS asks, and its submission folder.

    A record is one frame with one phrase; it needs "video_id", "expression_id" and "frame" (the
    name of its file without ending). Reads of an output: "phrase_masks" (1, H, W), bool or scores
    0-1 of which those above `threshold` count. Truth: see `phrase_targets`; a set without any (a
    test set) is written, not scored. All listed frames count, and there is no void. Frames are
    ordered by the numbers in their names.

    Args:
        dataset_name: registered in DatasetCatalog.
        output_dir: where the submission is written: Annotations/<video>/<expression>/<frame>.png,
            0 and 255, and submission.zip beside it. None = nothing is written.
        threshold: scores above it belong to the mask.
        bound_th: tolerance of F, see boundary.py.
        gallery: keeps the best and the worst pictures; None = no pictures.
        distributed: gather over all processes.

    Raises:
        ValueError: the set has no truth and there is no `output_dir`, so nothing would come of it;
            two records are the same frame; later, a prediction that cannot be scored.

    Example:
        >>> truth = [Region("a cat", mask=encode_mask(np.eye(8, dtype=bool)))]
        >>> record = {"video_id": "v", "expression_id": "0", "height": 8, "width": 8}
        >>> record = {**record, "file_name": "0.jpg", "frame": "0", "regions": truth}
        >>> DatasetCatalog.register("clips", lambda: [record])
        >>> evaluator = VideoEvaluator("clips")
        >>> # Half of the pixels; of the true outline 4 of 7 pixels, and none that is wrong.
        >>> upper_half = torch.eye(8) * (torch.arange(8) < 4)[:, None]
        >>> evaluator.process([record], [{"phrase_masks": upper_half[None]}])
        >>> scores = evaluator.evaluate()["video"]
        >>> {name: round(scores[name], 1) for name in ("J&F", "J", "F")}
        {'J&F': 61.4, 'J': 50.0, 'F': 72.7}
    """

    task = "video"
    reads = frozenset({"phrase_masks"})
    required = ("video_id", "expression_id", "frame")

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: Optional[str] = None,
        threshold: float = 0.5,
        bound_th: float = BOUND_TH,
        gallery: Optional[Gallery] = None,
        distributed: bool = True,
    ):
        super().__init__(dataset_name, gallery=gallery, distributed=distributed)
        self._tracks = Tracks(self._samples.records)
        with_truth = [has_truth(record) for record in self._samples.records]
        if any(with_truth) and not all(with_truth):
            first = self._samples.records[with_truth.index(False)]
            raise ValueError(
                f"{describe(first)} has no truth, other records have: score all or none"
            )
        self._scored = all(with_truth)
        if not self._scored and output_dir is None:
            raise ValueError(
                f"data set '{dataset_name}' has no truth to score by: give an output_dir, where "
                "its masks are written for the server"
            )
        self._output_dir = output_dir
        self._threshold = check_threshold(threshold)
        self._bound_th = bound_th

    def check_truth(self) -> None:
        """Compares all phrases with their truth, if the set has any, and reads the first mask."""
        if self._scored:
            check_phrase_truth(self._samples.records, single=True)

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> Tuple[float, float]:
        texts = one_phrase(model_input, record)
        row, size = (0.0, 0.0), truth_size(record, model_input)
        if self._scored:
            target, _ = phrase_targets(record, texts, size)
            size = target.shape[1:]
        masks = phrase_masks(record, output, texts, size)
        mask = binary_masks(record, masks, self._threshold)[0].cpu().numpy()
        if self._scored:
            row = tuple(map(float, j_and_f(mask, target[0], bound_th=self._bound_th)))
            shown = thinned_masks(mask[None], target)
            self._samples.show(record, 50 * sum(row), "J&F {}", texts, size, shown)
        if self._output_dir is not None:
            write_mask(self._output_dir, self._path(record), mask)
        return row

    def _path(self, record: Mapping[str, Any]) -> Path:
        return frame_path("Annotations", *frame_names(record))

    def _scores(self, rows: List[Tuple[float, float]]) -> Dict[str, float]:
        """Returns `davis_scores` of the expressions; of a set without truth "frames", their number.

        Means over the frames of an expression, then over expressions. `sample_scores` then holds
        the J&F of each frame.
        """
        if self._output_dir is not None:
            paths = [self._path(record) for record in self._samples.records]
            logger.info("submission: %s", write_zip(self._output_dir, paths))
        if not self._scored:
            return {"frames": float(len(rows))}
        frames = np.array(rows, np.float64).reshape(-1, 2)
        self.sample_scores = (100 * frames.mean(axis=1)).tolist()
        tracks = self._tracks.rows(frames)
        sums = track_sums([(track[:, 0], track[:, 1]) for track in tracks.values()])
        names = tuple(f"video {video}, expression {number}" for video, number in tracks)
        table = dense_rows(sums, sums.shape[1])
        self.image_statistics = ImageStatistics(self.task, "video", names, table, {})
        return davis_metrics(sums.sum(axis=0))
