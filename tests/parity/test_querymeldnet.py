"""QueryMeldNet against recordings of Mask DINO's code and of X-Decoder's referring metrics."""

import numpy as np
import pytest
import torch
from detectron2.modeling.backbone.swin import SwinTransformer

from segplugins.evaluation.referring_scores import intersection_and_union, referring_scores
from segplugins.modeling import criterion as criterion_module
from segplugins.modeling.boxes import inverse_sigmoid
from segplugins.modeling.costs import (
    Candidates,
    box_giou_cost,
    box_l1_cost,
    focal_class_cost,
    mask_bce_cost,
    mask_dice_cost,
)
from segplugins.modeling.criterion import (
    BoxTerm,
    FocalClassTerm,
    MaskTerm,
    SetCriterion,
    SoftmaxClassTerm,
)
from segplugins.modeling.deformable import DeformableAttention, deformable_attention
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.modeling.pixel_decoder import (
    DeformablePixelDecoder,
    PixelFeatures,
    cell_centres,
)
from segplugins.modeling.point_losses import focal, sample_logits, sample_masks, uncertain_points
from segplugins.modeling.positions import sine_positions_2d
from segplugins.modeling.postprocess import (
    MaskResizer,
    class_weights,
    panoptic_segments,
    semantic_scores,
    tight_boxes,
    top_instances,
)
from segplugins.projects.querymeldnet.decoder import DecoderLayer, MeldDecoder, box_codes
from segplugins.projects.querymeldnet.denoising import Denoising, Noise, repeated_targets
from segplugins.projects.querymeldnet.heads import text_logits
from segplugins.projects.querymeldnet.meld import MeldExchange, QueryLayout, attention_mask
from segplugins.projects.querymeldnet.queries import (
    ConditionalQueries,
    LearnableQueries,
    proposal_anchors,
)
from segplugins.projects.querymeldnet.weights import convert, our_name
from segplugins.structures.predictions import Match, QueryPredictions, QueryTargets

PERCENT = 1e-5  # the reference divides in float32
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
COSTS = {
    "class": (4.0, focal_class_cost(alpha=0.25, gamma=2.0)),
    "mask": (5.0, mask_bce_cost),
    "dice": (5.0, mask_dice_cost),
    "box": (5.0, box_l1_cost),
    "giou": (2.0, box_giou_cost),
}


def read(path):
    """Returns the arrays of a recording as tensors."""
    with np.load(path) as content:
        return {key: torch.from_numpy(content[key]) for key in content}


def state(recording, prefix="sd/"):
    return {k.removeprefix(prefix): v for k, v in recording.items() if k.startswith(prefix)}


def shapes_of(recording):
    return [tuple(shape) for shape in recording["spatial_shapes"].tolist()]


def targets_of(recording, image, canvas):
    return QueryTargets(
        labels=recording[f"t{image}_labels"],
        boxes=recording[f"t{image}_boxes"],
        masks=recording[f"t{image}_masks"].bool(),
        canvas=canvas,
    )


def all_targets(recording):
    images = range(len([key for key in recording if key.endswith("_labels") and key[0] == "t"]))
    size = tuple(recording["t0_masks"].shape[-2:])
    return [targets_of(recording, image, size) for image in images]


def head_of(recording, name):
    return QueryPredictions(
        class_logits=recording[f"{name}pred_logits"],
        boxes=recording[f"{name}pred_boxes"],
        mask_logits=recording[f"{name}pred_masks"],
    )


# --- deformable attention


def test_the_deformable_core_and_its_gradients(parity):
    recording = read(parity / "ms_deform_attn_core.npz")
    names = ("value", "sampling_locations", "attention_weights")
    value, locations, weights = (recording[name].requires_grad_() for name in names)
    out = deformable_attention(value, shapes_of(recording), locations, weights)
    torch.testing.assert_close(out, recording["output"], **CLOSE)
    (out * recording["grad_output"]).sum().backward()
    for name, tensor in zip(names, (value, locations, weights)):
        torch.testing.assert_close(tensor.grad, recording[f"grad_{name}"], atol=1e-4, rtol=1e-4)


def test_the_deformable_module_and_its_start(parity):
    recording = read(parity / "ms_deform_attn_module.npz")
    shapes, width = shapes_of(recording), recording["query"].shape[-1]
    heads, points = int(recording["n_heads"]), int(recording["n_points"])
    module = DeformableAttention(width, levels=len(shapes), heads=heads, points=points)
    torch.testing.assert_close(
        module.sampling_offsets.bias, recording["init/sampling_offsets.bias"], **CLOSE
    )
    module.load_state_dict(state(recording))
    arguments = recording["src"], shapes
    padded = module(recording["query"], recording["ref2"], *arguments, recording["padding_mask"])
    torch.testing.assert_close(padded, recording["out_ref2_padded"], **CLOSE)
    boxes = module(recording["query"], recording["ref4"], *arguments)
    torch.testing.assert_close(boxes, recording["out_ref4"], **CLOSE)
    for name in (key for key in recording if key.startswith("init_")):
        sizes = {part[0]: int(part[1:]) for part in name.split("/")[0].split("_")[1:]}
        module = DeformableAttention(64, levels=sizes["l"], heads=sizes["h"], points=sizes["p"])
        torch.testing.assert_close(module.sampling_offsets.bias, recording[name], **CLOSE)


# --- encodings, backbone, pixel decoder


def test_references_codes_logits_and_boxes(parity):
    recording = read(parity / "proposals_and_encodings.npz")
    shapes = shapes_of(recording)
    centres = cell_centres(shapes, torch.device("cpu"))
    expected = recording["reference_points_nopad"]
    torch.testing.assert_close(centres[None, :, None].expand_as(expected), expected, **CLOSE)
    codes = recording["pos_embed_sine_8feats"]
    ours = sine_positions_2d(codes.shape[1], *codes.shape[-2:], offset=1.0)
    torch.testing.assert_close(ours, codes[0], **CLOSE)
    torch.testing.assert_close(
        inverse_sigmoid(recording["inv_sigmoid_in"]), recording["inv_sigmoid_out"], **CLOSE
    )
    assert torch.equal(tight_boxes(recording["masks"]), recording["bitmask_boxes"])


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # detectron2's Swin
def test_swin_pads_as_recorded(parity):
    recording = read(parity / "swin_tiny.npz")
    model = SwinTransformer(
        patch_size=4, embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), mlp_ratio=2.0,
        window_size=int(recording["window"]), drop_path_rate=0.0, out_indices=(0, 1, 2, 3),
    ).eval()  # fmt: skip
    missing, unexpected = model.load_state_dict(state(recording), strict=False)
    assert not unexpected and all("relative_position_index" in name for name in missing)
    with torch.no_grad():
        maps = model(recording["image"])
    for index in range(4):
        torch.testing.assert_close(maps[f"p{index}"], recording[f"out/res{index + 2}"], **CLOSE)


@pytest.mark.parametrize(
    "name, order", [("low2high", "fine_to_coarse"), ("high2low", "coarse_to_fine")]
)
def test_the_pixel_decoder(parity, name, order):
    recording = read(parity / f"pixel_decoder_{name}.npz")
    features = state(recording, "in/")
    weights = state(recording)
    layers = len({k.split(".")[3] for k in weights if k.startswith("transformer.encoder.layers.")})
    levels = len([key for key in recording if key.startswith("level")])
    width = weights["transformer.level_embed"].shape[1]
    refined = ("res3", "res4", "res5")
    decoder = DeformablePixelDecoder(
        {key: feature.shape[1] for key, feature in features.items()},
        finest="res2",
        refined=refined,
        extra_levels=levels - len(refined),
        width=width,
        mask_width=weights["mask_features.weight"].shape[0],
        layers=layers,
        feed_forward=weights["transformer.encoder.layers.0.linear1.weight"].shape[0],
        heads=4,
        points=4,
        order=order,
    )
    renamed = {our_name(f"sem_seg_head.pixel_decoder.{k}"): v for k, v in weights.items()}
    decoder.load_state_dict({k.removeprefix("pixel_decoder."): v for k, v in renamed.items()})
    with torch.no_grad():
        result = decoder.eval()(features)
    torch.testing.assert_close(result.mask_features, recording["mask_features"], **CLOSE)
    torch.testing.assert_close(result.levels[0], recording["first"], **CLOSE)
    for level, ours in enumerate(result.levels):
        torch.testing.assert_close(ours, recording[f"level{level}"], **CLOSE)


# --- matching and losses


def test_points_are_drawn_as_in_point_rend(parity, monkeypatch):
    recording = read(parity / "uncertain_points.npz")
    draws = iter([recording["rand_first"], recording["rand_second"]])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(draws))
    logits = recording["logits"][:, 0]
    points = uncertain_points(
        logits, num_points=int(recording["num_points"]), oversample=3.0, importance=0.75
    )
    torch.testing.assert_close(points, recording["point_coords"], **CLOSE)
    sampled = sample_logits(logits, points)
    torch.testing.assert_close(sampled, recording["sampled_logits"][:, 0], **CLOSE)


def fixed_points(points):
    """A matcher whose points are given."""
    matcher = HungarianMatcher(COSTS, num_points=points.shape[1])
    matcher.points = lambda batch, device: points
    return matcher


def test_costs_and_matches(parity):
    recording = read(parity / "matcher.npz")
    head, targets = head_of(recording, ""), all_targets(recording)
    for image, target in enumerate(targets):
        points = recording["point_coords"][image]
        candidates = Candidates(
            class_logits=head.class_logits[image][None],
            boxes=head.boxes[image][None],
            point_logits=sample_logits(
                head.mask_logits[image], points.expand(head.mask_logits.shape[1], -1, -1)
            )[None],
            labels=target.labels[None],
            target_boxes=target.boxes[None],
            point_labels=sample_masks(target.masks, points, target.canvas)[None],
            has_masks=torch.ones(1, 1, 1),
        )
        total = 0
        for ours, theirs in (
            ("class", "cls"),
            ("mask",) * 2,
            ("dice",) * 2,
            ("box",) * 2,
            ("giou",) * 2,
        ):
            weight, cost = COSTS[ours]
            expected = recording[f"cost_{theirs}_{image}"]
            torch.testing.assert_close(cost(candidates)[0], expected, **CLOSE)
            total = total + weight * expected
        torch.testing.assert_close(total, recording[f"cost_total_{image}"], **CLOSE)
    match = fixed_points(recording["point_coords"])(head, targets)[""]
    box_only = [QueryTargets(t.labels, t.boxes, None, t.canvas) for t in targets]
    without_masks = HungarianMatcher(COSTS, num_points=64)(head, box_only)[""]
    for image, (one, other) in enumerate(zip(match.by_image(), without_masks.by_image())):
        assert torch.equal(one[0], recording[f"match_src_{image}"])
        assert torch.equal(one[1], recording[f"match_tgt_{image}"])
        assert torch.equal(other[0], recording[f"match_nomask_src_{image}"])
        assert torch.equal(other[1], recording[f"match_nomask_tgt_{image}"])


WEIGHTS = dict.fromkeys(("loss_class", "loss_mask", "loss_dice", "loss_box", "loss_giou"), 1.0)
THEIR_LOSS = {
    "loss_class": "loss_ce",
    "loss_mask": "loss_mask",
    "loss_dice": "loss_dice",
    "loss_box": "loss_bbox",
    "loss_giou": "loss_giou",
}


def build_criterion(matcher, points):
    mask_term = MaskTerm(num_points=points.shape[1], oversample=3.0, importance=0.75)
    mask_term.points = lambda mask_logits: points
    terms = [FocalClassTerm(alpha=0.25, gamma=2.0), BoxTerm(), mask_term]
    return SetCriterion(matcher, terms, WEIGHTS)


def test_losses_of_matched_heads(parity):
    recording = read(parity / "criterion.npz")
    targets = all_targets(recording)
    heads = sorted(key.split("/")[1] for key in recording if key.startswith("matcher_points/"))
    assert {"final", "interm"} < set(heads)
    for name in heads:
        matcher = fixed_points(recording[f"matcher_points/{name}"])
        head = head_of(recording, f"{name}/")
        match = matcher(head, targets)[""]
        for image, (query, target) in enumerate(match.by_image()):
            expected = recording[f"match/{name}/{image}"]
            assert torch.equal(torch.stack([query, target]), expected), (name, image)
        losses = build_criterion(matcher, recording[f"points/{name}"])(head, targets)
        suffix = {"final": "", "interm": "_interm"}.get(name, f"_{name.removeprefix('aux')}")
        for ours, theirs in THEIR_LOSS.items():
            expected = recording[f"loss/{theirs}{suffix}"]
            torch.testing.assert_close(losses[ours], expected, atol=1e-6, rtol=1e-5)


def test_losses_of_denoising_heads(parity):
    recording = read(parity / "criterion.npz")
    targets = all_targets(recording)
    groups, padded = int(recording["num_dn_groups"]), int(recording["pad_size"])
    single = padded // groups
    pairs = [
        (image, group * single + index, index)
        for image, target in enumerate(targets)
        for group in range(groups)
        for index in range(len(target))
    ]
    match = Match(*torch.tensor(pairs).T, counts=tuple(groups * len(t) for t in targets))
    heads = sorted({key.split("/")[0] for key in recording if key.startswith("dn_")})
    assert "dn_final" in heads
    for name in heads:
        head = head_of(recording, f"{name}/")
        criterion = build_criterion(None, recording[f"points/{name}"])
        losses = criterion.matched_losses(head, targets, {"": match}, repeats=groups, suffix="_dn")
        layer = name.removeprefix("dn_aux")
        suffix = "_dn" if name == "dn_final" else f"_dn_{layer}"
        for ours, theirs in THEIR_LOSS.items():
            expected = recording[f"loss/{theirs}{suffix}"]
            torch.testing.assert_close(losses[f"{ours}_dn"], expected, atol=1e-6, rtol=1e-5)


def test_the_softmax_variant(parity):
    recording = read(parity / "criterion.npz")
    head, targets = head_of(recording, "final/"), all_targets(recording)
    highest = head.class_logits.shape[-1] - 2
    for target in targets:
        target.labels = target.labels.clamp_max(highest)
    pairs = [recording[f"match/final/{image}"] for image in range(len(targets))]
    image = torch.cat([torch.full((pair.shape[1],), i) for i, pair in enumerate(pairs)])
    query, target = torch.cat(pairs, dim=1)
    match = Match(image, query, target, counts=tuple(pair.shape[1] for pair in pairs))
    counts = criterion_module.target_counts(targets, torch.device("cpu"))
    loss = SoftmaxClassTerm(no_object_weight=0.1)(head, targets, match, counts)["loss_class"]
    torch.testing.assert_close(loss, recording["ce_variant_loss"], atol=1e-6, rtol=1e-5)


# --- decoder


def test_proposals_are_valid_where_recorded(parity):
    recording = read(parity / "proposals_and_encodings.npz")
    anchors, valid = proposal_anchors(shapes_of(recording), torch.device("cpu"))
    expected = recording["output_proposals_nopad"]
    torch.testing.assert_close(anchors.expand_as(expected), expected, **CLOSE)
    memory = recording["memory"].masked_fill(~valid[:, None], 0.0)
    torch.testing.assert_close(memory, recording["output_memory_nopad"])


def test_codes_of_boxes(parity):
    recording = read(parity / "proposals_and_encodings.npz")
    expected = recording["sine_embed4"]
    codes = box_codes(recording["sine_in"], expected.shape[-1] // 4)
    torch.testing.assert_close(codes, expected, **CLOSE)


def test_the_decoder_layer_with_and_without_a_mask(parity):
    recording = read(parity / "decoder_layer.npz")
    shapes, width = shapes_of(recording), recording["tgt"].shape[-1]
    weights = state(recording)
    layer = DecoderLayer(
        width,
        feed_forward=weights["linear1.weight"].shape[0],
        heads=4,
        dropout=0.0,
        meld=None,
        levels=len(shapes),
        points=4,
    ).eval()
    layer.load_state_dict(weights)
    inputs = (
        recording[k].transpose(0, 1) for k in ("tgt", "query_pos", "reference_points", "memory")
    )
    inputs = [*inputs, shapes]
    with torch.no_grad():
        plain = layer(*inputs)
        masked = layer(*inputs, blocked=recording["attn_mask"])
    torch.testing.assert_close(plain.transpose(0, 1), recording["out"], **CLOSE)
    torch.testing.assert_close(masked.transpose(0, 1), recording["out_masked"], **CLOSE)


@pytest.mark.parametrize("name", ["one_stage", "two_stage", "two_stage_mask2box"])
def test_the_whole_decoder(parity, name):
    recording = read(parity / f"decoder_{name}.npz")
    levels = [recording[f"feat{i}"] for i in range(len([k for k in recording if k[:4] == "feat"]))]
    weights = state(recording)
    width, mask_width = levels[0].shape[1], recording["mask_features"].shape[1]
    layers = {k.split(".")[2] for k in weights if k.startswith("decoder.layers.")}
    options = {
        "feed_forward": weights["decoder.layers.0.linear1.weight"].shape[0],
        "heads": 4,
        "dropout": 0.0,
        "meld": None,
        "levels": len(levels),
        "points": 4,
    }
    queries = recording["pred_logits"].shape[1]
    two_stage = name != "one_stage"
    box_source = "mask2box" if name.endswith("mask2box") else "no"
    conditional = ConditionalQueries(queries, width, box_source=box_source)
    decoder = MeldDecoder(
        [DecoderLayer(width, **options) for _ in layers],
        width=width,
        mask_width=mask_width,
        learnable=None if two_stage else LearnableQueries(queries, width),
        conditional=conditional if two_stage else None,
        meld="joint",
    )
    renamed, unused = convert({f"sem_seg_head.predictor.{k}": v for k, v in weights.items()})
    missing, unexpected = decoder.load_state_dict(
        {k.removeprefix("decoder."): v for k, v in renamed.items()}, strict=False
    )
    assert not missing and not unexpected
    assert {k.split(".")[2] for k in unused} <= {
        "class_embed",
        "label_enc",
        "decoder",
        "bbox_embed",
    }
    head = torch.nn.Linear(width, recording["pred_logits"].shape[2])
    head.load_state_dict(state(weights, "class_embed."))
    # The official decoder lines the levels up coarsest first. Training mode gives all heads.
    features = PixelFeatures(levels[::-1], recording["mask_features"])
    with torch.no_grad():
        predictions = decoder.train()(features, head).predictions
    heads = {"pred_": predictions}
    heads |= {f"aux{k}_": v for k, v in predictions.earlier.items() if k != "proposals"}
    if two_stage:
        heads["interm_pred_"] = predictions.earlier["proposals"]
    compared = 0
    for prefix, ours in heads.items():
        for kind, tensor in (
            ("logits", ours.class_logits), ("boxes", ours.boxes), ("masks", ours.mask_logits),
        ):  # fmt: skip
            if prefix + kind in recording:
                torch.testing.assert_close(
                    tensor, recording[prefix + kind], atol=3e-5, rtol=1e-4, msg=prefix + kind
                )
                compared += 1
    assert compared == len([k for k in recording if k.startswith(("pred_", "aux", "interm_"))])


def dn_targets(recording):
    images = len([key for key in recording if key.endswith("_labels") and key[0] == "t"])
    return [
        QueryTargets(recording[f"t{i}_labels"], recording[f"t{i}_boxes"], None, (1, 1))
        for i in range(images)
    ]


@pytest.mark.parametrize("name", ["dn_queries", "dn_queries_contrastive"])
def test_denoising_queries(parity, name):
    recording = read(parity / f"{name}.npz")
    targets = dn_targets(recording)
    contrastive = name.endswith("contrastive")
    number = int(recording["dn_number" if contrastive else "dn_num"])
    scale = float(recording["box_noise_scale" if contrastive else "noise_scale"])
    threshold = float(recording["label_noise_ratio"]) if contrastive else scale
    denoising = Denoising(number, scale, threshold * 0.5, contrastive)
    groups = denoising.groups(targets)
    assert groups == int(recording["groups"]) * (2 if contrastive else 1)
    place = repeated_targets(targets, groups, torch.device("cpu"))
    labels = place.label.clone()
    labels[recording["label_rand"] < denoising.label_noise] = recording["new_labels"]
    signs = recording["sign_randint01"].float() if contrastive else None
    noise = Noise(recording["label_rand"], recording["box_rand"], signs)
    noised = denoising.assemble(targets, place, recording["label_enc"][labels], noise, groups)
    torch.testing.assert_close(noised.queries.content, recording["query_label"], **CLOSE)
    torch.testing.assert_close(noised.queries.anchors, recording["query_bbox_unsig"], **CLOSE)
    layout = QueryLayout(
        int(recording["pad_size"]), int(recording["num_queries"]), 0, noised.groups
    )
    blocked = attention_mask(layout, "joint", torch.device("cpu"))
    assert torch.equal(blocked, recording["attn_mask"])
    if "known_indice" in recording:
        assert torch.equal(place.image, recording["batch_idx"].repeat(groups))
        single = int(recording["pad_size"]) // groups
        slots = place.group * single + place.index
        assert torch.equal(slots, recording["map_known_indice"])
        assert torch.equal(
            recording["known_indice"], torch.arange(len(recording["batch_idx"])).repeat(groups)
        )


# --- our own formulas, as the recording's maker has computed them


@pytest.mark.parametrize("variant", ["gate0", "gate"])
def test_the_gated_exchange(parity, variant):
    recording = read(parity / "spec_reference.npz")
    parts = [recording[k].transpose(0, 1) for k in ("D", "L", "C")]
    places = [recording[f"pos_{k}"].transpose(0, 1) for k in ("D", "L", "C")]
    layout = QueryLayout(*(part.shape[1] for part in parts))
    width = parts[0].shape[-1]
    exchange = MeldExchange(width, heads=int(recording["n_heads"]), gate=0.0, shared=False)
    gates = {
        "gate_l": recording[f"{variant}/alpha_l"].float(),
        "gate_c": recording[f"{variant}/alpha_c"].float(),
    }
    exchange.load_state_dict({**state(recording), **gates})
    with torch.no_grad():
        melded = exchange(torch.cat(parts, dim=1), torch.cat(places, dim=1), layout)
    for name, part in zip(("D", "L", "C"), layout.split(melded)):
        expected = recording[f"{variant}/{name}"].transpose(0, 1)
        torch.testing.assert_close(part, expected, **CLOSE)


def test_text_logits_and_their_masked_loss(parity):
    recording = state(read(parity / "spec_reference.npz"), "head/")
    logits = text_logits(
        recording["query"] @ recording["W"].T,
        recording["text"],
        recording["logit_scale"].exp(),
        recording["bias"],
    )
    mask = recording["text_mask"]
    expected = recording["logits"]
    keep = mask[:, None].expand_as(expected)
    torch.testing.assert_close(logits[keep], expected[keep], **CLOSE)
    loss = focal(
        logits,
        recording["target_onehot"],
        float(recording["num_boxes"]),
        alpha=0.25,
        gamma=2.0,
        weight=keep.float(),
    )
    torch.testing.assert_close(loss, recording["focal_loss_masked"], **CLOSE)


# --- post-processing


@pytest.fixture
def answer(parity):
    recording = read(parity / "postprocess.npz")
    size = tuple(recording["mask_pred"].shape[-2:])
    return recording, MaskResizer(size, size, size, chunk=3)


@pytest.mark.parametrize("variant", ["transform", "plain"])
def test_semantic_and_panoptic_answers(answer, variant):
    recording, resize = answer
    temperature = float(recording["pano_temp"]) if variant == "transform" else None
    weights = class_weights(recording["mask_cls"], temperature)
    scores = semantic_scores(weights, recording["mask_pred"], resize)
    torch.testing.assert_close(scores, recording[f"sem_{variant}"], atol=1e-4, rtol=1e-4)
    is_thing = torch.zeros(recording["mask_cls"].shape[1], dtype=torch.bool)
    is_thing[recording["thing_ids"]] = True
    segments, infos = panoptic_segments(
        recording["mask_cls"],
        recording["mask_pred"],
        resize,
        is_thing=is_thing,
        temperature=temperature,
        score_threshold=0.25,
        overlap_threshold=0.8,
    )
    assert torch.equal(segments, recording[f"pan_{variant}"])
    rows = [[info["id"], int(info["isthing"]), info["category_id"]] for info in infos]
    assert rows == recording[f"pan_info_{variant}"].tolist()


def test_semantic_scores_of_a_softmax_with_no_object(answer):
    recording, resize = answer
    weights = recording["mask_cls"].softmax(dim=1)[:, :-1]
    scores = semantic_scores(weights, recording["mask_pred"], resize)
    torch.testing.assert_close(scores, recording["sem_softmax_with_noobj"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ending", ["", "_thingonly"])
def test_instance_answers(answer, ending):
    recording, resize = answer
    is_thing = None
    if ending:
        is_thing = torch.zeros(recording["mask_cls"].shape[1], dtype=torch.bool)
        is_thing[recording["thing_ids"]] = True
    found = top_instances(
        recording["mask_cls"],
        recording["mask_pred"],
        recording["boxes"],
        resize,
        topk=int(recording["topk"]),
        is_thing=is_thing,
    )
    torch.testing.assert_close(found.scores, recording[f"inst_scores{ending}"], **CLOSE)
    assert torch.equal(found.pred_classes, recording[f"inst_classes{ending}"])
    assert torch.equal(found.pred_masks, recording[f"inst_masks{ending}"].bool())
    expected = recording[f"inst_boxes{ending}"]
    torch.testing.assert_close(found.pred_boxes.tensor, expected, atol=1e-3, rtol=1e-4)


def test_masks_are_resized_as_recorded(answer):
    recording, _ = answer
    logits, image = recording["resize_in"], tuple(recording["resize_img_size"].tolist())
    padded, result = tuple(logits.shape[-2:]), tuple(recording["resize_out_size"].tolist())
    resized = MaskResizer(padded, image, result)(logits)
    torch.testing.assert_close(resized, recording["resize_out"], **CLOSE)
    up = recording["up4_out"]
    size = tuple(up.shape[-2:])
    torch.testing.assert_close(
        MaskResizer(size, size, size)(recording["up4_in"][0]), up[0], **CLOSE
    )


# --- metrics


def test_referring_metrics_equal_x_decoder(parity):
    recording = np.load(parity / "referring_metrics.npz")
    images = sorted({key.split("/")[0] for key in recording if key.startswith("img")})
    assert images
    counts = []
    for image in images:
        masks = torch.from_numpy(recording[f"{image}/pred_logits"]).sigmoid() > 0.5
        counts.append(intersection_and_union(masks, torch.from_numpy(recording[f"{image}/gt"]) > 0))
    scores = referring_scores(torch.cat(counts).numpy())
    names = {"cIoU": "oIoU", "mIoU": "mIoU"}
    recorded = [key.removeprefix("metric/") for key in recording if key.startswith("metric/")]
    assert set(names) < set(recorded)
    for name in recorded:
        ours = scores[names.get(name, name.replace("precision", "Pr"))]
        assert ours == pytest.approx(float(recording[f"metric/{name}"]), abs=PERCENT), name
