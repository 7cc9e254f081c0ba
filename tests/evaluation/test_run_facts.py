"""What is known of a run: date, command, config, curves; and the curves as drawings."""

import json
import re

import pytest

from segplugins.evaluation.report_curves import curves_drawing, ticks
from segplugins.evaluation.run_facts import read_curves, read_run_facts


def write_log(path, entries, ending=""):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + ending)
    return path


def test_a_folder_without_training_has_no_curves_and_no_config(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tools/eval.py", "MODEL.WEIGHTS", "a b.pth"])
    facts = read_run_facts(tmp_path)
    assert facts.command == "python tools/eval.py MODEL.WEIGHTS 'a b.pth'"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d \S+", facts.date)
    assert facts.config is None and facts.curves == {}


def test_config_and_curves_are_read_from_the_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("MODEL: {}\n")
    write_log(
        tmp_path / "metrics.json",
        [
            {"iteration": 19, "total_loss": 3.0, "lr": 0.1},
            {"iteration": 39, "total_loss": 2.0, "sem_seg/mIoU": 40.0, "sem_seg/IoU-cat": 1.0},
        ],
    )
    facts = read_run_facts(tmp_path)
    assert facts.config == "MODEL: {}\n"
    assert facts.curves == {
        "loss": {"total_loss": ([19, 39], [3.0, 2.0])},
        "quality, %": {"sem_seg/mIoU": ([39], [40.0])},
    }


def test_a_log_that_was_cut_off_or_written_twice_is_read(tmp_path):
    log = write_log(
        tmp_path / "metrics.json",
        [
            {"iteration": 39, "total_loss": 5.0},
            {"iteration": 19, "total_loss": 3.0},
            {"iteration": 39, "total_loss": 2.0},  # the run was resumed at 20
            {"iteration": 59, "total_loss": float("nan")},
            {"no iteration": 1},
            [1, 2],
        ],
        ending='{"iteration": 79, "total_lo',
    )
    assert read_curves(log) == {"loss": {"total_loss": ([19, 39], [3.0, 2.0])}}


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    entries = [{"iteration": i, "total_loss": float(i)} for i in range(1001)]
    places, values = read_curves(write_log(tmp_path / "m.json", entries))["loss"]["total_loss"]
    assert len(places) <= 302 and (places[0], places[-1]) == (0, 1000) and values == places


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (0.2, 58, [0, 20, 40, 60]),
        (-0.01, 0.013, [-0.01, 0.0, 0.01, 0.02]),
        (5, 5, [5, 7.5]),  # one value: an axis that has a length
        (0, 0, [0, 0.25]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low, high, expected):
    values = ticks(low, high, 4)
    if low != high:
        assert values == pytest.approx(expected)
    assert values[0] <= low and values[-1] >= high and len(values) >= 2


def test_a_curve_rises_where_its_values_do_and_stays_inside():
    drawing = curves_drawing("loss", {"a": ([0, 50, 100], [1.0, 2.0, 4.0]), "b": ([100], [3.0])})
    lines = re.findall(r'points="(.*?)"', drawing)
    points = [[tuple(map(float, p.split(","))) for p in line.split()] for line in lines]
    (x0, y0), (x1, y1), (x2, y2) = points[0]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx((y1 - y2) / 2, abs=0.11) and y0 > y1
    assert points[1][0] == (x2, pytest.approx((y1 + y2) / 2, abs=0.11))
    assert all(0 <= x <= 480 and 0 <= y <= 190 for line in points for x, y in line)
    assert "last: a 4 at 100, b 3 at 100" in drawing
