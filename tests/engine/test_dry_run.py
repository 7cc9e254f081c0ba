import os
import re
from pathlib import Path

import pytest
from PIL import Image

from segplugins.engine.dry_run import dry_run, duration


def test_a_dry_run_tells_sizes_groups_time_and_memory_and_leaves_only_pictures(toy_cfg):
    cfg = toy_cfg("SOLVER.LR_MULTIPLIERS [['stem.',0.5]] SOLVER.MAX_ITER 3600")
    lines = list(dry_run(cfg))
    text = "\n".join(lines)
    # 3 * 8 * 9 + 8, 8 + 8, 8 * 8 + 8 and a frozen table of 2 * 3.
    assert "ToySegmentor, 0.00 M parameters, 0.00 M of them trained, on cpu" in text
    assert text.count("  group ") >= 2 and "lr 0.005, weight decay" in text and "lr 0.01," in text
    assert re.search(r"losses +total_loss \d", text) and "loss_toy" in text
    seconds, total = re.search(
        r"time +(\S+) s per step .* 3600 steps take (.*) without", text
    ).groups()
    number, unit = total.split()
    scale = {"s": 1, "min": 60, "h": 3600, "days": 86400}[unit]
    assert float(number) * scale == pytest.approx(3600 * float(seconds), rel=0.06)  # two digits
    assert re.search(
        r"evaluation +toy_val: 4 records, the first batch of 1 in .*with sem_seg", text
    )
    assert re.search(r"memory +[\d.]+ GiB of the host", text)
    assert len(re.findall(r"\d{3}.png  \d+ x 12  semantic", text)) == 4
    assert os.listdir(cfg.OUTPUT_DIR) == ["dry_run.png"]
    with Image.open(Path(cfg.OUTPUT_DIR) / "dry_run.png") as picture:
        assert picture.size[0] > 0
    assert lines[-1] == "nothing was trained or saved; leave --dry-run out to start"


@pytest.mark.parametrize(
    "options, message",
    [
        ("INPUT.TARGETS ('instances',)", "ToySegmentor learns from label maps"),
        ("MODEL.WEIGHTS none.pth", "checkpoint 'none.pth' does not exist"),
        ("SOLVER.IMS_PER_BATCH 3 SOLVER.ACCUMULATE 2", "must be a positive multiple"),
    ],
)
def test_a_dry_run_refuses_what_a_run_would_be_refused_for(toy_cfg, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list(dry_run(toy_cfg(options)))


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.04, "0.04 s"),
        (7.26, "7.3 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (60 * 59.6, "60 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (3600 * 47.4, "47 h"),
        (86400 * 2, "2 days"),
        (86400 * 12.6, "13 days"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_of_which_there_are_two(seconds, text):
    assert duration(seconds) == text
