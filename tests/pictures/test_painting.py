"""Colours over images: how they mix, where lines run."""

import numpy as np
import pytest

from segplugins.pictures import paint_label_map, paint_masks, seen_class_colours
from segplugins.pictures.painting import outline, region_of

COLOURS = np.array([[200, 30, 30], [20, 60, 220], [240, 200, 0]], np.uint8)


def test_a_label_map_mixes_the_class_colour_in_and_leaves_unnamed_pixels():
    image = np.full((4, 6, 3), 100, np.uint8)
    labels = np.full((4, 6), 255)
    labels[:, 3:] = 1
    painted = paint_label_map(image, labels, COLOURS, alpha=0.5)
    np.testing.assert_array_equal(painted[:, :3], image[:, :3])
    np.testing.assert_allclose(painted[0, 5], 50 + COLOURS[1] / 2, atol=0.5)
    # The line stands where the class begins: a quarter of the mixed colour, the rest white.
    np.testing.assert_allclose(painted[0, 3], (50 + COLOURS[1] / 2) / 4 + 0.75 * 255, atol=1)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, np.uint8, np.int8])
def test_label_maps_of_any_integer_type_are_painted(kind):
    labels = np.array([[0, 1, 2, 3, 100]] * 2, kind)
    painted = paint_label_map(np.zeros((2, 5, 3), np.uint8), labels, COLOURS, alpha=1.0)
    np.testing.assert_array_equal(painted[1, 0], COLOURS[0])
    np.testing.assert_array_equal(painted[1, 4], [0, 0, 0])
    np.testing.assert_array_equal(labels, np.array([[0, 1, 2, 3, 100]] * 2, kind))


def test_negative_labels_and_more_than_256_classes_keep_their_places():
    colours = np.arange(900).reshape(300, 3).astype(np.uint8)
    labels = np.array([[-1, -1], [299, 299], [299, 299], [299, 299]])
    painted = paint_label_map(np.full((4, 2, 3), 9, np.uint8), labels, colours, alpha=1.0)
    np.testing.assert_array_equal(painted[0], 9)
    np.testing.assert_allclose(painted[1, 0], colours[299] / 4 + 0.75 * 255, atol=1)  # on the line
    np.testing.assert_array_equal(painted[2:], np.broadcast_to(colours[299], (2, 2, 3)))


def test_lines_are_faint_where_classes_are_specks():
    labels = np.indices((20, 20)).sum(axis=0) % 2  # a chess board: every pixel is on a line
    painted = paint_label_map(np.zeros((20, 20, 3), np.uint8), labels, COLOURS, alpha=1.0)
    np.testing.assert_allclose(painted[5, 5], 0.75 * COLOURS[0] + 0.25 * 255, atol=1)


def test_lines_are_drawn_where_segments_change():
    image, labels = np.zeros((3, 6, 3), np.uint8), np.zeros((3, 6), int)
    segments = labels.copy()
    segments[:, 4:] = 7
    painted = paint_label_map(image, labels, COLOURS, segments=segments, alpha=1.0)
    np.testing.assert_array_equal(painted[:, [0, 3, 5]], np.tile(COLOURS[0], (3, 3, 1)))
    np.testing.assert_allclose(painted[1, 4], COLOURS[0] / 4 + 0.75 * 255, atol=1)


@pytest.mark.parametrize("what, size", [("label map", (4, 5)), ("mask", (5, 6))])
def test_a_map_or_mask_of_another_size_is_refused(what, size):
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=rf"image is \(4, 6\) pixels, its {what} \({size[0]}, "):
        if what == "mask":
            paint_masks(image, np.ones((1, *size), bool), COLOURS)
        else:
            paint_label_map(image, np.zeros(size, int), COLOURS)


@pytest.mark.parametrize("image", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.float32)])
def test_an_image_that_is_not_rgb_bytes_is_refused(image):
    with pytest.raises(ValueError, match=r"expected \(height, width, 3\) of uint8, RGB"):
        paint_label_map(image, np.zeros((4, 6), int), COLOURS)


def test_masks_that_overlap_mix_and_keep_their_outlines():
    image = np.full((60, 90, 3), 100, np.uint8)
    masks = np.zeros((2, 60, 90), bool)
    masks[0, :45, :60] = masks[1, 15:, 30:] = True
    painted = paint_masks(image, masks, COLOURS, alpha=0.5)
    first, second = COLOURS[:2].astype(float)
    np.testing.assert_array_equal(painted[52, 10], image[0, 0])  # in neither
    np.testing.assert_allclose(painted[10, 10], 50 + first / 2, atol=1)
    # Equal areas: the one given later lies on top of the first tint.
    np.testing.assert_allclose(painted[30, 45], (50 + first / 2) / 2 + second / 2, atol=1)
    # Each outline goes on inside the other mask, and along the border of the image.
    assert (painted[44, 35:55] == COLOURS[0]).all() and (painted[15, 35:55] == COLOURS[1]).all()
    assert (painted[0, 5:55] == COLOURS[0]).all() and (painted[59, 35:85] == COLOURS[1]).all()


def test_a_small_mask_lies_on_a_large_one_in_any_order():
    masks = np.zeros((2, 60, 60), bool)
    masks[0, 20:40, 20:40] = masks[1] = True
    image = np.zeros((60, 60, 3), np.uint8)
    painted = paint_masks(image, masks, COLOURS, alpha=0.8)
    np.testing.assert_allclose(painted[30, 30], 0.8 * COLOURS[0] + 0.16 * COLOURS[1], atol=1)
    np.testing.assert_array_equal(
        paint_masks(image, masks[::-1], COLOURS[[1, 0]], alpha=0.8), painted
    )


def test_outlines_that_run_together_take_turns():
    masks = np.zeros((3, 40, 90), bool)
    masks[:, 10:30, 10:80] = True
    painted = paint_masks(np.zeros((40, 90, 3), np.uint8), masks, COLOURS)
    assert {tuple(colour) for colour in painted[10, 10:80]} == {tuple(c) for c in COLOURS}


def test_an_empty_mask_paints_nothing():
    image = np.full((8, 8, 3), 7, np.uint8)
    np.testing.assert_array_equal(paint_masks(image, np.zeros((1, 8, 8), bool), COLOURS), image)


def test_an_outline_is_as_wide_as_asked_at_the_border_too():
    mask = np.zeros((10, 10), np.uint8)
    mask[:8, :8] = 1
    line = outline(mask, 2)
    assert line[:8, :8].sum() == 64 - 16 and not line[2:6, 2:6].any() and not line[8:].any()


def test_the_region_of_a_mask_holds_all_of_it():
    mask = np.zeros((9, 12), bool)
    mask[2, 3] = mask[6, 10] = True
    region = region_of(mask)
    assert region.place == (slice(2, 7), slice(3, 11)) and region.area == 2
    np.testing.assert_array_equal(region.inside, mask[2:7, 3:11])
    assert region_of(mask * 0.0).area == region_of(mask & False).area == 0
    # A view of a larger array, as a batch of masks gives it.
    assert region_of(np.stack([mask, mask], axis=-1)[..., 0]).area == 2


def test_seen_colours_are_blended_with_what_is_under_them():
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 1] = 100
    labels = np.array([[0, 0, 255, 2]] * 2)
    seen = seen_class_colours(image, labels, COLOURS, alpha=0.5)
    np.testing.assert_allclose(seen[0], 0.5 * 50 + COLOURS[0] / 2, atol=1)
    np.testing.assert_array_equal(seen[1], COLOURS[1])  # it does not occur
    np.testing.assert_allclose(seen[2], COLOURS[2] / 2, atol=1)
