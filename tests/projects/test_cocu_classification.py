"""CoCu: classification of whole images, erasing in training, first weights of narrow encoders."""

import random

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch.nn import functional as F

from segplugins.config import add_shared_config
from segplugins.projects.cocu import add_config
from segplugins.projects.cocu.group_vit import GroupViT
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "CoCu", "cpu"
    cfg.MODEL.CLIP.TEMPLATES = "groupvit7"
    node = cfg.MODEL.COCU
    node.IMAGE.SIZE, node.IMAGE.PATCH, node.IMAGE.WIDTH = 16, 8, 16
    node.IMAGE.DEPTHS, node.IMAGE.HEADS = [1, 1], [2, 2]
    node.IMAGE.GROUP_TOKENS, node.IMAGE.OUTPUT_GROUPS = [4, 0], [2]
    node.TEXT.WIDTH, node.TEXT.LAYERS, node.TEXT.CONTEXT = 64, 1, 16
    node.PROJECTOR.HIDDEN, node.PROJECTOR.OUT = 16, 8
    return build_model(cfg)


def test_an_image_is_classified_by_its_pooled_segments(tiny):
    vocabulary = Vocabulary("classes_of_cocu", ("a (1)", "b"), synonyms=(("a",), ("b",)))
    register_vocabulary(vocabulary)
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    record = {"image": image, "task": Task.CLASSIFICATION, "vocabulary": "classes_of_cocu"}
    model = tiny.eval()
    with torch.no_grad():
        (output,) = model([record])
        texts = model.class_embedding(["a", "b"], model.inference.templates)
        pooled = model.img_encoder(model.normalizer([record]).tensor).pooled
        cosines = F.normalize(model.img_projector(pooled), dim=-1) @ texts.T
    expected = model.logit_scale.exp() * cosines[0]
    assert output.keys() == {"class_scores"}
    assert torch.allclose(output["class_scores"], expected, atol=1e-5)


def test_erasing_puts_noise_into_one_part_of_an_image(tiny):
    torch.manual_seed(0)
    random.seed(0)
    images = torch.full((40, 3, 16, 16), 9.0)
    assert tiny.erased(images) is images
    tiny.erasing = 1.0
    noisy = tiny.erased(images.clone())
    changed = noisy.ne(9.0).all(dim=1)
    shares = changed.flatten(1).float().mean(dim=1)
    assert shares.min() > 0.005 and shares.max() < 0.4  # timm's 2 % to a third, to whole pixels
    assert noisy[changed[:, None].expand_as(noisy)].std() == pytest.approx(1.0, abs=0.05)
    tiny.erasing = 0.25
    torch.manual_seed(0)
    erased = tiny.erased(torch.full((400, 3, 8, 8), 9.0)).ne(9.0).flatten(1).any(dim=1)
    assert 0.17 < erased.float().mean() < 0.33
    tiny.erasing = 0.0
    images = [{"image": torch.zeros(3, 16, 16), "captions": ["a"]}] * 2
    assert torch.isfinite(sum(tiny.train()(images).values()))


def test_first_weights_have_the_deviation_that_is_asked_for():
    def std(**options):
        encoder = GroupViT(
            image_size=16,
            patch=8,
            width=64,
            depths=[2, 1],
            heads=[2, 2],
            group_tokens=[4, 0],
            groups_out=[4],
            **options,
        )
        assert encoder.layers[0].blocks[0].mlp.fc1.bias.eq(0).all()
        return encoder.layers[0].blocks[0].mlp.fc1.weight.std().item()

    assert std() == pytest.approx(0.02, rel=0.05)
    assert std(init_std=0.1) == pytest.approx(0.1, rel=0.05)


def test_a_place_is_as_like_a_word_as_its_segments_are(tiny):
    record = {"image": torch.randint(0, 256, (3, 16, 24), dtype=torch.uint8), "vocabulary": None}
    record |= {"texts": ["a", "b", "c"], "height": 32, "width": 48}
    model = tiny.eval()
    (maps,) = model.word_similarity([record])
    assert maps.shape == (3, 32, 48)
    with torch.no_grad():
        segments = model.img_encoder(model.normalizer([record]).tensor)
        texts = model.class_embedding(["a", "b", "c"], ("{}",))
        tokens = F.normalize(model.img_projector(segments.tokens)[0], dim=-1)
        shares = segments.maps()[0]  # of each segment in each patch of 8 pixels
    assert torch.allclose(shares.sum(dim=0), torch.ones(2, 3))
    expected = sum(share * (tokens[g] @ texts[1]) for g, share in enumerate(shares[:, 0, 0]))
    assert maps[1, 0, 0].item() == pytest.approx(expected.item(), abs=1e-5)
    last = sum(share * (tokens[g] @ texts[2]) for g, share in enumerate(shares[:, 1, 2]))
    assert maps[2, -1, -1].item() == pytest.approx(last.item(), abs=1e-5)
