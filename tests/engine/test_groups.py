import logging

import pytest
import torch
from torch import nn

from segplugins.engine.groups import freeze, layer_factors, log_groups, parameter_groups


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.decoder = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 1), "norm": nn.GroupNorm(2, 4)})
        self.table = nn.Embedding(5, 2)
        self.gamma = nn.Parameter(torch.ones(4))
        self.logit_scale = nn.Parameter(torch.zeros(()))


def by_name(model, **rules):
    """{parameter name: (lr, weight decay)} of the groups."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, **{"lr": 1.0, "weight_decay": 0.1, **rules})
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_norms_and_tables_get_their_own_weight_decay_and_biases_that_of_weights():
    decays = {name: decay for name, (_, decay) in by_name(Model()).items()}
    without = {"encoder.1.weight", "encoder.1.bias", "decoder.norm.weight", "decoder.norm.bias"}
    assert {n for n, decay in decays.items() if decay == 0} == without | {"table.weight"}
    assert decays["encoder.0.bias"] == decays["gamma"] == decays["logit_scale"] == 0.1


def test_later_rules_for_weight_decay_win():
    rules = {"weight_decay_norm": 0.2, "weight_decay_embed": 0.3, "weight_decay_1d": 0.4}
    decays = {
        name: decay
        for name, (_, decay) in by_name(Model(), **rules, no_weight_decay=["gamma"]).items()
    }
    assert decays["table.weight"] == 0.3 and decays["decoder.conv.weight"] == 0.1
    assert decays["gamma"] == 0 and decays["logit_scale"] == 0.4
    assert decays["decoder.norm.weight"] == decays["encoder.0.bias"] == 0.4
    assert by_name(Model(), weight_decay_norm=0.2)["decoder.norm.bias"] == (1.0, 0.2)


def test_the_longest_prefix_decides_about_the_learning_rate():
    rules = [["encoder.", 0.01], ["encoder.1.", 0.5], ["gamma", 2.0]]
    rates = {name: lr for name, (lr, _) in by_name(Model(), lr=2.0, lr_multipliers=rules).items()}
    assert rates["encoder.0.weight"] == pytest.approx(0.02)
    assert rates["encoder.1.bias"] == 1.0 and rates["gamma"] == 4.0
    assert rates["decoder.conv.weight"] == 2.0


def test_every_trained_parameter_is_in_one_group_and_equal_ones_share_it():
    model = Model()
    freeze(model, ["encoder."])
    groups = parameter_groups(model, lr=1.0, weight_decay=0.1)
    assert len(groups) == 2  # with and without weight decay
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert not any(p.requires_grad for p in model.encoder.parameters())


def test_a_shared_parameter_is_updated_once():
    model = Model()
    model.again = model.decoder
    model.shared = nn.Linear(2, 5, bias=False)
    model.shared.weight = model.table.weight
    assert by_name(model).keys() == by_name(Model()).keys()


def test_layers_near_the_input_learn_slower():
    names = ["v.patch_embed.proj.weight", "v.pos_embed", "v.blocks.0.mlp.weight", "v.norm.weight"]
    names += ["v.blocks.1.patch_embed.weight", "t.blocks.7.weight", "logit_scale"]
    # L = 2 blocks: 0.5^3 before them, 0.5^2 and 0.5^1 in them, 0.5^0 behind.
    assert layer_factors(names, "v.", 0.5) == {
        "v.patch_embed.proj.weight": 0.125,
        "v.pos_embed": 0.125,
        "v.blocks.0.mlp.weight": 0.25,
        "v.blocks.1.patch_embed.weight": 0.5,
        "v.norm.weight": 1.0,
    }


def test_layer_decay_multiplies_with_the_factor_of_the_prefix():
    model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])})
    rates = by_name(model, lr_multipliers=[["blocks.1.", 10.0]], layer_decay=[["", 0.5]])
    assert rates["blocks.0.weight"][0] == 0.25 and rates["blocks.1.weight"][0] == 5.0


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"lr_multipliers": [["backbone.", 0.1]]}, "LR_MULTIPLIERS: no parameter starts with 'bac"),
        ({"lr_multipliers": [["backbone.", 0.1]]}, "there are decoder, encoder, gamma"),
        ({"lr_multipliers": [["encoder.", 1], ["encoder.", 2]]}, "'encoder.' stands twice"),
        ({"layer_decay": [["a.", 0.5], ["a.", 0.9]]}, "LAYER_DECAY: the prefix 'a.' stands twice"),
        ({"layer_decay": [["encoder.", 0.5]]}, "LAYER_DECAY: no parameter below 'encoder.' belong"),
        ({"no_weight_decay": ["scale"]}, "NO_WEIGHT_DECAY: no trained parameter is called 'scale'"),
    ],
)
def test_a_rule_that_fits_nothing_is_an_error(rules, message):
    with pytest.raises(ValueError, match=message):
        by_name(Model(), **rules)


def test_freezing_what_is_not_there_or_everything_is_an_error():
    with pytest.raises(ValueError, match="MODEL.FREEZE: no parameter starts with 'backbone.'"):
        freeze(Model(), ["encoder.", "backbone."])
    model = Model()
    freeze(model, [""])
    with pytest.raises(ValueError, match="no parameter is left to train"):
        by_name(model)


def test_the_log_has_a_line_per_prefix(caplog):
    model = Model()
    freeze(model, ["encoder.1."])
    groups = parameter_groups(model, lr=1.0, weight_decay=0.1, lr_multipliers=[["encoder.", 0.01]])
    with caplog.at_level(logging.INFO, logger="segplugins"):
        log_groups(model, groups, ["encoder.", "encoder.1."])
    assert caplog.messages == [
        "parameters (rest): 7 (0.00 M), lr 1, weight decay 0 to 0.1",
        "parameters encoder.: 2 (0.00 M), lr 0.01, weight decay 0.1",
        "parameters encoder.1.: 2 (0.00 M), frozen",
    ]
