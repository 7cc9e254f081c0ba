"""QueryMeldNet's ideas: the meld, two-stage queries, denoising, texts, results."""

import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.config import add_shared_config
from segplugins.modeling.swin import build_swin
from segplugins.projects.querymeldnet import add_config
from segplugins.projects.querymeldnet import querymeldnet as module
from segplugins.projects.querymeldnet.decoder import box_codes
from segplugins.projects.querymeldnet.denoising import Denoising, Noise
from segplugins.projects.querymeldnet.meld import MeldExchange, QueryLayout, attention_mask
from segplugins.projects.querymeldnet.queries import proposal_anchors
from segplugins.projects.querymeldnet.texts import first_places
from segplugins.projects.querymeldnet.weights import convert, is_official
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.predictions import QueryTargets
from segplugins.structures.regions import Task

register_vocabulary(
    Vocabulary(
        "test-meld",
        ("sky", "dog", "car"),
        synonyms=(("sky",), ("dog", "hound"), ("car",)),
        is_thing=(False, True, True),
    )
)
LAYOUT = QueryLayout(denoising=4, learnable=3, conditional=5, groups=2)


def tiny_config(**changes):
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "QueryMeldNet"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.CLIP.TEMPLATES = "simple"
    node = cfg.MODEL.QMN
    node.BACKBONE.NAME = "timm/resnet10t"
    node.ENCODER.EXTRA_LEVELS, node.ENCODER.LAYERS = 0, 1
    node.ENCODER.DIM_FEEDFORWARD, node.ENCODER.MASK_DIM = 32, 16
    node.HIDDEN_DIM, node.NHEADS, node.MELD.NHEADS = 32, 4, 4
    node.DEC_LAYERS, node.DIM_FEEDFORWARD = 2, 32
    node.NUM_LEARNABLE, node.NUM_CONDITIONAL = 3, 5
    node.LOSS.POINTS, node.DN.NUM = 64, 6
    for key, value in changes.items():
        section = node
        *parents, last = key.split("__")
        for parent in parents:
            section = section[parent]
        section[last] = value
    return cfg


def build(**changes):
    torch.manual_seed(0)
    return build_model(tiny_config(**changes))


def record(task, count=2, size=(64, 96), texts=None, masks=True, **more):
    """A training and test record with squares as targets."""
    height, width = size
    instances = Instances(size)
    drawn = torch.zeros(count, height, width, dtype=torch.bool)
    for index in range(count):
        x, y = 8 * (index % 10), 8 * (index // 10 % 7)
        drawn[index, y : y + 8, x : x + 8] = True
    boxes = torch.tensor([[8.0 * (i % 10), 8.0 * (i // 10 % 7)] * 2 for i in range(count)])
    boxes = boxes.reshape(count, 4) + torch.tensor([0.0, 0, 8, 8])
    classes = len(texts) if texts else 3
    instances.gt_classes = torch.arange(count) % classes
    instances.gt_boxes = Boxes(boxes)
    if masks:
        instances.gt_masks = BitMasks(drawn)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    named = {"vocabulary": None, "texts": texts} if texts else {"vocabulary": "test-meld"}
    common = {"image": image, "height": height, "width": width, "task": task}
    return {**common, **named, "instances": instances, **more}


# --- the meld


def test_no_query_sees_denoising_ones_and_groups_do_not_see_each_other():
    blocked = attention_mask(LAYOUT, "joint", torch.device("cpu"))
    assert blocked[4:, :4].all() and not blocked[4:, 4:].any()
    assert not blocked[:4, 4:].any()
    assert blocked[:4, :4].tolist() == [
        [False, False, True, True], [False, False, True, True],
        [True, True, False, False], [True, True, False, False],
    ]  # fmt: skip


def test_without_a_meld_the_two_kinds_are_apart():
    blocked = attention_mask(LAYOUT, "none", torch.device("cpu"))
    assert blocked[4:7, 7:].all() and blocked[7:, 4:7].all() and blocked[:4, 4:7].all()
    assert not blocked[:4, 7:].any() and not blocked[4:7, 4:7].any()
    alone = QueryLayout(0, 3, 0)
    assert attention_mask(alone, "none", torch.device("cpu")) is None
    assert attention_mask(QueryLayout(0, 3, 5), "joint", torch.device("cpu")) is None


def test_a_gate_of_zero_changes_nothing_and_an_open_one_both_kinds():
    exchange = MeldExchange(16, heads=4, gate=0.0, shared=False)
    queries, places = torch.randn(2, 12, 16), torch.randn(2, 12, 16)
    assert torch.equal(exchange(queries, places, LAYOUT), queries)
    torch.nn.init.constant_(exchange.gate_l, 1.0)
    changed = (exchange(queries, places, LAYOUT) != queries).any(dim=-1)[0]
    assert changed.tolist() == [False] * 4 + [True] * 3 + [False] * 5
    torch.nn.init.constant_(exchange.gate_c, 1.0)
    assert (exchange(queries, places, LAYOUT) != queries).any(dim=-1).all()


def test_the_exchange_never_reads_denoising_queries():
    exchange = MeldExchange(16, heads=4, gate=1.0, shared=True)
    assert exchange.l_from_c is exchange.c_from_l
    queries, places = torch.randn(1, 12, 16), torch.randn(1, 12, 16)
    other = queries.clone()
    other[:, :4] = torch.randn(1, 4, 16)
    one, two = exchange(queries, places, LAYOUT), exchange(other, places, LAYOUT)
    assert torch.equal(one[:, 4:], two[:, 4:]) and not torch.equal(one[:, :4], two[:, :4])


@pytest.mark.parametrize("meld", ["dual", "joint", "none"])
def test_denoising_queries_leak_nothing_into_the_others(meld):
    model = build(MELD__TYPE=meld, MELD__GATE_INIT=0.7).train()
    records = [record(Task.INSTANCE), record(Task.INSTANCE, count=1)]
    outputs = []
    forward = model.decoder.forward
    model.decoder.forward = lambda *a, **k: outputs.append(forward(*a, **k)) or outputs[-1]
    for noise in (0.1, 0.9):
        model.denoising = Denoising(6, noise, 0.0, False)
        torch.manual_seed(3)
        model(records)
    first, second = (output.predictions for output in outputs)
    assert torch.equal(first.class_logits, second.class_logits)
    assert torch.equal(first.mask_logits, second.mask_logits)
    assert not torch.equal(outputs[0].noised.boxes, outputs[1].noised.boxes)


def test_dual_with_closed_gates_answers_as_joint():
    dual, joint = build(MELD__TYPE="dual").eval(), build(MELD__TYPE="joint").eval()
    missing, unexpected = joint.load_state_dict(dual.state_dict(), strict=False)
    assert not missing and all(".meld." in name for name in unexpected)
    one = record(Task.SEMANTIC)
    with torch.no_grad():
        assert torch.equal(dual([one])[0]["sem_seg"], joint([one])[0]["sem_seg"])


@pytest.mark.parametrize("mode, kinds", [("learnable", (8, 0)), ("conditional", (0, 8))])
def test_one_kind_alone_has_as_many_queries(mode, kinds):
    model = build(QUERY_MODE=mode)
    table = model.decoder.learnable
    assert (0 if table is None else len(table.content.weight)) == kinds[0]
    proposals = model.decoder.conditional
    assert (0 if proposals is None else proposals.count) == kinds[1]
    losses = model.train()([record(Task.INSTANCE)])
    assert ("loss_class_proposals" in losses) == (mode == "conditional")
    assert all(loss.isfinite() for loss in losses.values())


# --- queries and boxes


def test_proposals_grow_from_level_to_level_and_end_at_the_border():
    anchors, valid = proposal_anchors([(2, 2), (1, 1)], torch.device("cpu"))
    boxes = anchors.sigmoid()
    torch.testing.assert_close(boxes[0], torch.tensor([0.25, 0.25, 0.05, 0.05]))
    torch.testing.assert_close(boxes[4], torch.tensor([0.5, 0.5, 0.1, 0.1]))
    assert valid.all()
    anchors, valid = proposal_anchors([(1, 100)], torch.device("cpu"))
    assert not valid[0] and not valid[99] and valid[1] and anchors[0].isinf().any()


def test_box_codes_are_sines_of_y_x_width_and_height():
    codes = box_codes(torch.tensor([[[0.25, 0.5, 0.0, 1.0]]]), 2)[0, 0]
    # One frequency: sin and cos of 2 pi times y, x, width, height.
    turns = torch.tensor([0.5, 0.25, 0.0, 1.0]) * 2 * math.pi
    expected = torch.stack([turns.sin(), turns.cos()], dim=1).flatten()
    torch.testing.assert_close(codes, expected, atol=1e-6, rtol=0)


def test_too_many_conditional_queries_for_an_image_are_told():
    model = build(NUM_CONDITIONAL=10_000).eval()
    with pytest.raises(ValueError, match="10000 conditional queries, but the image has only"):
        model([record(Task.SEMANTIC)])


# --- denoising


def targets(labels):
    boxes = torch.tensor([0.5, 0.5, 0.2, 0.4]).expand(len(labels), 4)
    return QueryTargets(torch.tensor(labels, dtype=torch.long), boxes, None, (10, 10))


def test_groups_fill_the_number_of_queries_and_none_fits_too_many_targets():
    plain = Denoising(10, 0.4, 0.2, False)
    assert plain.groups([targets([0, 1, 2]), targets([0])]) == 3
    assert Denoising(10, 0.4, 0.2, True).groups([targets([0, 1, 2])]) == 6
    assert plain.groups([targets([0] * 11)]) == 0 and plain.groups([targets([])]) == 0


def test_noise_moves_the_centre_by_half_and_the_size_by_all_of_it():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    extreme = Noise(torch.zeros(1), torch.ones(1, 4), None)
    moved = Denoising(6, 0.4, 0.0, False).noised_boxes(boxes, torch.ones(1).bool(), extreme)
    torch.testing.assert_close(moved, torch.tensor([[0.54, 0.58, 0.28, 0.56]]))


def test_negatives_of_contrastive_noise_are_moved_further():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4]] * 2)
    noise = Noise(torch.zeros(2), torch.full((2, 4), 0.5), torch.ones(2, 4))
    positive = torch.tensor([True, False])
    moved = Denoising(6, 0.4, 0.0, True).noised_boxes(boxes, positive, noise)
    # Half sizes are 0.1 and 0.2; all corners move right and down by 0.2 or 0.6 of them.
    torch.testing.assert_close(moved[0], torch.tensor([0.5 + 0.02, 0.5 + 0.04, 0.2, 0.4]))
    torch.testing.assert_close(moved[1], torch.tensor([0.5 + 0.06, 0.5 + 0.12, 0.2, 0.4]))


def test_labels_are_replaced_by_real_texts_of_the_image_alone_and_sentences_never():
    denoising = Denoising(400, 0.0, 1.0, False)
    embedding = torch.eye(4).expand(2, 4, 4)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    batch = [targets([0, 0]), targets([3, 3])]
    noised = denoising(batch, embedding, mask, torch.eye(4), [True, False])
    names = noised.queries.content[0].argmax(dim=1)
    assert set(names.tolist()) == {0, 1}
    assert noised.queries.content[1].argmax(dim=1).unique().tolist() == [3]


def test_places_without_a_target_are_zero_and_do_not_count():
    denoising = Denoising(6, 0.0, 0.0, False)
    embedding = torch.ones(2, 1, 4)
    noised = denoising([targets([0, 0]), targets([0])], embedding, None, torch.eye(4), [True] * 2)
    assert noised.is_real.tolist() == [[True] * 6, [True, False] * 3]
    assert not noised.queries.content[1, 1::2].any() and not noised.queries.anchors[1, 1::2].any()
    assert noised.match.counts == (6, 3) and noised.match.query[-3:].tolist() == [0, 2, 4]
    everything = Denoising(6, 0.0, 0.0, False, pad_negatives=True)
    padded = everything([targets([0, 0]), targets([0])], embedding, None, torch.eye(4), [True] * 2)
    assert padded.is_real.all()


# --- training


def test_a_mixed_batch_reaches_every_trained_parameter():
    model = build(MELD__GATE_INIT=0.1).train()
    records = [
        record(Task.PANOPTIC),
        record(Task.DETECTION, masks=False, size=(48, 64)),
        record(Task.REFERRING, texts=["the red dog on the left", "a car"]),
        record(Task.SALIENT, count=1, texts=["foreground object"]),
        record(Task.INSTANCE, count=0),
    ]
    losses = model(records)
    assert all(loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()
    left_out = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert left_out == []


def test_the_clip_s_own_tower_as_backbone_learns_too():
    # The small CLIP has strides of 2 to 16 pixels: there is no map of stride 32.
    changes = {"ENCODER__REFINED": ["res3", "res4"], "ENCODER__EXTRA_LEVELS": 1}
    model = build(BACKBONE__NAME="clip", MELD__GATE_INIT=0.1, **changes).train()
    losses = model([record(Task.PANOPTIC), record(Task.REFERRING, texts=["the red dog", "a car"])])
    sum(losses.values()).backward()
    left_out = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert left_out == []
    with pytest.raises(ValueError, match="gives .*'res4'.*, but no .'res5'"):
        build(BACKBONE__NAME="clip")


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_objects_gives_every_parameter_a_gradient(count):
    # With 500 there are more objects than queries, and no denoising.
    model = build().train()
    losses = model([record(Task.INSTANCE, count=count)])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    left_out = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert left_out == []


def test_an_image_without_any_text_is_an_error_that_names_it():
    model = build().train()
    nothing = record(Task.REFERRING, count=0, texts=["x"], file_name="a.jpg")
    nothing["texts"] = []
    with pytest.raises(ValueError, match="image a.jpg has neither a vocabulary nor texts"):
        model([nothing])


def test_a_record_without_targets_of_the_losses_is_an_error_that_names_image_and_task():
    model = build().train()
    nothing = record(Task.SEMANTIC, file_name="b.jpg")
    del nothing["instances"]
    with pytest.raises(ValueError, match=r"b.jpg \(task 'semantic'\) has no 'instances'.*TARGETS"):
        model([record(Task.INSTANCE), nothing])


def test_a_text_that_stands_twice_is_one_text():
    # The second "a car" is no negative of the first one's query, nor the other way round.
    repeated = record(Task.REFERRING, count=3, texts=["a car", "a dog", "A car"])
    single = {**repeated, "texts": ["a car", "a dog"], "instances": repeated["instances"][:]}
    single["instances"].gt_classes = torch.tensor([0, 1, 0])
    losses = []
    for one in (repeated, single):
        model = build(DN__NUM=0).train()
        torch.manual_seed(5)
        losses.append(model([one]))
    for name, loss in losses[0].items():
        torch.testing.assert_close(loss, losses[1][name], msg=name)
    assert first_places(["a", "b"]) is None and first_places(["a", "b", "A"]) == (0, 1, 0)


@pytest.mark.parametrize(
    "corners",
    [(8.0, 8.0, 8.0, 8.0), (8.0, 8.0, 8.0, 40.0), (80.0, 40.0, 200.0, 300.0), (-9.0, -9.0, -1, -1)],
    ids=["a point", "a line", "over the border", "outside"],
)  # fmt: skip
def test_odd_boxes_give_finite_losses(corners):
    # Readers report and mappers drop them; what comes through must not end a run.
    model = build().train()
    odd = record(Task.DETECTION, masks=False)
    odd["instances"].gt_boxes.tensor[0] = torch.tensor(corners)
    losses = model([odd])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_predictions_that_are_no_numbers_are_counted_and_their_loss_is_not_finite():
    # The loop counts such a step and names its images, see SOLVER.MAX_BAD_STEPS.
    model = build().train()
    handle = model.class_head.projection.register_forward_hook(lambda *a: a[2] * float("nan"))
    losses = model([record(Task.INSTANCE)])
    handle.remove()
    assert model.criterion.matcher.nonfinite > 0
    assert not losses["loss_class"].isfinite() and losses["loss_dice"].isfinite()


def test_weights_that_are_no_numbers_are_named():
    model = build().eval()
    torch.nn.init.constant_(model.class_head.projection.weight, float("nan"))
    with pytest.raises(ValueError, match="class_head.projection.weight"):
        model([record(Task.INSTANCE)])


def test_more_texts_than_the_tower_takes_at_once_change_no_answer():
    names = [f"thing {i}" for i in range(30)]
    answers = []
    for batch in (256, 7):
        cfg = tiny_config()
        cfg.MODEL.CLIP.TEXT_BATCH = batch
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        torch.manual_seed(1)
        with torch.no_grad():
            answers.append(model([record(Task.REFERRING, texts=names)])[0]["phrase_scores"])
    assert answers[0].shape == (30,)
    torch.testing.assert_close(*answers)


# --- texts and results


def test_padding_texts_changes_no_answer():
    model = build().eval()
    short = record(Task.REFERRING, texts=["a dog"])
    long = record(Task.REFERRING, texts=["a car", "the sky", "a dog", "two dogs"])
    long["image"] = torch.randint_like(short["image"], 256)
    with torch.no_grad():
        alone = model([short])[0]["phrase_scores"]
        together = model([short, long])
    assert together[0]["phrase_masks"].shape[0] == 1 and together[1]["phrase_masks"].shape[0] == 4
    torch.testing.assert_close(together[0]["phrase_scores"], alone, atol=1e-5, rtol=1e-4)


def test_permuting_texts_permutes_the_answers():
    model = build(QUERY_MODE="learnable").eval()
    one = record(Task.REFERRING, texts=["a dog", "a car", "the sky"])
    other = {**one, "texts": ["the sky", "a dog", "a car"]}
    with torch.no_grad():
        first, second = model([one])[0], model([other])[0]
    assert torch.equal(first["phrase_masks"], second["phrase_masks"][[1, 2, 0]])


def test_each_task_has_its_results_at_the_size_that_is_asked_for():
    model = build().eval()
    size = {"height": 100, "width": 130}
    phrases = ["a dog", "the sky"]
    with torch.no_grad():
        semantic = model([{**record(Task.SEMANTIC), **size}])[0]
        instance = model([{**record(Task.INSTANCE), **size}])[0]
        panoptic = model([{**record(Task.PANOPTIC), **size}])[0]
        referring = model([{**record(Task.REFERRING, texts=phrases), **size}])[0]
        salient = model([{**record(Task.SALIENT, texts=["foreground object"]), **size}])[0]
    assert semantic["sem_seg"].shape == (3, 100, 130)  # three classes, four synonyms
    assert instance["instances"].image_size == (100, 130)
    assert len(instance["instances"]) == 8 * 3
    segments, infos = panoptic["panoptic_seg"]
    assert segments.shape == (100, 130) and isinstance(infos, list)
    assert (panoptic["instances"].pred_classes != 0).all()  # sky is no thing
    assert referring["phrase_masks"].shape == (2, 100, 130)
    assert referring["phrase_masks"].dtype == torch.bool
    assert salient["phrase_masks"].min() >= 0 and salient["phrase_masks"].max() <= 1


def test_an_image_in_the_middle_of_its_padding_is_answered_alone():
    model = build().eval()
    padded = record(Task.SEMANTIC, size=(96, 96), image_box=(0, 16, 96, 80))
    padded["height"], padded["width"] = 64, 96
    with torch.no_grad():
        whole = model([{**padded, "image_box": (0, 0, 96, 96), "height": 96, "width": 96}])[0]
        part = model([padded])[0]
    torch.testing.assert_close(part["sem_seg"], whole["sem_seg"][:, 16:80])


# --- weights and configs


def test_the_parity_configuration_has_the_printed_number_of_parameters(monkeypatch):
    # Table 10 prints 286 M; five levels, joint, Swin-L, CLIP's base text tower.
    def swin_with_numbers(**options):
        with torch.device("cpu"):  # detectron2's Swin reads its drop path rates as it is built
            return build_swin(**options)

    monkeypatch.setattr(module, "build_swin", swin_with_numbers)
    cfg = tiny_config()
    fresh = get_cfg()
    add_config(fresh)
    cfg.MODEL.QMN = fresh.MODEL.QMN
    cfg.MODEL.CLIP.NAME = "ViT-B-16-quickgelu"
    node = cfg.MODEL.QMN
    node.MELD.TYPE = "joint"
    node.ENCODER.REFINED = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert millions == pytest.approx(286.5, abs=0.3)


def test_official_names_are_told_and_classes_left_out():
    box_head = "sem_seg_head.predictor.bbox_embed.0.layers.0.weight"
    official = {
        "module.sem_seg_head.predictor.decoder.layers.0.norm1.weight": torch.ones(3),
        "module.sem_seg_head.predictor.class_embed.weight": torch.ones(3),
        f"module.{box_head}": torch.zeros(2),
        "module.backbone.norm0.weight": torch.ones(1),
        "module.criterion.empty_weight": torch.ones(1),
    }
    assert is_official(official) and not is_official(["backbone.norm0.weight"])
    ours, unused = convert(official)
    assert sorted(ours) == [
        "backbone.norm0.weight",
        "decoder.box_head.layers.0.weight",
        "decoder.layers.0.norm1.weight",
    ]
    assert sorted(unused) == [
        "criterion.empty_weight", box_head, "sem_seg_head.predictor.class_embed.weight",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("QUERY_MODE", "both", "QUERY_MODE must be one of"),
        ("MELD__TYPE", "triple", "MELD.TYPE must be one of"),
        ("INITIALIZE_BOX_TYPE", "yes", "INITIALIZE_BOX_TYPE must be one of"),
        ("BACKBONE__NAME", "swin_x", "known are .*swin_b.* and timm/<name>"),
        ("BACKBONE__NAME", "timm/resnet10q", "timm has no model 'resnet10q'; nearest are"),
        ("TEST__TOPK", 0, "TOPK and MASK_CHUNK must be at least 1"),
        ("TEST__OVERLAP_THRESHOLD", 1.2, r"OVERLAP_THRESHOLD must lie in \[0, 1\]"),
        ("TEST__TEMPERATURE", -0.1, "TEMPERATURE must be at least 0"),
        ("DN__NOISE_SCALE", 1.5, r"NOISE_SCALE and LABEL_NOISE in \[0, 1\]"),
    ],
)
def test_values_outside_of_their_range_are_named(key, value, message):
    with pytest.raises(ValueError, match=message):
        build(**{key: value})
