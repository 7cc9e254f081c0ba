"""FiniteWeights: who is refused, when, and how often weights are read."""

import pytest
import torch
from torch import nn

from segplugins.modeling import finite
from segplugins.modeling.finite import FiniteWeights


def guarded():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    model.register_forward_pre_hook(FiniteWeights())
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.running_var"])
def test_a_tensor_that_is_not_finite_is_named(name, value):
    model = guarded()
    model.state_dict()[name].view(-1)[0] = value
    with pytest.raises(ValueError, match=f"(?s)Sequential.*{name}"):
        model(torch.zeros(3, 2))


def test_training_is_left_alone():
    model = guarded().train()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    assert model(torch.zeros(3, 2)).isnan().any()


def test_weights_that_turn_bad_after_a_good_answer_are_found():
    model = guarded()
    model(torch.zeros(3, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"0\.weight"):
        model(torch.zeros(3, 2))


def test_weights_that_do_not_change_are_read_once(monkeypatch):
    reads = []
    monkeypatch.setattr(finite, "check_finite", lambda tensors, source: reads.append(list(tensors)))
    model = guarded()
    for _ in range(3):
        model(torch.zeros(3, 2))
    assert len(reads) == 2  # parameters and buffers
    assert reads[0] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert "1.running_mean" in reads[1]
    with torch.no_grad():
        model[0].weight.mul_(2)
    model(torch.zeros(3, 2))
    assert len(reads) == 4


def test_a_refused_model_is_refused_again():
    model = guarded()
    with torch.no_grad():
        model[0].bias.fill_(float("inf"))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"0\.bias"):
            model(torch.zeros(3, 2))
