"""Training ClipPretraining on image-text shards: interrupted and resumed to the bit."""

import random
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase

from segplugins.drawn_world import write_drawn_world
from segplugins.engine import Trainer, setup_cfg
from segplugins.projects.umg_clip import add_config

ROOT = Path(__file__).resolve().parents[2]


class Interruption(Exception):
    """Stands for a machine that is taken away."""


class Interrupt(HookBase):
    def after_step(self):
        if self.trainer.iter == 4:
            raise Interruption


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_drawn_world(root / "drawn", train=1, val=1, pairs=20, clips=1, val_clips=1, size=64)
    return root


@pytest.fixture
def cfg(datasets, tmp_path, monkeypatch):
    """Builds the tiny config with every draw that there is: flips, crops, templates, captions."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))

    def build(output, workers="0"):
        options = {
            "OUTPUT_DIR": str(tmp_path / output),
            "MODEL.UMG_CLIP.CAPTION_WEIGHT": "1.0",
            "MODEL.CLIP.TEMPLATES": "simple",
            "INPUT.RANDOM_FLIP": "horizontal",
            "INPUT.CROP.ENABLED": "True",
            "DATALOADER.NUM_WORKERS": workers,
            "DATASETS.TEST": "()",
            "SOLVER.IMS_PER_BATCH": "4",
            "SOLVER.MAX_ITER": "8",
            "SOLVER.CHECKPOINT_PERIOD": "3",
        }
        opts = [part for pair in options.items() for part in pair]
        file = ROOT / "configs" / "umg_clip" / "tiny.yaml"
        return setup_cfg(Namespace(config_file=str(file), opts=opts), [add_config])

    return build


def trainer_of(cfg, seed, resume=False):
    """Returns a trainer in a process whose generators have drawn something else before."""
    torch.manual_seed(0)  # of the first weights; a resumed run replaces them
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    return trainer


def weights(cfg):
    path = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    return torch.load(path, weights_only=True)["model"]


def test_an_interrupted_and_resumed_run_ends_with_the_same_bits(cfg, monkeypatch):
    whole = cfg("whole")
    trainer_of(whole, seed=1).train()
    parts = cfg("parts")
    first = trainer_of(parts, seed=2)
    first.register_hooks([Interrupt()])
    with pytest.raises(Interruption):
        first.train()
    # What was read of the shards is kept: resuming reads no header.
    monkeypatch.setattr("segplugins.data.pairs.index.index_shard", None)
    again = trainer_of(cfg("parts", workers="1"), seed=3, resume=True)
    assert again.start_iter == 3
    again.train()
    expected, resumed = weights(whole), weights(parts)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
