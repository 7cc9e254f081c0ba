"""QueryMeldNet's queries: proposals of known cells, denoising places, the decoder's layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segplugins.modeling.boxes import inverse_sigmoid
from segplugins.modeling.pixel_decoder import PixelFeatures
from segplugins.projects.querymeldnet.decoder import (
    DecoderLayer,
    MeldDecoder,
    Perceptron,
    box_codes,
    build_layers,
)
from segplugins.projects.querymeldnet.denoising import Denoising, Noise, repeated_targets
from segplugins.projects.querymeldnet.heads import TextClassHead, text_logits
from segplugins.projects.querymeldnet.meld import MeldExchange, QueryLayout, attention_mask
from segplugins.projects.querymeldnet.queries import (
    ConditionalQueries,
    LearnableQueries,
    proposal_anchors,
)
from segplugins.structures.predictions import QueryTargets

CPU = torch.device("cpu")


# --- proposals

SHAPES = [(4, 4), (2, 2)]  # 20 cells, all of them valid


def propose(scores, *, count=3, memory=None, box_source="no", masks=None, text_mask=None, shift=0):
    """Proposals of a module whose heads answer with given tables; `scores` (20, K)."""
    module = ConditionalQueries(count, 8, box_source=box_source)
    memory = torch.randn(1, 20, 8) if memory is None else memory
    asked = {}

    def class_head(content):
        asked["content"] = content
        return scores[None].expand(len(content), -1, -1)

    def mask_head(content):
        return torch.zeros(len(content), count, 4, 8) if masks is None else masks

    proposals = module(
        memory,
        SHAPES,
        box_head=lambda content: torch.full((*content.shape[:2], 4), float(shift)),
        class_head=class_head,
        mask_head=mask_head,
        text_mask=text_mask,
    )
    return module, asked["content"], proposals


def scores_of(**cells):
    """(20, 2) scores, -9 but for cells such as c7=(1.0, 2.0)."""
    scores = torch.full((20, 2), -9.0)
    for name, values in cells.items():
        scores[int(name[1:])] = torch.tensor(values)
    return scores


def test_the_cells_with_the_highest_score_of_any_text_are_proposed_best_first():
    scores = scores_of(c7=(1.0, -5.0), c18=(-5.0, 3.0), c2=(2.0, 2.0), c5=(0.5, 0.9))
    _, content, proposals = propose(scores)
    assert torch.equal(proposals.content[0], content[0, [18, 2, 7]])
    anchors, _ = proposal_anchors(SHAPES, CPU)
    torch.testing.assert_close(proposals.queries.anchors[0], anchors[[18, 2, 7]])
    torch.testing.assert_close(proposals.boxes[0], anchors[[18, 2, 7]].sigmoid())
    # Cell 18 is the third of the second level: its lower left quarter, with sides of 0.1.
    torch.testing.assert_close(proposals.boxes[0, 0], torch.tensor([0.25, 0.75, 0.1, 0.1]))


def test_a_text_that_only_fills_up_the_batch_proposes_nothing():
    scores = scores_of(c7=(-1.0, 9.0), c18=(2.0, -9.0), c2=(1.0, -9.0), c5=(0.0, 9.0))
    text_mask = torch.tensor([[True, False]])
    _, content, proposals = propose(scores, text_mask=text_mask)
    assert torch.equal(proposals.content[0], content[0, [18, 2, 5]])


def test_the_box_head_moves_the_anchors_and_the_decoder_gets_them_without_gradient():
    module, _, proposals = propose(scores_of(c3=(1.0, 1.0)), count=1, shift=1)
    anchor = proposal_anchors(SHAPES, CPU)[0][3]
    torch.testing.assert_close(proposals.queries.anchors[0, 0], anchor + 1)
    torch.testing.assert_close(proposals.boxes[0, 0], (anchor + 1).sigmoid())
    assert proposals.content.requires_grad and not proposals.queries.content.requires_grad
    assert torch.equal(proposals.content.detach(), proposals.queries.content)
    proposals.content.square().sum().backward()
    assert module.output.weight.grad is not None


def test_content_is_the_normed_projection_of_the_memory():
    memory = torch.randn(1, 20, 8)
    module, content, _ = propose(scores_of(c3=(1.0, 1.0)), memory=memory)
    torch.testing.assert_close(content, F.layer_norm(module.output(memory), (8,)))


def test_cells_whose_box_leaves_the_image_are_silent_and_never_chosen_first():
    # Of 1 x 100 cells the first and the last are nearer to the border than 0.01.
    module = ConditionalQueries(2, 8, box_source="no")
    memory = torch.randn(1, 100, 8)
    scores = torch.full((1, 100, 1), -3.0)
    scores[0, [0, 99]] = 5.0
    scores[0, [40, 41]] = torch.tensor([[1.0], [0.0]])
    contents = []
    proposals = module(
        memory,
        [(1, 100)],
        box_head=lambda content: content.new_zeros(*content.shape[:2], 4),
        class_head=lambda content: contents.append(content) or scores,
        mask_head=lambda content: None,
        text_mask=None,
    )
    assert torch.equal(proposals.content[0], contents[0][0, [40, 41]])
    silent = F.layer_norm(module.output.bias[None], (8,))
    torch.testing.assert_close(contents[0][0, [0, 99]], silent.expand(2, -1))


def test_with_too_few_valid_cells_anchors_stay_finite():
    module = ConditionalQueries(3, 8, box_source="no")
    proposals = module(
        torch.randn(1, 3, 8),
        [(1, 1), (1, 2)],
        box_head=lambda content: content.new_zeros(*content.shape[:2], 4),
        class_head=lambda content: content[..., :1],
        mask_head=lambda content: None,
        text_mask=None,
    )
    assert proposals.queries.anchors.isfinite().all()
    _, valid = proposal_anchors([(1, 1)] * 6, CPU)
    # Sides of 0.05, 0.1, ..., 1.6: those of 0.8 and below fit.
    assert valid.tolist() == [True] * 5 + [False]


def drawn_masks():
    """Logits of three masks of 4 x 8: a rectangle, a single pixel, nothing."""
    masks = torch.full((1, 3, 4, 8), -1.0)
    masks[0, 0, 1:3, 2:6] = 1.0
    masks[0, 1, 3, 7] = 1.0
    return masks


def test_anchors_may_lie_around_the_masks():
    scores = scores_of(c7=(3.0, 0.0), c18=(2.0, 0.0), c2=(1.0, 0.0))
    _, _, proposals = propose(scores, box_source="bitmask", masks=drawn_masks())
    boxes = proposals.queries.anchors[0].sigmoid()
    # Rows 1 to 3 of 4 and columns 2 to 6 of 8; the last pixel ends at the border.
    torch.testing.assert_close(boxes[0], torch.tensor([0.5, 0.5, 0.5, 0.5]))
    torch.testing.assert_close(boxes[1], torch.tensor([7.5 / 8, 3.5 / 4, 1 / 8, 1 / 4]))
    # An empty mask leaves the box of its proposal.
    torch.testing.assert_close(boxes[2], proposals.boxes[0, 2].detach())
    assert not proposals.queries.anchors.requires_grad


def test_or_end_with_the_index_of_the_last_pixel():
    scores = scores_of(c7=(3.0, 0.0), c18=(2.0, 0.0), c2=(1.0, 0.0))
    _, _, proposals = propose(scores, box_source="mask2box", masks=drawn_masks())
    # Columns 2 to 5, rows 1 to 2: centre 3.5 / 8 and 1.5 / 4, sides 3 / 8 and 1 / 4.
    box = proposals.queries.anchors[0, 0].sigmoid()
    torch.testing.assert_close(box, torch.tensor([3.5 / 8, 1.5 / 4, 3 / 8, 1 / 4]))


def test_as_many_cells_as_queries_are_enough_and_one_less_is_named():
    assert propose(torch.randn(20, 2), count=20)[2].content.shape == (1, 20, 8)
    with pytest.raises(ValueError, match="21 conditional queries, .* only 20 cells"):
        propose(torch.randn(20, 2), count=21)


def test_an_unknown_box_source_is_named():
    with pytest.raises(ValueError, match="INITIALIZE_BOX_TYPE must be one of .* got 'box'"):
        ConditionalQueries(3, 8, box_source="box")


def test_the_table_is_the_same_for_every_image():
    table = LearnableQueries(3, 8)
    queries = table(2)
    assert queries.content.shape == (2, 3, 8) and queries.anchors.shape == (2, 3, 4)
    assert torch.equal(queries.content[0], table.content.weight)
    assert torch.equal(queries.anchors[1], table.anchors.weight)


# --- denoising


def targets(labels, first=0):
    """Targets whose boxes tell them apart: 0.3 + 0.01 k for the k-th of all."""
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.3 + 0.01 * (first + k)] for k in range(len(labels))])
    return QueryTargets(
        torch.tensor(labels, dtype=torch.long), boxes.reshape(-1, 4), None, (10, 10)
    )


BATCH = [targets([2, 0]), targets([]), targets([1], first=2)]


def test_repeated_targets_go_group_by_group_and_image_by_image():
    place = repeated_targets(BATCH, 2, CPU)
    assert place.image.tolist() == [0, 0, 2, 0, 0, 2]
    assert place.index.tolist() == [0, 1, 0, 0, 1, 0]
    assert place.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert place.label.tolist() == [2, 0, 1, 2, 0, 1]


def test_without_noise_queries_are_their_targets():
    denoising = Denoising(7, 0.0, 0.0, False)
    embedding = torch.randn(3, 4, 6)
    projection = torch.randn(6, 5)
    noised = denoising(BATCH, embedding, None, projection, [True] * 3)
    assert noised.groups == noised.repeats == 3  # 7 queries, 2 targets of the fullest image
    content, anchors = noised.queries
    assert content.shape == (3, 6, 5) and anchors.shape == (3, 6, 4)
    for group in range(3):
        for image, one in enumerate(BATCH):
            for index, label in enumerate(one.labels.tolist()):
                place = 2 * group + index
                torch.testing.assert_close(
                    content[image, place], embedding[image, label] @ projection
                )
                torch.testing.assert_close(anchors[image, place].sigmoid(), one.boxes[index])
    assert noised.is_real.tolist() == [[True] * 6, [False] * 6, [True, False] * 3]
    assert noised.match.counts == (6, 0, 3)
    assert noised.match.image.tolist() == [0] * 6 + [2] * 3
    assert noised.match.query.tolist() == [0, 1, 2, 3, 4, 5, 0, 2, 4]
    assert noised.match.target.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0]


def test_contrastive_groups_are_pairs_whose_second_half_is_matched_with_nothing():
    denoising = Denoising(5, 0.4, 0.0, True)
    noised = denoising(BATCH, torch.randn(3, 4, 6), None, torch.randn(6, 5), [True] * 3)
    # 5 // 2 = 2 pairs: 4 groups of 2 places; queries see their own pair.
    assert noised.queries.content.shape == (3, 8, 5) and noised.groups == 2
    assert noised.match.counts == (4, 0, 2)
    assert noised.match.query.tolist() == [0, 1, 4, 5, 0, 4]


def test_the_negative_half_is_moved_further_than_the_noise():
    torch.manual_seed(0)
    denoising = Denoising(80, 0.4, 0.0, True)
    one = QueryTargets(torch.tensor([0]), torch.tensor([[0.5, 0.5, 0.2, 0.2]]), None, (10, 10))
    noised = denoising([one], torch.randn(1, 2, 6), None, torch.randn(6, 5), [True])
    boxes = noised.queries.anchors[0].sigmoid()
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
    away = (corners - torch.tensor([0.4, 0.4, 0.6, 0.6])).abs()
    # Half a side is 0.1 and the noise 0.4 of it.
    assert away[0::2].max() <= 0.04 + 1e-5
    assert away[1::2].min() >= 0.04 - 1e-5 and away[1::2].max() <= 0.08 + 1e-5
    assert {-1, 1} == set((corners - torch.tensor([0.4, 0.4, 0.6, 0.6])).sign().unique().tolist())


def test_moved_boxes_stay_in_the_image():
    boxes = torch.tensor([[0.95, 0.05, 0.4, 0.1]])
    plain = Denoising(6, 1.0, 0.0, False)
    for draw in (0.0, 1.0):
        noise = Noise(torch.zeros(1), torch.full((1, 4), draw), None)
        moved = plain.noised_boxes(boxes, torch.ones(1).bool(), noise)
        assert moved.min() >= 0 and moved.max() <= 1
    noise = Noise(torch.zeros(1), torch.ones(1, 4), torch.ones(1, 4))
    moved = Denoising(6, 1.0, 0.0, True).noised_boxes(boxes, torch.ones(1).bool(), noise)
    assert (moved[:, :2] + moved[:, 2:] / 2).max() <= 1


def test_half_of_the_signs_is_the_bound():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    signs = torch.tensor([[0.49, 0.5, 0.49, 0.5]])
    noise = Noise(torch.zeros(1), torch.ones(1, 4), signs)
    moved = Denoising(6, 0.5, 0.0, True).noised_boxes(boxes, torch.ones(1).bool(), noise)
    # Left and right edge move left, the others down; by half of half a side.
    torch.testing.assert_close(moved, torch.tensor([[0.45, 0.55, 0.2, 0.2]]))


def test_as_many_random_numbers_as_repeated_targets():
    plain = Denoising(6, 0.4, 0.2, False).draw(BATCH, 4, CPU)
    assert plain.label_draws.shape == (12,) and plain.box_draws.shape == (12, 4)
    assert plain.signs is None
    assert Denoising(6, 0.4, 0.2, True).draw(BATCH, 4, CPU).signs.shape == (12, 4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_replaced_labels_is_the_noise(share):
    torch.manual_seed(0)
    # With a hundred texts a replaced label is hardly ever the old one.
    denoising = Denoising(2000, 0.0, share, False)
    embedding = torch.arange(100.0).view(1, 100, 1)
    one = QueryTargets(torch.tensor([7]), torch.tensor([[0.5, 0.5, 0.2, 0.2]]), None, (10, 10))
    noised = denoising([one], embedding, None, torch.ones(1, 1), [True])
    labels = noised.queries.content[0, :, 0]
    assert (labels != 7).float().mean().item() == pytest.approx(0.99 * share, abs=0.04)
    if share:
        others = labels[labels != 7]
        assert others.min() < 10 and others.max() > 90  # all texts are drawn alike
        assert others.mean().item() == pytest.approx(50, abs=5)


@pytest.mark.parametrize(
    "values", [(-1, 0.4, 0.2), (6, -0.1, 0.2), (6, 1.1, 0.2), (6, 0.4, -0.1), (6, 0.4, 1.1)]
)
def test_noise_outside_of_its_range_is_named(values):
    Denoising(0, 0.0, 1.0, False), Denoising(0, 1.0, 0.0, False)
    with pytest.raises(ValueError, match=f"got {values[0]}, {values[1]} and {values[2]}"):
        Denoising(*values, False)


def test_no_targets_at_all_give_no_queries_but_all_shapes():
    nothing = [targets([]), targets([])]
    noised = Denoising(6, 0.4, 0.2, False)(
        nothing, torch.randn(2, 3, 6), None, torch.randn(6, 5), [True] * 2
    )
    assert noised.groups == 0 and noised.queries.content.shape == (2, 0, 5)
    assert noised.match.counts == (0, 0) and noised.is_real.shape == (2, 0)


# --- layers and heads


def test_a_perceptron_has_a_relu_between_its_layers_and_none_at_its_end():
    perceptron = Perceptron(2, 2, 2)
    for layer in perceptron.layers:
        nn.init.zeros_(layer.bias)
    perceptron.layers[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    perceptron.layers[1].weight.data = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    assert perceptron(torch.tensor([2.0, 3.0])).tolist() == [-2.0, 0.0]
    assert [tuple(layer.weight.shape) for layer in Perceptron(3, 5, 7, 2).layers] == [
        (5, 3),
        (7, 5),
        (2, 7),
    ]


def test_later_channels_of_a_box_code_turn_more_slowly():
    codes = box_codes(torch.tensor([[[0.3, 0.7, 0.2, 0.9]]]), 4)[0, 0].view(4, 4)
    for row, value in zip(codes, (0.7, 0.3, 0.2, 0.9)):
        slow = 2 * math.pi * value / 10000**0.5
        fast = 2 * math.pi * value
        expected = [math.sin(fast), math.cos(fast), math.sin(slow), math.cos(slow)]
        assert row.tolist() == pytest.approx(expected, abs=1e-6)


class Recorder(nn.Module):
    """Stands in for a module: keeps its arguments and returns a fixed answer."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.calls = answer, []

    def forward(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return self.answer


def layer_with_recorders(meld=None):
    torch.manual_seed(0)
    layer = DecoderLayer(8, feed_forward=12, heads=2, dropout=0.0, meld=meld, levels=1, points=2)
    layer.self_attn = Recorder((torch.randn(1, 5, 8), None))
    layer.cross_attn = Recorder(torch.randn(1, 5, 8))
    return layer


def test_a_decoder_layer_looks_at_itself_then_at_the_image():
    layer = layer_with_recorders()
    queries, positions = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    references, memory = torch.rand(1, 5, 1, 4), torch.randn(1, 6, 8)
    blocked = torch.zeros(5, 5, dtype=torch.bool)
    result = layer(queries, positions, references, memory, [(2, 3)], None, blocked)
    (asking, keys, values), options = layer.self_attn.calls[0]
    torch.testing.assert_close(asking, queries + positions)
    assert torch.equal(asking, keys) and torch.equal(values, queries)
    assert options["attn_mask"] is blocked
    middle = F.layer_norm(queries + layer.self_attn.answer[0], (8,))
    (asking, places, cells, shapes), _ = layer.cross_attn.calls[0]
    torch.testing.assert_close(asking, middle + positions)
    assert places is references and cells is memory and shapes == [(2, 3)]
    middle = F.layer_norm(middle + layer.cross_attn.answer, (8,))
    hidden = layer.linear2(layer.linear1(middle).relu())
    torch.testing.assert_close(result, F.layer_norm(middle + hidden, (8,)))


@pytest.mark.parametrize(
    "learnable, conditional, met", [(2, 3, True), (5, 0, False), (0, 5, False)]
)
def test_the_exchange_needs_both_kinds(learnable, conditional, met):
    exchange = Recorder(torch.zeros(1, 5, 8))
    layer = layer_with_recorders(exchange)
    layout = QueryLayout(0, learnable, conditional)
    queries, positions = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    layer(queries, positions, torch.rand(1, 5, 1, 4), torch.randn(1, 6, 8), [(2, 3)], layout)
    assert len(exchange.calls) == met
    if met:
        (asked, places, given), _ = exchange.calls[0]
        torch.testing.assert_close(asked, F.layer_norm(queries + layer.self_attn.answer[0], (8,)))
        assert places is positions and given is layout


def test_the_exchange_follows_its_equations():
    exchange = MeldExchange(8, heads=2, gate=0.5, shared=False)
    queries, places = torch.randn(1, 9, 8), torch.randn(1, 9, 8)
    layout = QueryLayout(denoising=2, learnable=3, conditional=4)
    noise, table, cond = layout.split(queries)
    p_noise, p_table, p_cond = layout.split(places)
    gate = math.tanh(0.5)
    n_l, n_c = exchange.norm_l, exchange.norm_c
    to_table, _ = exchange.l_from_c(n_l(table) + p_table, n_c(cond) + p_cond, n_c(cond))
    others, p_others = torch.cat([noise, cond], dim=1), torch.cat([p_noise, p_cond], dim=1)
    to_others, _ = exchange.c_from_l(n_c(others) + p_others, n_l(table) + p_table, n_l(table))
    others = others + gate * to_others
    expected = torch.cat([others[:, :2], table + gate * to_table, others[:, 2:]], dim=1)
    torch.testing.assert_close(exchange(queries, places, layout), expected)
    assert layout.matched == 7


def test_three_groups_of_unequal_kinds_are_blocked_from_each_other():
    blocked = attention_mask(QueryLayout(6, 1, 1, groups=3), "joint", CPU)
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.equal(blocked[:6, :6], groups[:, None] != groups)
    assert blocked[6:, :6].all() and not blocked[:6, 6:].any()


def test_layers_have_an_exchange_of_their_own_only_in_a_dual_meld():
    options = {"feed_forward": 8, "heads": 2, "dropout": 0.0, "levels": 1, "points": 1}
    meld = {"meld_heads": 2, "meld_gate": 0.25, "meld_shared": True}
    dual = build_layers(2, 8, meld="dual", **meld, **options)
    assert dual[0].meld is not dual[1].meld and dual[0].meld.gate_l.item() == 0.25
    assert dual[0].meld.l_from_c is dual[0].meld.c_from_l
    assert [layer.meld for layer in build_layers(3, 8, meld="joint", **meld, **options)] == [
        None
    ] * 3


def small_decoder(layers=2, learnable=3, conditional=0):
    torch.manual_seed(0)
    options = {"feed_forward": 8, "heads": 2, "dropout": 0.0, "levels": 1, "points": 1}
    meld = {"meld_heads": 2, "meld_gate": 0.0, "meld_shared": False}
    return MeldDecoder(
        build_layers(layers, 8, meld="joint", **meld, **options),
        width=8,
        mask_width=4,
        learnable=LearnableQueries(learnable, 8) if learnable else None,
        conditional=ConditionalQueries(conditional, 8, box_source="no") if conditional else None,
        meld="joint",
    )


def pixel_features():
    return PixelFeatures([torch.randn(2, 8, 2, 3)], torch.randn(2, 4, 4, 6))


def class_head(queries):
    return queries[..., :2]


def test_heads_are_numbered_from_the_queries_and_the_last_one_stands_alone_at_test():
    decoder, features = small_decoder(), pixel_features()
    trained = decoder.train()(features, class_head).predictions
    assert sorted(trained.earlier) == ["0", "1"]
    tested = decoder.eval()(features, class_head).predictions
    assert tested.earlier == {}
    torch.testing.assert_close(tested.class_logits, trained.class_logits)
    torch.testing.assert_close(tested.boxes, trained.boxes)
    both = small_decoder(conditional=2).train()(features, class_head).predictions
    assert sorted(both.earlier) == ["0", "1", "proposals"]
    assert both.class_logits.shape == (2, 5, 2)
    assert both.earlier["proposals"].class_logits.shape == (2, 2, 2)


def test_the_first_head_reads_the_queries_themselves():
    decoder, features = small_decoder(), pixel_features()
    first = decoder.train()(features, class_head).predictions.earlier["0"]
    table = decoder.learnable
    embedded = decoder.norm(table.content.weight)
    torch.testing.assert_close(first.class_logits[1], embedded[:, :2])
    torch.testing.assert_close(first.boxes[0], table.anchors.weight.sigmoid())
    masks = torch.einsum("qc,chw->qhw", decoder.mask_head(embedded), features.mask_features[1])
    torch.testing.assert_close(first.mask_logits[1], masks)


def test_boxes_start_at_their_anchors_and_move_by_the_box_head():
    decoder, features = small_decoder(), pixel_features()
    anchors = decoder.learnable.anchors.weight.sigmoid()
    still = decoder.train()(features, class_head).predictions
    torch.testing.assert_close(still.boxes[0], anchors)  # the box head starts at 0
    nn.init.constant_(decoder.box_head.layers[-1].bias, 0.5)
    moved = decoder(features, class_head).predictions
    once = (inverse_sigmoid(anchors) + 0.5).sigmoid()
    twice = (inverse_sigmoid(once) + 0.5).sigmoid()
    torch.testing.assert_close(moved.earlier["0"].boxes[0], anchors)
    torch.testing.assert_close(moved.earlier["1"].boxes[0], once)
    torch.testing.assert_close(moved.boxes[0], twice)


def test_denoising_queries_are_parted_from_the_others():
    decoder, features = small_decoder(), pixel_features()
    batch = [targets([1]), targets([0, 1], first=1)]
    noised = Denoising(4, 0.0, 0.0, False)(
        batch, torch.randn(2, 2, 6), None, torch.randn(6, 8), [True] * 2
    )
    output = decoder.train()(features, class_head, noised=noised)
    assert output.layout == QueryLayout(4, 3, 0, groups=2)
    assert output.predictions.class_logits.shape == (2, 3, 2)
    assert output.noised.class_logits.shape == (2, 4, 2)
    assert sorted(output.noised.earlier) == sorted(output.predictions.earlier) == ["0", "1"]
    assert torch.equal(output.noised.query_mask, noised.is_real)
    assert output.predictions.query_mask is None
    # Unmoved, each noised query answers with the box of its target.
    torch.testing.assert_close(output.noised.boxes[1, 2], batch[1].boxes[0])
    alone = decoder(features, class_head).predictions
    torch.testing.assert_close(output.predictions.class_logits, alone.class_logits)


def test_a_decoder_without_queries_is_refused():
    with pytest.raises(ValueError, match="learnable or conditional queries, or both"):
        small_decoder(learnable=0)


# --- class head


def test_logits_are_scaled_cosines_with_a_bias():
    embedding = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])
    texts = torch.tensor([[[1.0, 0.0], [0.0, 5.0]]])
    logits = text_logits(embedding, texts, torch.tensor(10.0), torch.tensor(-1.0))
    torch.testing.assert_close(logits, torch.tensor([[[5.0, 7.0], [-1.0, 9.0]]]))
    plain = text_logits(embedding, texts, torch.tensor(10.0), None)
    torch.testing.assert_close(plain, logits + 1)


def test_each_image_is_compared_with_its_own_texts():
    embedding, texts = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    logits = text_logits(embedding, texts, torch.tensor(1.0), None)
    for image in range(2):
        expected = F.cosine_similarity(embedding[image][:, None], texts[image][None], dim=-1)
        torch.testing.assert_close(logits[image], expected)


def test_the_factor_starts_as_given_and_is_held_at_its_highest():
    head = TextClassHead(4, 4, scale=14.0, bias=-4.5, max_scale=20.0)
    nn.init.eye_(head.projection.weight)
    texts = torch.eye(4)[None]
    assert head.projection.bias is None
    assert head.against(texts)(texts)[0, 0, :2].tolist() == pytest.approx([14 - 4.5, -4.5])
    head.logit_scale.data.fill_(math.log(50))
    assert head.against(texts)(texts)[0, 0, 0].item() == pytest.approx(20 - 4.5)
