"""The shared keys: each is there for a reason, and a mistake in one is told."""

import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg

from segplugins.config import add_shared_config
from segplugins.engine import ConfigError, setup_cfg
from segplugins.engine.read_config import known_keys, read_settings

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def setup(*opts, file="", **options):
    return setup_cfg(Namespace(config_file=str(file), opts=list(opts), **options))


def test_the_defaults_run_on_this_machine_and_are_frozen():
    cfg = setup()
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert best == cfg.MODEL.DEVICE
    with pytest.raises(AttributeError, match="immutable"):
        cfg.SOLVER.BASE_LR = 1.0


def test_options_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("SOLVER: {BASE_LR: 0.5, MAX_ITER: 11}")
    cfg = setup("SOLVER.MAX_ITER", "12", file=file)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (0.5, 12)
    assert cfg.SOLVER.ACCUMULATE == 1


def test_a_paper_adds_its_node():
    def add_config(cfg):
        cfg.MODEL.PATCHVOTE = type(cfg)({"WINDOW": 3})

    args = Namespace(config_file="", opts=["MODEL.PATCHVOTE.WINDOW", "5"])
    assert setup_cfg(args, [add_config]).MODEL.PATCHVOTE.WINDOW == 5


def test_no_gpus_means_the_cpu_and_a_vocabulary_is_text():
    cfg = setup(num_gpus=0, vocabulary="1, 2")
    assert cfg.MODEL.DEVICE == "cpu" and cfg.TEST.VOCABULARY == "1, 2"


@pytest.mark.parametrize(
    "opts, message",
    [
        (["SOLVER.ACUMULATE", "2"], "'SOLVER.ACUMULATE'; the nearest known key is 'SOLVER.ACCUMUL"),
        (["TEST.VOCABULARY", "names.txt"], "TEST.VOCABULARY: no vocabulary file 'names.txt'"),
        (["TEST.VOCABULARY", "car, car"], "TEST.VOCABULARY: .*'car' stands twice"),
        (["MATMUL_PRECISION", "low"], "MATMUL_PRECISION is 'low', expected one of .*highest"),
    ],
)
def test_a_wrong_option_is_told(opts, message):
    with pytest.raises(ConfigError, match=message):
        setup(*opts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="'cuda', but no CUDA device is visible; .*--num-gpus 0"):
        setup("MODEL.DEVICE", "cuda")


def test_every_shared_key_is_explained():
    lines = (ROOT / "segplugins" / "config.py").read_text().splitlines()
    explained = False
    for line in lines:
        is_key = re.match(r"    [a-z.A-Z_]+\.[A-Z_]+ = ", line) and " = CN()" not in line
        explained = line.strip().startswith("#") or (explained and bool(line.strip()))
        assert explained or not is_key, f"no comment above: {line.strip()}"


def test_detectron2s_keys_are_kept():
    ours = get_cfg()
    add_shared_config(ours)
    assert set(known_keys(get_cfg())) <= set(known_keys(ours))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_config_file_says_what_it_is_and_reads_without_code(file):
    assert file.read_text().startswith("# ")
    assert read_settings(file)
