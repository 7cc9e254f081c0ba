"""Small cases in which references are strict, with numbers derived by hand.

Each was also given to the reference itself: panopticapi, boundary-iou-api, pycocotools and hotcoco,
scikit-learn, davis2017-evaluation. None of them is needed here.
"""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask

from segplugins.evaluation.davis import davis_scores, frame_scores, match_proposals
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.panoptic_quality import panoptic_counts
from segplugins.evaluation.zero_shot_scores import label_average_precision


def test_void_and_crowds_excuse_a_segment_of_which_they_are_more_than_half():
    # Things of category 0: four pixels, two of void, then a crowd of four.
    truth = np.array([[1, 1, 1, 1, 0, 0, 2, 2, 2, 2]])
    segments = [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 0, "iscrowd": 1}]
    # The first prediction reaches into the void, which leaves the union: IoU 4 / (6 + 4 - 4 - 2).
    # The second one lies in the crowd.
    guess = np.array([[8, 8, 8, 8, 8, 8, 9, 9, 9, 9]])
    listed = [{"id": 8, "category_id": 0}, {"id": 9, "category_id": 0}]
    counts = panoptic_counts(guess, listed, truth, segments, 2)
    assert counts.tolist() == [[0, 1.0, 1, 0, 0]]
    # Of another category the crowd excuses nothing.
    listed[1]["category_id"] = 1
    counts = panoptic_counts(guess, listed, truth, segments, 2)
    assert counts.tolist() == [[0, 1.0, 1, 0, 0], [1, 0.0, 0, 1, 0]]
    # Half void is not more than half; three fifths are.
    for pixels, false in ((4, 1), (5, 0)):
        row = np.array([[1] * 2 + [0] * 8])
        guess = np.array([[8] * pixels + [0] * (10 - pixels)])
        counts = panoptic_counts(
            guess, [{"id": 8, "category_id": 1}], row, [{"id": 1, "category_id": 0}], 2
        )
        assert counts[counts[:, 0] == 1].tolist() == ([[1, 0.0, 0, 1, 0]] if false else [])


@pytest.fixture
def square(catalog, tmp_path):
    """One square of 40x40 pixels in a picture of 100x100, from an annotation file."""
    mask = np.zeros((100, 100), np.uint8)
    mask[30:70, 30:70] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 30, 40, 40], "iscrowd": 0}
    annotation.update(area=1600, segmentation={**rle, "counts": rle["counts"].decode()})
    file = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [annotation],
    }
    path = tmp_path / "square.json"
    path.write_text(json.dumps(file))
    records = [{"image_id": 1}]
    return catalog(records, json_file=str(path)), records


def instances_of(masks, scores):
    boxes = [[30.0, 30, 70, 30 + 40 * mask.any() * mask.sum() / 1600] for mask in masks]
    return Instances(
        (100, 100),
        pred_masks=torch.from_numpy(np.stack(masks)),
        pred_boxes=Boxes(torch.tensor(boxes)),
        scores=torch.tensor(scores),
        pred_classes=torch.zeros(len(masks), dtype=torch.int64),
    )


def test_boundary_ap_takes_the_smaller_one_of_both_overlaps(square):
    # The prediction lacks the five last rows: mask IoU 1400 / 1600 = 0.875, 8 of 10 thresholds.
    # Bands are 3 pixels wide (2 % of the diagonal): 1600 - 34 * 34 = 444 and 1400 - 29 * 34 = 414
    # pixels. They share 3 whole rows, both sides of 29 rows, and in the 3 last rows of the
    # prediction the sides of the truth: 120 + 174 + 18 = 312 of 546, an IoU of 0.571.
    name, records = square
    mask = np.zeros((100, 100), bool)
    mask[30:65, 30:70] = True
    evaluator = InstanceEvaluator(name, tasks=["segm", "boundary"])
    evaluator.process(records, [{"instances": instances_of([mask], [0.5])}])
    scores = evaluator.evaluate()
    assert scores["segm"]["AP"] == pytest.approx(80.0, abs=1e-9)
    assert scores["boundary"]["AP"] == pytest.approx(20.0, abs=1e-9)


@pytest.mark.parametrize("order, expected", [((0, 1), 50.0), ((1, 0), 100.0)])
def test_detections_of_one_score_are_ranked_as_they_come(square, order, expected):
    # One is nowhere near, one is right: precision at recall 1 is 1/2 behind the wrong one.
    name, records = square
    masks = np.zeros((2, 100, 100), bool)
    masks[0, :9, :9] = True
    masks[1, 30:70, 30:70] = True
    evaluator = InstanceEvaluator(name, tasks=["segm"])
    evaluator.process(records, [{"instances": instances_of(masks[list(order)], [0.5, 0.5])}])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(expected, abs=1e-9)


def test_equal_scores_of_a_label_count_alike_in_any_order():
    # Two images of score 1, one of them right: precision 1/2. Then the third: 2/3.
    expected = (1 / 2 + 2 / 3) / 2
    for scores, targets in (([1, 1, 0], [1, 0, 1]), ([1, 0, 1], [0, 1, 1])):
        columns = torch.tensor([scores]).T.double(), torch.tensor([targets]).T
        assert float(label_average_precision(*columns)) == pytest.approx(expected, abs=1e-12)
    alike = torch.zeros(5, 1), torch.tensor([[0], [0], [0], [1], [1]])
    assert float(label_average_precision(*alike)) == pytest.approx(2 / 5, abs=1e-12)


def test_void_pixels_count_nowhere_in_davis():
    # Object 1 has two pixels, a third is void; the prediction marks all three, and one more in the
    # second frame: J is 1 and 2/3, recall 1, decay 1/3 with quarters of one frame.
    truth = np.zeros((1, 8), int)
    truth[0, :3] = 1, 1, 255
    first, second = (np.zeros((1, 8), int) for _ in range(2))
    first[0, :3] = second[0, :4] = 1
    frames = [frame_scores(guess, truth, void=True) for guess in (first, second)]
    scores = davis_scores([match_proposals(frames, 1)])
    assert scores["J"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert scores["J_recall"] == 100.0
    strict = [frame_scores(guess, truth, void=False) for guess in (first, second)]
    assert [float(frame.j[0, 0]) for frame in strict] == pytest.approx([2 / 3, 1 / 2])
