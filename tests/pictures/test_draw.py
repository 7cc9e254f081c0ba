"""Results as pictures: everything painted is named, at any size."""

import numpy as np
import pytest

from segplugins.pictures import Style, class_colours, draw_label_map, draw_masks, draw_panoptic
from segplugins.pictures.legend import PAPER

NAMES = ("sky", "grass", "road", "nothing of these")
BARE = Style(legend=False, plates=False)


def quarters(height=240, width=320):
    """Returns an image and a label map of four quarters, labelled 0..3."""
    labels = np.zeros((height, width), np.int64)
    labels[:, width // 2 :] += 1
    labels[height // 2 :] += 2
    return np.full((height, width, 3), 100, np.uint8), labels


def near(drawn, colour, tolerance=1):
    """Returns where a picture has a colour."""
    return np.abs(drawn.astype(int) - np.asarray(colour, int)).max(axis=-1) <= tolerance


def blended(name, alpha=0.6, grey=100):
    return (1 - alpha) * grey + alpha * class_colours(NAMES)[NAMES.index(name)]


def test_the_legend_shows_every_painted_class_in_the_colour_that_is_seen():
    image, labels = quarters(256, 320)
    drawn = draw_label_map(image, labels, NAMES)
    legend = drawn[:, 330:]
    for name in NAMES:
        assert near(drawn[:, :320], blended(name)).sum() > 10_000
        # The mean of the class takes in the white lines between classes: a little lighter.
        assert near(legend, blended(name), 6).sum() >= 100, name


def test_a_class_of_a_single_pixel_is_in_the_legend():
    image, labels = np.full((1500, 1500, 3), 100, np.uint8), np.zeros((1500, 1500), int)
    labels[701, 703] = 1
    drawn = draw_label_map(image, labels, ("sky", "zebra"))
    single = draw_label_map(image, labels * 0, ("sky", "zebra"))
    assert not np.array_equal(drawn[:, 1510:], single[:, 1510:])


def test_classes_that_mean_none_of_these_are_not_painted():
    image, labels = quarters(256, 320)
    drawn = draw_label_map(image, labels, NAMES, unpainted=[3], style=BARE)
    assert (drawn[140:, 170:] == 100).all() and (drawn[:120, :150] != 100).any()
    # The legend tells how much that is, beside an empty box.
    legend = draw_label_map(image, labels, NAMES, unpainted=[3])[:, 330:]
    assert not near(legend, blended(NAMES[3]), 6).any()
    np.testing.assert_array_equal(legend, draw_label_map(image, labels, NAMES[:3])[:, 330:])


def test_the_same_class_has_one_colour_in_different_pictures():
    image, labels = quarters(256, 320)
    pictures = [draw_label_map(image, each, NAMES, style=BARE) for each in (labels, labels * 0 + 2)]
    np.testing.assert_array_equal(pictures[0][200, 40], pictures[1][200, 40])


@pytest.mark.parametrize("size", [(72, 96), (3024, 4032)])
def test_a_legend_can_be_read_beside_small_and_large_pictures(size):
    image, labels = quarters(*size)
    drawn = draw_label_map(image, labels, NAMES)
    picture_height = drawn.shape[0]
    legend_colour = near(drawn, blended("sky"), 8)
    legend_colour[:, : round(picture_height * 4 / 3) + 2] = False
    side = np.ptp(np.flatnonzero(legend_colour.any(axis=1))) + 1
    # As large as a letter: 12 pixels at least, a fiftieth to a seventieth of the picture.
    assert side >= 10 and 1 / 75 < side / picture_height < 1 / 20


@pytest.mark.parametrize("size", [(3, 900), (900, 3), (1, 2000), (1, 1)])
def test_thin_pictures_are_drawn_within_bounds(size):
    image, labels = np.full((*size, 3), 50, np.uint8), np.zeros(size, int)
    for style in (Style(), Style(original=True)):
        drawn = draw_label_map(image, labels, NAMES, style=style)
        assert max(drawn.shape) <= 2400
        # The legend is there, though the picture is three pixels high.
        colour = 0.4 * 50 + 0.6 * class_colours(NAMES)[0]
        assert near(drawn, colour).sum() > size[0] * size[1]


def test_a_huge_picture_is_reduced():
    image, labels = np.zeros((100, 9000, 3), np.uint8), np.zeros((100, 9000), np.uint8)
    assert draw_label_map(image, labels, NAMES, style=BARE).shape == (46, 4096, 3)
    small = Style(legend=False, longest_side=500)
    assert draw_label_map(image, labels, NAMES, style=small).shape == (6, 500, 3)


def test_scores_stand_with_the_names():
    image, labels = quarters()
    plain, unscored, scored = (
        draw_label_map(image, labels, NAMES, scores=scores)
        for scores in (None, [float("nan")] * 4, [0.9, 0.8, 0.7, 0.25])
    )
    np.testing.assert_array_equal(plain, unscored)
    assert scored.shape[1] > plain.shape[1] + 20


def masks(count=2):
    made = np.zeros((count, 300, 400), bool)
    for i in range(count):
        made[i, 100:200, 20 + 120 * i : 100 + 120 * i] = True
    return np.full((300, 400, 3), 100, np.uint8), made


def test_instances_of_a_name_share_a_row_and_have_shades_of_its_colour():
    image, objects = masks(3)
    drawn = draw_masks(image, objects, ["person", "dog", "person"], style=BARE)
    inside = [drawn[150, 60 + 120 * i].astype(int) for i in range(3)]
    assert np.abs(inside[0] - inside[2]).max() > 15  # two people, told apart
    three = draw_masks(image, objects, ["person", "dog", "person"])
    four = draw_masks(image, objects, ["person", "dog", "cat"])
    assert (three[:, 410:] != PAPER).any() and three.shape != four.shape


def test_an_object_keeps_its_colour_under_one_vocabulary():
    image, objects = masks(2)
    vocabulary = [f"thing {i}" for i in range(25)]
    first = draw_masks(image, objects, ["thing 3", "thing 9"], vocabulary=vocabulary, style=BARE)
    second = draw_masks(image, objects, ["thing 9", "thing 3"], vocabulary=vocabulary, style=BARE)
    np.testing.assert_array_equal(first[150, 60], second[150, 180])


def test_a_phrase_without_a_mask_is_told_in_the_legend():
    image, objects = masks(2)
    objects[1] = False
    drawn = draw_masks(image, objects, ["the dog", "the cat"])
    one = draw_masks(image, objects[:1], ["the dog"])
    assert np.abs(drawn[:, 410:].astype(int).sum() - one[:, 410:].astype(int).sum()) > 0
    np.testing.assert_array_equal(drawn[:, :400], one[:, :400])


def test_masks_names_and_scores_must_agree_in_number():
    image, objects = masks(2)
    with pytest.raises(ValueError, match="belong together, got 2 masks, 1 names"):
        draw_masks(image, objects, ["dog"])
    with pytest.raises(ValueError, match="got 2 masks, 2 names, 3 scores"):
        draw_masks(image, objects, ["dog", "cat"], scores=[1, 1, 1])


def test_masks_of_an_iterator_are_drawn_as_those_of_an_array():
    image, objects = masks(3)
    names = ["person", "dog", "cat"]
    drawn = draw_masks(image, (mask for mask in objects), names)
    np.testing.assert_array_equal(drawn, draw_masks(image, objects, names))


def test_no_masks_leave_the_image():
    image, objects = masks(2)
    np.testing.assert_array_equal(draw_masks(image, objects[:0], [], style=BARE), image)


def test_segments_are_told_apart_and_unknown_ids_are_left():
    image, labels = quarters(256, 320)
    segments = [
        {"id": 7, "category_id": 0, "isthing": False},
        {"id": 900, "category_id": 1, "score": 0.8},
        {"id": 901, "category_id": 1},
    ]
    ids = np.array([7, 900, 901, 55])[labels]
    drawn = draw_panoptic(image, ids, segments, ("sky", "person"), style=BARE)
    np.testing.assert_array_equal(drawn[200, 240], image[0, 0])
    corners = [tuple(drawn[y, x]) for y, x in ((40, 40), (40, 240), (200, 40), (200, 240))]
    assert len(set(corners)) == 4
    with_all = draw_panoptic(image, ids, segments, ("sky", "person"))
    assert with_all.shape[1] > 320
    none = draw_panoptic(image, ids, [], ("sky", "person"), style=BARE)
    np.testing.assert_array_equal(none, image)


def test_the_image_stands_beside_or_above_the_painted_one():
    image, labels = quarters(256, 320)
    style = Style(legend=False, plates=False, original=True)
    drawn = draw_label_map(image, labels, NAMES, style=style)
    np.testing.assert_array_equal(drawn[:, :320], image)
    wide, wide_labels = quarters(256, 800)
    drawn = draw_label_map(wide, wide_labels, NAMES, style=style)
    np.testing.assert_array_equal(drawn[:256], wide)
