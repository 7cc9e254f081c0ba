"""Embedders: unit vectors of pictures of any size, and what stands in for a text tower."""

import numpy as np
import pytest
import torch

from segplugins.clip import load_clip
from segplugins.projects.cocu.curation.embedders import (
    ClipEmbedder,
    _centre,
    centred,
    load_embedder,
    with_constant,
)

PICTURES = [
    np.random.default_rng(n).integers(0, 255, (30 + 20 * n, 60, 3), np.uint8) for n in range(3)
]


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return load_embedder("convnext_drawn")


def test_a_clip_embeds_pictures_and_texts_as_unit_vectors(clip):
    images, texts = clip.images(PICTURES), clip.texts(["a dog", "the sky"])
    assert images.shape == (3, clip.width) and images.dtype == np.float16
    assert texts.shape == (2, clip.width) and texts.dtype == np.float32
    for rows in (images.astype(np.float32), texts):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    alone = np.concatenate([clip.images([picture]) for picture in PICTURES])
    np.testing.assert_allclose(images, alone, atol=2e-3)


def test_the_fingerprint_is_that_of_the_weights_and_random_ones_are_always_the_same(clip, caplog):
    assert load_embedder("convnext_drawn").fingerprint == clip.fingerprint
    assert "the embedder 'convnext_drawn' has random weights" in caplog.text
    torch.manual_seed(7)
    towers = load_clip("convnext_drawn")
    assert ClipEmbedder(towers).fingerprint != clip.fingerprint


def test_the_shorter_side_is_fitted_and_the_centre_cut():
    picture = np.zeros((4, 12, 3), np.uint8)
    picture[:, 4:8] = 200
    assert (_centre(picture, 4, 4) == 200).all()
    assert _centre(picture, 8, 6).shape == (8, 6, 3)
    small = _centre(np.full((3, 5, 3), 7, np.uint8), 8, 8)
    assert small.shape == (8, 8, 3) and (small == 7).all()


def test_timm_reads_no_texts_and_names_unknown_models():
    embedder = load_embedder("timm:resnet10t")
    images = embedder.images(PICTURES[:1]).astype(np.float32)
    assert images.shape == (1, embedder.width) and not embedder.has_text
    assert np.linalg.norm(images) == pytest.approx(1, abs=2e-3)
    with pytest.raises(ValueError, match="reads no texts"):
        embedder.texts(["a dog"])
    with pytest.raises(ValueError, match="timm has no model 'resnet'"):
        load_embedder("timm:resnet")
    with pytest.raises(ValueError, match="no package with weights of 'resnet10t'"):
        load_embedder("timm:resnet10t", "package")


def test_cosines_relative_to_a_centre_are_brought_between_0_and_1():
    rows = np.array([[3.0, 1.0], [1.0, 3.0], [3.0, 3.0]], np.float32)
    ours = centred(rows, np.array([2.0, 2.0], np.float32))
    # (1, -1), (-1, 1) and (1, 1): cosines 1, -1, 0.
    expected = [[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1]]
    np.testing.assert_allclose(ours @ ours.T, expected, atol=1e-6)
    np.testing.assert_array_equal(centred(rows, None), rows)
    assert (with_constant(np.zeros((1, 2), np.float32)) @ ours.T) == pytest.approx(0.5, abs=1e-6)
