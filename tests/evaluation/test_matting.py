"""Errors of alpha mattes, by hand."""

import math

import numpy as np
import pytest

from segplugins.evaluation.matting import gradient_magnitude, matting_errors


def test_sad_and_mse_count_the_unknown_band_alone():
    truth = np.zeros((10, 20))
    alpha = truth.copy()
    alpha[2, :8] = 0.5  # in the band
    alpha[7, :5] = 1.0  # outside of it
    unknown = np.zeros(truth.shape, bool)
    unknown[:4] = True
    errors = matting_errors(alpha, truth, unknown)
    assert errors["SAD"] == pytest.approx(8 * 0.5 / 1000)
    assert errors["MSE"] == pytest.approx(8 * 0.25 / (4 * 20))
    everywhere = matting_errors(alpha, truth)
    assert everywhere["SAD"] == pytest.approx((4 + 5) / 1000)
    assert everywhere["MSE"] == pytest.approx((2 + 5) / 200)


def test_a_ramp_has_its_slope_as_gradient_in_either_direction():
    ramp = np.tile(np.arange(40) * 0.02, (30, 1))
    # Far from the border, where a filter sees the ramp alone.
    assert gradient_magnitude(ramp)[10:20, 10:30] == pytest.approx(0.02, rel=1e-3)
    assert gradient_magnitude(ramp.T)[10:30, 10:20] == pytest.approx(0.02, rel=1e-3)


def test_grad_compares_lengths_and_not_directions():
    right = np.tile(np.arange(40) * 0.02, (40, 1))
    down, steeper = right.T, right / 2
    inner = np.zeros((40, 40), bool)
    inner[10:30, 10:30] = True
    assert matting_errors(right, down, inner)["Grad"] == pytest.approx(0, abs=1e-9)
    expected = 400 * (0.02 - 0.01) ** 2 / 1000
    assert matting_errors(right, steeper, inner)["Grad"] == pytest.approx(expected, rel=1e-3)


def test_the_filters_width_is_1_4_pixels():
    step = np.zeros((21, 41))
    step[:, 20:] = 1.0
    # The derivative of a step smoothed by a Gaussian is the Gaussian itself, half a pixel off.
    peak = math.exp(-(0.5**2) / (2 * 1.4**2)) / (1.4 * math.sqrt(2 * math.pi))
    assert gradient_magnitude(step)[10, 20] == pytest.approx(peak, rel=0.02)


def test_the_right_matte_has_no_error_and_an_empty_band_none_at_all():
    truth = np.random.default_rng(0).random((8, 8))
    assert set(matting_errors(truth, truth).values()) == {0.0}
    empty = matting_errors(truth, truth, np.zeros((8, 8), bool))
    assert list(empty) == ["SAD", "MSE", "Grad"] and all(map(math.isnan, empty.values()))


@pytest.mark.parametrize(
    "alpha, message",
    [
        (np.full((4, 4), 1.5), r"alpha must be \(H, W\) with values in \[0, 1\]"),
        (np.full((4, 4), np.nan), "alpha must be"),
        (np.zeros((4, 4, 1)), r"got shape \(4, 4, 1\)"),
        (np.zeros((4, 5)), r"alpha \(4, 5\), truth \(4, 4\)"),
    ],
)
def test_what_is_no_matte_is_named(alpha, message):
    with pytest.raises(ValueError, match=message):
        matting_errors(alpha, np.zeros((4, 4)))
