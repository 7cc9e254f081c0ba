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
