"""DAVIS: statistics of a sequence, objects found anew or by their number, scores of a data set.

T frames, O true objects, P proposals. Label maps: 0 background, 1.. objects, 255 void.
"""

from typing import Dict, NamedTuple, Sequence, Tuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from segplugins.evaluation.boundary import (
    BOUND_TH,
    Outline,
    contour_accuracy,
    outline,
    region_similarity,
)

VOID = 255
MAX_PROPOSALS = 20


def statistics(scores: np.ndarray) -> Tuple[float, float, float]:
    """Sums up the scores of one object over a sequence.

    Args:
        scores: (T,) fractions; NaN = not measured.

    Returns:
        mean; recall, the share of frames above 0.5 (NaN counts as a frame that is not); decay, the
        mean of the first quarter minus that of the last. Quarters share their border frame. (The
        reference keeps borders in 8 bits and is wrong beyond 256 frames; this is not.)
    """
    count = len(scores)
    if not count:
        return float("nan"), float("nan"), float("nan")
    edges = np.round(np.linspace(1, count, 5) + 1e-10).astype(np.int64) - 1
    first, last = scores[edges[0] : edges[1] + 1], scores[edges[3] : edges[4] + 1]
    recall = np.count_nonzero(scores > 0.5) / count
    return _mean(scores), recall, _mean(first) - _mean(last)


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


class FrameScores(NamedTuple):
    """J and F of each proposal with each object of one frame.

    The last row stands for a proposal that is not there, the last column for an object that is not:
    what later frames add is filled up with them.
    """

    j: np.ndarray  # (P + 1, O + 1) float64
    f: np.ndarray  # (P + 1, O + 1)


def _separate(labels: np.ndarray, count: int) -> np.ndarray:
    """(H, W) labels -> (count + 1, H, W) bool, one mask per label 1..count and an empty one."""
    masks = np.zeros((count + 1, *labels.shape), bool)
    for index in range(count):
        masks[index] = labels == index + 1
    return masks


def frame_scores(
    prediction: np.ndarray, truth: np.ndarray, *, void: bool, bound_th: float = BOUND_TH
) -> FrameScores:
    """Compares all proposals of a frame with all its objects.

    Args:
        prediction: (H, W) labels.
        truth: (H, W) labels, 255 = void.
        void: leave void pixels out; else they are background.
        bound_th: tolerance, see boundary.py.

    Raises:
        ValueError: the sizes differ, or there are more than 20 proposals.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in size")
    proposals = int(prediction.max(initial=0))
    if proposals > MAX_PROPOSALS:
        raise ValueError(f"{proposals} proposals in a frame; DAVIS allows {MAX_PROPOSALS}")
    ignored = (truth == VOID) if void else None
    objects = np.where(truth == VOID, 0, truth)
    ours = outline(_separate(prediction, proposals), ignored, bound_th)
    theirs = outline(_separate(objects, int(objects.max(initial=0))), ignored, bound_th)
    ours = Outline(*(words[:, None] for words in ours))
    return FrameScores(region_similarity(ours, theirs), contour_accuracy(ours, theirs))


class SequenceScores(NamedTuple):
    """The scores of one sequence."""

    j: np.ndarray  # (O, T) of the proposal matched to each row's object
    f: np.ndarray  # (O, T)
    matches: np.ndarray  # (O, 2): proposal and object of each row
    table: np.ndarray  # (P, O): mean of J and F of each proposal with each object


def _stack(frames: Sequence[FrameScores], proposals: int, objects: int) -> np.ndarray:
    """Returns (2, T, proposals, objects): J and F, absent ones filled up."""
    stacked = np.empty((2, len(frames), proposals, objects))
    for t, frame in enumerate(frames):
        for kind, values in enumerate(frame):
            rows = np.minimum(np.arange(proposals), values.shape[0] - 1)
            columns = np.minimum(np.arange(objects), values.shape[1] - 1)
            stacked[kind, t] = values[np.ix_(rows, columns)]
    return stacked


def match_proposals(frames: Sequence[FrameScores], objects: int) -> SequenceScores:
    """DAVIS "unsupervised": each object gets the proposal that suits it best over the sequence.

    Args:
        frames: of all T frames.
        objects: O, the highest label of the first frame's truth. Objects that appear later under
            higher labels do not exist for this evaluation.

    Returns:
        Rows in the order of the proposals.
    """
    proposals = max((len(frame.j) - 1 for frame in frames), default=0)
    j, f = _stack(frames, max(proposals, objects), objects)
    table = (j.mean(axis=0) + f.mean(axis=0)) / 2 if len(frames) else np.zeros((proposals, objects))
    rows, columns = linear_sum_assignment(-table)
    return SequenceScores(
        j[:, rows, columns].T, f[:, rows, columns].T, np.column_stack([rows, columns]), table
    )


def same_labels(frames: Sequence[FrameScores], objects: int) -> SequenceScores:
    """Strict matching: object k is what the prediction calls k, in all frames given.

    DAVIS "semi-supervised" is `same_labels(frames[1:-1], objects)` of frames scored without void,
    after `check_labels`.

    Args:
        frames: T frames.
        objects: O, the highest label of the first frame's truth.
    """
    j, f = _stack(frames, objects, objects)
    table = (j.mean(axis=0) + f.mean(axis=0)) / 2 if len(frames) else np.zeros((objects, objects))
    same = np.arange(objects)
    return SequenceScores(
        j[:, same, same].T, f[:, same, same].T, np.column_stack([same] * 2), table
    )


def check_labels(frames: Sequence[FrameScores], objects: int) -> None:
    """Raises ValueError where a prediction has more labels than there are objects."""
    proposals = max((len(frame.j) - 1 for frame in frames), default=0)
    if proposals > objects:
        raise ValueError(f"{proposals} predicted labels for {objects} objects")


def davis_scores(sequences: Sequence[SequenceScores]) -> Dict[str, float]:
    """Averages over all objects of all sequences.

    Returns:
        Percent: "J&F", "J", "J_recall", "J_decay", "F", "F_recall", "F_decay". NaN without an
        object.
    """
    return davis_metrics(davis_sums(sequences))


def davis_sums(sequences: Sequence[SequenceScores]) -> np.ndarray:
    """Returns (7,): objects, then the sums of mean, recall and decay of J, and of F."""
    sums = np.zeros(7)
    for sequence in sequences:
        sums[0] += len(sequence.j)
        for first, rows in ((1, sequence.j), (4, sequence.f)):
            for row in rows:
                sums[first : first + 3] += statistics(row)
    return sums


def davis_metrics(sums: np.ndarray) -> Dict[str, float]:
    """Returns `davis_scores` from sums (7,) of `davis_sums`."""
    means = 100 * sums[1:] / sums[0] if sums[0] else np.full(6, np.nan)
    names = [letter + suffix for letter in "JF" for suffix in ("", "_recall", "_decay")]
    scores = dict(zip(names, map(float, means)))
    return {"J&F": (scores["J"] + scores["F"]) / 2, **scores}
