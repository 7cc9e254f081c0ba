import math
import random

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from segplugins.engine.optim import clip_gradients
from segplugins.engine.steps import NothingLearned, OutOfMemory, StepTrainer, autocast


class Scaled(nn.Module):
    """loss_a = mean over the batch of w * x; loss_b = noise that the generator draws."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch):
        noise = torch.rand(()) + random.random() + np.random.rand()
        return {"loss_a": (self.weight * torch.tensor(batch)).mean(), "loss_b": noise * 0 + noise}


def stepped(batches, model=None, **options):
    """The model and the logged values after a step on each of the batches."""
    model = model or Scaled()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = StepTrainer(model, list(batches), optimizer, **options)
    logged = []
    for trainer.iter in range(len(batches) // options.get("accumulate", 1)):
        with EventStorage(trainer.iter) as storage:
            trainer.run_step()
            logged.append({name: value for name, (value, _) in storage.latest().items()})
    return model, logged


def test_a_step_follows_the_mean_of_its_micro_batches():
    model, logged = stepped([[1.0, 3.0], [4.0, 4.0]], accumulate=2)
    # d/dw mean(w x): 2 and 4; their mean is 3, that of the batch of four as well.
    assert model.weight.item() == 1.0 - 3.0
    assert logged[0]["loss_a"] == 3.0 and "data_time" in logged[0]
    assert logged[0]["total_loss"] == pytest.approx(logged[0]["loss_a"] + logged[0]["loss_b"])


def test_the_gradient_norm_before_the_clip_is_logged():
    def clip(parameters):
        return clip_gradients(parameters, kind="full_model", value=0.5)

    model, logged = stepped([[6.0]], clip=clip)
    assert logged[0]["grad_norm"] == 6.0
    assert model.weight.item() == pytest.approx(0.5)


def test_draws_follow_from_the_seed_and_the_iteration():
    noise = [log["loss_b"] for log in stepped([[0.0]] * 3, seed=5)[1]]
    torch.rand(7), random.random(), np.random.rand()  # whatever was drawn in between
    assert [log["loss_b"] for log in stepped([[0.0]] * 3, seed=5)[1]] == noise
    assert [log["loss_b"] for log in stepped([[0.0]] * 3, seed=6)[1]] != noise
    assert len(set(noise)) == 3


@pytest.mark.parametrize("value, name", [(math.nan, "loss_a"), (math.inf, "loss_a")])
def test_a_loss_that_is_not_finite_stops_before_the_step(value, name):
    model = Scaled()
    with pytest.raises(FloatingPointError, match=rf"not finite at iteration 1: \['{name}'\]"):
        stepped([[0.5], [value]], model)
    assert model.weight.item() == 0.5  # the first step, and no second


class Named(Scaled):
    """Takes records instead of numbers."""

    def forward(self, batch):
        return super().forward([record["value"] for record in batch])


def named(*values):
    return [{"file_name": f"{value}.png", "value": value} for value in values]


def test_a_bad_loss_names_its_images_and_no_others():
    batches = [named(1.0, 2.0), named(math.nan, 3.0)]
    with pytest.raises(FloatingPointError, match=r"images nan.png, 3.0.png\. The weights are"):
        stepped(batches, Named(), accumulate=2)


def test_bad_steps_are_left_out_as_often_as_allowed(caplog):
    batches = [[0.25], [math.nan], [0.25], [math.inf], [0.25]]
    model, logged = stepped(batches, max_bad_steps=2)
    assert model.weight.item() == 1 - 3 * 0.25 and len(logged) == 5
    assert "left out, 1 of at most 2" in caplog.text and "left out, 2 of at most 2" in caplog.text
    model = Scaled()
    with pytest.raises(FloatingPointError, match="at iteration 3.*SOLVER.MAX_BAD_STEPS"):
        stepped(batches, model, max_bad_steps=1)
    assert model.weight.item() == 0.5


def test_bad_steps_are_counted_over_resumed_runs():
    model = Scaled()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    first = StepTrainer(model, [[math.nan]], optimizer, max_bad_steps=1)
    with EventStorage(0):
        first.run_step()
    second = StepTrainer(model, [[math.nan]], optimizer, max_bad_steps=1)
    second.load_state_dict(first.state_dict())
    with pytest.raises(FloatingPointError), EventStorage(0):
        second.run_step()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce] can't allocate memory")],
)
def test_memory_that_is_used_up_is_told_with_the_sizes_of_the_batch(error):
    class Hungry(Scaled):
        def forward(self, batch):
            raise error

    images = [torch.zeros(3, 4, 6), torch.zeros(3, 5, 5)]
    batch = [{"file_name": "a.png", "image": images[0], "instances": [1, 2], "texts": ["b"] * 3}]
    batch.append({"file_name": "c.png", "image": images[1]})
    message = (
        r"out of memory on cpu at iteration 0 with 2 images at once: "
        r"a.png \(6 x 4, 2 regions, 3 texts\), c.png \(5 x 5\)\. Raise SOLVER.ACCUMULATE"
    )
    with pytest.raises(OutOfMemory, match=message):
        stepped([batch], Hungry())


def test_other_errors_of_a_step_stay_what_they_are():
    class Broken(Scaled):
        def forward(self, batch):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="^shapes do not match$"):
        stepped([[1.0]], Broken())


def test_a_request_to_stop_is_agreed_after_the_step():
    model = Scaled()
    trainer = StepTrainer(
        model,
        [[0.5], [0.5]],
        torch.optim.SGD(model.parameters(), lr=1.0),
        stop_requested=lambda: trainer.iter == 1,
    )
    for trainer.iter in range(2):
        with EventStorage(trainer.iter):
            trainer.run_step()
        assert trainer.stop_agreed == (trainer.iter == 1)
    assert model.weight.item() == 0.0  # both steps are whole


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    class Root(Scaled):
        def forward(self, batch):  # a finite loss with an infinite slope at w = 1
            return {"loss": (self.weight - 1).sqrt()}

    def clip(parameters):
        return clip_gradients(parameters, kind="full_model", value=1.0)

    model = Root()
    with pytest.raises(FloatingPointError, match="no loss of this process.*gradient norm inf"):
        stepped([[0.0]], model, clip=clip)
    assert model.weight.item() == 1.0


def test_losses_of_different_tasks_are_logged_under_their_own_names():
    class Tasks(Scaled):
        def forward(self, batch):
            return {f"loss_{name}": self.weight * 2 for name in batch}

    _, logged = stepped([["a"], ["b"]], Tasks(), accumulate=2)
    # Each is half of the step: what it adds to the gradient.
    assert (logged[0]["loss_a"], logged[0]["loss_b"]) == (1.0, 1.0)
    assert logged[0]["total_loss"] == 2.0


def test_autocast_changes_products_only_where_a_precision_is_given():
    first, second = torch.ones(2, 2), torch.ones(2, 2)
    with autocast(torch.device("cpu"), torch.bfloat16):
        assert (first @ second).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), None):
        assert (first @ second).dtype == torch.float32


def test_a_state_goes_on_with_optimizer_and_seed():
    model = Scaled()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    trainer = StepTrainer(model, [[2.0]], optimizer, seed=11)
    with EventStorage(0):
        trainer.run_step()
    state = trainer.state_dict()
    other = StepTrainer(model, [], torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9))
    other.load_state_dict(state)
    assert other.seed == 11
    assert other.optimizer.state[model.weight]["momentum_buffer"].item() == 2.0


def test_a_state_of_other_parameters_is_refused():
    model = Scaled()
    one, two = (
        torch.optim.SGD(g, lr=1.0) for g in (model.parameters(), nn.Linear(1, 1).parameters())
    )
    with pytest.raises(ValueError, match="another one .*start a new run .* MODEL.WEIGHTS"):
        StepTrainer(model, [], two).load_state_dict(StepTrainer(model, [], one).state_dict())


@pytest.mark.gpu
def test_float16_on_a_gpu_skips_a_step_that_overflows():
    class Overflows(Scaled):
        def forward(self, batch):
            return {"loss": self.weight * batch[0]}

    model = Overflows().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = StepTrainer(model, [[1e36], [1.0]], optimizer, precision=torch.float16)
    for trainer.iter in range(2):
        with EventStorage(trainer.iter):
            trainer.run_step()
    # 1e36 * 2^16 is no float32: the first step is left out and the scale halved.
    assert model.weight.item() == pytest.approx(0.0)
    assert trainer.scaler.get_scale() == 2.0**15


class Quiet(Scaled):
    """Its only loss is the batch's number times the weight."""

    def forward(self, batch):
        return {"loss_a": (self.weight * torch.tensor(batch)).mean()}


def test_ten_steps_without_any_loss_from_the_start_on_end_the_run():
    stepped([[0.0]] * 9, Quiet())
    stepped([[0.0]] * 9 + [[0.25]] + [[0.0]] * 12, Quiet())
    with pytest.raises(NothingLearned, match=r"all losses are 0 \(loss_a\), so nothing is learned"):
        stepped([[0.0]] * 10, Quiet())


def test_a_single_step_without_loss_is_told_on_request():
    trainer = StepTrainer(Quiet(), [[0.0], [1.0]], torch.optim.SGD(Quiet().parameters(), lr=1.0))
    trainer.check_learning(["loss_a"])  # no step yet
    for trainer.iter, is_idle in ((0, True), (1, False)):
        with EventStorage(trainer.iter):
            trainer.run_step()
        if is_idle:
            with pytest.raises(NothingLearned, match="all losses are 0"):
                trainer.check_learning(["loss_a"])
    trainer.check_learning(["loss_a"])
