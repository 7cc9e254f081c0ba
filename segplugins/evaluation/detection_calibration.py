"""Whether the scores of detections are probabilities of being right."""

from typing import Sequence

import numpy as np

from segplugins.evaluation.calibration import expected_calibration_error
from segplugins.evaluation.detections import ImageMatches

BINS = 10
_ANY_AREA_AT_50 = np.uint64(1)  # bit of the first range of area and the first threshold


def detection_calibration_error(images: Sequence[ImageMatches], bins: int = BINS) -> float:
    """Returns the expected calibration error of detections, D-ECE, in percent.

        sum over bins b of  n_b / n * | share of right ones in b - mean score in b |

    Bins are of equal width, the upper end belongs to a bin. A detection is right if it matches a
    true instance at IoU 0.5, as for AP50; those that are neither right nor wrong are left out.
    (Küppers et al., "Multivariate Confidence Calibration for Object Detection", CVPRW 2020, of
    scores alone.) NaN without a detection.

    Args:
        images: of all images, scores in 0 to 1.
        bins: number of bins.
    """
    sums = np.zeros((3, bins))  # detections, right ones, sum of the scores
    for image in images:
        right, left_out = np.zeros(len(image.scores), bool), image.beyond & 1 > 0
        right[image.near] = (image.right & _ANY_AREA_AT_50) > 0
        left_out[image.near] = (image.neither & _ANY_AREA_AT_50) > 0
        scores = image.scores[~left_out].astype(np.float64)
        place = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
        for row, weights in zip(sums, (np.ones(len(scores)), right[~left_out], scores)):
            row += np.bincount(place, weights, minlength=bins)
    return expected_calibration_error(sums)
