"""What `python tools/benchmark.py umg_clip` measures: pre-training with and without clustering."""

import contextlib
from typing import Any, Dict, Tuple

import torch
from timm.models.eva import Eva
from torch import Tensor

from segplugins.projects.umg_clip.regions import region_embeddings
from segplugins.projects.umg_clip.token_cluster import (
    ClusterOptions,
    choose_tokens,
    unfold_tokens,
)
from segplugins.projects.umg_clip.vit_tower import TimmVit

BOXES = 64  # of an image
# What is claimed at the shape of ViT-L/14-336.
FASTER, MEMORY, CLUSTERING, REGIONS = 1.4, 65.0, 5.0, 10.0
# Name to (width, depth, heads, patch, pixels, images).
SHAPES = {
    "quick": (64, 3, 2, 8, 64, 2),
    "ViT-B/16-224": (768, 12, 12, 16, 224, 2),
    "ViT-L/14-336": (1024, 24, 16, 14, 336, 16),
}


def run(bench: Any) -> None:
    """Prints all rows.

    Args:
        bench: from benchmarks.harness.
    """
    device = bench.device.type
    shape = "quick" if bench.quick else "ViT-L/14-336" if device == "cuda" else "ViT-B/16-224"
    bench.note(f"EVA-02 {shape}, {SHAPES[shape][5]} images, forward and backward of the tower")
    plain, clustered = build(shape, device, 0.0), build(shape, device, 0.5)
    images = pictures(shape, device)
    claimed = shape == "ViT-L/14-336"

    def check() -> None:
        """Clusters of one token each change nothing; half as many tokens do."""
        every = build(shape, device, 1.0)
        # Several sums of halved precision differ; of float32 they do not.
        loose = {"rtol": 1e-3, "atol": 1e-4} if device == "cpu" else {"rtol": 0.1, "atol": 0.1}
        with torch.no_grad():
            expected = encode(plain, images)
            for ours, theirs in zip(encode(every, images), expected):
                torch.testing.assert_close(ours, theirs, **loose)
            assert not torch.allclose(encode(clustered, images)[0], expected[0])

    bench.compare(
        f"a step, all tokens against half of them clustered, {shape}",
        lambda: step(plain, images),
        lambda: step(clustered, images),
        check=check,
        at_least=FASTER if claimed else None,
    )
    measure_clustering(bench, clustered, images, shape)
    measure_regions(bench, plain, images, shape)
    measure_activations(bench, "quick" if bench.quick else "ViT-L/14-336", device)
    measure_memory(bench, shape, device)


def build(shape: str, device: str, keep: float) -> TimmVit:
    """Returns: a random tower in training mode; `keep` 0 = without clustering."""
    width, depth, heads, patch, pixels, _ = SHAPES[shape]
    torch.manual_seed(0)
    trunk = Eva(
        img_size=pixels,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=8 / 3,
        num_classes=width,
        qkv_fused=False,
        swiglu_mlp=True,
        scale_mlp=True,
        scale_attn_inner=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(16, 16),
        global_pool="token",
    )
    clustering = ClusterOptions(keep=keep) if keep else None
    return TimmVit(trunk, clustering=clustering).to(device).train()


def pictures(shape: str, device: str) -> Tensor:
    """Returns: (B, 3, side, side) random images."""
    *_, pixels, count = SHAPES[shape]
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, pixels, pixels, generator=draw).to(device)


def encode(tower: TimmVit, images: Tensor) -> Tuple[Tensor, Tensor]:
    """Returns: cells and images as the tower embeds them; in bfloat16 on a GPU."""
    half = images.device.type == "cuda"
    with torch.autocast("cuda", torch.bfloat16) if half else contextlib.nullcontext():
        return tower.encode(images)


def step(tower: TimmVit, images: Tensor) -> None:
    """Forward and backward of the tower; gradients are kept between steps."""
    tower.zero_grad(set_to_none=False)
    cells, pooled = encode(tower, images)
    (cells.float().square().mean() + pooled.float().square().mean()).backward()


def measure_clustering(bench: Any, tower: TimmVit, images: Tensor, shape: str) -> None:
    """The share of a step that choosing, merging and unfolding of tokens takes, with gradient."""
    width, _, _, patch, pixels, count = SHAPES[shape]
    grid = (pixels // patch, pixels // patch)
    tokens = torch.randn(count, grid[0] * grid[1], width, device=images.device)
    tokens.requires_grad_()

    def cluster() -> None:
        clusters, kept = choose_tokens(tokens, grid, tower.clustering)
        unfold_tokens(kept, clusters).sum().backward()

    cluster()
    share = bench.time(cluster) / bench.time(lambda: step(tower, images))
    limit = CLUSTERING if shape == "ViT-L/14-336" else None
    bench.figure(f"clustering, share of a step, {shape}", 100 * share, "%", limit=limit)


def measure_regions(bench: Any, tower: TimmVit, images: Tensor, shape: str) -> None:
    """The share of the forward pass that embeddings of 64 boxes an image take."""
    tower.eval()
    with torch.no_grad():
        features = tower.dense(images).last.float()
        corners = torch.rand(len(images) * BOXES, 4, device=images.device)
        low, high = corners.view(-1, 2, 2).amin(dim=1), corners.view(-1, 2, 2).amax(dim=1)
        boxes = torch.cat([low, high], dim=1)
        image = torch.arange(len(images), device=images.device).repeat_interleave(BOXES)
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=images.device)
        # The box of a whole image is the mean of all of its cells.
        own = region_embeddings(features[:1], whole, image[:1])
        torch.testing.assert_close(own[0], features[0].mean(dim=(1, 2)), rtol=1e-3, atol=1e-4)

        def regions() -> Tensor:
            return tower.project(region_embeddings(features, boxes, image))

        regions()
        share = bench.time(regions) / bench.time(lambda: encode(tower, images))
    tower.train()
    limit = REGIONS if shape == "ViT-L/14-336" else None
    name = f"{BOXES} boxes an image, share of the forward, {shape}"
    bench.figure(name, 100 * share, "%", limit=limit)


def measure_activations(bench: Any, shape: str, device: str) -> None:
    """What a forward pass keeps for the backward pass, counted: at full size on a CPU too."""
    images = pictures(shape, device)[:1]
    every, half = (activation_bytes(build(shape, device, keep), images) for keep in (0.0, 0.5))
    limit = MEMORY if shape == "ViT-L/14-336" else None
    name = f"activations of an image with half the tokens, {shape}"
    bench.figure(name, 100 * half / every, "%", limit=limit)


def activation_bytes(tower: TimmVit, images: Tensor) -> int:
    """Returns: bytes of all tensors that are kept for the backward pass, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}
    kept: Dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        results = encode(tower, images)
    assert all(result.requires_grad for result in results)  # alive, so that no place is used twice
    return sum(kept.values())


def measure_memory(bench: Any, shape: str, device: str) -> None:
    """What a step adds beyond weights and gradients, which a first step has made."""
    used = [
        bench.memory(f"a step, {what}, {shape}", _step_of, shape, device, keep, prepare=_prepared)
        for what, keep in (("all tokens", 0.0), ("half clustered", 0.5))
    ]
    limit = MEMORY if shape == "ViT-L/14-336" else None
    share = 100 * used[1] / max(used[0], 1e-9)
    bench.figure(f"memory of a step with half the tokens, {shape}", share, "%", limit=limit)


def _prepared(shape: str, device: str, keep: float) -> Tuple[TimmVit, Tensor]:
    tower, images = build(shape, device, keep), pictures(shape, device)
    step(tower, images[:1])
    return tower, images


def _step_of(prepared: Tuple[TimmVit, Tensor]) -> None:
    step(*prepared)
