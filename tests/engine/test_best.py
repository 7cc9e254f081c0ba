"""Which evaluations replace model_best.pth, and what a resumed run compares with."""

import json
import logging
from types import SimpleNamespace

import pytest

from segplugins.engine.best import KeepBest

METRIC = "sem_seg/mIoU"


class Checkpointer:
    """Keeps what it is told to save."""

    def __init__(self, folder):
        self.save_dir, self.saved = str(folder), []

    def save(self, name, **more):
        self.saved.append((name, more))


@pytest.fixture
def keeper(tmp_path):
    """Makes a hook with a trainer at an iteration; `metrics` are of the last evaluation."""

    def make(period=2, metric=METRIC, start=0, end=10):
        hook = KeepBest(period, Checkpointer(tmp_path), metric)
        metrics = {}
        storage = SimpleNamespace(latest=lambda: metrics)
        hook.trainer = SimpleNamespace(start_iter=start, iter=start, max_iter=end, storage=storage)
        return hook, metrics

    return make


def saves(hook):
    return [more["iteration"] for _, more in hook._checkpointer.saved]


def test_only_a_higher_value_replaces_the_best(keeper, tmp_path):
    hook, metrics = keeper()
    for step, value in enumerate([40.0, 40.0, float("nan"), 39.0, 41.0]):
        hook.trainer.iter = 2 * step + 1  # the last step of each period
        metrics[METRIC] = (value, hook.trainer.iter)
        hook.trainer.max_iter = 99
        hook.after_step()
    assert saves(hook) == [1, 9] and hook.best == 41.0
    assert hook._checkpointer.saved[0] == ("model_best", {"tag": False, "iteration": 1})
    note = json.loads((tmp_path / "model_best.json").read_text())
    assert note == {"metric": METRIC, "value": 41.0, "iteration": 9}


def test_a_first_value_of_zero_or_below_is_the_best_so_far(keeper):
    hook, metrics = keeper()
    hook.trainer.iter, metrics[METRIC] = 1, (-3.0, 1)
    hook.after_step()
    assert saves(hook) == [1] and hook.best == -3.0


@pytest.mark.parametrize(
    "period, iteration, compared",
    [(2, 0, False), (2, 1, True), (3, 1, False), (3, 2, True), (0, 1, False), (5, 9, False)],
)
def test_steps_are_compared_at_the_end_of_a_period_but_the_last_one_after_training(
    keeper, period, iteration, compared
):
    hook, metrics = keeper(period=period)
    hook.trainer.iter, metrics[METRIC] = iteration, (1.0, iteration)
    hook.after_step()
    assert saves(hook) == ([iteration] if compared else [])


@pytest.mark.parametrize("reached, compared", [(9, False), (10, True)])
def test_a_run_that_failed_compares_nothing_at_its_end(keeper, reached, compared):
    hook, metrics = keeper(period=0)
    hook.trainer.iter, metrics[METRIC] = reached, (1.0, 9)
    hook.after_train()
    assert saves(hook) == ([9] if compared else [])


def test_a_resumed_run_compares_with_the_note_and_a_new_run_does_not(keeper, tmp_path):
    note = {"metric": METRIC, "value": 70.0, "iteration": 3}
    (tmp_path / "model_best.json").write_text(json.dumps(note))
    new, _ = keeper(start=0)
    new.before_train()
    resumed, metrics = keeper(start=1)
    resumed.before_train()
    assert (new.best, resumed.best) == (None, 70.0)
    for value, expected in ((70.0, []), (70.1, [5])):
        resumed.trainer.iter, metrics[METRIC] = 5, (value, 5)
        resumed.after_step()
        assert saves(resumed) == expected


def test_a_value_of_another_metric_is_not_compared_with(keeper, tmp_path, caplog):
    note = {"metric": "sem_seg/pACC", "value": 91.0, "iteration": 3}
    (tmp_path / "model_best.json").write_text(json.dumps(note))
    hook, metrics = keeper(start=4)
    with caplog.at_level(logging.WARNING, logger="segplugins"):
        hook.before_train()
    assert hook.best is None
    assert caplog.messages == [
        "model_best.pth was kept by sem_seg/pACC; the next evaluation replaces it by sem_seg/mIoU"
    ]
    hook.trainer.iter, metrics[METRIC] = 5, (52.0, 5)
    hook.after_step()
    assert json.loads((tmp_path / "model_best.json").read_text())["value"] == 52.0


def test_a_metric_that_no_evaluation_gives_is_told_with_those_that_are_given(keeper):
    hook, metrics = keeper()
    hook.trainer.iter = 1
    metrics.update({"sem_seg/pACC": (1.0, 1), "total_loss": (1.0, 1), "a/b": (1.0, 1)})
    with pytest.raises(ValueError, match=r"gave no 'sem_seg/mIoU'; it gave \['a/b', 'sem_seg/pACC"):
        hook.after_step()
