"""Salient object metrics: by hand, against a plain re-statement, and as an evaluator."""

import logging
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from segplugins.evaluation.saliency import (
    dataset_scores,
    f_measure,
    histograms,
    normalised_levels,
    saliency_scores,
)
from segplugins.evaluation.salient import SalientEvaluator, grey_map
from segplugins.evaluation.structure import structure_measure, weighted_f
from segplugins.structures.regions import Region, encode_mask

EPS = np.finfo(float).eps


def normalised(grey):
    q = grey / 255
    return q if q.min() == q.max() else (q - q.min()) / (q.max() - q.min())


def f_plainly(b, g):
    tp = (b & g).sum()
    if tp == 0:
        return 0.0
    precision, recall = tp / b.sum(), tp / g.sum()
    return 1.3 * precision * recall / (0.3 * precision + recall)


def e_plainly(b, g):
    if not g.any():
        total = (~b).sum()
    elif g.all():
        total = b.sum()
    else:
        u, v = b - b.mean(), g - g.mean()
        total = ((2 * u * v / (u * u + v * v + EPS) + 1) ** 2 / 4).sum()
    return total / (g.size - 1 + EPS)


def s_plainly(q, g):
    if not g.any():
        return 1 - q.mean()
    if g.all():
        return q.mean()

    def o(x):
        spread = x.std(ddof=1) if x.size > 1 else 0
        return 2 * x.mean() / (x.mean() ** 2 + 1 + spread + EPS)

    rows, columns = np.nonzero(g)
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    blocks = [(q[a, b], g[a, b].astype(float)) for a in cut(y) for b in cut(x)]
    shares = [block.size / g.size for block, _ in blocks[:3]]
    shares.append(1 - sum(shares))
    regions = sum(share * likeness(*block) for share, block in zip(shares, blocks) if block[0].size)
    objects = g.mean() * o(q[g]) + (1 - g.mean()) * o(1 - q[~g])
    return max(0, (objects + regions) / 2)


def cut(at):
    return slice(0, at), slice(at, None)


def likeness(x, y):
    n = x.size
    cov = ((x - x.mean()) * (y - y.mean())).sum() / (n - 1 + EPS)
    variances = [((z - z.mean()) ** 2).sum() / (n - 1 + EPS) for z in (x, y)]
    a = 4 * x.mean() * y.mean() * cov
    b = (x.mean() ** 2 + y.mean() ** 2) * sum(variances)
    return a / (b + EPS) if a != 0 else float(b == 0)


def weighted_plainly(q, g):
    """Every pixel asks every object pixel; of equals the leftmost, then the upper one."""
    if not g.any():
        return 0.0
    error = np.abs(q - g)
    at = np.argwhere(g.T)[:, ::-1]
    spread, distance = error.copy(), np.zeros(g.shape)
    for pixel in np.argwhere(~g):
        squared = ((at - pixel) ** 2).sum(axis=1)
        spread[tuple(pixel)] = error[tuple(at[squared.argmin()])]
        distance[tuple(pixel)] = math.sqrt(squared.min())
    y, x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(y * y + x * x) / 50)
    window /= window.sum()
    padded = np.pad(spread, 3)
    smooth = np.zeros(g.shape)
    for pixel in np.ndindex(g.shape):
        smooth[pixel] = (padded[pixel[0] : pixel[0] + 7, pixel[1] : pixel[1] + 7] * window).sum()
    lowered = np.where(g & (smooth < error), smooth, error)
    weights = np.where(g, 1, 2 - np.exp(math.log(0.5) / 5 * distance))
    tp = g.sum() - lowered[g].sum()
    fp = (lowered * weights)[~g].sum()
    recall, precision = 1 - lowered[g].mean(), tp / (tp + fp + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def random_case(generator):
    size = tuple(generator.integers(2, 14, 2))
    kind = generator.integers(0, 6)
    if kind == 0:
        target = np.full(size, generator.random() < 0.5)
    elif kind == 1:  # a rectangle, sometimes in the last row or column
        target = np.zeros(size, bool)
        y, x = (generator.integers(0, side) for side in size)
        target[y:, x:] = True
    else:
        target = generator.random(size) < generator.random()
    grey = generator.integers(0, 256, size)
    if kind == 2:
        grey = np.full(size, generator.integers(0, 256))
    elif kind == 3:
        grey = np.where(target, 255, 0)
    elif kind == 4:
        grey = np.where(target, 200, 40) + generator.integers(-40, 41, size)
    return grey.astype(np.uint8), target


def test_200_random_maps_equal_the_definitions():
    generator = np.random.default_rng(0)
    for _ in range(200):
        grey, g = random_case(generator)
        scores, q = saliency_scores(grey, g), normalised(grey)
        level = np.floor(q * 255)
        adaptive = q >= min(2 * q.mean(), 1)
        binary = [level >= threshold for threshold in range(255, -1, -1)]
        assert scores.mae == pytest.approx(np.abs(q - g).mean(), abs=1e-12)
        assert scores.adaptive_f == pytest.approx(f_plainly(adaptive, g), abs=1e-12)
        assert scores.adaptive_e == pytest.approx(e_plainly(adaptive, g), abs=1e-12)
        np.testing.assert_allclose(scores.f_curve, [f_plainly(b, g) for b in binary], atol=1e-12)
        np.testing.assert_allclose(scores.e_curve, [e_plainly(b, g) for b in binary], atol=1e-12)
        assert scores.s == pytest.approx(s_plainly(q, g), abs=1e-12)
        half = q > 0.5
        tp, marked, union = (half & g).sum(), half.sum(), (half | g).sum()
        expected = [
            tp / marked if marked else 0,
            tp / g.sum() if g.any() else 0,
            f_plainly(half, g),
            tp / union if union else 0,
            2 * tp / (marked + g.sum()) if marked + g.sum() else 0,
        ]
        np.testing.assert_allclose(scores.binary, expected, atol=1e-12)


def test_200_random_weighted_f_equal_the_definition():
    generator = np.random.default_rng(1)
    for _ in range(200):
        size = tuple(generator.integers(2, 12, 2))
        g = generator.random(size) < generator.choice([0.05, 0.3, 0.9])
        if generator.random() < 0.3:  # a rectangle has one nearest pixel everywhere
            y, x = (generator.integers(0, side) for side in size)
            g[:] = False
            g[y : y + generator.integers(1, 6), x : x + generator.integers(1, 6)] = True
        q = normalised(generator.integers(0, 256, size))
        assert weighted_f(q, g) == pytest.approx(weighted_plainly(q, g), abs=1e-12)


def test_of_equally_near_object_pixels_scipy_takes_the_leftmost_then_the_upper_one():
    # The reference takes the nearest pixel from SciPy; the rule above must stay that of SciPy.
    generator = np.random.default_rng(3)
    for _ in range(200):
        g = generator.random(tuple(generator.integers(2, 14, 2))) < 0.15
        g.flat[0] = True
        nearest = ndimage.distance_transform_edt(~g, return_distances=False, return_indices=True)
        at = np.argwhere(g.T)[:, ::-1]
        for pixel in np.argwhere(~g):
            expected = at[((at - pixel) ** 2).sum(axis=1).argmin()]
            assert nearest[:, pixel[0], pixel[1]].tolist() == expected.tolist()


def test_wide_maps_take_distances_of_more_than_2048_pixels():
    # A pixel on the left is the object; one pixel of error 1 at distance d weighs 2 - 2^(-d / 5).
    g = np.zeros((1, 2100), bool)
    g[0, 0] = True
    for d in (1, 5, 2099):
        q = g.astype(float)
        q[0, d] = 1.0
        precision = 1 / (1 + 2 - 2 ** (-d / 5))
        assert weighted_f(q, g) == pytest.approx(2 * precision / (precision + 1), abs=1e-12)


def test_a_map_is_stretched_unless_it_is_constant():
    grey = np.array([[51, 102], [153, 102]], np.uint8)
    assert normalised_levels(grey)[[51, 102, 153]] == pytest.approx([0, 0.5, 1])
    assert normalised_levels(np.full((2, 2), 51, np.uint8))[51] == 0.2


def test_a_perfect_map_scores_1():
    target = np.zeros((10, 12), bool)
    target[2:7, 3:9] = True
    scores = saliency_scores(np.where(target, 255, 0).astype(np.uint8), target)
    assert scores.mae == 0
    assert (scores.adaptive_f, scores.weighted_f) == pytest.approx((1, 1))
    assert scores.f_curve[:255] == pytest.approx(1)  # all but threshold 0, which marks everything
    # The sum over 120 pixels is divided by 119: the reference scores a little above 1.
    assert scores.adaptive_e == pytest.approx(120 / 119)
    assert scores.s == pytest.approx(1)
    assert scores.binary == pytest.approx(1)


def test_an_empty_answer_scores_0():
    # 3 pixels from the border: nearer, the zero border of the smoothing would excuse some error.
    target = np.zeros((12, 14), bool)
    target[3:8, 3:9] = True
    scores = saliency_scores(np.zeros((12, 14), np.uint8), target)
    assert scores.mae == pytest.approx(30 / 168)
    assert scores.f_curve[:255].max() == 0 and scores.binary.max() == 0
    assert scores.weighted_f == pytest.approx(0)


def test_a_target_without_object_or_without_background():
    grey = np.array([[0, 255], [0, 0]], np.uint8)
    nothing, everything = np.zeros((2, 2), bool), np.ones((2, 2), bool)
    empty, full = saliency_scores(grey, nothing), saliency_scores(grey, everything)
    assert (empty.s, empty.weighted_f, empty.f_curve.max()) == (0.75, 0, 0)
    assert full.s == 0.25
    assert empty.adaptive_e == pytest.approx(3 / 3)  # 3 of 4 pixels unmarked, by 4 - 1
    assert full.adaptive_e == pytest.approx(1 / 3)


def test_a_centroid_in_the_last_column_gives_no_nan(caplog):
    # The reference divides by zero there and the score of the whole set is NaN.
    target = np.zeros((4, 4), bool)
    target[1, 3] = True
    with caplog.at_level(logging.INFO):
        grey = np.where(target, 230, 25).astype(np.uint8)
        counts = histograms(grey, target)
        score = structure_measure(counts.levels[grey], target, counts)
    assert 0 < score < 1
    assert "a block around the centroid is empty" in caplog.text


def test_curves_are_averaged_before_their_maximum_is_taken():
    # Best at different thresholds: the maximum of the mean is below the mean of the maxima.
    target = np.zeros((8, 8), bool)
    target[2:5, 2:5] = True
    ring = np.zeros((8, 8), bool)
    ring[1:6, 1:6] = True
    maps = [np.where(target, 255, np.where(ring, level, 0)).astype(np.uint8) for level in (250, 9)]
    maps[0][0, 0] = maps[1][0, 0] = 3
    images = [saliency_scores(grey, target) for grey in maps]
    mean = np.mean([image.f_curve for image in images], axis=0)
    scores = dataset_scores(images)
    assert scores["maxF"] == pytest.approx(mean.max())
    assert scores["meanF"] == pytest.approx(mean.mean())
    assert scores["adpF"] == pytest.approx(np.mean([image.adaptive_f for image in images]))


def test_f_weighs_precision_more():
    # P = 1/2, R = 1 and the other way round; beta^2 = 0.3.
    assert f_measure(np.array([5, 5]), np.array([5, 0]), 5)[0] == pytest.approx(1.3 * 0.5 / 1.15)
    assert f_measure(np.array([5]), np.array([0]), 10)[0] == pytest.approx(1.3 * 0.5 / 0.8)


def test_scores_become_grey_values_as_in_a_file():
    scores = torch.tensor([[0.0, 0.5, 1.0, 0.1]])
    assert grey_map(scores).tolist() == [[0, 128, 255, 26]]  # 127.5 to even, 25.5 to even
    grey = torch.tensor([[3, 200]], dtype=torch.uint8)
    assert grey_map(grey).tolist() == [[3, 200]]


@pytest.mark.parametrize(
    "scores, message",
    [
        (torch.zeros(2, 2, dtype=torch.bool), "got torch.bool; a binary mask has no curve"),
        (torch.full((2, 2), 1.5), "range from 1.5 to 1.5, expected 0-1"),
        (torch.full((2, 2), -3.0), "range from -3 to -3, expected 0-1"),
    ],
)
def test_a_map_that_is_no_score_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        grey_map(scores)


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"map \(2, 3\) and target \(3, 2\)"):
        saliency_scores(np.zeros((2, 3), np.uint8), np.zeros((3, 2), bool))


def world(generator, count=5):
    records, maps, truths = [], [], []
    for i in range(count):
        grey, target = random_case(generator)
        region = Region("the most salient object", mask=encode_mask(target))
        size = {"height": target.shape[0], "width": target.shape[1]}
        records.append({"file_name": f"{i}.jpg", "image_id": i, "regions": [region], **size})
        maps.append(grey)
        truths.append(target)
    return records, maps, truths


def outputs_of(maps):
    return [{"phrase_masks": torch.from_numpy(grey[None] / 255)} for grey in maps]


def run(evaluator, records, outputs):
    evaluator.process(records, outputs)
    return evaluator.evaluate()["salient"]


def test_the_evaluator_scores_what_the_functions_score(catalog):
    records, maps, truths = world(np.random.default_rng(2))
    expected = dataset_scores([saliency_scores(m, t) for m, t in zip(maps, truths)])
    name = catalog(records)
    assert run(SalientEvaluator(name), records, outputs_of(maps)) == expected
    grey = [{"phrase_masks": torch.from_numpy(m[None])} for m in maps]
    assert run(SalientEvaluator(name), records, grey) == expected


def test_order_and_batches_do_not_matter(catalog):
    records, maps, _ = world(np.random.default_rng(3))
    outputs = outputs_of(maps)
    evaluator = SalientEvaluator(catalog(records))
    expected = run(evaluator, records, outputs)
    evaluator.reset()
    for batch in ([4], [2, 0], [1, 3]):
        evaluator.process([records[i] for i in batch], [outputs[i] for i in batch])
    assert evaluator.evaluate()["salient"] == expected
    assert np.mean(evaluator.sample_scores) == pytest.approx(100 * (1 - expected["MAE"]))
    evaluator.reset()
    with pytest.raises(ValueError, match="5 of 5 records"):
        evaluator.evaluate()


def test_an_empty_set_gives_no_number_and_no_error(catalog):
    scores = run(SalientEvaluator(catalog([])), [], [])
    assert len(scores) == 14 and all(math.isnan(value) for value in scores.values())


@pytest.mark.parametrize(
    "output, message",
    [
        ({}, "no 'phrase_masks'"),
        ({"phrase_masks": torch.full((1, 3, 4), float("nan"))}, "holds NaN"),
        ({"phrase_masks": torch.zeros(1, 4, 3)}, r"shape \(1, 4, 3\), the truth \(1, 3, 4\)"),
        ({"phrase_masks": torch.zeros(1, 3, 4).bool()}, "a binary mask has no curve"),
    ],
)
def test_a_prediction_that_cannot_be_scored_names_the_image(catalog, output, message):
    region = Region("it", mask=encode_mask(np.zeros((3, 4), bool)))
    record = {"file_name": "a.jpg", "height": 3, "width": 4, "regions": [region]}
    with pytest.raises(ValueError, match=f"a.jpg.*{message}"):
        run(SalientEvaluator(catalog([record])), [record], [output])
