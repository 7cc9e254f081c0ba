"""Images, samples and models of a few lines for the tests of annotation."""

import numpy as np
import pytest

from segplugins.annotation.interfaces import Image, Masks
from segplugins.annotation.sample import Sample
from segplugins.structures.regions import Region, box_of_mask, encode_mask


def rectangle(x0, y0, x1, y1, size=(40, 60)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


class BoxFiller:
    """A box segmenter whose mask is the box itself, in whole pixels."""

    def __init__(self, quality=0.9):
        self.quality, self.calls = quality, []

    def segment_boxes(self, images, boxes):
        self.calls.append([len(each) for each in boxes])
        answers = []
        for image, its in zip(images, boxes):
            masks = [rectangle(*np.round(box).astype(int), size=image.size) for box in its]
            masks = np.array(masks, bool).reshape(-1, *image.size)
            answers.append(Masks(masks, np.full(len(its), self.quality)))
        return answers


class FixedScorer:
    """Scores by a function of a view and a text."""

    def __init__(self, function):
        self.function = function

    def score(self, views, texts):
        return [np.array([self.function(v, t) for t in its]) for v, its in zip(views, texts)]


@pytest.fixture
def sample():
    """An image of 40 x 60 pixels without regions."""
    pixels = np.full((40, 60, 3), 100, np.uint8)
    return Sample(Image(pixels, "a/x.jpg"), "x-0", "source")


@pytest.fixture
def add(sample):
    """Adds a region: by its box, or by a mask if one is given."""

    def add(text, box=None, mask=None, **more):
        extra = more.pop("extra", {})
        if mask is not None:
            box = box_of_mask(mask) if box is None else box
            mask = encode_mask(mask)
        return sample.add(Region(text, box, mask, **more), **extra)

    return add


@pytest.fixture
def texts(sample):
    return lambda: [region.text for region in sample.regions]


@pytest.fixture
def make():
    """What tests build: rectangle, box_filler, scorer."""
    return {"rectangle": rectangle, "box_filler": BoxFiller, "scorer": FixedScorer}
