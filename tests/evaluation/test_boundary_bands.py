"""Boundary IoU against the definition of its paper, and boundary IoU of label maps."""

import numpy as np
import pytest
from scipy import ndimage

from segplugins.evaluation.boundary_bands import (
    band_width,
    banded_classes,
    boundary_ious,
    class_bands,
    mask_bands,
)
from segplugins.evaluation.packed_masks import all_in_window, pack, unpack


def band_plainly(mask, width):
    """The mask minus its erosion by 3 x 3, as many times as the band is wide."""
    eroded = ndimage.binary_erosion(mask, np.ones((3, 3), bool), iterations=width, border_value=0)
    return mask & ~eroded


def random_mask(generator, size):
    noise = ndimage.gaussian_filter(generator.normal(size=size), generator.uniform(0, 6))
    return noise > np.quantile(noise, generator.uniform(0, 0.9))


def test_the_width_is_2_percent_of_the_diagonal_and_at_least_1():
    assert band_width((3, 4)) == 1  # 0.1
    assert band_width((300, 400)) == 10
    assert band_width((480, 640)) == 16
    # 2.5 and 3.5: to the even number, as the code of the paper rounds.
    assert band_width((75, 100)) == 2
    assert band_width((105, 140)) == 4


@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.6])
def test_bands_equal_repeated_erosion(ratio):
    generator = np.random.default_rng(0)
    for _ in range(40):
        size = tuple(generator.integers(1, 140, 2))
        masks = np.stack([random_mask(generator, size) for _ in range(3)])
        words = mask_bands(masks, ratio)
        expected = [band_plainly(mask, band_width(size, ratio)) for mask in masks]
        assert np.array_equal(unpack(words, size[1]), np.stack(expected))
        assert not unpack(words, words.shape[-1] * 64)[..., size[1] :].any()


def test_the_border_of_the_image_is_a_boundary():
    # A full image of 100 x 75 has d = round(2.5) = 2: all but 96 x 71 pixels are its band.
    (band,) = unpack(mask_bands(np.ones((1, 100, 75), bool)), 75)
    assert band.sum() == 100 * 75 - 96 * 71
    assert band[:2].all() and band[:, -2:].all() and not band[2:-2, 2:-2].any()


def test_a_window_reaches_as_far_as_it_says():
    bits = np.ones((9, 70), bool)
    bits[4, 66] = False
    words = all_in_window(pack(bits, spare=3).words, 2, 1)
    rows, columns = np.nonzero(~unpack(words, 70)[2:-1, 2:-1])
    # A bit is lost if the hole lies up to 2 rows or columns before it, or 1 after it.
    assert (rows.min() + 2, rows.max() + 2) == (3, 6)
    assert (columns.min() + 2, columns.max() + 2) == (65, 68)


def random_labels(generator, size, classes):
    noise = [ndimage.gaussian_filter(generator.normal(size=size), 4) for _ in range(classes)]
    return np.argmax(noise, axis=0)


def paper_ious(prediction, truth, classes):
    """Boundary IoU of each class's mask as the paper has it; NaN without a true pixel."""
    width, ious = band_width(truth.shape), []
    for label in range(classes):
        p, g = (band_plainly(labels == label, width) for labels in (prediction, truth))
        ious.append((p & g).sum() / (p | g).sum() if g.any() else np.nan)
    return ious


def ours(prediction, truth, classes):
    bands = banded_classes(prediction, truth, classes)
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(confusion, tuple(map(np.ravel, bands)), 1)
    return boundary_ious(confusion)


def test_label_maps_equal_the_paper_class_by_class_in_any_order_of_the_classes():
    generator = np.random.default_rng(1)
    for _ in range(30):
        size, classes = tuple(generator.integers(2, 120, 2)), int(generator.integers(1, 6))
        prediction, truth = (random_labels(generator, size, classes) for _ in range(2))
        expected = paper_ious(prediction, truth, classes)
        result = ours(prediction, truth, classes)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)
        order = generator.permutation(classes)
        permuted = ours(order[prediction], order[truth], classes)
        np.testing.assert_allclose(permuted[order], expected, rtol=0, atol=1e-12)


def test_each_class_has_its_own_band_and_none_has_none():
    labels = np.zeros((20, 20), int)  # d = 1
    labels[:, 10:] = 1
    labels[5:15, 5:15] = 2
    bands = class_bands(labels, none=2)
    # Of class 0: the border of the image 20 + 2 * 9, beside class 1 twice 4 that are not at the
    # border, and around the hole 5 above, 5 below and 10 to the left.
    assert (bands == 0).sum() == 38 + 8 + 20
    assert np.array_equal(bands == 1, (bands == 0)[:, ::-1])
    expected = np.where(
        band_plainly(labels == 1, 1), 1, np.where(band_plainly(labels == 0, 1), 0, 2)
    )
    assert np.array_equal(bands, expected)


def test_ignored_pixels_make_no_prediction_wrong():
    # The truth is known on the left only; what the prediction says on the right is no matter.
    truth = np.full((20, 20), 2)
    truth[:, :8] = 0
    truth[:5, :8] = 1
    for rest in (0, 1, 2):
        prediction = np.where(truth == 2, rest, truth)
        assert ours(prediction, truth, 2).tolist() == [1, 1]


def test_a_class_that_is_predicted_but_never_true_has_no_number_and_harms_the_others():
    truth, prediction = np.zeros((40, 40), int), np.zeros((40, 40), int)
    prediction[:, 20:] = 1
    result = ours(prediction, truth, 2)
    assert np.isnan(result[1])
    # d = 1: the true band is the border, 156 pixels. The predicted band of class 0 shares its left
    # half, 40 + 2 * 19, and has 38 pixels more in the middle.
    assert result[0] == pytest.approx((40 + 2 * 19) / (156 + 38))
