"""Losses of regions and tags in ClipPretraining: values, switches, records that lack something."""

import random

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch.nn import functional as F

from segplugins.config import add_shared_config
from segplugins.modeling.contrastive import contrastive
from segplugins.projects.umg_clip import add_config
from segplugins.projects.umg_clip.clip_pretraining import GRANULAR_LOSSES
from segplugins.projects.umg_clip.granularity import (
    draw_regions,
    draw_tag_lists,
    tag_regression,
)
from segplugins.projects.umg_clip.regions import region_embeddings
from segplugins.structures.regions import Region

OFF = ("CAPTION_WEIGHT", "PRESENCE_WEIGHT", "ASSIGNMENT_WEIGHT")
ON = ("REGION_CAPTION_WEIGHT", "IMAGE_TAG_WEIGHT", "REGION_TAG_WEIGHT")


def build(**weights):
    torch.manual_seed(0)
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "ClipPretraining", "cpu"
    for name, value in {**dict.fromkeys(OFF, 0.0), **dict.fromkeys(ON, 1.0), **weights}.items():
        cfg.MODEL.UMG_CLIP[name] = value
    return build_model(cfg).train()


def record(*regions, tags=("red",), size=(48, 64)):
    image = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
    return {"image": image, "key": "k", "captions": [], "tags": list(tags), "regions": regions}


LEFT = Region("red", box=(0, 0, 32, 48), extra={"captions": ["a red wall"]})
RIGHT = Region("blue", box=(32, 0, 64, 48))


def test_the_regression_is_one_minus_the_cosine():
    visual, texts = torch.randn(5, 256), 3 * torch.randn(5, 256)
    expected = (1 - F.cosine_similarity(visual, texts)).mean()
    torch.testing.assert_close(tag_regression(visual, texts), expected)
    assert tag_regression(visual[:0], texts[:0]) == 0
    # Beyond a difference of 1 it is linear: |1 - (-1)| - 1/2.
    assert tag_regression(torch.ones(1, 1), -torch.ones(1, 1)) == 1.5


def test_regions_and_tags_are_drawn():
    drawn = draw_regions([record(), record(LEFT, RIGHT, Region("sky"))], 10)
    assert drawn.image == [1, 1] and sorted(drawn.tags) == ["blue", "red"]
    assert dict(zip(drawn.tags, drawn.captions)) == {"red": "a red wall", "blue": "blue"}
    assert len(draw_regions([record(LEFT, RIGHT)], 1).boxes) == 1
    boxes, image = drawn.shares(96, 128, torch.device("cpu"))
    assert [0, 0, 0.25, 0.5] in boxes.tolist() and image.tolist() == [1, 1]
    texts, having = draw_tag_lists([record(tags=()), record(tags=("a", "b"))])
    assert having == [1] and texts[0] in ("a, b", "b, a")


def test_boxes_of_which_nothing_is_said_teach_nothing():
    """A box with a caption alone has no tag; one without a word is no region."""
    only_caption = Region("", box=(0, 0, 9, 9), extra={"captions": ["a dot"]})
    drawn = draw_regions([record(Region("", box=(0, 0, 9, 9)), only_caption, RIGHT)], 10)
    assert sorted(zip(drawn.tags, drawn.captions)) == [("", "a dot"), ("blue", "blue")]
    assert [drawn.tags[index] for index in drawn.named] == ["blue"]
    model = build(PRESENCE_WEIGHT=1.0)
    batch = [record(only_caption, RIGHT)]
    named = [{**batch[0], "regions": [RIGHT]}]
    random.seed(0)  # of the templates
    both = model(batch)
    random.seed(0)
    alone = model(named)
    for name in ("loss_region_tag", "loss_presence"):
        torch.testing.assert_close(both[name], alone[name])
    assert both["loss_region_caption"] != alone["loss_region_caption"]


def test_losses_are_those_of_their_regions():
    model, batch = build(), [record(LEFT, RIGHT)]
    losses = model(batch)
    assert set(losses) == set(GRANULAR_LOSSES)
    images = model.normalizer(batch)
    cells, features = model.encoder(images.tensor)
    boxes = torch.tensor([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    regions = region_embeddings(cells, boxes, torch.zeros(2, dtype=torch.long))
    captions, tags = (
        model.classifier.text_encoder.pooled(texts)
        for texts in (["a red wall", "blue"], ["red", "blue"])
    )
    expected = contrastive(regions, captions, model.classifier.scale())
    torch.testing.assert_close(losses["loss_region_caption"], expected)
    torch.testing.assert_close(losses["loss_region_tag"], tag_regression(regions, tags))
    expected = tag_regression(model.encoder.pooled(features), tags[:1])
    torch.testing.assert_close(losses["loss_image_tag"], expected)


def test_tags_may_be_contrastive_as_captions_are():
    model, batch = build(TAG_LOSS="contrastive"), [record(LEFT, RIGHT)]
    losses = model(batch)
    images = model.normalizer(batch)
    cells, pooled = model.encoder.encode(images.tensor)
    boxes = torch.tensor([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    regions = region_embeddings(cells, boxes, torch.zeros(2, dtype=torch.long))
    texts = model.classifier.text_encoder.pooled(["red", "blue"])
    expected = contrastive(regions, texts, model.classifier.scale())
    torch.testing.assert_close(losses["loss_region_tag"], expected)
    # One image and one list of tags: nothing is to be told apart.
    assert losses["loss_image_tag"].item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"TAG_LOSS must be one of .*, got 'l2'"):
        build(TAG_LOSS="l2")


@pytest.mark.parametrize("weight", ON)
def test_a_weight_scales_its_loss_and_zero_leaves_it_out(weight):
    batch, name = [record(LEFT, RIGHT)], "loss_" + weight.removesuffix("_WEIGHT").lower()
    plain, twice = build()(batch), build(**{weight: 2.0})(batch)
    torch.testing.assert_close(twice[name], 2 * plain[name])
    assert set(build(**{weight: 0.0})(batch)) == set(GRANULAR_LOSSES) - {name}


@pytest.mark.parametrize(
    "batch",
    [
        [record(tags=())],
        [record(), record(RIGHT, tags=())],
        [record(Region("speck", box=(70, 50, 70.5, 50.5)))],
        [record(Region("long", box=(1, 1, 9, 9), extra={"captions": ["word " * 200]}))],
    ],
    ids=["nothing", "one region in two images", "outside", "a long caption"],
)
def test_whatever_is_missing_losses_and_gradients_are_finite(batch):
    model = build()
    losses = model(batch)
    assert set(losses) == set(GRANULAR_LOSSES) and all(v.isfinite() for v in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_region_takes_the_map_of_its_own_image_and_at_its_own_place():
    features = torch.arange(32.0).view(2, 1, 4, 4)  # 0-15 and 16-31
    boxes = torch.tensor([[0.5, 0.0, 1.0, 0.25], [0.5, 0.0, 1.0, 0.25], [0.3, 0.55, 0.45, 0.7]])
    found = region_embeddings(features, boxes, torch.tensor([0, 1, 1]))[:, 0]
    # Cells 2 and 3 of the first row. The third lies in one cell: its middle is (1.5, 2.5) cells,
    # which is the middle of row 2, column 1.
    assert found.tolist() == pytest.approx([2.5, 18.5, 16 + 9])
    halves = region_embeddings(features, boxes[:1], torch.tensor([0]), bins=2)
    # Two rows of bins: a quarter of a cell above the middle of row 0, where the border is
    # repeated, and as much below, where the next row, 4 more, has a quarter.
    assert halves[0].tolist() == pytest.approx([2.5 + (0 + 4 / 4) / 2])
    assert region_embeddings(features.bfloat16(), boxes, torch.tensor([0, 1, 1])).dtype == (
        torch.float32
    )


def test_every_region_and_order_of_tags_is_drawn_at_times():
    records = [record(LEFT, RIGHT, tags=("a", "b", "c")), record(RIGHT, tags=())]
    firsts, orders = set(), set()
    for _ in range(60):
        drawn = draw_regions(records, 1)
        assert drawn.image == [0, 1] and len(drawn.boxes) == 2 and drawn.tags[1] == "blue"
        firsts.add((drawn.tags[0], drawn.boxes[0]))
        (tags,), having = draw_tag_lists(records)
        assert having == [0]
        orders.add(tags)
    assert firsts == {("red", (0, 0, 32, 48)), ("blue", (32, 0, 64, 48))}
    assert len(orders) == 6 and "b, c, a" in orders
    captions = Region("red", box=(0, 0, 1, 1), extra={"captions": ["one", "two"]})
    drawn = {draw_regions([record(captions)], 3).captions[0] for _ in range(30)}
    assert drawn == {"one", "two"}
