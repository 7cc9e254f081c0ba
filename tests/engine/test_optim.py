import math

import pytest
import torch
from torch import nn

from segplugins.engine import optim


def parameters_with_gradients(*gradients):
    parameters = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = torch.tensor(gradient)
    return parameters + [nn.Parameter(torch.zeros(2))]  # one that got none


def test_full_model_clip_scales_all_gradients_together():
    parameters = parameters_with_gradients([3.0, 0.0], [4.0])
    norm = optim.clip_gradients(parameters, kind="full_model", value=0.5)
    assert norm == pytest.approx(5.0)  # sqrt(9 + 16)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.3, 0.0]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.4]))


def test_norm_clip_scales_each_parameter_by_itself():
    parameters = parameters_with_gradients([3.0, 4.0], [0.2])
    assert optim.clip_gradients(parameters, kind="norm", value=1.0) is None
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.2]))


def test_value_clip_cuts_every_element():
    parameters = parameters_with_gradients([3.0, -4.0, 0.5])
    optim.clip_gradients(parameters, kind="value", value=1.0)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([1.0, -1.0, 0.5]))


def test_an_unknown_clip_is_an_error():
    with pytest.raises(ValueError, match="unknown 'full'; known are full_model, norm, value"):
        optim.clip_gradients([], kind="full", value=1.0)


def test_the_config_reaches_the_optimizer(toy_cfg):
    cfg = toy_cfg(
        "SOLVER.BASE_LR 0.2 SOLVER.BETAS (0.8,0.9) SOLVER.EPS 1e-6 SOLVER.WEIGHT_DECAY 0.3 "
        "SOLVER.LR_MULTIPLIERS [['0.',0.5]]"
    )
    built = optim.build_optimizer(cfg, nn.Sequential(nn.Linear(1, 1), nn.LayerNorm(1)))
    assert isinstance(built, torch.optim.AdamW)
    assert built.defaults["betas"] == (0.8, 0.9) and built.defaults["eps"] == 1e-6
    assert [(g["lr"], g["weight_decay"]) for g in built.param_groups] == [(0.1, 0.3), (0.2, 0.0)]
    assert isinstance(
        optim.build_optimizer(toy_cfg("SOLVER.OPTIMIZER sgd"), nn.Linear(1, 1)), torch.optim.SGD
    )


def test_a_paper_adds_its_optimizer_and_schedule(toy_cfg, monkeypatch):
    monkeypatch.setitem(optim.OPTIMIZERS, "adagrad", lambda g, cfg: torch.optim.Adagrad(g))
    step = torch.optim.lr_scheduler.StepLR
    monkeypatch.setitem(optim.LR_SCHEDULERS, "step", lambda cfg, optimizer: step(optimizer, 3))
    cfg = toy_cfg("SOLVER.OPTIMIZER adagrad SOLVER.LR_SCHEDULER_NAME step")
    built = optim.build_optimizer(cfg, nn.Linear(1, 1))
    assert isinstance(built, torch.optim.Adagrad)
    assert isinstance(optim.build_lr_scheduler(cfg, built), step)


def test_the_schedule_is_a_half_cosine_after_a_linear_warm_up(toy_cfg):
    cfg = toy_cfg(
        "SOLVER.MAX_ITER 8 SOLVER.WARMUP_ITERS 2 SOLVER.WARMUP_FACTOR 0.0 SOLVER.BASE_LR 1.0"
    )
    optimizer = optim.build_optimizer(cfg, nn.Linear(1, 1))
    scheduler = optim.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    cosine = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert rates[0] == 0.0 and rates[1] == pytest.approx(cosine[2] / 2)
    assert rates[2:] == pytest.approx(cosine[2:])


def test_sgd_has_the_momentum_of_the_config(toy_cfg):
    cfg = toy_cfg(
        "SOLVER.OPTIMIZER sgd SOLVER.MOMENTUM 0.5 SOLVER.NESTEROV True SOLVER.BASE_LR 0.1"
    )
    model = nn.Linear(1, 1, bias=False)
    built = optim.build_optimizer(cfg, model)
    assert built.defaults["momentum"] == 0.5 and built.defaults["nesterov"] is True
    with torch.no_grad():
        model.weight.fill_(1.0)
    for group in built.param_groups:
        group["weight_decay"] = 0.0
    model.weight.grad = torch.ones(1, 1)
    built.step()
    # Nesterov: the velocity is 1, the step 0.1 * (1 + 0.5 * 1).
    assert model.weight.item() == pytest.approx(1.0 - 0.15)


def test_an_unknown_optimizer_is_an_error_that_names_the_known_ones(toy_cfg):
    # Papers that were loaded before add theirs.
    message = r"SOLVER.OPTIMIZER: unknown 'lion'; known are \['adamw', ('\w+', )*'sgd'\]"
    with pytest.raises(ValueError, match=message):
        optim.build_optimizer(toy_cfg("SOLVER.OPTIMIZER lion"), nn.Linear(1, 1))


def test_every_weight_decay_of_the_config_reaches_its_parameters(toy_cfg):
    cfg = toy_cfg(
        "SOLVER.WEIGHT_DECAY 0.1 SOLVER.WEIGHT_DECAY_BIAS 0.2 SOLVER.WEIGHT_DECAY_NORM 0.3 "
        "SOLVER.WEIGHT_DECAY_EMBED 0.4 SOLVER.NO_WEIGHT_DECAY ['weight_free']"
    )
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Embedding(2, 2))
    model.weight_free = nn.Parameter(torch.zeros(2, 2))
    decays = {
        id(parameter): group["weight_decay"]
        for group in optim.build_optimizer(cfg, model).param_groups
        for parameter in group["params"]
    }
    names = {name: decays[id(p)] for name, p in model.named_parameters()}
    assert names["0.weight"] == 0.1 and names["0.bias"] == 0.2
    assert names["1.weight"] == 0.3 and names["2.weight"] == 0.4 and names["weight_free"] == 0.0
