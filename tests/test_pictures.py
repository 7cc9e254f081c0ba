import numpy as np
import pytest
from PIL import Image

from segplugins import pictures


def test_colours_differ_and_stay_when_classes_are_added():
    colours = pictures.class_colours(40)
    assert len(np.unique(colours, axis=0)) == 40
    np.testing.assert_array_equal(pictures.class_colours(7), colours[:7])


def test_an_overlay_mixes_the_class_colour_in_and_leaves_unnamed_pixels():
    image = np.full((4, 6, 3), 100, np.uint8)
    labels = np.full((4, 6), 255)
    labels[:, 3:] = 1
    painted = pictures.overlay(image, labels, 2, alpha=0.5)
    colour = pictures.class_colours(2)[1].astype(float)
    np.testing.assert_array_equal(painted[:, :3], image[:, :3])
    np.testing.assert_allclose(painted[0, 5], 50 + colour / 2, atol=0.5)
    # The line stands where the class begins: 40 % of the mixed colour, 60 % white.
    np.testing.assert_allclose(painted[0, 3], 0.4 * (50 + colour / 2) + 0.6 * 255, atol=0.5)


def test_an_overlay_refuses_a_map_of_another_size():
    with pytest.raises(ValueError, match=r"image is \(4, 6\) pixels, its label map \(4, 5\)"):
        pictures.overlay(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5), int), 2)


def test_masks_that_overlap_mix_and_keep_their_outlines():
    image = np.full((40, 60, 3), 100, np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, :30, :40] = masks[1, 10:, 20:] = True
    painted = pictures.overlay_masks(image, masks, alpha=0.5)
    first, second = pictures.class_colours(2).astype(float)
    np.testing.assert_array_equal(painted[35, 5], image[0, 0])  # in neither
    np.testing.assert_allclose(painted[5, 5], 50 + first / 2, atol=0.5)
    np.testing.assert_allclose(painted[20, 30], 50 + (first + second) / 4, atol=0.5)
    # Each outline goes on inside the other mask, and along the border of the image.
    assert (painted[29, 25:35] == first).all() and (painted[10, 25:35] == second).all()
    assert (painted[0, 5:35] == first).all() and (painted[39, 25:55] == second).all()


def test_outlines_that_run_together_take_turns():
    masks = np.zeros((3, 40, 60), bool)
    masks[:, 10:30, 10:50] = True
    painted = pictures.overlay_masks(np.zeros((40, 60, 3), np.uint8), masks)
    seen = {tuple(colour) for colour in painted[10, 10:50]}
    assert seen == {tuple(colour) for colour in pictures.class_colours(3)}


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"image is \(4, 6\) pixels, its masks \(4, 5\)"):
        pictures.overlay_masks(np.zeros((4, 6, 3), np.uint8), np.zeros((1, 4, 5), bool))


def test_a_picture_of_masks_has_a_legend_row_each_and_cuts_long_names():
    image, masks = np.zeros((300, 300, 3), np.uint8), np.zeros((2, 300, 300), bool)
    wide = pictures.masks_picture(image, masks, ["a" * 60, "b"]).shape[1]
    assert pictures.masks_picture(image, masks, ["a" * 500, "b"]).shape[1] <= wide
    assert pictures.masks_picture(image[:20, :30], masks[:, :20, :30], ["a", "b"]).shape[0] == 256


def test_a_legend_has_one_row_per_class_present():
    labels = np.zeros((10, 10), int)
    labels[0] = 2
    labels[1] = 255  # unnamed: no row
    panel = pictures.legend(labels, ["sky", "sea", "car"], height=0)
    assert panel.shape[0] == 2 * 18 + 10
    swatches = [tuple(panel[6 + row * 18 + 8, 16]) for row in range(2)]
    colours = pictures.class_colours(3)
    assert swatches == [tuple(colours[0]), tuple(colours[2])]  # largest first


def test_small_images_are_enlarged_and_large_ones_are_kept():
    assert pictures.enlarged(np.zeros((32, 64, 3), np.uint8), 128).shape == (128, 256, 3)
    large = np.zeros((300, 400, 3), np.uint8)
    assert pictures.enlarged(large, 128) is large


def test_label_values_survive_enlarging():
    labels = np.array([[0, 1], [70000, 2]])
    picture = pictures.enlarged_overlay(np.zeros((2, 2, 3), np.uint8), labels, 3, 16)
    expected = 0.55 * pictures.class_colours(3).astype(float)  # over a black image
    assert picture.shape == (16, 16, 3)
    np.testing.assert_allclose(picture[2, 2], expected[0], atol=0.5)
    np.testing.assert_allclose(picture[13, 13], expected[2], atol=0.5)
    np.testing.assert_array_equal(picture[13, 2], 0)  # no class: the image shows


def test_a_sheet_holds_every_picture():
    cells = [np.full((10, 20 + i, 3), i, np.uint8) for i in range(5)]
    page = pictures.sheet(cells, columns=2, titles=[f"number {i}" for i in range(5)])
    for i in range(5):
        assert (page == i).all(axis=-1).sum() >= 10 * (20 + i)


def test_curves_are_written_as_a_picture(tmp_path):
    panels = {"loss": {"total": ([0, 1, 2], [3.0, 2.0, 1.5])}, "mIoU": {"seen": ([2], [40.0])}}
    pictures.curves(tmp_path / "curve.png", panels)
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > picture.height > 300
