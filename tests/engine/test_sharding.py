"""Sharding in one process of a group of one, and what does not go together with it."""

import copy
import functools
import multiprocessing
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.torch_version import TorchVersion

from segplugins.engine import Trainer
from segplugins.engine.optim import clip_gradients
from segplugins.engine.sharding import (
    check_sharding,
    is_sharded,
    own_optimizer_state,
    own_weights,
    shard,
    whole_optimizer_state,
    whole_tensor,
    whole_weights,
)
from segplugins.engine.steps import autocast


def in_a_group_of_one(test):
    """Runs a test in a forked process: after sharding, autograd cannot be forked any more."""

    def work(given):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        test(**given)

    @functools.wraps(test)
    def call(**given):
        process = multiprocessing.get_context("fork").Process(target=work, args=(given,))
        process.start()
        process.join(60)
        assert process.exitcode == 0  # what went wrong stands in standard error

    return call


class Scaled(nn.Module):
    """One unit that is called, one that is run, and a scalar."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.called, self.ran = nn.Linear(3, 4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.seen = []

    def sharded_units(self):
        self.ran.run = self.product
        return [self.called, self.ran]

    def product(self, x):
        weight = self.ran.weight
        self.seen.append((weight.dtype, hasattr(weight, "full_tensor")))
        return x @ weight.T

    def forward(self, x):
        x = self.called(x)
        return self.scale.reshape(()) * getattr(self.ran, "run", self.product)(x).float()


def step(model, optimizer, precision=None):
    optimizer.zero_grad()
    with autocast(torch.device("cpu"), precision):
        out = model(torch.arange(6.0).view(2, 3))
    out.square().sum().backward()
    norm = clip_gradients(model.parameters(), kind="full_model", value=1.0)
    optimizer.step()
    return norm


def pair(precision=None):
    """A plain and a sharded model after a step each, their optimizers, and the two norms."""
    plain, sharded = Scaled(), Scaled()
    shard(sharded, precision)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in (plain, sharded)]
    norms = [step(*both, precision) for both in zip((plain, sharded), optimizers)]
    return plain, sharded, optimizers, norms


@in_a_group_of_one
def test_a_step_and_its_clip_are_those_of_the_plain_model():
    plain, sharded, _, (norm, sharded_norm) = pair()
    assert is_sharded(sharded) and not is_sharded(plain)
    assert norm > 1 and type(sharded_norm) is torch.Tensor
    torch.testing.assert_close(sharded_norm, norm)
    whole = whole_weights(sharded)
    assert list(whole) == list(plain.state_dict())
    torch.testing.assert_close(whole, dict(plain.state_dict()))
    # Within its run a unit holds its weights whole.
    assert sharded.seen == [(torch.float32, False)] and not hasattr(whole["scale"], "full_tensor")


@pytest.mark.parametrize("kind", ["norm", "value"])
@in_a_group_of_one
def test_other_clips_cut_sharded_gradients_too(kind):
    gradients = []
    for model in (Scaled(), Scaled()):
        if gradients:
            shard(model)
        model(torch.arange(6.0).view(2, 3)).square().sum().backward()
        clip_gradients(model.parameters(), kind=kind, value=0.5)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        gradients.append([whole_tensor(grad).flatten() for grad in grads])
    assert all(grad.abs().max() <= 0.5 for grad in gradients[0])
    torch.testing.assert_close(*gradients)


@in_a_group_of_one
def test_units_compute_in_the_precision_and_the_rest_and_the_weights_stay():
    _, sharded, _, _ = pair(torch.bfloat16)
    assert sharded.seen == [(torch.bfloat16, False)]
    assert {value.dtype for value in whole_weights(sharded).values()} == {torch.float32}


@in_a_group_of_one
def test_whole_states_are_those_of_the_plain_run_and_come_back_as_parts():
    plain, sharded, (optimizer, own), _ = pair()
    state = whole_optimizer_state(sharded, own)
    torch.testing.assert_close(state["state"], optimizer.state_dict()["state"])
    assert state["state"][0]["exp_avg"].shape == () == state["state"][0]["step"].shape
    again = Scaled()
    shard(again)
    resumed = torch.optim.AdamW(again.parameters(), lr=0.1)
    again.load_state_dict(own_weights(again, whole_weights(sharded)))
    resumed.load_state_dict(own_optimizer_state(resumed, copy.deepcopy(state)))
    for both in ((plain, optimizer), (sharded, own), (again, resumed)):
        step(*both)
    torch.testing.assert_close(whole_weights(again), whole_weights(sharded), rtol=0, atol=0)
    torch.testing.assert_close(whole_weights(again), dict(plain.state_dict()))


@in_a_group_of_one
def test_weights_that_do_not_fit_are_left_to_whoever_reports_them():
    model = Scaled()
    shard(model)
    own = own_weights(model, {"called.bias": torch.zeros(9), "other": torch.ones(2)})
    assert own["called.bias"].shape == (9,) and own["other"].tolist() == [1, 1]
    state = {"state": {7: {"exp_avg": torch.zeros(2)}}, "param_groups": []}
    assert own_optimizer_state(torch.optim.AdamW(model.parameters()), state) is state


@pytest.mark.parametrize(
    "options, message",
    [
        ("", "ToySegmentor does not say which of its parts are gathered alone"),
        (
            "DATASETS.TEST ('toy_val',)",
            r"without evaluations, DATASETS.TEST is \('toy_val',\); set",
        ),
        ("SOLVER.EMA.ENABLED True", "no averaged weights; set SOLVER.EMA.ENABLED False"),
        ("SOLVER.FIND_UNUSED_PARAMETERS True", "every parameter in every step; set SOLVER.FIND_UN"),
        ("SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE float16", "AMP.DTYPE is 'float16'; set it to b"),
    ],
)
def test_what_does_not_go_together_is_one_line(toy_cfg, toy, monkeypatch, options, message):
    model = toy.ToySegmentor if not options else Scaled
    cfg = toy_cfg(f"SOLVER.SHARDING full DATASETS.TEST () {options}")
    with pytest.raises(ValueError, match=f"^SOLVER.SHARDING 'full'.*{message}") as error:
        check_sharding(cfg, model)
    assert "\n" not in str(error.value)
    check_sharding(toy_cfg(options), model)  # "none", the default, goes with everything


@pytest.mark.parametrize("version, fits", [("2.5.1", False), ("2.6.0", True), ("2.11.0", True)])
def test_an_old_torch_is_told(toy_cfg, monkeypatch, version, fits):
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    cfg = toy_cfg("SOLVER.SHARDING full DATASETS.TEST ()")
    with nullcontext() if fits else pytest.raises(ValueError, match="needs torch 2.6, this is 2.5"):
        check_sharding(cfg, Scaled)


def test_one_process_trains_as_without(toy_cfg, toy, monkeypatch):
    monkeypatch.setattr(toy.ToySegmentor, "sharded_units", lambda self: [], raising=False)
    trainer = Trainer(toy_cfg("SOLVER.SHARDING full DATASETS.TEST ()"))
    assert not is_sharded(trainer.model)
