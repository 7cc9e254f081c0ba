"""UMG-CLIP against recordings: here the metrics, of FC-CLIP's PQ and of CLIP_benchmark."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segplugins.evaluation.panoptic_quality import panoptic_counts, panoptic_quality, summed
from segplugins.evaluation.zero_shot_scores import (
    classification_scores,
    label_average_precision,
    rank_of,
    retrieval_ranks,
    retrieval_scores,
)
from segplugins.modeling.costs import Candidates, mask_bce_cost, mask_dice_cost, softmax_class_cost
from segplugins.modeling.criterion import MaskTerm, SetCriterion, SoftmaxClassTerm
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.modeling.point_losses import sample_logits, sample_masks
from segplugins.structures.predictions import QueryPredictions, QueryTargets

FLOAT32 = 2e-5  # the README's tolerance for what was computed in float32


def test_panoptic_quality_equals_fc_clips_copy_of_panopticapi(parity):
    recording = np.load(parity / "panoptic_quality.npz")
    ids = recording["categories_id_isthing"][:, 0].tolist()
    things = recording["categories_id_isthing"][:, 1] > 0
    images = sum(key.removeprefix("gt_").isdigit() for key in recording if key.startswith("gt_"))
    assert images
    rows = []
    for i in range(images):
        true = [
            {"id": a, "category_id": ids.index(b), "iscrowd": c, "area": d}
            for a, b, c, d in recording[f"gt_info_{i}_id_cat_iscrowd_area"].tolist()
        ]
        predicted = [
            {"id": a, "category_id": ids.index(b)}
            for a, b in recording[f"pred_info_{i}_id_cat"].tolist()
        ]
        maps = recording[f"pred_{i}"], recording[f"gt_{i}"]
        rows.append(panoptic_counts(maps[0], predicted, maps[1], true, len(ids)))
    counts = summed(rows, len(ids))
    theirs = recording["per_cat_iou_tp_fp_fn"]
    np.testing.assert_allclose(counts, theirs, rtol=0, atol=1e-9)
    for group, among in (("all", None), ("things", things), ("stuff", ~things)):
        scores = panoptic_quality(counts, among)
        theirs = 100 * recording[f"{group}_pq_sq_rq_n"][:3]
        assert list(scores.values()) == pytest.approx(theirs.tolist(), abs=1e-7)


@pytest.fixture
def zero_shot(parity):
    recording = np.load(parity / "zeroshot_eval.npz")
    return {key: torch.from_numpy(recording[key]) for key in recording}


def class_scores(recording):
    images = F.normalize(recording["image_emb"], dim=-1)
    return 100 * images @ recording["classifier_DxC"]


def test_classification_equals_clip_benchmark(zero_shot):
    ranks = rank_of(class_scores(zero_shot), zero_shot["labels"])
    scores = classification_scores(ranks.numpy(), zero_shot["labels"].numpy())
    for name, key in [
        ("top1", "cls_acc1"),
        ("top5", "cls_acc5"),
        ("mean_per_class", "cls_mean_per_class_recall"),
    ]:
        assert scores[name] == pytest.approx(100 * float(zero_shot[key]), abs=1e-7), name


def test_label_precision_equals_clip_benchmark(zero_shot):
    ours = label_average_precision(class_scores(zero_shot), zero_shot["multilabel_targets"])
    theirs = zero_shot["multilabel_ap_per_class"].double()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=FLOAT32)


def test_retrieval_equals_clip_benchmark(zero_shot):
    embeddings = zero_shot["ret_image_emb"], zero_shot["ret_text_emb"]
    ranks = retrieval_ranks(*embeddings, zero_shot["ret_text_image_index"])
    scores = retrieval_scores(*ranks)
    for at in (1, 5, 10):
        for name, key in (("T2I", "image"), ("I2T", "text")):
            theirs = 100 * float(zero_shot[f"ret_{key}_retrieval_recall_at_{at}"])
            assert scores[f"{name}_R@{at}"] == pytest.approx(theirs, abs=FLOAT32)


# --- FC-CLIP's matcher and criterion: masks and classes without boxes, "no object" as last class


@pytest.fixture
def matched(parity):
    """The recording, the predictions in it, and its targets; no target has a box."""
    recording = np.load(parity / "matcher_criterion.npz")
    recording = {key: torch.from_numpy(np.asarray(recording[key])) for key in recording}
    predictions = QueryPredictions(recording["pred_logits"], recording["pred_masks"])
    targets = []
    for image in range(len(predictions.class_logits)):
        labels, masks = recording[f"b{image}_labels"], recording[f"b{image}_masks"] > 0
        boxes = torch.zeros(len(labels), 4)
        targets.append(QueryTargets(labels, boxes, masks, tuple(masks.shape[-2:])))
    return recording, predictions, targets


def test_the_costs_of_masks_and_softmax_classes_equal_fc_clips(matched):
    recording, predictions, targets = matched
    for image, target in enumerate(targets):
        points = recording["match_point_coords"][image]
        logits = predictions.mask_logits[image]
        candidates = Candidates(
            class_logits=predictions.class_logits[image][None],
            boxes=None,
            point_logits=sample_logits(logits, points.expand(len(logits), -1, -1))[None],
            labels=target.labels[None],
            target_boxes=target.boxes[None],
            point_labels=sample_masks(target.masks, points[0], target.canvas)[None],
            has_masks=torch.ones(1, 1, 1),
        )
        costs = {"class": softmax_class_cost, "mask": mask_bce_cost, "dice": mask_dice_cost}
        for name, cost in costs.items():
            theirs = recording[f"b{image}_cost_{name}"]
            torch.testing.assert_close(cost(candidates)[0], theirs, atol=FLOAT32, rtol=FLOAT32)


def test_matches_and_losses_without_boxes_equal_fc_clips(matched, monkeypatch):
    recording, predictions, targets = matched
    *weights, no_object = recording["cfg_cost_class_mask_dice_eos"].tolist()
    costs = zip(
        ("class", "mask", "dice"), weights, (softmax_class_cost, mask_bce_cost, mask_dice_cost)
    )
    matcher = HungarianMatcher(
        {name: (weight, cost) for name, weight, cost in costs},
        num_points=recording["match_point_coords"].shape[2],
    )
    points = recording["match_point_coords"][:, 0]
    monkeypatch.setattr(matcher, "points", lambda batch, device: points)
    term = MaskTerm(num_points=points.shape[1], oversample=3.0, importance=0.75)
    monkeypatch.setattr(term, "points", lambda logits: recording["loss_point_coords"])
    names = ("loss_class", "loss_mask", "loss_dice")
    criterion = SetCriterion(
        matcher, [SoftmaxClassTerm(no_object_weight=no_object), term], dict.fromkeys(names, 1.0)
    )
    (match,) = matcher(predictions, targets).values()
    for image, (query, target) in enumerate(match.by_image()):
        assert query.tolist() == recording[f"b{image}_match_pred"].tolist()
        assert target.tolist() == recording[f"b{image}_match_tgt"].tolist()
    assert int(recording["num_masks"]) == len(match)
    losses = criterion(predictions, targets)
    for name, theirs in zip(names, ("loss_ce", "loss_mask", "loss_dice")):
        torch.testing.assert_close(losses[name], recording[theirs], atol=FLOAT32, rtol=FLOAT32)
