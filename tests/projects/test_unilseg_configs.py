"""UniLSeg's configs: they are read, name data sets that exist, and describe the paper's model."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.config import get_cfg

from segplugins.config import add_shared_config
from segplugins.data import dataset_metadata
from segplugins.data.register_yaml import register_from_yaml
from segplugins.engine import setup_cfg
from segplugins.projects.unilseg import add_config
from segplugins.projects.unilseg.unilseg import build_image_encoder, build_paths

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "unilseg").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_names_data_sets_that_are_registered(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    opts = ["MODEL.DEVICE", "cpu"]
    cfg = setup_cfg(Namespace(config_file=str(file), opts=opts), [add_config])
    assert cfg.MODEL.META_ARCHITECTURE == "UniLSeg"
    for described in cfg.DATASETS.REGISTER:
        register_from_yaml(described)
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, *cfg.DATASETS.EXCLUDE]
    assert names or file.stem in ("swin_b", "streets_own")
    for name in names:
        dataset_metadata(name)
    assert len(cfg.DATALOADER.MIXING) in (0, len(cfg.DATASETS.TRAIN))


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_the_default_sizes_are_the_papers():
    # Counts of the official model, in millions.
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    towers = SimpleNamespace(text=SimpleNamespace(width=512), embed_dim=512)
    swin = build_image_encoder(cfg, towers)
    with torch.device("meta"):
        paths = build_paths(cfg, swin, towers)
    assert millions(swin) == pytest.approx(86.75, abs=0.01)
    assert millions(paths["pre_fusion"]) == pytest.approx(6.56, abs=0.01)
    assert millions(paths["vision_path"]) == pytest.approx(28.43, abs=0.01)
    assert millions(paths["language_path"]) == pytest.approx(11.96, abs=0.01)
