"""From responses to pixels: letter-boxes undone, scores and label maps in bounded memory."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segplugins.data.augmentations import LetterBox, Stretch
from segplugins.projects.unilseg.responses import (
    PhraseGroups,
    Placement,
    label_map,
    probabilities,
    score_map,
)


def ellipse(height, width):
    y, x = np.mgrid[:height, :width]
    return ((y / height - 0.45) / 0.3) ** 2 + ((x / width - 0.55) / 0.35) ** 2 < 1


def placed(augmentation, height, width):
    """Where an image of a size lies in what an augmentation makes of it, and its mask there."""
    image = np.zeros((height, width, 3), np.uint8)
    transform = augmentation.get_transform(image)
    box = transform.apply_box(np.array([[0.0, 0.0, width, height]]))[0].round()
    seen = transform.apply_image(image).shape[:2]
    mask = transform.apply_segmentation(ellipse(height, width).astype(np.float64))
    return Placement(seen, tuple(box.tolist()), (height, width)), torch.from_numpy(mask).float()


@pytest.mark.parametrize("size", [(480, 640), (500, 375), (333, 1000)])
@pytest.mark.parametrize("resize", ["paper", "official"])
@pytest.mark.parametrize("augmentation", [LetterBox(480, (0, 0, 0)), Stretch(480)])
def test_a_mask_comes_back_from_the_letter_box_as_it_went_in(size, resize, augmentation):
    placement, seen = placed(augmentation, *size)
    # Certain logits at every pixel; the border holds -1 for "not of the image".
    logits = torch.where(seen > 0, 10.0, -10.0)[None]
    found = probabilities(logits, placement, resize)[0] > 0.5
    truth = torch.from_numpy(ellipse(*size))
    assert found.shape == size
    iou = (found & truth).sum() / (found | truth).sum()
    assert iou > 0.99


def test_without_a_box_the_papers_resizing_is_torchs_bilinear_one():
    logits = torch.randn(3, 8, 12)
    placement = Placement((32, 48), (0, 0, 48, 32), (50, 61))
    want = F.interpolate(logits[None], (50, 61), mode="bilinear", align_corners=False)[0]
    got = probabilities(logits, placement, "paper")
    torch.testing.assert_close(got, want.sigmoid(), atol=1e-5, rtol=0)


def test_at_the_size_the_model_saw_the_official_resizing_only_aligns_corners():
    logits = torch.randn(2, 6, 6)
    placement = Placement((24, 24), (0, 0, 24, 24), (24, 24))
    want = F.interpolate(logits[None], (24, 24), mode="bilinear", align_corners=True)[0]
    got = probabilities(logits, placement, "official")
    torch.testing.assert_close(got, want.sigmoid(), atol=1e-5, rtol=0)


def test_the_official_inverse_maps_pixel_indices_without_a_half():
    # s = 1/2, b = 3: pixel u of the result is read at u / 2 + 3, here on a ramp in x.
    ramp = torch.arange(16.0).div(16).logit(1e-6).expand(1, 16, 16)
    placement = Placement((16, 16), (3, 3, 13, 13), (20, 20))
    got = probabilities(ramp, placement, "official")[0, 5]
    want = (torch.arange(20.0) / 2 + 3) / 16
    torch.testing.assert_close(got[4:16], want[4:16], atol=1e-3, rtol=0)


@pytest.mark.parametrize("resize", ["paper", "official"])
def test_one_pixel_is_an_image_too(resize):
    got = probabilities(torch.full((1, 2, 2), 3.0), Placement((8, 8), (0, 0, 8, 8), (1, 1)), resize)
    assert got.shape == (1, 1, 1)
    assert got.item() == pytest.approx(torch.tensor(3.0).sigmoid().item(), abs=1e-3)


# --- classes and their phrases

MAPS = {
    "a": torch.tensor([[0.9, 0.2], [0.4, 0.1]]),
    "b": torch.tensor([[0.1, 0.8], [0.4, 0.2]]),
    "c": torch.tensor([[0.3, 0.4], [0.2, 0.3]]),
}


class Answering:
    """Answers from MAPS and remembers how many phrases it was asked at once."""

    def __init__(self):
        self.most = 0

    def __call__(self, phrases):
        self.most = max(self.most, len(phrases))
        return torch.stack([MAPS[phrase] for phrase in phrases])


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_a_class_has_the_mean_of_its_phrases_whatever_the_chunk(chunk):
    answer = Answering()
    scores = score_map(PhraseGroups([("b",), ("c", "a"), ("b",)]), answer, chunk)
    torch.testing.assert_close(
        scores, torch.stack([MAPS["b"], (MAPS["a"] + MAPS["c"]) / 2, MAPS["b"]])
    )
    assert answer.most <= chunk


@pytest.mark.parametrize("chunk", [1, 2, 8])
@pytest.mark.parametrize(
    "groups", [["a", "b", "c"], ["b", "a"], ["c", "b", "a"], [("a", "c"), "b"]]
)
def test_a_label_map_is_the_best_class_of_the_scores_and_the_first_of_equals(groups, chunk):
    groups = PhraseGroups([tuple(group) for group in groups])
    want = score_map(groups, Answering(), 8).argmax(dim=0)  # a and b are equal at one pixel
    assert torch.equal(label_map(groups, Answering(), chunk), want)


def test_below_the_threshold_a_pixel_is_none_of_the_classes():
    groups = PhraseGroups([("a",), ("c",), ("b",)])  # the second one means "none of the others"
    labels = label_map(groups, Answering(), 8, none=1, threshold=0.5)
    assert labels.tolist() == [[0, 2], [1, 1]]
    assert label_map(groups, Answering(), 8, none=1).tolist() == [[0, 2], [0, 1]]


def test_permuted_classes_give_permuted_scores_to_the_last_bit():
    groups = [("a",), ("b",), ("c",)]
    scores = score_map(PhraseGroups(groups), Answering(), 2)
    order = [2, 0, 1]
    permuted = score_map(PhraseGroups([groups[i] for i in order]), Answering(), 2)
    assert torch.equal(permuted, scores[order])
