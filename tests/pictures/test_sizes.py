"""Sizes: small pictures are enlarged, huge ones reduced, thin ones stay within bounds."""

import numpy as np
import pytest

from segplugins.pictures import drawing_size, enlarged, resized_image, resized_labels
from segplugins.pictures.sizes import text_size


@pytest.mark.parametrize(
    "size, drawn",
    [
        ((72, 96), (256, 341)),  # the short side is enlarged to 256
        ((300, 400), (300, 400)),  # large enough
        ((3, 900), (3, 1024)),  # a thin one: its long side stops at 1024
        ((3, 2000), (3, 2000)),  # longer than that already: left alone
        ((3024, 4032), (3024, 4032)),
        ((12000, 12000), (4096, 4096)),
        ((1, 20000), (1, 4096)),  # never below one pixel
        ((1, 1), (256, 256)),
    ],
)
def test_pictures_are_drawn_at_a_size_within_bounds(size, drawn):
    assert drawing_size(*size) == drawn
    assert drawing_size(*size[::-1]) == drawn[::-1]


def test_images_that_have_the_size_are_handed_back():
    image = np.zeros((300, 400, 3), np.uint8)
    assert enlarged(image, 128) is image and resized_image(image, (300, 400)) is image
    assert enlarged(image[:32, :64], 128).shape == (128, 256, 3)


@pytest.mark.parametrize("kind", [np.int64, np.uint16, bool])
def test_labels_keep_their_type_and_values(kind):
    labels = np.array([[0, 1], [70000, 2]]).astype(kind)
    large = resized_labels(labels, (4, 6))
    assert large.dtype == kind
    np.testing.assert_array_equal(large, labels.repeat(2, axis=0).repeat(3, axis=1))
    np.testing.assert_array_equal(resized_labels(large, (2, 2)), labels)
    np.testing.assert_array_equal(resized_labels(large[None], (2, 2)), labels[None])


def test_letters_grow_with_the_picture():
    assert text_size(72, 96) == 12
    # A photo of 4032 pixels shown at 1000 pixels across: its letters are then 15 pixels high.
    assert 13 < text_size(3024, 4032) * 1000 / 4032 < 17
