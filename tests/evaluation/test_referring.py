"""Referring metrics: by hand, against a plain re-statement, and as an evaluator."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.referring_scores import (
    generalised_counts,
    generalised_scores,
    intersection_and_union,
    referring_scores,
    strict_precision,
)
from segplugins.structures.regions import Region, encode_mask

SIZE = (6, 8)


def masks(generator, count):
    """Random masks, some empty, some full."""
    shares = generator.choice([0, 0.3, 0.7, 1], count)
    return generator.random((count, *SIZE)) < shares[:, None, None]


def referring_plainly(predictions, targets):
    """LAVT's protocol, pixel by pixel."""
    inter = union = 0
    ious = []
    for prediction, target in zip(predictions, targets):
        i = sum(p and g for p, g in zip(prediction.flat, target.flat))
        u = sum(p or g for p, g in zip(prediction.flat, target.flat))
        inter, union = inter + i, union + u
        ious.append(i / u if u else 0)
    scores = {"oIoU": inter / union if union else 0, "mIoU": sum(ious) / len(ious)}
    for at in (0.5, 0.6, 0.7, 0.8, 0.9):
        scores[f"Pr@{at}"] = sum(iou >= at for iou in ious) / len(ious)
    return {name: 100 * value for name, value in scores.items()}


def test_200_random_sets_equal_the_definitions():
    generator = np.random.default_rng(0)
    for _ in range(200):
        count = generator.integers(1, 5)
        predictions, targets = masks(generator, count), masks(generator, count)
        counts = intersection_and_union(torch.from_numpy(predictions), torch.from_numpy(targets))
        assert referring_scores(counts.numpy()) == pytest.approx(
            referring_plainly(predictions, targets), abs=1e-9
        )


def generalised_plainly(cases):
    """ReLA's protocol: (prediction, target, said absent, truly absent) of each sample."""
    inter = union = gious = tp = fn = fp = tn = 0
    targeted = []
    for prediction, target, said, absent in cases:
        i, u = (prediction & target).sum(), (prediction | target).sum()
        if absent:
            gious += said
            union += 0 if said else u
            tp, fn = tp + said, fn + (not said)
        else:
            iou = 0 if said or not u else i / u
            gious += iou
            targeted.append(iou)
            inter, union = inter + (0 if said else i), union + u
            fp, tn = fp + said, tn + (not said)

    def share(part, whole):
        return 100 * part / whole if whole else float("nan")

    none_absent = tp + fn == 0
    scores = {
        "gIoU": share(gious, len(cases)),
        "cIoU": share(inter, union),
        "N_acc": 0 if none_absent else share(tp, tp + fn),
        "T_acc": 0 if none_absent else share(tn, tn + fp),
    }
    for at in (0.7, 0.8, 0.9):
        scores[f"Pr@{at}"] = share(sum(iou >= at for iou in targeted), len(targeted))
    return scores


def test_200_random_generalised_sets_equal_the_definitions():
    generator = np.random.default_rng(1)
    for _ in range(200):
        count = generator.integers(1, 5)
        absent, said = generator.random((2, count)) < 0.4
        predictions, targets = masks(generator, count), masks(generator, count)
        targets[absent] = False
        counts = intersection_and_union(torch.from_numpy(predictions), torch.from_numpy(targets))
        samples = [
            generalised_counts(*row, truly_absent=a, said_absent=s)
            for row, a, s in zip(counts.tolist(), absent, said)
        ]
        expected = generalised_plainly(list(zip(predictions, targets, said, absent)))
        assert generalised_scores(samples) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_an_iou_of_exactly_x_counts_for_precision_at_x_but_not_for_the_strict_variant():
    counts = np.array([[3, 5], [1, 2]])  # iou 0.6 and 0.5
    assert referring_scores(counts)["Pr@0.6"] == 50
    assert referring_scores(counts)["Pr@0.5"] == 100
    strict = strict_precision(counts)
    assert (strict["Pr@0.5"], strict["Pr@0.6"]) == (50, 0)
    # I / (U + 1e-6): a little below the plain mean.
    assert strict["mIoU"] == pytest.approx(50 * (3 / 5.000001 + 1 / 2.000001))


def test_without_a_sample_there_is_no_number_and_no_error():
    assert all(math.isnan(v) for v in referring_scores(np.zeros((0, 2))).values())
    assert all(math.isnan(v) for v in generalised_scores([]).values())
    assert all(math.isnan(v) for v in strict_precision(np.zeros((0, 2))).values())


def test_only_samples_without_target_leave_the_target_accuracy_open():
    # The reference divides by zero here; N_acc is still known.
    samples = [generalised_counts(0, 0, truly_absent=True, said_absent=said) for said in (1, 1, 0)]
    scores = generalised_scores(samples)
    assert scores["N_acc"] == pytest.approx(100 * 2 / 3)
    assert scores["gIoU"] == pytest.approx(100 * 2 / 3)
    assert math.isnan(scores["T_acc"]) and math.isnan(scores["cIoU"])


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2, 3\) and target \(1, 3, 2\) differ"):
        intersection_and_union(torch.zeros(1, 2, 3).bool(), torch.zeros(1, 3, 2).bool())


def region(text, mask):
    return Region(text, mask=encode_mask(mask))


def record(index, regions, **more):
    height, width = SIZE
    return {"image_id": index, "height": height, "width": width, "regions": regions, **more}


LEFT, TOP = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
LEFT[:, :4], TOP[:3] = True, True


def run(name, records, outputs, **options):
    evaluator = ReferringEvaluator(name, **options)
    evaluator.process(records, outputs)
    return evaluator.evaluate()["referring"]


def test_a_perfect_answer_is_100_and_an_empty_one_0(catalog):
    records = [record(0, [region("left", LEFT), region("top", TOP)])]
    name = catalog(records)
    perfect = {"phrase_masks": torch.from_numpy(np.stack([LEFT, TOP]))}
    assert set(run(name, records, [perfect]).values()) == {100.0}
    empty = {"phrase_masks": torch.zeros(2, *SIZE, dtype=torch.bool)}
    assert set(run(name, records, [empty]).values()) == {0.0}


def test_a_perfect_answer_to_phrases_without_target_is_100_and_an_empty_one_finds_only_those(
    catalog,
):
    records = [record(0, [region("left", LEFT), Region("nowhere")])]
    name = catalog(records)
    masks = torch.from_numpy(np.stack([LEFT, np.zeros(SIZE, bool)]))
    options = {"generalised": True, "no_target_below": 0}
    perfect = run(name, records, [{"phrase_masks": masks}], **options)
    assert set(perfect.values()) == {100.0}
    empty = run(name, records, [{"phrase_masks": torch.zeros_like(masks)}], **options)
    assert (empty["gIoU"], empty["cIoU"], empty["N_acc"], empty["T_acc"]) == (50, 0, 100, 0)


def test_several_regions_of_one_phrase_are_one_target(catalog):
    records = [record(0, [region("all", LEFT), region("all", TOP)])]
    answer = {"phrase_masks": torch.from_numpy((LEFT | TOP)[None])}
    assert run(catalog(records), records, [answer])["oIoU"] == 100


def test_the_phrases_of_the_record_set_the_order(catalog):
    records = [record(0, [region("left", LEFT), region("top", TOP)])]
    asked = [{"image_id": 0, "texts": ["top", "left"]}]
    answer = {"phrase_masks": torch.from_numpy(np.stack([TOP, LEFT]))}
    assert run(catalog(records), asked, [answer])["mIoU"] == 100


def test_scores_count_above_the_threshold(catalog):
    records = [record(0, [region("left", LEFT)])]
    scores = torch.from_numpy(np.where(LEFT, 0.4, 0.1))[None]
    name = catalog(records)
    assert run(name, records, [{"phrase_masks": scores}])["oIoU"] == 0
    assert run(name, records, [{"phrase_masks": scores}], threshold=0.35)["oIoU"] == 100


def test_order_and_batches_do_not_matter(catalog):
    generator = np.random.default_rng(2)
    records = [record(i, [region("x", m)]) for i, m in enumerate(masks(generator, 6))]
    answers = [{"phrase_masks": torch.from_numpy(m[None])} for m in masks(generator, 6)]
    name = catalog(records)
    expected = run(name, records, answers)
    evaluator = ReferringEvaluator(name)
    for batch in ([5], [0, 3], [4, 1, 2]):
        evaluator.process([records[i] for i in batch], [answers[i] for i in batch])
    assert evaluator.evaluate()["referring"] == expected
    assert np.mean(evaluator.sample_scores) == pytest.approx(expected["mIoU"])
    evaluator.reset()
    with pytest.raises(ValueError, match="6 of 6 records.*have no prediction"):
        evaluator.evaluate()


def test_a_small_mask_says_that_there_is_no_target(catalog):
    records = [record(0, [Region("cat")]), record(1, [region("left", LEFT)])]
    name = catalog(records)
    speck = torch.zeros(1, *SIZE)
    speck[0, 0, :3] = 1
    outputs = [{"phrase_masks": speck}, {"phrase_masks": torch.from_numpy(LEFT[None])}]
    scores = run(name, records, outputs, generalised=True, no_target_below=4)
    assert (scores["gIoU"], scores["N_acc"], scores["T_acc"]) == (100, 100, 100)
    # 0 = only an empty mask says so: the speck is wrong now, and its 3 pixels join the union.
    scores = run(name, records, outputs, generalised=True, no_target_below=0)
    assert (scores["gIoU"], scores["N_acc"]) == (50, 0)
    assert scores["cIoU"] == pytest.approx(100 * 24 / 27)


def test_a_model_can_say_itself_that_there_is_no_target(catalog):
    records = [record(0, [Region("cat")]), record(1, [region("left", LEFT)])]
    full = torch.ones(1, *SIZE, dtype=torch.bool)
    outputs = [
        {"phrase_masks": full, "no_target": torch.tensor([True])},
        {"phrase_masks": full, "no_target": torch.tensor([True])},
    ]
    scores = run(catalog(records), records, outputs, generalised=True)
    # The second has a target: iou 0, no intersection, the union of the raw mask.
    assert (scores["gIoU"], scores["cIoU"], scores["T_acc"]) == (50, 0, 0)


def test_several_sources_are_reported_one_by_one_and_together(catalog):
    records = [
        record(0, [region("left", LEFT)], source="a"),
        record(1, [region("left", LEFT)], source="b"),
    ]
    outputs = [{"phrase_masks": torch.from_numpy(m[None])} for m in (LEFT, ~LEFT)]
    scores = run(catalog(records), records, outputs)
    assert (scores["mIoU-a"], scores["mIoU-b"], scores["mIoU"]) == (100, 0, 50)


def test_masks_can_be_scored_at_the_size_of_the_network(catalog):
    records = [record(0, [region("left", LEFT)])]
    small = torch.from_numpy(LEFT[::2, ::2][None])
    name = catalog(records)
    assert run(name, records, [{"phrase_masks": small}], resolution="network")["oIoU"] == 100
    with pytest.raises(
        ValueError, match=r"image_id 0.*has shape \(1, 3, 4\), the truth \(1, 6, 8\)"
    ):
        run(name, records, [{"phrase_masks": small}])
    with pytest.raises(ValueError, match="must be 'image' or 'network', got 'big'"):
        ReferringEvaluator(name, resolution="big")


def test_an_empty_data_set_gives_no_number_and_no_error(catalog):
    assert all(math.isnan(v) for v in run(catalog([]), [], []).values())


@pytest.mark.parametrize(
    "output, message",
    [
        ({}, "gave .*but no 'phrase_masks'"),
        ({"phrase_masks": torch.full((1, *SIZE), float("nan"))}, "holds NaN"),
        ({"phrase_masks": torch.zeros(2, *SIZE)}, r"shape \(2, 6, 8\), the truth \(1, 6, 8\)"),
        (
            {"phrase_masks": torch.zeros(1, *SIZE), "no_target": torch.zeros(2)},
            r"no_target has shape \(2,\), the truth \(1,\)",
        ),
    ],
)
def test_a_prediction_that_cannot_be_scored_names_the_image(catalog, output, message):
    records = [record(7, [region("left", LEFT)], file_name="seven.jpg")]
    with pytest.raises(ValueError, match=rf"seven.jpg \(image_id 7\).*{message}"):
        run(catalog(records), records, [output], generalised=True)


@pytest.mark.parametrize(
    "texts, regions, message",
    [
        (["dog"], [region("cat", LEFT)], r"missing \['cat'\], without a truth \['dog'\]"),
        (["cat"], [Region("cat", box=(0, 0, 1, 1))], "'cat': region 'cat' has no mask"),
        (["cat"], [region("cat", LEFT[:3])], r"'cat': RLE has size \[3, 8\], expected \[6, 8\]"),
    ],
)
def test_a_target_that_is_not_there_names_the_image(catalog, texts, regions, message):
    records = [record(7, regions)]
    asked = [{"image_id": 7, "texts": texts}]
    with pytest.raises(ValueError, match=f"image_id 7.*{message}"):
        run(catalog(records), asked, [{"phrase_masks": torch.zeros(1, *SIZE)}])


def test_a_mask_file_is_a_target_too(catalog, tmp_path):
    Image.fromarray(np.where(LEFT, 129, 128).astype(np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.where(TOP, 3, 1).astype(np.uint8)).save(tmp_path / "labels.png")
    records = [
        {"image_id": 0, "mask_file_name": str(tmp_path / "grey.png")},
        {"image_id": 1, "mask_file_name": str(tmp_path / "labels.png"), "object_id": 3},
    ]
    asked = [{"image_id": i, "height": 6, "width": 8, "texts": ["it"]} for i in range(2)]
    answers = [{"phrase_masks": torch.from_numpy(m[None])} for m in (LEFT, TOP)]
    assert run(catalog(records), asked, answers)["oIoU"] == 100
    (tmp_path / "grey.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="grey.png: the mask cannot be read"):
        run(catalog(records), asked, answers)
