"""Image towers behind one seam: open_clip's and timm's ViTs, ConvNeXts, any that timm names."""

import pytest
import timm
import torch

from segplugins.clip import load_clip
from segplugins.projects.umg_clip.convpass import ConvpassOptions
from segplugins.projects.umg_clip.token_cluster import ClusterOptions, choose_tokens
from segplugins.projects.umg_clip.towers import (
    TRAINED,
    ConvNextTower,
    TowerOptions,
    build_tower,
    freeze_tower,
    with_timm_tower,
)
from segplugins.projects.umg_clip.vit_tower import ClipVit, TimmVit

PET = ConvpassOptions(width=2, dropout=0.0)


def tiny_timm(name):
    """A model of timm's own classes and options of that name, small and random."""
    torch.manual_seed(0)
    if name == "pe_core":  # class token, rotated and learned positions, pooling by attention
        return timm.create_model(
            "vit_pe_core_tiny_patch16_384", num_classes=8, img_size=32, depth=2, embed_dim=32,
            num_heads=2, attn_pool_num_heads=2,
        )  # fmt: skip
    if name == "siglip2":  # no class token, pooling by attention
        return timm.create_model(
            "vit_base_patch16_siglip_224", num_classes=8, img_size=32, depth=2, embed_dim=32,
            num_heads=2,
        )  # fmt: skip
    return timm.create_model(  # registers, DINOv3's rotation, no learned positions
        "vit_small_patch16_dinov3", num_classes=8, img_size=32, depth=2, embed_dim=32, num_heads=2
    )


@pytest.fixture(scope="module")
def clip_vit():
    """OpenAI's kind of ViT, cut to two blocks."""
    torch.manual_seed(0)
    towers = load_clip("ViT-B-32")
    blocks = towers.visual.transformer.resblocks
    towers.visual.transformer.resblocks = blocks[:2]
    return towers


@pytest.fixture(scope="module")
def drawn():
    """A small CLIP, whose texts stay."""
    return load_clip("convnext_drawn")


@torch.no_grad()
def test_open_clips_vit_is_walked_as_it_is_and_at_any_size(clip_vit):
    tower = build_tower(clip_vit, TowerOptions(adapters=PET, trained="adapters")).eval()
    assert isinstance(tower, ClipVit) and tower.patch == tower.size_divisibility == 32
    images = torch.randn(2, 3, 224, 224)
    cells, pooled = tower.encode(images)
    torch.testing.assert_close(pooled, clip_vit.visual(images), rtol=1e-4, atol=1e-5)
    assert cells.shape == (2, 512, 7, 7)
    output = tower.dense(images[..., :96, :160])
    assert output.last.shape == output.maps["last"].shape == (2, 768, 3, 5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["pe_core", "siglip2", "dinov3"])
def test_any_vit_of_timm_is_walked_as_it_is_and_at_any_size(name):
    trunk = tiny_timm(name).eval()
    tower = TimmVit(trunk, adapters=PET).eval()
    images = torch.randn(2, 3, 32, 32)
    cells, pooled = tower.encode(images)
    torch.testing.assert_close(pooled, trunk(images), rtol=1e-4, atol=1e-5)
    assert cells.shape == (2, 8, 2, 2)
    oblong = torch.randn(1, 3, 48, 16)
    assert tower.encode(oblong)[0].shape == (1, 8, 3, 1)
    # A picture of one patch pools nothing but that patch, as the embedding of the cell does.
    if name == "siglip2":
        one = torch.randn(1, 3, 16, 16)
        cell, whole = tower.encode(one)
        torch.testing.assert_close(cell[..., 0, 0], whole)


@torch.no_grad()
@pytest.mark.parametrize("name", ["pe_core", "siglip2", "dinov3"])
def test_the_last_block_may_mix_no_tokens(name):
    tower = TimmVit(tiny_timm(name), last_attention="value_only").eval()
    plain = TimmVit(tiny_timm(name)).eval()
    images = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(tower(images).tokens, plain(images).tokens)
    # With a first block that mixes nothing either, a patch does not see the others.
    tower.trunk.blocks = tower.trunk.blocks[-1:]
    changed = images.clone()
    changed[..., 16:, 16:] += 1.0
    first, second = tower(images).patches, tower(changed).patches
    torch.testing.assert_close(first[..., 0, 0], second[..., 0, 0])
    assert not torch.allclose(first[..., 1, 1], second[..., 1, 1])


def test_blocks_that_are_computed_again_have_the_same_gradients():
    gradients = []
    for checkpoint in (False, True):
        tower = TimmVit(tiny_timm("dinov3"), checkpoint=checkpoint)
        tower.encode(torch.linspace(-1, 1, 3072).view(1, 3, 32, 32))[0].square().mean().backward()
        gradients.append([p.grad for p in tower.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for kept, computed in zip(*gradients):
        torch.testing.assert_close(kept, computed)


def test_what_is_trained_of_a_tower_and_how_much():
    for trained, adapters in (("all", None), ("adapters", PET), ("none", None)):
        towers = load_clip("eva_drawn")
        tower = build_tower(towers, TowerOptions(trained=trained, adapters=adapters))
        count = sum(p.numel() for p in tower.parameters() if p.requires_grad)
        whole = sum(p.numel() for p in tower.parameters())
        # 2 C d + 9 d^2 + 2 d + C of each of 4 blocks and 2 branches, C = 64, d = 2.
        expected = {"all": whole, "adapters": 8 * (2 * 64 * 2 + 9 * 4 + 4 + 64), "none": 0}
        assert count == expected[trained]
    assert TRAINED == ("all", "adapters", "none")


def test_queries_and_keys_of_a_block_without_mixing_are_frozen():
    tower = build_tower(load_clip("eva_drawn"), TowerOptions(last_attention="value_only"))
    cells, pooled = tower.train().encode(torch.randn(1, 3, 32, 32))
    (cells.sum() + pooled.sum()).backward()
    frozen = {n for n, p in tower.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, p in tower.named_parameters() if p.grad is None}
    assert frozen and all(name.startswith("trunk.blocks.3.attn.") for name in frozen)
    freeze_tower(tower, "none")
    assert not any(p.requires_grad for p in tower.parameters())


@torch.no_grad()
def test_a_convnext_projects_vectors_as_its_cells():
    tower = build_tower(load_clip("convnext_drawn"), TowerOptions()).eval()
    assert isinstance(tower, ConvNextTower) and tower.width == 128
    images = torch.randn(2, 3, 32, 48)
    output, (cells, _) = tower.dense(images), tower.encode(images)
    assert list(output.maps) == ["res2", "res3", "res4", "res5"]
    projected = tower.project(output.last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(projected, cells)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: TowerOptions(trained="adapters"), "'adapters', but there are none; set .*WIDTH"),
        (lambda: TowerOptions(trained="none", adapters=PET), "adapters, which would never learn"),
        (lambda: TowerOptions(trained="some"), r"one of \('all', 'adapters', 'none'\), got 'some'"),
        (
            lambda: build_tower(load_clip("convnext_drawn"), TowerOptions(adapters=PET)),
            "'convnext_drawn' is no ViT and has no tokens: .* or MODEL.UMG_CLIP.TOWER.NAME",
        ),
        (
            lambda: with_timm_tower(load_clip("convnext_drawn"), "vit_smal_patch16_dinov3", ""),
            "timm has no model 'vit_smal_patch16_dinov3'; nearest are .*vit_small_patch16_dinov3",
        ),
        (lambda: ClusterOptions(kind="fixed"), r"kind must be one of .*, got 'fixed'"),
    ],
)
def test_what_cannot_be_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_tower_of_timm_keeps_the_texts_of_the_clip(tmp_path):
    towers = load_clip("convnext_drawn")
    other = with_timm_tower(towers, "convnext_atto", "")
    assert other.text is towers.text and other.image_mean == (0.485, 0.456, 0.406)
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(FileNotFoundError, match="no weights file 'missing.pth'"):
        with_timm_tower(towers, "vit_small_patch16_dinov3", "missing.pth")
    vit = with_timm_tower(towers, "vit_tiny_patch16_dinov3_qkvb", "")
    weights = {k: v + 1 for k, v in vit.visual.trunk.state_dict().items()}
    torch.save(weights, tmp_path / "dino.pth")
    again = with_timm_tower(towers, "vit_tiny_patch16_dinov3_qkvb", str(tmp_path / "dino.pth"))
    state = again.visual.trunk.state_dict()
    assert torch.equal(state["norm.weight"], weights["norm.weight"])
    assert not torch.equal(state["head.weight"], weights["head.weight"])  # the new projection
    cells, pooled = build_tower(vit, TowerOptions()).eval().encode(images)
    assert cells.shape == (1, 64, 4, 4) and pooled.shape == (1, 64)


@torch.no_grad()
@pytest.mark.parametrize("name", ["convnext_atto", "efficientnet_lite0"])
def test_a_tower_of_maps_of_timm_has_the_seam_of_the_others(drawn, name):
    """A ConvNeXt keeps the norm of its head, any other model gives its coarsest map."""
    towers = with_timm_tower(drawn, name, "")
    assert towers.image_mean == pytest.approx((0.485, 0.456, 0.406))
    tower = build_tower(towers, TowerOptions(trained="none")).eval()
    assert not any(p.requires_grad for p in tower.parameters())
    assert tower.width == tower.output_shape()["res5"].channels == 320
    assert tower.size_divisibility == 32
    images = torch.randn(2, 3, 64, 96)
    output, (cells, pooled) = tower.dense(images), tower.encode(images)
    assert [m.shape[-1] for m in output.maps.values()] == [24, 12, 6, 3]
    assert cells.shape == (2, 64, 2, 3) and pooled.shape == (2, 64)
    projected = tower.project(output.last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(projected, cells, rtol=1e-4, atol=1e-5)
    if name == "efficientnet_lite0":  # a linear projection of the mean is the mean of the cells
        torch.testing.assert_close(pooled, cells.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    assert all(name.startswith(("trunk.", "head.")) for name, _ in tower.named_parameters())
    assert any(name.startswith(tower.ends) for name, _ in tower.named_parameters())


def test_a_convnext_of_timm_takes_a_file_without_its_classifier(drawn, tmp_path):
    weights = timm.create_model("convnext_atto", num_classes=5).state_dict()
    weights["head.norm.weight"] += 2
    torch.save(weights, tmp_path / "atto.pth")
    visual = with_timm_tower(drawn, "convnext_atto", str(tmp_path / "atto.pth")).visual
    assert torch.equal(visual.trunk.head.norm.weight, weights["head.norm.weight"])
    assert visual.head.weight.shape == (64, 320)


def test_random_masking_keeps_tokens_as_they_are_and_fills_up_from_the_nearest():
    tokens = torch.arange(12.0).view(1, 12, 1).expand(2, -1, 3)
    torch.manual_seed(0)
    clusters, kept = choose_tokens(tokens, (3, 4), ClusterOptions(kind="random", keep=0.25))
    assert kept.shape == (2, 3, 3)
    assert torch.equal(kept[..., 0].long(), clusters.centres)
    rows, columns = torch.arange(12) // 4, torch.arange(12) % 4
    for centres, index in zip(clusters.centres, clusters.index):
        own = centres[index]
        squared = (rows - rows[own]) ** 2 + (columns - columns[own]) ** 2
        every = (rows[:, None] - rows[centres]) ** 2 + (columns[:, None] - columns[centres]) ** 2
        assert torch.equal(squared, every.min(dim=1).values)
