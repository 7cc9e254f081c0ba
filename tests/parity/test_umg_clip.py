"""UMG-CLIP against recordings: towers, adapters, clustering, losses, FC-CLIP's head and metrics."""

import json
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block

from segplugins.data.datasets import shipped_vocabulary
from segplugins.engine.groups import layer_factors
from segplugins.evaluation.panoptic_quality import panoptic_counts, panoptic_quality, summed
from segplugins.evaluation.zero_shot_scores import (
    classification_scores,
    label_average_precision,
    rank_of,
    retrieval_ranks,
    retrieval_scores,
)
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.costs import Candidates, mask_bce_cost, mask_dice_cost, softmax_class_cost
from segplugins.modeling.criterion import MaskTerm, SetCriterion, SoftmaxClassTerm
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.modeling.pixel_decoder import DeformablePixelDecoder
from segplugins.modeling.point_losses import sample_logits, sample_masks
from segplugins.modeling.positions import sine_positions_2d
from segplugins.modeling.postprocess import MaskResizer, semantic_scores
from segplugins.projects.umg_clip.convpass import BlockAdapters, Convpass, ConvpassOptions
from segplugins.projects.umg_clip.ensemble import (
    ensemble_log_probabilities,
    mask_pool,
    pooling_masks,
    seen_classes,
)
from segplugins.projects.umg_clip.mask_decoder import ClassTexts, MaskDecoder, class_logits
from segplugins.projects.umg_clip.optim import build_lamb, warmup_cosine
from segplugins.projects.umg_clip.regions import region_embeddings
from segplugins.projects.umg_clip.results import Inference
from segplugins.projects.umg_clip.token_cluster import (
    ClusterOptions,
    Clusters,
    cluster_tokens,
    density_peaks,
    grid_order,
    merge_tokens,
    spatial_distances,
    token_distances,
    unfold_tokens,
)
from segplugins.projects.umg_clip.vit_blocks import run_block
from segplugins.projects.umg_clip.vit_tower import TimmVit
from segplugins.projects.umg_clip.weights import eva_names, our_name
from segplugins.structures import Vocabulary
from segplugins.structures.predictions import QueryPredictions, QueryTargets
from segplugins.structures.zero_shot import zero_shot_names, zero_shot_set
from segplugins.text import template_set

# The package has a function of the same name.
contrastive_module = import_module("segplugins.modeling.contrastive")
NORM = partial(torch.nn.LayerNorm, eps=1e-6)
FLOAT32 = 2e-5  # the README's tolerance for what was computed in float32
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
SCALAR = {**CLOSE, "check_dtype": False}  # scalars were recorded in float64


def read(path):
    """Returns the arrays of a recording as tensors; texts stay arrays."""
    with np.load(path) as content:
        return {k: v if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in content.items()}


def state(recording, prefix):
    return {k.removeprefix(prefix): v for k, v in recording.items() if k.startswith(prefix)}


def test_panoptic_quality_equals_fc_clips_copy_of_panopticapi(parity):
    recording = np.load(parity / "panoptic_quality.npz")
    ids = recording["categories_id_isthing"][:, 0].tolist()
    things = recording["categories_id_isthing"][:, 1] > 0
    images = sum(key.removeprefix("gt_").isdigit() for key in recording if key.startswith("gt_"))
    assert images
    rows = []
    for i in range(images):
        true = [
            {"id": a, "category_id": ids.index(b), "iscrowd": c, "area": d}
            for a, b, c, d in recording[f"gt_info_{i}_id_cat_iscrowd_area"].tolist()
        ]
        predicted = [
            {"id": a, "category_id": ids.index(b)}
            for a, b in recording[f"pred_info_{i}_id_cat"].tolist()
        ]
        maps = recording[f"pred_{i}"], recording[f"gt_{i}"]
        rows.append(panoptic_counts(maps[0], predicted, maps[1], true, len(ids)))
    counts = summed(rows, len(ids))
    theirs = recording["per_cat_iou_tp_fp_fn"]
    np.testing.assert_allclose(counts, theirs, rtol=0, atol=1e-9)
    for group, among in (("all", None), ("things", things), ("stuff", ~things)):
        scores = panoptic_quality(counts, among)
        theirs = 100 * recording[f"{group}_pq_sq_rq_n"][:3]
        assert list(scores.values()) == pytest.approx(theirs.tolist(), abs=1e-7)


@pytest.fixture
def zero_shot(parity):
    recording = np.load(parity / "zeroshot_eval.npz")
    return {key: torch.from_numpy(recording[key]) for key in recording}


def class_scores(recording):
    images = F.normalize(recording["image_emb"], dim=-1)
    return 100 * images @ recording["classifier_DxC"]


def test_the_classifier_is_the_mean_over_templates(zero_shot):
    rows = F.normalize(zero_shot["text_emb_class_template"], dim=-1)
    encoder = RecordedText(
        {f"{t} {c}": row for c, of in enumerate(rows) for t, row in enumerate(of)}
    )
    classes, templates = (range(size) for size in rows.shape[:2])
    classifier = VocabularyClassifier(
        encoder, temperature=1.0, templates=[f"{t} {{}}" for t in templates]
    )
    vocabulary = Vocabulary("parity-zero-shot", tuple(str(c) for c in classes))
    theirs = zero_shot["classifier_DxC"].T
    torch.testing.assert_close(classifier.embed(vocabulary), theirs, **CLOSE)


def test_classification_equals_clip_benchmark(zero_shot):
    ranks = rank_of(class_scores(zero_shot), zero_shot["labels"])
    scores = classification_scores(ranks.numpy(), zero_shot["labels"].numpy())
    for name, key in [
        ("top1", "cls_acc1"),
        ("top5", "cls_acc5"),
        ("mean_per_class", "cls_mean_per_class_recall"),
    ]:
        assert scores[name] == pytest.approx(100 * float(zero_shot[key]), abs=1e-7), name


def test_label_precision_equals_clip_benchmark(zero_shot):
    ours = label_average_precision(class_scores(zero_shot), zero_shot["multilabel_targets"])
    theirs = zero_shot["multilabel_ap_per_class"].double()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=FLOAT32)


def test_retrieval_equals_clip_benchmark(zero_shot):
    embeddings = zero_shot["ret_image_emb"], zero_shot["ret_text_emb"]
    ranks = retrieval_ranks(*embeddings, zero_shot["ret_text_image_index"])
    scores = retrieval_scores(*ranks)
    for at in (1, 5, 10):
        for name, key in (("T2I", "image"), ("I2T", "text")):
            theirs = 100 * float(zero_shot[f"ret_{key}_retrieval_recall_at_{at}"])
            assert scores[f"{name}_R@{at}"] == pytest.approx(theirs, abs=FLOAT32)


# --- FC-CLIP's matcher and criterion: masks and classes without boxes, "no object" as last class


@pytest.fixture
def matched(parity):
    """The recording, the predictions in it, and its targets; no target has a box."""
    recording = np.load(parity / "matcher_criterion.npz")
    recording = {key: torch.from_numpy(np.asarray(recording[key])) for key in recording}
    predictions = QueryPredictions(recording["pred_logits"], recording["pred_masks"])
    targets = []
    for image in range(len(predictions.class_logits)):
        labels, masks = recording[f"b{image}_labels"], recording[f"b{image}_masks"] > 0
        boxes = torch.zeros(len(labels), 4)
        targets.append(QueryTargets(labels, boxes, masks, tuple(masks.shape[-2:])))
    return recording, predictions, targets


def test_the_costs_of_masks_and_softmax_classes_equal_fc_clips(matched):
    recording, predictions, targets = matched
    for image, target in enumerate(targets):
        points = recording["match_point_coords"][image]
        logits = predictions.mask_logits[image]
        candidates = Candidates(
            class_logits=predictions.class_logits[image][None],
            boxes=None,
            point_logits=sample_logits(logits, points.expand(len(logits), -1, -1))[None],
            labels=target.labels[None],
            target_boxes=target.boxes[None],
            point_labels=sample_masks(target.masks, points[0], target.canvas)[None],
            has_masks=torch.ones(1, 1, 1),
        )
        costs = {"class": softmax_class_cost, "mask": mask_bce_cost, "dice": mask_dice_cost}
        for name, cost in costs.items():
            theirs = recording[f"b{image}_cost_{name}"]
            torch.testing.assert_close(cost(candidates)[0], theirs, atol=FLOAT32, rtol=FLOAT32)


def test_matches_and_losses_without_boxes_equal_fc_clips(matched, monkeypatch):
    recording, predictions, targets = matched
    *weights, no_object = recording["cfg_cost_class_mask_dice_eos"].tolist()
    costs = zip(
        ("class", "mask", "dice"), weights, (softmax_class_cost, mask_bce_cost, mask_dice_cost)
    )
    matcher = HungarianMatcher(
        {name: (weight, cost) for name, weight, cost in costs},
        num_points=recording["match_point_coords"].shape[2],
    )
    points = recording["match_point_coords"][:, 0]
    monkeypatch.setattr(matcher, "points", lambda batch, device: points)
    term = MaskTerm(num_points=points.shape[1], oversample=3.0, importance=0.75)
    monkeypatch.setattr(term, "points", lambda logits: recording["loss_point_coords"])
    names = ("loss_class", "loss_mask", "loss_dice")
    criterion = SetCriterion(
        matcher, [SoftmaxClassTerm(no_object_weight=no_object), term], dict.fromkeys(names, 1.0)
    )
    (match,) = matcher(predictions, targets).values()
    for image, (query, target) in enumerate(match.by_image()):
        assert query.tolist() == recording[f"b{image}_match_pred"].tolist()
        assert target.tolist() == recording[f"b{image}_match_tgt"].tolist()
    assert int(recording["num_masks"]) == len(match)
    losses = criterion(predictions, targets)
    for name, theirs in zip(names, ("loss_ce", "loss_mask", "loss_dice")):
        torch.testing.assert_close(losses[name], recording[theirs], atol=FLOAT32, rtol=FLOAT32)


# --- the image tower


@pytest.fixture
def blocks(parity):
    """The recording, and a function that builds one of its three kinds of block."""
    recording = read(parity / "eva_block.npz")
    width, heads = recording["meta_dim_heads_grid_pt"][:2].tolist()

    def build(name):
        tensors = eva_names(state(recording, f"{name}."))
        options = {"dim": width, "num_heads": heads}
        if name == "eva02":
            hidden = tensors["mlp.fc1_g.weight"].shape[0]
            options |= {"qkv_fused": False, "swiglu_mlp": True}
            options |= {"scale_mlp": True, "scale_attn_inner": True}
        else:
            hidden = tensors["mlp.fc1.weight"].shape[0]
        kind = EvaBlockPostNorm if name == "evaE" else EvaBlock
        block = kind(**options, mlp_ratio=(hidden + 0.5) / width, norm_layer=NORM)
        block.load_state_dict(tensors)
        return block.eval()

    return recording, build


def small_tower(heads, rope=True, **options):
    """Returns an encoder of a random EVA tower, for what does not depend on its weights."""
    trunk = Eva(
        img_size=16, patch_size=8, embed_dim=heads * 16, depth=1, num_heads=heads, num_classes=4,
        global_pool="token", use_rot_pos_emb=rope, ref_feat_shape=(16, 16),
    )  # fmt: skip
    return TimmVit(trunk, **options)


def test_the_rotation_of_patches(blocks):
    recording, _ = blocks
    _, heads, side, _ = recording["meta_dim_heads_grid_pt"].tolist()
    rope = small_tower(heads).rope
    table = rope.get_embed([side, side])
    sine, cosine = table.chunk(2, dim=1)
    torch.testing.assert_close(sine, recording["rope_sin"], **CLOSE)
    torch.testing.assert_close(cosine, recording["rope_cos"], **CLOSE)
    oblong = rope.get_embed(recording["rope_nonsquare_HW"].tolist()).chunk(2, dim=1)
    torch.testing.assert_close(oblong[0], recording["rope_nonsquare_sin"], **CLOSE)
    torch.testing.assert_close(oblong[1], recording["rope_nonsquare_cos"], **CLOSE)
    rotated = apply_rot_embed_cat(recording["rope_qfull"], table)
    torch.testing.assert_close(rotated, recording["rope_qfull_rot"], **CLOSE)
    # Tokens that stay after clustering keep the rows of their own cells.
    kept = table[recording["rope_keep_idx"]][:, None]
    rotated = apply_rot_embed_cat(recording["rope_q"], kept)
    torch.testing.assert_close(rotated, recording["rope_q_rot"], **CLOSE)


@pytest.mark.parametrize("name", ["eva02", "eva01g", "evaE"])
def test_a_block_of_each_tower(blocks, name):
    recording, build = blocks
    side = int(recording["meta_dim_heads_grid_pt"][2])
    table = torch.cat([recording["rope_sin"], recording["rope_cos"]], dim=1)
    rope = table if name == "eva02" else None
    block, x = build(name), recording["x"]
    with torch.no_grad():
        torch.testing.assert_close(
            run_block(block, x, rope, grid=(side, side)), recording[f"{name}_y"], **CLOSE
        )
        if f"{name}_y_value_only" in recording:
            alone = run_block(block, x, rope, grid=(side, side), value_only=True)
            torch.testing.assert_close(alone, recording[f"{name}_y_value_only"], **CLOSE)


@pytest.fixture
def tower(parity):
    """The recording, and a function that builds its tower."""
    recording = read(parity / "eva_dense.npz")
    names = ("img", "patch", "dim", "heads", "depth", "out", "ptseq")
    size = dict(zip(names, recording["meta_img_patch_dim_heads_depth_out_ptseq"].tolist()))
    tensors = eva_names(state(recording, "w."))
    ratio = (tensors["blocks.0.mlp.fc1_g.weight"].shape[0] + 0.5) / size["dim"]

    def build(last_attention):
        trunk = Eva(
            img_size=size["img"], patch_size=size["patch"], embed_dim=size["dim"],
            depth=size["depth"], num_heads=size["heads"], num_classes=size["out"],
            qkv_fused=False, mlp_ratio=ratio, swiglu_mlp=True, scale_mlp=True,
            scale_attn_inner=True, use_rot_pos_emb=True, ref_feat_shape=size["ptseq"],
            global_pool="token", norm_layer=NORM,
        )  # fmt: skip
        trunk.load_state_dict(tensors)
        return TimmVit(trunk, last_attention=last_attention).eval()

    return recording, build


@torch.no_grad()
def test_the_image_embedding_and_dense_tokens(tower):
    recording, build = tower
    encoder = build("keep")
    output = encoder(recording["image"])
    torch.testing.assert_close(output.tokens, recording["tokens_all"], **CLOSE)
    normed = encoder.normed(output)
    embedding = encoder.project(normed.tokens[:, 0])
    torch.testing.assert_close(embedding, recording["cls_embed"], **CLOSE)
    dense = F.normalize(encoder.project(normed.tokens[:, 1:]), dim=-1)
    torch.testing.assert_close(dense, recording["dense_keep"], **CLOSE)
    torch.testing.assert_close(normed.patches, recording["fm_keep_norm"], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["", "_big"])
def test_the_value_path_at_both_sizes(tower, suffix):
    recording, build = tower
    encoder = build("value_only")
    output = encoder.normed(encoder(recording[f"image{suffix}"]))
    dense = F.normalize(encoder.project(output.tokens[:, 1:]), dim=-1)
    dense = dense.transpose(1, 2).unflatten(2, output.grid)
    torch.testing.assert_close(dense, recording[f"dense_value_only{suffix}"], **CLOSE)


@torch.no_grad()
def test_another_size_resizes_positions_without_antialias(tower):
    recording, build = tower
    encoder = build("keep")
    output = encoder.normed(encoder(recording["image_big"]))
    torch.testing.assert_close(encoder.positions(output.grid), recording["pos_embed_big"], **CLOSE)
    embedding = encoder.project(output.tokens[:, 0])
    torch.testing.assert_close(embedding, recording["cls_embed_big"], **CLOSE)
    # timm's own interpolation is another one.
    assert (embedding - recording["cls_embed_big_timm"]).abs().max() > 1e-3


@torch.no_grad()
def test_region_embeddings(tower):
    recording, build = tower
    encoder = build("keep")
    patches = encoder.normed(encoder(recording["image"])).patches
    index, boxes = recording["boxes_img_idx"], recording["boxes_norm_xyxy"]
    for size, key in ((1, "roi_keep_1x1"), (7, "roi_keep_7x7_mean")):
        torch.testing.assert_close(
            region_embeddings(patches, boxes, index, bins=size), recording[key], **CLOSE
        )
    value = recording["dense_value_only"]
    torch.testing.assert_close(
        region_embeddings(value, boxes, index), recording["roi_value_only_1x1"], **CLOSE
    )


# --- adapters


def adapters_of(recording, name, channels, options, module=None):
    module = module or Convpass(channels, options)
    tensors = state(recording, f"{name}.adapter_")
    module.load_state_dict(tensors)
    return module


@pytest.fixture
def convpass(parity):
    recording = read(parity / "convpass.npz")
    channels, heads, width, side, scale = recording["meta_C_heads_dim_grid_s"].tolist()
    options = ConvpassOptions(width=int(width), scale=scale, activation="quickgelu")
    return recording, int(channels), int(heads), (int(side), int(side)), options


def test_an_adapter_and_its_gradients(convpass):
    recording, channels, _, grid, options = convpass
    adapter = adapters_of(recording, "adapter", channels, options).eval()
    x = recording["x"].clone().requires_grad_()
    y = adapter(x, grid)
    torch.testing.assert_close(y, recording["y"], **CLOSE)
    loss = y.square().mean()
    torch.testing.assert_close(loss, recording["loss"], **CLOSE)
    loss.backward()
    torch.testing.assert_close(x.grad, recording["grad_x"], **CLOSE)
    torch.testing.assert_close(adapter.conv.weight.grad, recording["grad_conv_w"], **CLOSE)


def test_an_adapter_at_its_start(convpass):
    recording, _, _, _, options = convpass
    adapter = Convpass(768, options)
    assert sum(p.numel() for p in adapter.parameters()) == int(recording["init_n_params_C768_dim8"])
    assert torch.equal(adapter.conv.weight, recording["init_conv_weight_dim8"])
    assert adapter.conv.bias.abs().max() == recording["init_conv_bias_absmax"]
    assert adapter.up.weight.abs().max() == recording["init_up_absmax"]


def test_a_block_with_adapters(convpass):
    recording, channels, heads, grid, options = convpass
    tensors = state(recording, "block.")
    ratio = tensors["mlp.fc1.weight"].shape[0] / channels
    block = Block(channels, heads, mlp_ratio=ratio, qkv_bias=True)
    block.load_state_dict(tensors)
    adapters = BlockAdapters(channels, options)
    adapters_of(recording, "adapter_attn", channels, options, adapters.attention)
    adapters_of(recording, "adapter_mlp", channels, options, adapters.mlp)
    block.eval(), adapters.eval()
    y = run_block(block, recording["x"], None, grid=grid, adapters=adapters)
    torch.testing.assert_close(y, recording["block_y"], **CLOSE)
    adapters.mlp = None
    y = run_block(block, recording["x"], None, grid=grid, adapters=adapters)
    torch.testing.assert_close(y, recording["block_y_attn_only"], **CLOSE)


# --- token clustering


@pytest.fixture
def clustered(parity):
    recording = read(parity / "token_cluster.npz")
    height, width, count, neighbours = recording["meta_H_W_M_k"].tolist()
    alpha, reach = recording["spatial_alpha_lambda"].tolist()
    options = {"keep": count / (height * width), "neighbours": neighbours}
    return recording, (height, width), options, {"alpha": alpha, "reach": int(reach)}


def centre_of_each(centres, index):
    return centres.gather(1, index)


def test_clusters_by_density_peaks(clustered):
    recording, grid, options, _ = clustered
    x = recording["x"]
    density, separation = density_peaks(token_distances(x.double()), options["neighbours"])
    torch.testing.assert_close(density, recording["dpc_density"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(separation, recording["dpc_delta"], rtol=1e-6, atol=1e-9)
    clusters = cluster_tokens(x, grid, ClusterOptions(spatial=False, **options))
    centres, index = recording["dpc_center_idx"], recording["dpc_idx_cluster"]
    assert torch.equal(clusters.centres, centres.sort(dim=1).values)
    theirs = centre_of_each(centres, index)
    assert torch.equal(centre_of_each(clusters.centres, clusters.index), theirs)
    recorded = Clusters(centres, index)
    merged = merge_tokens(x, recorded)
    torch.testing.assert_close(merged, recording["merged_mean"], **CLOSE)
    weighted = merge_tokens(x, recorded, recording["token_weight"])
    torch.testing.assert_close(weighted, recording["merged_weighted"], **CLOSE)
    tokens = unfold_tokens(merged, recorded)
    torch.testing.assert_close(tokens, recording["unfolded_tokens"], **CLOSE)
    as_map = tokens.transpose(1, 2).unflatten(2, grid)
    torch.testing.assert_close(as_map, recording["unfolded_map_official"], **CLOSE)


def test_clusters_by_place_as_well(clustered):
    recording, grid, options, spatial = clustered
    x = recording["x"].double()
    assert torch.equal(grid_order(*grid)[0], recording["spatial_rank_row0"])
    distance = spatial_distances(token_distances(x), grid, **spatial)
    density, separation = density_peaks(distance, options["neighbours"])
    exact = {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(density, recording["spatial_density"], **exact)
    torch.testing.assert_close(separation, recording["spatial_delta"], **exact)
    torch.testing.assert_close(density * separation, recording["spatial_score"], **exact)
    clusters = cluster_tokens(x, grid, ClusterOptions(**options, **spatial))
    assert torch.equal(clusters.centres, recording["spatial_center_idx_sorted"])
    assert torch.equal(clusters.index, recording["spatial_idx_cluster"])
    merged = merge_tokens(x, clusters)
    torch.testing.assert_close(merged, recording["spatial_merged_mean"].double(), **exact)
    unfolded = unfold_tokens(merged, clusters)
    torch.testing.assert_close(unfolded, recording["spatial_unfolded"].double(), **exact)


# --- contrastive loss over processes


def test_the_contrastive_loss_of_one_process(parity):
    recording = read(parity / "clip_loss.npz")
    ranks = range(int(recording["meta_W_B_D"][0]))
    rows = [
        torch.cat([recording[f"{kind}_r{rank}"] for rank in ranks]).requires_grad_()
        for kind in ("image", "text")
    ]
    scale = recording["logit_scale_log"].clone().requires_grad_()
    loss = contrastive_module.contrastive(*rows, scale.exp())
    torch.testing.assert_close(loss, recording["single_loss"], **SCALAR)
    loss.backward()
    for name, tensor in zip(("image", "text", "logscale"), (*rows, scale)):
        torch.testing.assert_close(tensor.grad, recording[f"single_grad_{name}"], **SCALAR)


def test_the_contrastive_loss_of_each_process(parity, monkeypatch):
    """Each process is played in turn; the features of the others come from the recording."""
    recording = read(parity / "clip_loss.npz")
    world, batch, _ = recording["meta_W_B_D"].tolist()
    ranks = range(world)
    all_rows = {
        kind: [recording[f"{kind}_r{rank}"].clone().requires_grad_() for rank in ranks]
        for kind in ("image", "text")
    }
    scales = [recording["logit_scale_log"].clone().requires_grad_() for _ in ranks]
    losses = []
    for rank in ranks:
        texts, images = (
            torch.cat([F.normalize(rows, dim=-1) for rows in all_rows[kind]])
            for kind in ("text", "image")
        )
        gathered = iter((texts, images))
        monkeypatch.setattr(
            contrastive_module, "gather_rows", lambda rows, parts=gathered: next(parts)
        )
        own = torch.eye(world * batch, dtype=torch.bool)[rank * batch : (rank + 1) * batch]
        positives = (own, own)
        monkeypatch.setattr(
            contrastive_module, "_positives_everywhere", lambda *_, both=positives: both
        )
        losses.append(
            contrastive_module.contrastive(
                all_rows["image"][rank], all_rows["text"][rank], scales[rank].exp()
            )
        )
        expected = recording[f"local1_gwg1_r{rank}_loss"]
        torch.testing.assert_close(losses[-1], expected, **SCALAR)
        # Without gradient of the other processes the own rows alone are followed.
        assert torch.equal(expected, recording[f"local1_gwg0_r{rank}_loss"])
        for way in ("local0_gwg0", "local0_gwg1"):  # every process has the whole table of logits
            torch.testing.assert_close(
                recording[f"{way}_r{rank}_loss"], recording["single_loss"], **SCALAR
            )
    sum(losses).backward()
    for rank in ranks:
        for kind in ("image", "text"):
            theirs = recording[f"local1_gwg1_r{rank}_grad_{kind}"]
            torch.testing.assert_close(all_rows[kind][rank].grad, theirs, **SCALAR)
        theirs = recording[f"local1_gwg1_r{rank}_grad_logscale"]
        torch.testing.assert_close(scales[rank].grad, theirs, **SCALAR)


# --- optimisation


def test_lamb(parity):
    recording = read(parity / "lamb_sched.npz")
    decay, *rates, beta1, beta2, eps, largest = recording[
        "cfg_wd_lr0_lr1_b1_b2_eps_maxgradnorm"
    ].tolist()
    parameters = {k: torch.nn.Parameter(v.clone()) for k, v in state(recording, "p0.").items()}
    groups = [
        {"params": [p for k, p in parameters.items() if k.startswith(start)], "lr": lr,
         "weight_decay": weight}
        for start, lr, weight in (("decay", rates[0], decay), ("nodecay", rates[1], 0.0))
    ]  # fmt: skip
    solver = SimpleNamespace(BASE_LR=1.0, BETAS=(beta1, beta2), EPS=eps)
    optimizer = build_lamb(groups, SimpleNamespace(SOLVER=solver))
    assert optimizer.defaults["max_grad_norm"] == largest
    steps = len({key.partition(".")[0] for key in recording if key[0] == "g"})
    assert steps
    for step in range(steps):
        for name, gradient in state(recording, f"g{step}.").items():
            parameters[name].grad = gradient.clone()
        optimizer.step()
        for name, expected in state(recording, f"p{step + 1}.").items():
            torch.testing.assert_close(parameters[name].data, expected, rtol=1e-6, atol=1e-6)


def test_layer_decay_and_schedule(parity):
    recording = read(parity / "lamb_sched.npz")
    depth, decay = recording["ld_L_decay"].tolist()
    names = [str(name) for name in recording["ld_names"]]
    factors = layer_factors([*names, f"blocks.{int(depth) - 1}.x"], "", decay)
    ours = torch.tensor([factors[name] for name in names], dtype=torch.float64)
    torch.testing.assert_close(ours, recording["ld_scale"].double(), **CLOSE)
    powers = torch.tensor(decay).double() ** (depth + 1 - recording["ld_layer_id"].double())
    torch.testing.assert_close(ours, powers, **CLOSE)
    warmup, total = recording["sched_cfg_warmup_total"].tolist()
    *bases, scale = recording["sched_base_visual_text_other_and_visual_scale"].tolist()
    bases = torch.tensor([bases[0] * scale, *bases[1:]], dtype=torch.float64)
    curve = [warmup_cosine(step, warmup=warmup, total=total) for step in range(total)]
    ours = torch.tensor(curve, dtype=torch.float64)[:, None] * bases
    torch.testing.assert_close(ours, recording["sched_lr"].double(), rtol=1e-6, atol=1e-12)


# --- FC-CLIP's head


@pytest.fixture
def head(parity):
    recording = read(parity / "fcclip_head.npz")
    names = ("hidden", "heads", "queries", "encoder", "decoder", "mask", "text")
    size = dict(zip(names, recording["meta_hid_heads_Q_encl_decl_maskdim_D"].tolist()))
    features = state(recording, "feat.")
    pixel = DeformablePixelDecoder(
        {name: value.shape[1] for name, value in features.items()},
        finest="res2", refined=("res3", "res4", "res5"), extra_levels=0, width=size["hidden"],
        mask_width=size["mask"], layers=size["encoder"], feed_forward=2 * size["hidden"],
        heads=size["heads"], points=4, order="coarse_to_fine",
    )  # fmt: skip
    official = {f"sem_seg_head.pixel_decoder.{k}": v for k, v in state(recording, "pd.").items()}
    official |= {f"sem_seg_head.predictor.{k}": v for k, v in state(recording, "td.").items()}
    ours = {our_name(name): value for name, value in official.items()}
    assert not [name for name in ours if name.startswith("sem_seg_head.")]
    start = pixel.layers[0].self_attn.sampling_offsets.bias
    torch.testing.assert_close(start, recording["init_sampling_offsets_bias"], **CLOSE)
    pixel.load_state_dict(state(ours, "pixel_decoder."))
    decoder = MaskDecoder(
        width=size["hidden"], queries=size["queries"], layers=size["decoder"], levels=3,
        heads=size["heads"], feed_forward=2 * size["hidden"], text_width=size["text"],
    )  # fmt: skip
    decoder.load_state_dict(state(ours, "decoder."))
    return recording, features, pixel.eval(), decoder.eval()


@torch.no_grad()
def test_fc_clips_pixel_and_mask_decoder(head):
    recording, features, pixel, decoder = head
    refined = pixel(features)
    loose = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(refined.mask_features, recording["pd_mask_features"], **loose)
    torch.testing.assert_close(refined.levels[0], recording["pd_encoder_out"], **loose)
    for level, ours in enumerate(refined.levels):
        torch.testing.assert_close(ours, recording[f"pd_ms{level}"], **loose)
    code = recording["sine_pe_res5"]
    torch.testing.assert_close(sine_positions_2d(*code.shape, offset=1.0), code, **CLOSE)
    *rows, void = recording["text_classifier_with_void"].split(1)
    counts = recording["num_synonyms"].tolist()
    counts = counts[:-1] if sum(counts) > len(rows) else counts
    batch = len(refined.mask_features)
    texts = ClassTexts([torch.cat(rows)] * batch, [counts] * batch)
    predictions = decoder(refined, texts, void)
    heads = {"pred_": predictions}
    heads |= {f"aux{name}_": head for name, head in predictions.earlier.items()}
    assert len(heads) == 1 + len([k for k in recording if k.startswith("aux") and "logits" in k])
    for prefix, ours in heads.items():
        torch.testing.assert_close(ours.class_logits, recording[f"{prefix}logits"], **loose)
        torch.testing.assert_close(ours.mask_logits, recording[f"{prefix}masks"], **loose)


# --- FC-CLIP's inference


@pytest.fixture
def infer(parity):
    return read(parity / "fcclip_infer.npz")


def words(names):
    return [tuple(str(name).split(",")) for name in names]


class RecordedText(torch.nn.Module):
    """A text encoder that gives each prompt its recorded embedding."""

    name, embed_dim, device = "recorded", 16, torch.device("cpu")

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def pooled(self, prompts):
        return torch.stack([self.rows[prompt] for prompt in prompts])

    def fingerprint(self):
        return self.name


def text_classifier(recording):
    templates = template_set("vild14")
    groups = words(recording["names_test"])
    prompts = [t.replace("{}", word) for group in groups for word in group for t in templates]
    rows = dict(zip(prompts, recording["raw_text_embeddings"]))
    classifier = VocabularyClassifier(RecordedText(rows), temperature=1.0, templates=templates)
    names = tuple(group[0] for group in groups)
    return classifier, Vocabulary("parity-fc-clip", names, synonyms=tuple(groups))


def both_logits(recording):
    counts = recording["num_synonyms"].tolist()
    batch = len(recording["class_embed"])
    texts = ClassTexts([recording["text_classifier"]] * batch, [counts] * batch)
    outside = recording["pooled"] @ recording["proj_w"].T + recording["proj_b"]
    return [
        class_logits(embedding, texts, recording["void_embedding"], recording[key].exp())
        for embedding, key in (
            (recording["class_embed"], "logit_scale_in_log"), (outside, "logit_scale_out_log"),
        )
    ]  # fmt: skip


def test_the_text_rows_under_fourteen_templates(infer):
    classifier, vocabulary = text_classifier(infer)
    first = vocabulary.synonyms[0][0]
    prompts = [template.replace("{}", first) for template in classifier.templates]
    assert prompts == infer["prompts_first_class"].tolist()
    torch.testing.assert_close(classifier.embed(vocabulary), infer["text_classifier"], **CLOSE)
    assert infer["num_synonyms"].tolist() == [len(group) for group in vocabulary.synonyms]


def test_mask_pooling_and_the_logits_of_both_heads(infer):
    dense, masks = infer["clip_vis_dense"], infer["pred_masks"]
    pooling = pooling_masks(masks, dense.shape[-2:])
    assert torch.equal(pooling, infer["mask_for_pooling"] > 0)
    torch.testing.assert_close(mask_pool(dense, masks), infer["pooled"], **CLOSE)
    for ours, key in zip(both_logits(infer), ("in_vocab_logits", "out_vocab_logits")):
        torch.testing.assert_close(ours, infer[key], **CLOSE)


def test_the_ensemble(infer):
    seen = seen_classes(words(infer["names_test"]), words(infer["names_train"]))
    assert list(seen) == (infer["overlap_mask"] > 0).tolist()
    alpha, beta = infer["meta_alpha_beta_objthr_overlapthr_topk"][:2].tolist()
    arguments = infer["in_vocab_logits"], infer["out_vocab_logits"], torch.tensor(seen)
    weights = {"alpha": alpha, "beta": beta}
    ours = ensemble_log_probabilities(*arguments, **weights)
    torch.testing.assert_close(ours, infer["plain_mask_cls"], **CLOSE)
    valid = (infer["mask_for_pooling"] > 0).flatten(2).any(dim=2)
    assert not valid.all()
    ours = ensemble_log_probabilities(*arguments, **weights, valid=valid)
    torch.testing.assert_close(ours, infer["validmask_mask_cls"], **CLOSE)


def test_semantic_panoptic_and_instance_answers(infer):
    _, _, score, overlap, topk = infer["meta_alpha_beta_objthr_overlapthr_topk"].tolist()
    inference = Inference(int(topk), score, overlap, mask_chunk=5, label_maps=False)
    sizes = infer["sizes_h_w_outh_outw"].tolist()
    padded = tuple(-(-max(size[i] for size in sizes) // 32) * 32 for i in (0, 1))
    is_thing = torch.zeros(len(infer["names_test"]), dtype=torch.bool)
    is_thing[infer["thing_ids"]] = True
    for image, (height, width, *result) in enumerate(sizes):
        resize = MaskResizer(padded, (height, width), tuple(result))
        probability = infer["plain_mask_cls"][image].softmax(dim=1)
        masks = infer["pred_masks"][image]
        scores = semantic_scores(probability[:, :-1], masks, resize)
        assert torch.equal(scores.argmax(dim=0), infer[f"plain_{image}_sem_argmax"])
        torch.testing.assert_close(scores[:, ::7, ::7], infer[f"plain_{image}_sem_sub"], **CLOSE)
        segments, infos = inference.panoptic(probability, masks, resize, is_thing)
        assert torch.equal(segments.long(), infer[f"plain_{image}_pan"].long())
        rows = [[info["id"], int(info["isthing"]), info["category_id"]] for info in infos]
        assert rows == infer[f"plain_{image}_pan_info"].tolist()
        found = inference.instances(probability, masks, resize, is_thing)
        torch.testing.assert_close(found.scores, infer[f"plain_{image}_ins_scores"], **CLOSE)
        assert torch.equal(found.pred_classes, infer[f"plain_{image}_ins_classes"])
        areas = found.pred_masks.flatten(1).sum(dim=1).float()
        torch.testing.assert_close(areas, infer[f"plain_{image}_ins_area"])


# --- lists


def listed(parity, name):
    return json.loads((parity / "data_lists" / f"{name}.json").read_text(encoding="utf-8"))


def test_seen_classes_of_every_open_vocabulary_set(parity):
    labels, seen = listed(parity, "openvocab_labels"), listed(parity, "overlap_with_coco_panoptic")
    assert labels.keys() == seen.keys()
    trained = [entry["names"] for entry in labels["coco_panoptic_133"]]
    for name, entries in labels.items():
        ours = seen_classes([entry["names"] for entry in entries], trained)
        assert list(map(int, ours)) == seen[name], name


@pytest.mark.parametrize(
    "name, key",
    [
        ("coco_panoptic_133_synonyms", "coco_panoptic_133"),
        ("ade20k_150_synonyms", "ade20k_150"),
        ("ade20k_847_synonyms", "ade20k_full_847"),
        ("pascal_context_59_synonyms", "pascal_context_59"),
        ("pascal_context_459_synonyms", "pascal_context_459"),
        ("voc_20_synonyms", "pascal_voc_20"),
        ("voc_21_synonyms", "pascal_voc_21"),
    ],
)
def test_the_words_of_every_open_vocabulary_set(parity, name, key):
    entries = listed(parity, "openvocab_labels")[key]
    if key == "pascal_voc_21":  # the background is the last class of our label maps
        entries = [*entries[1:], entries[0]]
    vocabulary = shipped_vocabulary(name)
    expected = [tuple(dict.fromkeys(entry["names"])) for entry in entries]
    assert [tuple(dict.fromkeys(words)) for words in vocabulary.synonyms] == expected
    if "isthing" in entries[0]:
        assert list(vocabulary.is_thing) == [bool(entry["isthing"]) for entry in entries]


def test_templates_and_classes_of_the_zero_shot_sets(parity):
    prompts, names = listed(parity, "prompt_templates"), listed(parity, "zeroshot_classnames")
    assert list(template_set("vild14")) == prompts["fcclip_vild_14"]
    keys = prompts["dataset_to_template_key"]
    assert zero_shot_names() == tuple(sorted(keys))
    for name, key in keys.items():
        theirs = [prompt.replace("{c}", "{}") for prompt in prompts["zero_shot_templates"][key]]
        assert list(zero_shot_set(name).templates) == theirs, name
    for key in ("country211", "eurosat", "fer2013", "gtsrb", "mnist", "pcam", "svhn"):
        assert list(zero_shot_set(key).classes) == names[key]
    assert list(zero_shot_set("caltech101").classes) == names["caltech101_vtab"]
    every = dict(zip(names["imagenet_wordnet_ids_in_order"], names["imagenet1k"]))
    for key, wnids in (
        ("imagenet_a", names["imagenet_a_wnids"]),
        ("imagenet_r", names["imagenet_r_wnids"]),
        ("imagenet_v2", list(every)),
        ("imagenet_sketch", list(every)),
    ):
        ours = zero_shot_set(key)
        assert list(ours.wnids) == wnids
        assert list(ours.classes) == [every[wnid] for wnid in wnids]
    assert zero_shot_set("objectnet").classes is None


def test_every_recording_is_read(parity):
    text = Path(__file__).read_text(encoding="utf-8")
    files = [path.stem for path in parity.rglob("*") if path.suffix in (".npz", ".json")]
    assert len(files) > 10
    assert [name for name in files if f'"{name}.npz"' not in text and f'"{name}"' not in text] == []
