import pytest
import torch
from torch import nn

from segplugins.engine.ema import WeightAverage


@pytest.fixture
def model():
    built = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    built[1].requires_grad_(False)
    return built


def set_weight(model, value):
    with torch.no_grad():
        model[0].weight.fill_(value)


def test_the_average_follows_its_formula(model):
    average = WeightAverage(model, decay=0.75)
    expected = 8.0  # the first weights as they are, then 0.75 * old + 0.25 * new
    for value in (8.0, 4.0, 0.0):
        set_weight(model, value)
        average.update()
        expected = expected if value == 8.0 else 0.75 * expected + 0.25 * value
    assert expected == 5.25
    with average.applied():
        assert model[0].weight.item() == pytest.approx(5.25)
    assert model[0].weight.item() == 0.0


def test_the_weights_come_back_after_an_error(model):
    average = WeightAverage(model, decay=1.0)
    set_weight(model, 1.0)
    average.update()
    set_weight(model, 2.0)
    with pytest.raises(RuntimeError), average.applied():
        assert model[0].weight.item() == 1.0
        raise RuntimeError
    assert model[0].weight.item() == 2.0
    assert average.state_dict()["weights"]["0.weight"].item() == 1.0


def test_before_the_first_step_the_model_is_its_own_average(model):
    average = WeightAverage(model, decay=0.5)
    set_weight(model, 3.0)
    with average.applied():
        assert model[0].weight.item() == 3.0
    again = WeightAverage(model, decay=0.5)
    again.load_state_dict(average.state_dict())
    assert again.state_dict() == {"weights": {}}


def test_only_trained_parameters_are_averaged_and_the_state_goes_on(model):
    average = WeightAverage(model, decay=0.5)
    set_weight(model, 4.0)
    average.update()
    state = average.state_dict()
    assert list(state["weights"]) == ["0.weight"]
    again = WeightAverage(model, decay=0.5)
    again.load_state_dict(state)
    set_weight(model, 0.0)
    again.update()
    assert again.state_dict()["weights"]["0.weight"].item() == 2.0
    assert state["weights"]["0.weight"].item() == 4.0  # a copy went on


def test_averages_of_other_parameters_are_an_error(model):
    state = {"weights": {"1.weight": torch.zeros(1, 1)}}
    with pytest.raises(KeyError, match="of other parameters, such as '0.weight'"):
        WeightAverage(model, decay=0.5).load_state_dict(state)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_outside_0_to_1_is_an_error(model, decay):
    with pytest.raises(ValueError, match=f"SOLVER.EMA.DECAY must be between 0 and 1, got {decay}"):
        WeightAverage(model, decay)


def test_a_decay_of_0_keeps_the_newest_weights(model):
    average = WeightAverage(model, decay=0)
    for value in (8.0, 3.0):  # 0 * 8 + 1 * 3
        set_weight(model, value)
        average.update()
    assert average.state_dict()["weights"]["0.weight"].item() == 3.0


def test_a_wrapped_model_has_the_names_of_the_bare_one(model):
    wrapped = nn.Module()
    wrapped.module = model
    average = WeightAverage(wrapped, decay=0.5)
    average.update()
    assert list(average.state_dict()["weights"]) == ["0.weight"]
