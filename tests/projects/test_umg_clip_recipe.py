"""LAMB and its schedule by hand, and what zero-shot sets ask."""

import math
from types import SimpleNamespace

import pytest
import torch

from segplugins.engine.optim import LR_SCHEDULERS, OPTIMIZERS
from segplugins.projects.umg_clip.optim import build_lamb, build_warmup_cosine, warmup_cosine
from segplugins.structures.zero_shot import zero_shot_names, zero_shot_set


def test_the_warm_up_rises_from_its_first_step_and_the_cosine_ends_at_zero():
    factors = [warmup_cosine(step, warmup=4, total=12) for step in range(14)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    # A quarter, a half and three quarters of the eight steps behind the warm-up.
    assert factors[6] == pytest.approx(0.5 + math.sqrt(0.125))
    assert factors[8] == pytest.approx(0.5) and factors[10] == pytest.approx(0.5 - math.sqrt(0.125))
    assert factors[12:] == [0.0, 0.0]
    assert factors[4:] == sorted(factors[4:], reverse=True)


@pytest.mark.parametrize(
    "warmup, total, expected", [(0, 4, [1.0, 0.5, 0.0]), (2, 2, [0.5, 1.0, 1.0, 0.0])]
)
def test_without_a_warm_up_or_with_nothing_else(warmup, total, expected):
    steps = (0, 2, 4) if not warmup else range(4)
    factors = [warmup_cosine(step, warmup=warmup, total=total) for step in steps]
    assert factors == pytest.approx(expected)


def test_the_schedule_of_a_config_multiplies_the_rate_of_every_group():
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": [weight], "lr": lr} for weight, lr in zip(weights, (1.0, 0.1))]
    optimizer = torch.optim.SGD(groups)
    solver = SimpleNamespace(WARMUP_ITERS=2, MAX_ITER=6)
    assert LR_SCHEDULERS["WarmupFirstStepCosineLR"] is build_warmup_cosine
    schedule = build_warmup_cosine(SimpleNamespace(SOLVER=solver), optimizer)
    rates = []
    for _ in range(7):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step(), schedule.step()
    assert [rate[0] for rate in rates[:3]] == [0.5, 1.0, 1.0]
    assert rates[4] == pytest.approx([0.5, 0.05]) and rates[6] == [0.0, 0.0]


def test_lamb_by_hand_over_two_steps():
    """One group with weight decay and so with a trust ratio, one without either."""
    first, second = (torch.nn.Parameter(torch.tensor(v)) for v in ([3.0, 4.0], [2.0]))
    groups = [
        {"params": [first], "lr": 0.1, "weight_decay": 0.5},
        {"params": [second], "lr": 0.2, "weight_decay": 0.0},
    ]
    solver = SimpleNamespace(BASE_LR=9.0, BETAS=[0.8, 0.5], EPS=1.0)
    assert OPTIMIZERS["lamb"] is build_lamb
    optimizer = build_lamb(groups, SimpleNamespace(SOLVER=solver))
    # The norm of all gradients is 13, of both groups together, and is brought to 1.
    first.grad, second.grad = torch.tensor([3.0, -4.0]), torch.tensor([12.0])
    optimizer.step()
    # Corrected moments of the first step are g and g^2, the update g / (|g| + eps).
    update = torch.tensor([3 / 16, -4 / 17]) + 0.5 * torch.tensor([3.0, 4.0])
    expected = torch.tensor([3.0, 4.0]) - 0.1 * 5 / update.norm() * update
    torch.testing.assert_close(first.data, expected)
    torch.testing.assert_close(second.data, torch.tensor([2 - 0.2 * 12 / 25]))
    before = second.item()
    first.grad, second.grad = torch.zeros(2), torch.zeros(1)
    optimizer.step()
    # Of the clipped g = 12/13: m = 0.8 (0.2 g) / (1 - 0.8^2), v = 0.5 (0.5 g^2) / (1 - 0.5^2).
    g = 12 / 13
    mean, square = 0.8 * 0.2 / 0.36 * g, 0.25 / 0.75 * g * g
    expected = before - 0.2 * mean / (math.sqrt(square) + 1.0)
    assert second.item() == pytest.approx(expected, rel=1e-5)


def test_a_gradient_shorter_than_one_is_not_made_longer():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    solver = SimpleNamespace(BASE_LR=0.5, BETAS=[0.9, 0.999], EPS=1.0)
    groups = [{"params": [weight], "weight_decay": 0.0}]
    optimizer = build_lamb(groups, SimpleNamespace(SOLVER=solver))
    weight.grad = torch.tensor([0.25])
    optimizer.step()
    assert weight.item() == pytest.approx(2 - 0.5 * 0.25 / 1.25)


# --- zero-shot sets (Table 2)

PROMPTS = {  # number of prompts and of classes; None = those of the set's own folders
    "caltech101": (34, 102), "cifar10": (18, None), "cifar100": (18, None),
    "country211": (5, 211), "dtd": (8, None), "eurosat": (3, 10), "fer2013": (6, 7),
    "gtsrb": (3, 43), "imagenet_a": (80, 200), "imagenet_r": (80, 200),
    "imagenet_sketch": (80, 1000), "imagenet_v2": (80, 1000), "mnist": (1, 10),
    "objectnet": (80, None), "pcam": (2, 2), "renderedsst2": (1, None), "resisc45": (4, None),
    "stl10": (2, None), "sun397": (2, None), "svhn": (6, 10), "voc2007": (1, None),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_and_classes_of_a_set(name):
    entry = zero_shot_set(name)
    prompts, classes = PROMPTS[name]
    assert len(set(entry.templates)) == prompts == len(entry.templates)
    assert all(template.count("{}") == 1 for template in entry.templates)
    assert (None if entry.classes is None else len(entry.classes)) == classes
    # Only folders of ImageNet's are named by WordNet.
    assert (entry.wnids is None) == (not name.startswith("imagenet"))


def test_the_sets_are_named_in_order_and_an_unknown_one_is_refused_with_their_names():
    assert zero_shot_names() == tuple(sorted(PROMPTS)) and len(PROMPTS) == 21
    with pytest.raises(ValueError, match="'flowers'; known are caltech101, .*, voc2007"):
        zero_shot_set("flowers")


def test_a_part_of_imagenet_takes_the_names_of_its_own_classes():
    whole, part = zero_shot_set("imagenet_v2"), zero_shot_set("imagenet_r")
    names = dict(zip(whole.wnids, whole.classes))
    assert (whole.wnids[0], whole.classes[0]) == ("n01440764", "tench")
    assert part.wnids[0] == "n01443537" and part.classes[0] == "goldfish" == whole.classes[1]
    for entry in (part, zero_shot_set("imagenet_a")):
        assert entry.classes == tuple(names[wnid] for wnid in entry.wnids)
        assert len(set(entry.wnids)) == len(entry.wnids) and list(entry.wnids) == sorted(
            entry.wnids
        )
    assert zero_shot_set("mnist").classes == tuple("0123456789")
