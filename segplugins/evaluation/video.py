"""Evaluators of referring video segmentation; the measures stand in boundary.py and davis.py."""

import logging
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from segplugins.evaluation.boundary import BOUND_TH, j_and_f
from segplugins.evaluation.davis import (
    VOID,
    FrameScores,
    davis_scores,
    frame_scores,
    match_proposals,
    same_labels,
    statistics,
)
from segplugins.evaluation.gallery import Gallery, Thinned, of_masks
from segplugins.evaluation.samples import Samples, describe
from segplugins.evaluation.submission import frame_path, write_labels, write_mask, write_zip
from segplugins.evaluation.targets import (
    has_truth,
    one_phrase,
    phrase_masks,
    phrase_targets,
    phrases,
    truth_size,
)
from segplugins.files.label_maps import read_label_map

logger = logging.getLogger(__name__)

# Merging the maps of several phrases: lower scores count as nothing, which is worth this much.
_OBJECT_FROM, _BACKGROUND = 0.5, 0.1


def _names(known: Mapping[str, Any]) -> Tuple[str, str, str]:
    missing = [name for name in ("video_id", "expression_id", "frame") if name not in known]
    if missing:
        raise ValueError(f"{describe(known)}: a video record needs {missing}")
    return str(known["video_id"]), str(known["expression_id"]), str(known["frame"])


class VideoEvaluator(DatasetEvaluator):
    """J, F and J&F of one phrase per video, as Ref-YouTube-VOS asks, and its submission folder.

    A record is one frame with one phrase; it needs "video_id", "expression_id" and "frame" (the
    name of its file without ending). Reads of an output: "phrase_masks" (1, H, W), bool or scores
    of which those above `threshold` count. Truth: see `phrase_targets`; a set without any (a test
    set) is written, not scored. All listed frames count, and there is no void.

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
            later, a prediction that cannot be scored.
    """

    reads = frozenset({"phrase_masks"})

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
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self._groups = [_names(known)[:2] for known in self._samples.records]
        with_truth = [has_truth(known) for known in self._samples.records]
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
        self._threshold = threshold
        self._bound_th = bound_th
        self.sample_scores: List[float] = []

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Scores and writes each frame; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            texts = one_phrase(record, known)
            row, size = (0.0, 0.0), truth_size(known, record)
            if self._scored:
                target, _ = phrase_targets(known, texts, size)
                size = target.shape[1:]
            mask = phrase_masks(known, output, texts, size)[0]
            mask = (mask if mask.dtype == torch.bool else mask > self._threshold).cpu().numpy()
            if self._scored:
                row = tuple(map(float, j_and_f(mask, target[0], bound_th=self._bound_th)))
                shown = of_masks(mask[None], target)
                self._samples.show(known, 50 * sum(row), "J&F {}", texts, size, shown)
            if self._output_dir is not None:
                write_mask(self._output_dir, self._path(known), mask)
            self._samples.add(record, row)

    def _path(self, known: Mapping[str, Any]) -> Any:
        return frame_path("Annotations", *_names(known))

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"video": scores in percent}; {} on all processes but the first.

        Means over the frames of an expression, then over expressions: "J&F", "J", "F", "J_recall",
        "J_decay", "F_recall", "F_decay"; of a set without truth only "frames", their number.
        `sample_scores` then holds the J&F of each frame.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        if self._output_dir is not None:
            paths = [self._path(known) for known in self._samples.records]
            logger.info("submission: %s", write_zip(self._output_dir, paths))
        if not self._scored:
            return {"video": {"frames": float(len(rows))}}
        frames = np.array(rows, np.float64).reshape(-1, 2)
        self.sample_scores = (100 * frames.mean(axis=1)).tolist()
        scores = {}
        for kind, name in enumerate("JF"):
            of = [statistics(track[:, kind]) for track in _grouped(self._groups, frames)]
            means = np.mean(of, axis=0) if of else np.full(3, np.nan)
            for suffix, value in zip(("", "_recall", "_decay"), means):
                scores[name + suffix] = 100 * float(value)
        return {"video": {"J&F": (scores["J"] + scores["F"]) / 2, **scores}}


def _grouped(groups: Sequence[Tuple], frames: np.ndarray) -> List[np.ndarray]:
    """Cuts rows by the (video, expression) of each; frames keep the order of the data set."""
    members: Dict[Tuple, List[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    return [frames[rows] for rows in members.values()]


def merge_phrases(scores: Tensor) -> Tensor:
    """Turns the score maps of several phrases into one label map, as Ref-DAVIS17 is scored.

    Args:
        scores: (N, H, W), 0-1. Those under 0.5 count as 0, the background as 0.1.

    Returns:
        (H, W) int64: 0 = background, k = phrase k - 1.
    """
    scores = torch.where(scores >= _OBJECT_FROM, scores, torch.zeros_like(scores))
    background = scores.new_full((1, *scores.shape[1:]), _BACKGROUND)
    return torch.cat([background, scores]).argmax(dim=0)


class _DavisRow(NamedTuple):
    scores: FrameScores
    objects: int  # the highest label of this frame's truth


class RefDavisEvaluator(DatasetEvaluator):
    """Ref-DAVIS17: the phrases of a run name all objects of a video together.

    A record is one frame with the phrases of all objects, in their order; it needs "video_id",
    "expression_id" (the run: one of four annotations) and "frame". Reads of an output:
    "phrase_masks" (N, H, W), scores 0-1, merged by `merge_phrases`. Reads of a catalog record:
    "label_file_name", a PNG of object numbers, 255 = void.

    The headline follows the field: DAVIS "unsupervised", which matches predicted to true objects
    anew, all frames, void left out, mean over the runs. So a phrase that finds another object of
    the list is not punished; "J&F_strict" asks for object k under phrase k.

    Args:
        dataset_name: registered in DatasetCatalog.
        output_dir: where label maps are written, <run>/<video>/<frame>.png; None = nowhere.
        bound_th: tolerance of F, see boundary.py.
        gallery: keeps the frames whose phrases found their own objects best and worst; None = no
            pictures.
        distributed: gather over all processes.
    """

    reads = frozenset({"phrase_masks"})

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: Optional[str] = None,
        bound_th: float = BOUND_TH,
        gallery: Optional[Gallery] = None,
        distributed: bool = True,
    ):
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self._groups = [_names(known)[:2] for known in self._samples.records]
        self._output_dir = output_dir
        self._bound_th = bound_th

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Merges, scores and writes each frame; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            truth = read_label_map(known["label_file_name"])
            texts = phrases(record, known)
            scores = phrase_masks(known, output, texts, truth.shape)
            labels = merge_phrases(scores.float()).cpu().numpy()
            if self._output_dir is not None:
                video, run, frame = _names(known)
                write_labels(self._output_dir, frame_path(run, video, frame), labels)
            try:
                of = frame_scores(labels, truth, void=True, bound_th=self._bound_th)
            except ValueError as error:
                raise ValueError(f"{describe(known)}: {error}") from error
            objects = int(np.where(truth == VOID, 0, truth).max(initial=0))
            self._samples.add(record, _DavisRow(of, objects))
            if objects:
                strict = same_labels([of], objects)
                score = 50 * float(strict.j.mean() + strict.f.mean())
                shown = _object_maps(labels, truth, len(texts))
                self._samples.show(known, score, "J&F {}", texts, truth.shape, shown)

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"video": scores in percent}; {} on all processes but the first.

        Means over the runs of what `davis_scores` gives, "J&F_strict", and "J&F-<run>" of each.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        runs: Dict[str, Dict[str, List[_DavisRow]]] = {}
        for (video, run), row in zip(self._groups, rows):
            runs.setdefault(run, {}).setdefault(video, []).append(row)
        of_runs = {run: _score_run(list(videos.values())) for run, videos in runs.items()}
        of_runs = of_runs or {"": _score_run([])}
        names = next(iter(of_runs.values()))
        scores = {name: float(np.mean([of[name] for of in of_runs.values()])) for name in names}
        scores.update({f"J&F-{run}": of["J&F"] for run, of in of_runs.items() if run})
        return {"video": scores}


def _object_maps(prediction: np.ndarray, truth: np.ndarray, count: int) -> Thinned:
    """Returns what a gallery asks of maps of object numbers 1..count, all else 0 or void."""

    def thinned(step: int) -> Tuple[np.ndarray, np.ndarray]:
        both = (labels[::step, ::step].astype(np.int64) - 1 for labels in (prediction, truth))
        return tuple(np.where((b < 0) | (b >= count), count, b) for b in both)

    return thinned


def _score_run(videos: Sequence[Sequence[_DavisRow]]) -> Dict[str, float]:
    frames = [([row.scores for row in video], video[0].objects) for video in videos]
    scores = davis_scores([match_proposals(*video) for video in frames])
    strict = davis_scores([same_labels(*video) for video in frames])
    return {**scores, "J&F_strict": strict["J&F"]}
