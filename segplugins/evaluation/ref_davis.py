"""The evaluator of Ref-DAVIS17; matching and statistics stand in davis.py."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from segplugins.evaluation.boundary import BOUND_TH
from segplugins.evaluation.davis import (
    VOID,
    FrameScores,
    SequenceScores,
    davis_metrics,
    davis_sums,
    frame_scores,
    match_proposals,
    same_labels,
)
from segplugins.evaluation.gallery import Gallery, Thinned
from segplugins.evaluation.image_statistics import ImageStatistics, dense_rows
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.submission import frame_path, write_labels
from segplugins.evaluation.targets import phrase_masks, phrases
from segplugins.evaluation.tracks import Tracks, frame_names
from segplugins.files.label_maps import read_label_map

# Merging the maps of several phrases: lower scores count as nothing, which is worth this much.
_OBJECT_FROM, _BACKGROUND = 0.5, 0.1


def merge_phrases(scores: Tensor) -> Tensor:
    """Turns the score maps of several phrases into one label map, as Ref-DAVIS17 is scored.

    Args:
        scores: (N, H, W), 0-1. Those under 0.5 count as 0, the background as 0.1.

    Returns:
        (H, W) int64: 0 = background, k = phrase k - 1; of equal scores the first phrase.
    """
    scores = torch.where(scores >= _OBJECT_FROM, scores, torch.zeros_like(scores))
    background = scores.new_full((1, *scores.shape[1:]), _BACKGROUND)
    return torch.cat([background, scores]).argmax(dim=0)


class _Row(NamedTuple):
    scores: FrameScores
    objects: int  # the highest label of this frame's truth
    texts: Tuple[str, ...]


class RefDavisEvaluator(SampleEvaluator):
    """Ref-DAVIS17: the phrases of a run name all objects of a video together.

    A record is one frame with the phrases of all objects, in their order; it needs "video_id",
    "expression_id" (the run: one of four annotations) and "frame". Reads of an output:
    "phrase_masks" (N, H, W), scores 0-1, merged by `merge_phrases`. Reads of a catalog record:
    "label_file_name", a PNG of object numbers, 255 = void. Frames are ordered by the numbers in
    their names.

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

    Raises:
        ValueError: a record lacks a key, two records are the same frame; later, a prediction that
            cannot be scored, or frames of one video and run with different phrases.

    Example:
        >>> record = {"video_id": "v", "expression_id": "run 1", "frame": "0", "texts": ["a", "b"]}
        >>> record = {**record, "file_name": "0.jpg", "label_file_name": "0.png"}
        >>> DatasetCatalog.register("davis", lambda: [record])
        >>> Image.fromarray(np.array([[1, 1, 0, 2]], np.uint8)).save("0.png")
        >>> evaluator = RefDavisEvaluator("davis")
        >>> # a is b, and b is a: J is 0 under their own phrases. F is 1, the outlines are near.
        >>> swapped = torch.tensor([[[0.0, 0, 0, 1]], [[1, 1, 0, 0]]])
        >>> evaluator.process([record], [{"phrase_masks": swapped}])
        >>> scores = evaluator.evaluate()["video"]
        >>> {name: scores[name] for name in ("J&F", "J&F_strict")}
        {'J&F': 100.0, 'J&F_strict': 50.0}
    """

    task = "video"
    reads = frozenset({"phrase_masks"})
    required = ("video_id", "expression_id", "frame", "label_file_name")

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: Optional[str] = None,
        bound_th: float = BOUND_TH,
        gallery: Optional[Gallery] = None,
        distributed: bool = True,
    ):
        super().__init__(dataset_name, gallery=gallery, distributed=distributed)
        self._tracks = Tracks(self._samples.records)
        self._output_dir = output_dir
        self._bound_th = bound_th

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> _Row:
        truth = read_label_map(record["label_file_name"])
        texts = phrases(model_input, record, of_regions=False)
        masks = phrase_masks(record, output, texts, truth.shape)
        if not masks.is_floating_point() and masks.dtype != torch.bool:
            raise ValueError(
                f"{describe(record)}: phrase_masks are {masks.dtype}, expected bool or scores 0-1"
            )
        labels = merge_phrases(masks.to(torch.promote_types(masks.dtype, torch.float32)))
        labels = labels.cpu().numpy()
        try:
            scores = frame_scores(labels, truth, void=True, bound_th=self._bound_th)
        except ValueError as error:
            raise ValueError(f"{describe(record)}: {error}") from error
        objects = int(np.where(truth == VOID, 0, truth).max(initial=0))
        if objects:
            strict = same_labels([scores], objects)
            score = 50 * float(strict.j.mean() + strict.f.mean())
            shown = _object_maps(labels, truth, len(texts))
            self._samples.show(record, score, "J&F {}", texts, truth.shape, shown)
        if self._output_dir is not None:
            video, run, frame = frame_names(record)
            write_labels(self._output_dir, frame_path(run, video, frame), labels)
        return _Row(scores, objects, texts)

    def _scores(self, rows: List[_Row]) -> Dict[str, float]:
        """Returns means over the runs of `davis_metrics`, "J&F_strict", and "J&F-<run>" of each."""
        runs: Dict[str, Dict[str, List[_Row]]] = {}
        for (video, run), frames in self._tracks.rows(rows).items():
            if len({frame.texts for frame in frames}) > 1:
                raise ValueError(f"video {video}, run {run}: its frames differ in their phrases")
            runs.setdefault(run, {})[video] = frames
        videos = tuple(dict.fromkeys(video for of_run in runs.values() for video in of_run))
        # A video that a run lacks adds nothing to the sums of that run.
        sums = np.zeros((len(videos), len(runs), 2, davis_sums([]).size))
        for position, of_run in enumerate(runs.values()):
            for row, video in enumerate(videos):
                if video in of_run:
                    sums[row, position] = _video_sums(of_run[video])
        facts = {"runs": list(runs)}
        table = dense_rows(sums, 2 * davis_sums([]).size * max(len(runs), 1))
        self.image_statistics = ImageStatistics(self.task, "ref_davis", videos, table, facts)
        return ref_davis_metrics(sums.sum(axis=0), list(runs))


def _video_sums(frames: Sequence[_Row]) -> np.ndarray:
    """Returns `davis_sums` of one video and run: matched anew, and strictly."""
    scores, objects = [frame.scores for frame in frames], frames[0].objects
    matchings: List[SequenceScores] = [match_proposals(scores, objects)]
    matchings.append(same_labels(scores, objects))
    return np.stack([davis_sums([matching]) for matching in matchings])


def ref_davis_metrics(sums: np.ndarray, runs: Sequence[str]) -> Dict[str, float]:
    """Returns the means over runs from the sums (R, 2, 7) of `davis_sums`: anew, strictly."""
    sums = sums.reshape(len(runs), 2, davis_sums([]).size)
    of_runs = [davis_metrics(run[0]) for run in sums] or [davis_metrics(davis_sums([]))]
    scores = {name: float(np.mean([of[name] for of in of_runs])) for name in of_runs[0]}
    strict = [davis_metrics(run[1])["J&F"] for run in sums]
    scores["J&F_strict"] = float(np.mean(strict)) if strict else float("nan")
    scores.update({f"J&F-{run}": of["J&F"] for run, of in zip(runs, of_runs)})
    return scores


def _object_maps(prediction: np.ndarray, truth: np.ndarray, count: int) -> Thinned:
    """Returns what a gallery asks of maps of object numbers 1..count, all else 0 or void."""

    def thinned(step: int) -> Tuple[np.ndarray, np.ndarray]:
        both = (labels[::step, ::step].astype(np.int64) - 1 for labels in (prediction, truth))
        return tuple(np.where((b < 0) | (b >= count), count, b) for b in both)

    return thinned
