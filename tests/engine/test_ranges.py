from argparse import Namespace

import pytest
from detectron2.config import get_cfg

from segplugins.config import RANGES, add_shared_config
from segplugins.engine import ConfigError, setup_cfg
from segplugins.engine.ranges import out_of_range
from segplugins.engine.read_config import known_keys
from segplugins.projects import load_projects

PAPERS = load_projects()


def configured(*options):
    add_configs = [paper.add_config for paper in PAPERS.values()]
    return setup_cfg(Namespace(config_file="", opts=["MODEL.DEVICE", "cpu", *options]), add_configs)


@pytest.mark.parametrize(
    "value, span, right",
    [
        (0, "[0, 1)", True),
        (1, "[0, 1)", False),
        (0.0, "(0, 1]", False),
        (1.0, "(0, 1]", True),
        (-1e-9, "[0, inf)", False),
        (1e300, "[0, inf)", True),
        (float("inf"), "[0, inf)", False),
        (float("inf"), "[1, inf]", True),
        (float("nan"), "[0, inf)", False),
        (True, "[0, inf)", False),
        ("3", "[0, inf)", False),
        (None, "[0, inf)", False),
        ([1, 2], "int [1, inf)", True),
        ([1, 2.5], "int [1, inf)", False),
        ([1, "2"], "int [1, inf)", False),
        ([], "int [1, inf)", True),
        ((0.1, 2.0), "2 x (0, inf)", True),
        ((0.1,), "2 x (0, inf)", False),
        (0.1, "2 x (0, inf)", False),
        ([["a.", 0.1]], "pairs [0, inf)", True),
        ([["a.", -0.1]], "pairs [0, inf)", False),
        ([[0.1, "a."]], "pairs [0, inf)", False),
        (["a.", 0.1], "pairs [0, inf)", False),
        ("mean", ("mean", "first"), True),
        (("mean", "last"), ("mean", "first"), False),
    ],
)
def test_a_value_lies_in_its_range_or_not(value, span, right):
    assert (out_of_range(value, span) is None) == right


def test_what_is_no_range_is_an_error():
    with pytest.raises(ValueError, match=r"'0 to 1' is no range"):
        out_of_range(1, "0 to 1")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SOLVER.MAX_ITER", "0", r"SOLVER.MAX_ITER is 0, expected a number in \[1, inf\)"),
        ("SOLVER.BASE_LR", "-0.1", r"SOLVER.BASE_LR is -0.1, expected a number in \(0, inf\)"),
        ("SOLVER.EMA.DECAY", "1.5", r"SOLVER.EMA.DECAY is 1.5, expected a number in \[0, 1\]"),
        ("DATALOADER.NUM_WORKERS", "-1", r"DATALOADER.NUM_WORKERS is -1, expected .*\[0, 1024\]"),
        ("SOLVER.WEIGHT_DECAY_1D", "high", "WEIGHT_DECAY_1D is 'high', expected a number in"),
        ("TEST.BACKGROUND_THRESHOLD", "30", r"BACKGROUND_THRESHOLD is 30, expected .*\[0, 1\]"),
        ("INPUT.MIN_SIZE_TRAIN", "(0,)", r"MIN_SIZE_TRAIN is \(0,\), expected whole numbers in"),
        ("INPUT.RESIZE", "leterbox", "'leterbox', expected one of .*the nearest is 'letterbox'"),
        ("INPUT.JITTER", "(2.0, 0.5)", r"INPUT.JITTER is \(2.0, 0.5\), expected the smaller"),
        ("SOLVER.BETAS", "(0.9, 1.0)", r"SOLVER.BETAS is \(0.9, 1.0\), expected 2 numbers in"),
        ("MODEL.SED.SLIDING.OVERLAP", "1.0", r"OVERLAP is 1.0, expected a number in \[0, 1\)"),
        ("MODEL.SED.RESOLUTION", "[64]", r"RESOLUTION is \[64\], expected 2 whole numbers in"),
        ("MODEL.UNILSEG.NEGATIVE_PROB", "2.0", r"NEGATIVE_PROB is 2.0, expected a number in"),
        ("MODEL.UMG_CLIP.CAPTION_WEIGHT", "nan", "CAPTION_WEIGHT"),
        ("MODEL.DEVICE", "gpu", "MODEL.DEVICE is 'gpu', expected cpu, cuda or cuda:<number>"),
        ("SOLVER.IMS_PER_BATCH", "eight", "IMS_PER_BATCH must be of type int .*got 'eight'"),
    ],
)
def test_a_value_outside_its_range_ends_the_run_at_its_start(key, value, message):
    with pytest.raises(ConfigError, match=message):
        configured(key, value)


def numbers(value):
    return value if isinstance(value, (list, tuple)) else [value]


def test_every_number_that_this_project_defines_has_a_range_and_defaults_lie_in_it():
    configured()  # the defaults pass
    cfg = get_cfg()
    before = set(known_keys(cfg))
    add_shared_config(cfg)
    ranges = dict(RANGES)
    for name, paper in PAPERS.items():
        paper.add_config(cfg)
        module = __import__(f"segplugins.projects.{name}.config", fromlist=["RANGES"])
        assert not ranges.keys() & module.RANGES.keys()
        ranges.update(module.RANGES)
    assert ranges.keys() <= set(known_keys(cfg))
    for key in set(known_keys(cfg)) - before:
        value = cfg
        for part in key.split("."):
            value = value[part]
        if any(type(each) in (int, float) for each in numbers(value)):
            assert key in ranges, f"{key} has no range"
