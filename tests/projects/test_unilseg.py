"""UniLSeg's ideas one by one: attention, fusion, paths, prompts, samples, loss."""

import math

import pytest
import torch
from detectron2.structures import BitMasks, Instances
from torch import nn

from segplugins.modeling.positions import sine_positions_2d
from segplugins.projects.unilseg.attention import Attention, grid, tokens
from segplugins.projects.unilseg.language_path import LanguagePath
from segplugins.projects.unilseg.loss import ResponseLoss, binary_cross_entropy, dice
from segplugins.projects.unilseg.pre_fusion import PreFusion
from segplugins.projects.unilseg.prompts import Prompts
from segplugins.projects.unilseg.samples import Sample, Sampling, padded_masks
from segplugins.projects.unilseg.vision_path import MultiModalLayer, VisionPath
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task


def plain_attention(module, query, key, value, is_key):
    """torch's own forward with the same parameters."""
    twin = nn.MultiheadAttention(module.embed_dim, module.num_heads, batch_first=True)
    twin.load_state_dict(module.state_dict())
    return twin.eval()(query, key, value, key_padding_mask=~is_key, need_weights=False)[0]


def some_words(texts=3, length=5, width=16):
    is_word = torch.arange(length) < torch.randint(2, length + 1, (texts, 1))
    return torch.randn(texts, length, width) * is_word[..., None], is_word


# --- attention


def test_attention_in_two_steps_is_torchs_attention():
    module = Attention(16, 4, dropout=0.5).eval()
    (keys, is_key), values, query = some_words(), torch.randn(3, 5, 16), torch.randn(3, 7, 16)
    want = plain_attention(module, query, keys, values, is_key)
    torch.testing.assert_close(module(query, keys, values, is_key), want)


def test_one_image_may_ask_many_phrases():
    module = Attention(16, 4, dropout=0.0)
    words, is_word = some_words()
    query = torch.randn(1, 7, 16)
    memory = module.keys_and_values(words, words)
    shared = module.attend(module.queries(query), memory, is_word)
    for row in range(3):
        alone = module(query, words[row : row + 1], words[row : row + 1], is_word[row : row + 1])
        torch.testing.assert_close(shared[row : row + 1], alone)


def test_tokens_and_grid_undo_each_other():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(grid(tokens(x), 4, 5), x)
    assert torch.equal(tokens(x)[0, 7], x[0, :, 1, 2])  # row by row


# --- Pre-Fusion


def test_prefusion_is_equation_1_with_the_residual_at_every_scale_it_is_asked_for():
    fusion = PreFusion([8, 16], scales=[1], text_width=16, heads=4, dropout=0.0).eval()
    features = [torch.randn(3, 8, 6, 6), torch.randn(3, 16, 3, 4)]
    words, is_word = some_words()
    fused = fusion(features, fusion.questions(features), words, is_word)
    assert torch.equal(fused[0], features[0])
    scale = fusion.scales["1"]
    asking = tokens(features[1] + sine_positions_2d(16, 3, 4))
    projected = scale.projection(words)
    seen = plain_attention(scale.attention, asking, projected, projected, is_word)
    torch.testing.assert_close(fused[1], features[1] + grid(seen, 3, 4))


def test_prefusion_refuses_a_scale_that_is_not_there():
    with pytest.raises(ValueError, match=r"PREFUSION_SCALES names the scales \[4\].*0 .* to 3"):
        PreFusion([8] * 4, scales=[0, 4], text_width=8, heads=2, dropout=0.0)


# --- vision path


def test_the_words_of_a_layer_are_looked_at_but_ask_nothing():
    # Asked as well, as the paper has it, they would change nothing that is used.
    layer = MultiModalLayer(16, 4, 32, 0.0, ratio=1).eval()
    x, (words, is_word) = torch.randn(3, 16, 3, 4), some_words()
    position = sine_positions_2d(16, 3, 4)[None]
    values = torch.cat([tokens(x), words], dim=1)
    keys = torch.cat([tokens(x + position), words], dim=1)
    is_key = torch.cat([torch.ones(3, 12, dtype=torch.bool), is_word], dim=1)
    every = plain_attention(layer.self_attn, keys, keys, values, is_key)[:, :12]
    seen = layer._seen(x, position, words, is_word)
    torch.testing.assert_close(tokens(seen), every)


def test_a_layer_normalises_what_it_adds():
    layer = MultiModalLayer(16, 4, 32, 0.0, ratio=2).eval()
    x, (words, is_word) = torch.randn(3, 16, 4, 4), some_words()
    out = tokens(layer(x, words, is_word, torch.zeros(5, 16)))
    torch.testing.assert_close(out.mean(dim=-1), torch.zeros(3, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        out.var(dim=-1, unbiased=False), torch.ones(3, 16), atol=1e-3, rtol=0
    )


def vision_path(**changes):
    options = {
        "width": 16,
        "mask_dim": 8,
        "heads": 4,
        "hidden": 32,
        "dropout": 0.0,
        "ratios": [2, 1],
        "norm": "BN",
        "text_length": 5,
        "attend": True,
        **changes,
    }
    return VisionPath([4, 8], **options).eval()


def test_the_pixel_map_is_as_fine_as_the_finest_scale_and_nowhere_negative():
    words, is_word = some_words()
    pixels = vision_path()([torch.randn(3, 4, 7, 9), torch.randn(3, 8, 4, 5)], words, is_word)
    assert pixels.shape == (3, 8, 7, 9) and pixels.min() == 0


def test_padding_of_a_phrase_changes_nothing():
    path = vision_path()
    fused = [torch.randn(1, 4, 4, 4), torch.randn(1, 8, 2, 2)]
    words = torch.randn(1, 3, 16)
    short = path(fused, words, torch.ones(1, 3, dtype=torch.bool))
    padded = torch.cat([words, torch.randn(1, 2, 16)], dim=1)
    is_word = torch.tensor([[True] * 3 + [False] * 2])
    torch.testing.assert_close(path(fused, padded, is_word), short)


def test_without_attention_the_vision_path_is_a_plain_pyramid():
    words, is_word = some_words(1)
    fused = [torch.randn(1, 4, 4, 4), torch.randn(1, 8, 2, 2)]
    path = vision_path(attend=False)
    assert not [name for name, _ in path.named_parameters() if name.startswith("layers")]
    assert torch.equal(path(fused, words, is_word), path(fused, 2 * words, is_word))


@pytest.mark.parametrize("ratios", [[1], [1, 0]])
def test_there_is_one_ratio_per_scale(ratios):
    with pytest.raises(ValueError, match="SR_RATIOS needs 2 whole numbers"):
        vision_path(ratios=ratios)


# --- language path


def language_path(**changes):
    options = {
        "text_dim": 12,
        "query_dim": 8,
        "layers": 2,
        "heads": 2,
        "hidden": 16,
        "dropout": 0.0,
        "norm": "LN",
        **changes,
    }
    return LanguagePath(6, **options)


def test_every_layer_of_the_language_path_gives_a_normed_query():
    found = language_path()(torch.randn(3, 6, 2, 2), torch.randn(3, 12))
    assert [query.shape for query in found] == [(3, 8)] * 2
    for query in found:
        torch.testing.assert_close(query.mean(dim=-1), torch.zeros(3), atol=1e-5, rtol=0)


def test_without_layers_the_sentence_itself_is_the_query():
    path = language_path(layers=0)
    sentences = torch.randn(3, 12)
    (query,) = path(torch.randn(3, 6, 2, 2), sentences)
    want = nn.functional.layer_norm(path.sentence(sentences), (8,), eps=1e-6)
    torch.testing.assert_close(query, want)
    assert query.min() < 0  # or every pixel would be foreground


def test_one_phrase_cannot_be_trained_with_batch_norm():
    path = language_path(norm="BN").train()
    with pytest.raises(ValueError, match="one phrase per process.*NORM 'LN'"):
        path(torch.randn(1, 6, 2, 2), torch.randn(1, 12))
    path.eval()(torch.randn(1, 6, 2, 2), torch.randn(1, 12))


# --- loss


def response_loss(**changes):
    options = {
        "bce_weight": 1.0,
        "dice_weight": 1.0,
        "deep_supervision": True,
        "at": "response",
        **changes,
    }
    return ResponseLoss(**options)


def test_dice_by_hand():
    logits = torch.tensor([[0.0, 0.0, math.log(3), -100.0]])  # 1/2, 1/2, 3/4, 0
    target = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    overlap, total = 0.5 + 0.75, 1.75 + 2
    assert dice(logits, target).item() == pytest.approx(1 - (2 * overlap + 1) / (total + 1))


@pytest.mark.parametrize("balance, inside", [(0.0, 1.0), (0.5, math.sqrt(3)), (1.0, 3.0)])
def test_places_of_a_small_target_weigh_by_what_is_outside_of_it(balance, inside):
    # Of the first mask one place in four is target, so 3 are outside per place inside.
    logits = torch.tensor([[0.0, math.log(3), 0.0, 0.0], [0.0, 0.0, 0.0, math.log(3)]])
    targets = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    half = math.log(2)  # -log of probability 1/2; 3/4 costs log(4/3) as a target, log 4 otherwise
    first = (inside * math.log(4 / 3) + 3 * half) / (inside + 3)
    second = (3 * half + math.log(4)) / 4  # empty: nothing to balance
    loss = binary_cross_entropy(logits, targets, balance=balance)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    built = response_loss(bce_balance=balance, dice_weight=0.0)
    responses, masks = logits.view(1, 2, 2, 2), targets.view(2, 2, 2).bool()
    assert built(responses, masks)["loss_bce"].item() == pytest.approx(loss.item(), rel=1e-6)


def test_an_empty_mask_for_an_empty_target_costs_nothing():
    losses = response_loss()(
        torch.full((1, 2, 3, 3), -50.0), torch.zeros(2, 3, 3, dtype=torch.bool)
    )
    assert all(loss.item() == pytest.approx(0, abs=1e-6) for loss in losses.values())


def test_every_layer_is_supervised_and_the_last_one_bears_the_plain_name():
    responses = torch.randn(3, 2, 4, 4, requires_grad=True)
    losses = response_loss(bce_weight=2.0)(responses, torch.rand(2, 4, 4) > 0.5)
    assert sorted(losses) == [
        *("loss_bce", "loss_bce_0", "loss_bce_1"),
        *("loss_dice", "loss_dice_0", "loss_dice_1"),
    ]
    plain = response_loss(deep_supervision=False)(responses, torch.rand(2, 4, 4) > 0.5)
    assert sorted(plain) == ["loss_bce", "loss_dice"]
    sum(plain.values()).backward()
    assert not responses.grad[:2].any() and responses.grad[2].any()


def test_the_weight_is_a_factor_and_zero_leaves_a_loss_out():
    responses, masks = torch.randn(1, 2, 4, 4), torch.rand(2, 4, 4) > 0.5
    once, twice = (response_loss(bce_weight=w, dice_weight=0.0)(responses, masks) for w in (1, 2))
    assert list(once) == ["loss_bce"]
    assert twice["loss_bce"].item() == pytest.approx(2 * once["loss_bce"].item())


def test_the_target_of_a_cell_is_the_pixel_in_its_middle():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[:, 2::4, 2::4] = True  # pixel 2 of 4 is the first one behind the middle
    loss = response_loss(dice_weight=0.0)(torch.full((1, 1, 2, 2), 50.0), masks)
    assert loss["loss_bce"].item() == pytest.approx(0, abs=1e-6)


def test_at_the_image_the_response_is_resized_instead():
    responses, masks = torch.randn(1, 2, 2, 2), torch.rand(2, 4, 4) > 0.5
    fine = nn.functional.interpolate(responses[0][None], (4, 4), mode="bilinear")[0]
    want = nn.functional.binary_cross_entropy_with_logits(fine, masks.float())
    got = response_loss(dice_weight=0.0, at="image")(responses, masks)["loss_bce"]
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bce_weight": -1.0}, "at least 0 and not both 0, got -1"),
        ({"bce_weight": 0.0, "dice_weight": 0.0}, "not both 0"),
        ({"at": "pixel"}, "LOSS_AT must be one of .*'pixel'"),
    ],
)
def test_bad_settings_of_the_loss(changes, message):
    with pytest.raises(ValueError, match=message):
        response_loss(**changes)


# --- prompts

TABLE_1 = [["semantic", "all {}"], ["part", "all {}"], ["salient", "the most salient object"]]


def test_a_task_makes_its_own_phrase_of_a_name():
    prompts = Prompts(TABLE_1, "first")
    assert prompts.phrase(Task.SEMANTIC, "car") == "all car"
    assert prompts.phrase(Task.SALIENT, "whatever") == "the most salient object"
    assert prompts.phrase("referring", "the red car") == "the red car"


def test_the_first_synonym_or_all_of_them_are_asked_for():
    words = Vocabulary("v", ("car, auto", "sky"))
    assert Prompts(TABLE_1, "first").of_vocabulary(words, "semantic") == [
        ("all car",),
        ("all sky",),
    ]
    both = Prompts(TABLE_1, "mean").of_vocabulary(words, "semantic")
    assert both == [("all car", "all auto"), ("all sky",)]


def test_the_templates_of_a_vocabulary_win():
    words = Vocabulary("v", ("car",), templates=("a {}", "one {}"))
    assert Prompts(TABLE_1, "first").of_vocabulary(words, "semantic") == [("a car", "one car")]


@pytest.mark.parametrize(
    "record, message",
    [
        ({"texts": []}, "neither a vocabulary nor a phrase"),
        ({"file_name": "a.jpg"}, "a.jpg has neither a vocabulary nor a phrase"),
        ({"texts": ["the car", " "]}, "a phrase is empty"),
        ({"texts": "the car"}, "must be a list of phrases, got the single text 'the car'"),
    ],
)
def test_a_record_must_ask_for_something(record, message):
    with pytest.raises(ValueError, match=message):
        Prompts(TABLE_1, "first").of_record(record)


@pytest.mark.parametrize("entry", [["semantic"], ["colour", "all {}"], ["part", " "]])
def test_a_prompt_names_a_task_and_says_something(entry):
    with pytest.raises(ValueError, match="PROMPTS holds"):
        Prompts([entry], "first")


def test_synonyms_are_used_in_one_of_two_ways():
    with pytest.raises(ValueError, match="SYNONYMS must be one of .*'all'"):
        Prompts([], "all")


# --- samples


def labelled(classes, masks, **fields):
    """A training record of 4 x 4 pixels whose regions are given as lists of pixels."""
    bitmaps = torch.zeros(len(masks), 16, dtype=torch.bool)
    for bitmap, pixels in zip(bitmaps, masks):
        bitmap[pixels] = True
    instances = Instances((4, 4), gt_classes=torch.tensor(classes, dtype=torch.int64))
    instances.gt_masks = BitMasks(bitmaps.reshape(-1, 4, 4))
    return {"image": torch.zeros(3, 4, 4), "instances": instances, **fields}


@pytest.fixture
def pets():
    register_vocabulary(
        Vocabulary("unilseg_pets", ("cat", "dog, hound", "none"), none_class="none")
    )
    return {"vocabulary": "unilseg_pets", "task": Task.SEMANTIC}


def drawn(record, per_image=9, negative_prob=0.0):
    samples = Sampling(Prompts(TABLE_1, "first"), per_image=per_image, negative_prob=negative_prob)
    return {
        sample.phrase: sample.mask.flatten().nonzero()[:, 0].tolist()
        for sample in samples([record])
    }


def test_a_class_means_all_of_its_regions(pets):
    record = labelled([1, 0, 1], [[0, 1], [5], [9]], **pets)
    assert drawn(record) == {"all dog": [0, 1, 9], "all cat": [5]}


def test_only_as_many_phrases_are_drawn_as_are_asked_for_and_each_in_its_turn(pets):
    record = labelled([0, 1], [[0], [5]], **pets)
    found = [tuple(drawn(record, per_image=1)) for _ in range(40)]
    assert set(found) == {("all cat",), ("all dog",)}


def test_a_class_that_is_not_there_is_asked_for_only_if_negatives_are_wanted(pets):
    record = labelled([0], [[3]], **pets)
    assert drawn(record) == {"all cat": [3]}
    assert drawn(record, negative_prob=1.0) == {"all dog": []}  # never the none-class


def test_a_class_of_unknown_absence_is_never_a_negative(pets):
    record = labelled([0], [[3]], ignore_negative=torch.tensor([False, True, False]), **pets)
    assert drawn(record, negative_prob=1.0) == {"all cat": [3]}


def test_a_name_with_unannotated_objects_has_no_whole_mask(pets):
    unknown = torch.tensor([False, True, False])
    record = labelled([0, 1], [[3], [5]], ignore_negative=unknown, **pets)
    assert drawn(record) == {"all cat": [3]}
    phrases = {"texts": ["the cat", "the pig"], "vocabulary": None, "task": Task.REFERRING}
    record = labelled([0], [[3]], ignore_negative=torch.tensor([True, False]), **phrases)
    assert drawn(record) == {"the pig": []}


def test_a_phrase_without_target_is_a_sample_with_an_empty_mask():
    record = labelled(
        [0], [[3]], texts=["the cat", "the pig"], vocabulary=None, task=Task.REFERRING
    )
    assert drawn(record) == {"the cat": [3], "the pig": []}


def test_an_image_without_regions_gives_no_sample(pets):
    assert drawn(labelled([], [], **pets)) == {}


def test_boxes_alone_cannot_be_learnt(pets):
    record = labelled([0], [[3]], file_name="a.jpg", **pets)
    record["instances"].remove("gt_masks")
    with pytest.raises(ValueError, match="a.jpg has no masks; UniLSeg learns from masks"):
        drawn(record)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"per_image": 0, "negative_prob": 0.0}, "TEXTS_PER_IMAGE must be at least 1, got 0"),
        ({"per_image": 1, "negative_prob": 1.5}, r"NEGATIVE_PROB must lie in \[0, 1\], got 1.5"),
    ],
)
def test_bad_settings_of_the_sampling(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(Prompts([], "first"), **options)


def test_masks_lie_where_their_images_lie_in_the_batch():
    samples = [Sample(0, "a", torch.ones(2, 3, dtype=torch.bool))]
    masks = padded_masks(samples, (4, 4), torch.device("cpu"))
    assert masks.shape == (1, 4, 4) and masks.sum() == 6 and masks[0, :2, :3].all()
