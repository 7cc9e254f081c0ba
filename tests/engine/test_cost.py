"""Parameters and the time of an answer, beside the results."""

import json

import pytest
from torch import nn

from segplugins.engine import cost


class Answers(nn.Module):
    def __init__(self):
        super().__init__()
        self.trained = nn.Linear(3, 2)
        self.frozen = nn.Linear(4, 1, bias=False).requires_grad_(False)

    def forward(self, records):
        return records


@pytest.fixture
def clock(monkeypatch):
    """Reads of the clock, given in the test."""
    times = []
    monkeypatch.setattr(cost, "_now", lambda: times.pop(0))
    return times


def test_parameters_are_counted_by_element(tmp_path):
    cost.write_size(tmp_path, Answers())
    # 3 * 2 + 2 trained, 4 frozen.
    assert json.loads((tmp_path / "model.json").read_text()) == {"parameters": 12, "trained": 8}


def test_the_time_is_the_median_per_image_without_the_first_call(tmp_path, clock):
    clock += [0, 100, 200, 202, 300, 308, 400, 403]  # 2 images each, the last 1: 50, 1, 4, 3
    model = Answers()
    with cost.measured(model, tmp_path, write=True):
        for size in (2, 2, 2, 1):
            model([{}] * size)
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert speed == {"images": 7, "seconds_per_image": 3}
    model([{}])  # the hooks are gone: no clock is read


def test_a_single_call_counts_and_other_processes_write_nothing(tmp_path, clock):
    clock += [5, 6, 7, 8]
    model = Answers()
    for write in (False, True):
        with cost.measured(model, tmp_path / str(write), write=write):
            model([{}, {}])
    assert not (tmp_path / "False").exists()
    speed = json.loads((tmp_path / "True/speed.json").read_text())
    assert speed == {"images": 2, "seconds_per_image": 0.5}


def test_a_failed_evaluation_leaves_no_time_and_no_hooks(tmp_path, clock):
    clock += [0, 1]
    model = Answers()
    with pytest.raises(ValueError), cost.measured(model, tmp_path, write=True):
        model([{}])
        raise ValueError
    assert not (tmp_path / "speed.json").exists() and not model._forward_hooks
