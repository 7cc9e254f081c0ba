"""Metrics against the numbers that the reference implementations gave.

Tolerances of the recordings' README: 1e-7 on percent, 1e-9 on fractions.
"""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from segplugins.evaluation.average_precision import (
    coco_scores,
    count_positives,
    lvis_scores,
    percent,
    rank_detections,
)
from segplugins.evaluation.boundary import j_and_f
from segplugins.evaluation.davis import (
    check_labels,
    davis_scores,
    frame_scores,
    match_proposals,
    same_labels,
    statistics,
)
from segplugins.evaluation.detections import Detections, Rules, match_image
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.instance_truth import truth_from_file
from segplugins.evaluation.panoptic_quality import panoptic_counts, panoptic_quality, summed
from segplugins.evaluation.referring_scores import (
    generalised_counts,
    generalised_scores,
    intersection_and_union,
    referring_scores,
    sample_iou,
    strict_precision,
)
from segplugins.evaluation.saliency import dataset_scores, saliency_scores
from segplugins.evaluation.semantic import SemanticEvaluator

PERCENT = 1e-7
FRACTION = 1e-9


def expected_in(recording):
    return json.loads(bytes(recording["expected_json"]).decode())


@pytest.fixture
def dataset():
    """Registers records under one name; the files they name are whatever a test reads."""
    name = "parity_evaluation"

    def register(records):
        DatasetCatalog.pop(name, None)
        DatasetCatalog.register(name, lambda: records)
        return name

    yield register
    DatasetCatalog.pop(name, None)


def test_semantic_segmentation_equals_detectron2(parity, dataset):
    recording = np.load(parity / "semseg.npz")
    cases = expected_in(recording)
    assert cases
    for case, facts in cases.items():
        size = facts["K"]
        records = [
            {"file_name": f"{case}_pred_{k:03}", "sem_seg_file_name": f"{case}_gt_{k:03}"}
            for k in range(facts["n"])
        ]
        # detectron2 forms (K + 1) * label + label in 8 bits: above K = 15 it means nothing.
        boundary = facts["boundary"] and size * (size + 1) < 256
        evaluator = SemanticEvaluator(
            dataset(records),
            [f"c{i}" for i in range(size)],
            fold=ClassFold(size, ignore_label=facts["ignore"]),
            boundary="detectron2" if boundary else False,
            read_truth=recording.__getitem__,
        )
        for record in records:
            prediction = torch.from_numpy(recording[record["file_name"]].astype(np.int64))
            evaluator.process([record], [{"sem_seg": prediction}])
        result = evaluator.evaluate()["sem_seg"]
        assert np.array_equal(evaluator.confusion, recording[f"{case}_conf"])
        for key, value in facts["expected"].items():
            if boundary or not key.startswith(("BoundaryIoU-", "min(IoU, B-Iou)-")):
                ours = result[key.replace("BoundaryIoU-", "BoundaryIoU_detectron2-")]
                assert ours == pytest.approx(value, abs=PERCENT, nan_ok=True), (case, key)


def masks_of(recording, pattern, count):
    """The masks `pattern` % 0, 1, ... as bool, each with one leading dimension."""
    return [torch.from_numpy(recording[pattern % k] > 0)[None] for k in range(count)]


def pixel_counts(recording, prediction, target, count):
    pairs = zip(masks_of(recording, prediction, count), masks_of(recording, target, count))
    return np.concatenate([intersection_and_union(*pair).numpy() for pair in pairs])


def test_referring_equals_lavt_cris_and_rela(parity):
    recording = np.load(parity / "referring.npz")
    counts = pixel_counts(recording, "pred_%03d", "gt_%03d", int(recording["n"]))
    assert np.array_equal(counts, np.stack([recording["lavt_I"], recording["lavt_U"]], axis=1))
    np.testing.assert_allclose(sample_iou(counts), recording["lavt_iou"], rtol=0, atol=FRACTION)
    at = recording["pr_thresholds"].tolist()
    scores = referring_scores(counts, at)
    for name, value in [
        ("oIoU", recording["lavt_oIoU_pct"]),
        ("mIoU", recording["lavt_mIoU_pct"]),
        ("oIoU", recording["rela_cIoU_pct"]),
        ("mIoU", recording["rela_gIoU_pct"]),
        *((f"Pr@{x}", value) for x, value in zip(at, recording["lavt_pr_pct"])),
        *((f"Pr@{x}", value) for x, value in zip((0.7, 0.8, 0.9), recording["rela_pr789_pct"])),
    ]:
        assert scores[name] == pytest.approx(float(value), abs=PERCENT), name
    strict = strict_precision(counts, at)
    assert strict["mIoU"] == pytest.approx(100 * float(recording["cris_mIoU"]), abs=PERCENT)
    for x, value in zip(at, recording["cris_pr"]):  # float32 in the recording
        assert strict[f"Pr@{x}"] == pytest.approx(100 * float(value), abs=1e-4)


def test_generalised_referring_equals_rela(parity):
    recording = np.load(parity / "gres.npz")
    for case, facts in expected_in(recording).items():
        count = facts["n"]
        counts = pixel_counts(recording, f"{case}_pred_%03d", f"{case}_gt_%03d", count)
        flags = zip(recording[f"{case}_gt_nt"] > 0, recording[f"{case}_pred_nt"] > 0)
        samples = [
            generalised_counts(*row, truly_absent=absent, said_absent=said)
            for row, (absent, said) in zip(counts.tolist(), flags)
        ]
        if facts["error"]:
            # The reference divides by zero; what is not defined is NaN here, and nothing else.
            scores = generalised_scores(samples)
            absent = np.array([sample.truly_absent for sample in samples])
            assert math.isnan(scores["T_acc"]) == bool(absent.all())
            assert math.isnan(scores["cIoU"]) == (sum(s.union for s in samples) == 0)
            continue
        for name, kept in (("I", "inter"), ("U", "union"), ("iou", "iou")):
            ours = [getattr(sample, kept) for sample in samples]
            np.testing.assert_allclose(ours, recording[f"{case}_{name}"], rtol=0, atol=FRACTION)
        sources = recording[f"{case}_source"]
        for source, expected in facts["expected"].items():
            scores = generalised_scores(
                [sample for sample, of in zip(samples, sources) if source in ("full", of)]
            )
            for name, value in expected.items():
                percent = 100 * value if name.endswith("_acc") else value
                assert scores[name] == pytest.approx(percent, abs=PERCENT), (case, source, name)


def test_pairs_of_frames_equal_davis(parity):
    recording = np.load(parity / "video_jf.npz")
    for k in range(int(recording["bin_n"])):
        void = recording.get(f"bin_void_{k:03}")
        j, f = j_and_f(
            recording[f"bin_pred_{k:03}"] > 0,
            recording[f"bin_gt_{k:03}"] > 0,
            None if void is None else void > 0,
            float(recording["bin_bound_th"][k]),
        )
        assert j == pytest.approx(recording["bin_J"][k], abs=FRACTION), k
        assert f == pytest.approx(recording["bin_F"][k], abs=FRACTION), k


def test_videos_of_one_expression_equal_davis(parity):
    recording = np.load(parity / "video_jf.npz")
    expected = expected_in(recording)["expressions"]
    means = []
    for e in range(expected["n"]):
        j, f = j_and_f(recording[f"exp_pred_{e}"] > 0, recording[f"exp_gt_{e}"] > 0)
        np.testing.assert_allclose(j, recording[f"exp_J_{e}"], rtol=0, atol=FRACTION)
        np.testing.assert_allclose(f, recording[f"exp_F_{e}"], rtol=0, atol=FRACTION)
        means.append((statistics(j)[0], statistics(f)[0]))
    j, f = np.mean(means, axis=0)
    assert (j, f) == pytest.approx((expected["J"], expected["F"]), abs=FRACTION)
    assert (j + f) / 2 == pytest.approx(expected["JF"], abs=FRACTION)


@pytest.mark.parametrize("task", ["unsup", "semi"])
def test_videos_of_several_objects_equal_davis(parity, task):
    recording = np.load(parity / "video_jf.npz")
    expected = expected_in(recording)[task]
    results = []
    for name in expected["sequences"]:
        truth, prediction = recording[f"seq_gt_{name}"], recording[f"seq_pred_{name}"]
        objects = int(np.where(truth[0] == 255, 0, truth[0]).max())
        frames = [frame_scores(p, t, void=task == "unsup") for p, t in zip(prediction, truth)]
        if task == "unsup":
            result = match_proposals(frames, objects)
            assert np.array_equal(result.matches, recording[f"unsup_match_{name}"])
            table = recording[f"unsup_score_{name}"]
            np.testing.assert_allclose(result.table, table, rtol=0, atol=FRACTION)
        else:
            check_labels(frames, objects)
            result = same_labels(frames[1:-1], objects)
        np.testing.assert_allclose(result.j, recording[f"{task}_J_{name}"], rtol=0, atol=FRACTION)
        np.testing.assert_allclose(result.f, recording[f"{task}_F_{name}"], rtol=0, atol=FRACTION)
        results.append(result)
    names = {"J": "JM", "J_recall": "JR", "J_decay": "JD", "F": "FM", "F_recall": "FR"}
    names.update({"F_decay": "FD", "J&F": "JF"})
    scores = davis_scores(results)
    for ours, theirs in names.items():
        assert scores[ours] == pytest.approx(100 * expected["global_"][theirs], abs=PERCENT), ours


def test_statistics_of_sequences_equal_davis(parity):
    recording = np.load(parity / "video_jf.npz")
    lengths = [key.removeprefix("stat_in_") for key in recording if key.startswith("stat_in_")]
    assert lengths
    for length in lengths:
        ours = statistics(recording[f"stat_in_{length}"])
        np.testing.assert_allclose(ours, recording[f"stat_out_{length}"], rtol=0, atol=FRACTION)


def test_salient_objects_equal_pysodmetrics(parity):
    recording = np.load(parity / "sod.npz")
    images = [
        saliency_scores(recording[f"pred_{k:03}"], recording[f"gt_{k:03}"] > 128)
        for k in range(int(recording["n"]))
    ]
    for name, key in [
        ("mae", "mae"),
        ("s", "sm"),
        ("weighted_f", "wfm"),
        ("adaptive_f", "fm_adp"),
        ("adaptive_e", "em_adp"),
        ("f_curve", "fm_curve"),
        ("e_curve", "em_curve"),
    ]:
        ours = np.array([getattr(image, name) for image in images])
        np.testing.assert_allclose(ours, recording[f"exp_{key}"], rtol=0, atol=FRACTION)
    binary = np.array([image.binary for image in images])
    for column, key in enumerate(("p", "r", "f", "iou", "dice")):
        theirs = recording[f"exp_bin_{key}"]
        np.testing.assert_allclose(binary[:, column], theirs, rtol=0, atol=FRACTION)
    theirs = json.loads(bytes(recording["dataset_json"]).decode())
    scores = dataset_scores(images)
    for ours, key in {
        "MAE": "MAE",
        "S": "Smeasure",
        "wF": "wFmeasure",
        "meanF": "meanFm",
        "maxF": "maxFm",
        "adpF": "adpFm",
        "meanE": "meanEm",
        "maxE": "maxEm",
        "adpE": "adpEm",
        "binary_F": "binF",
        "binary_IoU": "binIoU",
        "binary_Dice": "binDice",
    }.items():
        assert scores[ours] == pytest.approx(theirs[key], abs=FRACTION), ours


def test_panoptic_quality_equals_panopticapi(parity):
    recording = np.load(parity / "panoptic.npz")
    for case, facts in expected_in(recording).items():
        ids = [category["id"] for category in facts["categories"]]
        things = np.array([bool(category["isthing"]) for category in facts["categories"]])

        def indexed(segments, ids=ids):
            return [{**s, "category_id": ids.index(s["category_id"])} for s in segments]

        rows = [
            panoptic_counts(
                recording[f"{case}_pred_{k:03}"],
                indexed(facts["pred_segments"][k]),
                recording[f"{case}_gt_{k:03}"],
                indexed(facts["gt_segments"][k]),
                len(ids),
            )
            for k in range(facts["n"])
        ]
        counts = summed(rows, len(ids))
        for category, stats in facts["expected"]["stats"].items():
            theirs = [stats[name] for name in ("iou", "tp", "fp", "fn")]
            ours = counts[ids.index(int(category))]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=FRACTION)
        for group, among in (("All", None), ("Things", things), ("Stuff", ~things)):
            scores, theirs = panoptic_quality(counts, among), facts["expected"][group]
            if theirs == "ZeroDivisionError":
                assert all(math.isnan(value) for value in scores.values())
                continue
            for name in ("PQ", "SQ", "RQ"):
                assert scores[name] == pytest.approx(100 * theirs[name.lower()], abs=PERCENT)


@pytest.mark.parametrize("file", ["coco_ap", "lvis_ap"])
def test_average_precision_equals_pycocotools_and_lvis(parity, tmp_path, file):
    recording = np.load(parity / f"{file}.npz")
    (tmp_path / "truth.json").write_bytes(bytes(recording["gt_json"]))
    truth = truth_from_file(str(tmp_path / "truth.json"))
    index = {identity: i for i, identity in enumerate(truth.category_ids)}
    found = {identity: [] for identity in truth.images}
    for result in json.loads(bytes(recording["dt_json"]).decode()):
        found[result["image_id"]].append(result)
    detections = {
        identity: Detections(
            np.array([index[r["category_id"]] for r in results], np.int64),
            np.array([r["score"] for r in results], np.float64),
            np.array([r["bbox"] for r in results], np.float64).reshape(-1, 4),
            [r["segmentation"] for r in results],
        )
        for identity, results in found.items()
    }
    for key, facts in expected_in(recording).items():
        task, _, limit = key.partition("_max_dets_")
        federated = bool(truth.frequency)
        rules = Rules(federated, int(limit) if limit else 300 if federated else 100)
        images = [
            match_image(truth.images[i], detections[i], task, rules) for i in sorted(detections)
        ]
        positives = count_positives(truth.images.values(), len(index))
        curves = rank_detections(images, positives)
        if truth.frequency:
            scores = lvis_scores(curves, truth.frequency)
        else:
            scores = coco_scores(curves)
        for name, value in facts["stats"].items():
            # pycocotools writes -1 for what is not defined.
            theirs = float("nan") if value == -1 else 100 * value
            assert scores[name] == pytest.approx(theirs, abs=PERCENT, nan_ok=True), (key, name)
        for identity, value in facts["per_category_AP"].items():
            ours = percent(curves.precision[index[int(identity)], 0])
            assert ours == pytest.approx(100 * value, abs=PERCENT, nan_ok=True), (key, identity)
