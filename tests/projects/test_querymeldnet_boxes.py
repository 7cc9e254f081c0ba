"""Boxes as prompts of QueryMeldNet: where they lie, and that each is answered by itself."""

import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from segplugins.config import add_shared_config
from segplugins.modeling.postprocess import MaskResizer, padded_boxes
from segplugins.projects.querymeldnet import add_config
from segplugins.projects.querymeldnet.box_prompts import prompt_content, prompt_queries
from segplugins.projects.querymeldnet.texts import TextBatch
from segplugins.structures.regions import Task


@pytest.fixture(scope="module")
def model():
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "QueryMeldNet", "cpu"
    node = cfg.MODEL.QMN
    node.BACKBONE.NAME = "timm/resnet10t"
    node.ENCODER.EXTRA_LEVELS, node.ENCODER.LAYERS = 0, 1
    node.ENCODER.DIM_FEEDFORWARD, node.ENCODER.MASK_DIM = 32, 16
    node.HIDDEN_DIM, node.NHEADS, node.MELD.NHEADS = 32, 4, 4
    node.DEC_LAYERS, node.DIM_FEEDFORWARD = 2, 32
    node.NUM_LEARNABLE, node.NUM_CONDITIONAL = 3, 5
    node.DN.NUM = 6
    torch.manual_seed(0)
    return build_model(cfg).eval()


def record(boxes, size=(64, 96), result=(32, 48)):
    torch.manual_seed(1)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    more = {"height": result[0], "width": result[1], "task": Task.INSTANCE, "vocabulary": None}
    return {"image": image, "texts": ["dog", "cat"], "prompt_boxes": boxes, **more}


def test_boxes_of_the_result_are_shares_of_the_padded_image():
    # The result is half the image, which stands 8 rows and 4 columns into a canvas of 64 x 96.
    resize = MaskResizer((64, 96), (48, 80), (24, 40), origin=(8, 4))
    corners = torch.tensor([[10.0, 6.0, 20.0, 18.0], [-5.0, 0.0, 99.0, 24.0]])
    one = [(15 * 2 + 4) / 96, (12 * 2 + 8) / 64, 20 / 96, 24 / 64]
    whole = [(40 + 4) / 96, (24 + 8) / 64, 80 / 96, 48 / 64]  # cut at the border of the result
    torch.testing.assert_close(padded_boxes(corners, resize), torch.tensor([one, whole]))


def test_the_content_of_a_prompt_is_the_mean_of_the_real_texts():
    embedding = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]])
    texts = TextBatch(embedding, torch.tensor([[True, True, False]]), ((1, 1),))
    projection = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    # mean (2, 1) times the projection
    torch.testing.assert_close(prompt_content(texts, projection), torch.tensor([[2.0, 1.0, 5.0]]))


def test_each_prompt_is_a_group_of_its_own_with_the_anchor_of_its_box():
    boxes = [torch.tensor([[0.5, 0.25, 0.5, 0.2]]), torch.zeros(0, 4)]
    made = prompt_queries(boxes, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert made.groups == 1 and made.is_real.tolist() == [[True], [False]]
    assert made.queries.content.tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]
    logit = math.log(0.25 / 0.75)
    expected = torch.tensor([0.0, logit, 0.0, math.log(0.2 / 0.8)])
    torch.testing.assert_close(made.queries.anchors[0, 0], expected)


def test_a_prompt_is_answered_alike_alone_and_among_others(model):
    boxes = torch.tensor([[4.0, 4.0, 20.0, 16.0], [0.0, 0.0, 48.0, 32.0], [30.0, 8.0, 44.0, 30.0]])
    with torch.no_grad():
        (all_,) = model.box_masks([record(boxes)])
        alone, other = model.box_masks([record(boxes[2:]), record(boxes[:0])])
    assert all_["masks"].shape == (3, 32, 48) and all_["masks"].dtype == torch.bool
    assert other["masks"].shape == (0, 32, 48) and other["scores"].shape == (0,)
    assert torch.equal(alone["masks"][0], all_["masks"][2])
    torch.testing.assert_close(alone["scores"][0], all_["scores"][2], atol=1e-5, rtol=0)
    assert not torch.equal(all_["masks"][0], all_["masks"][1])


def test_nothing_asked_computes_nothing(model, monkeypatch):
    monkeypatch.setattr(model, "encode", lambda images: pytest.fail("the image is encoded"))
    (answer,) = model.box_masks([record(torch.zeros(0, 4))])
    assert answer["masks"].shape == (0, 32, 48)


def test_a_model_without_denoising_answers_no_boxes(model, monkeypatch):
    monkeypatch.setattr(model, "denoising", type("Denoising", (), {"count": 0}))
    with pytest.raises(ValueError, match="MODEL.QMN.DN.NUM is 0"):
        model.box_masks([record(torch.zeros(1, 4))])
