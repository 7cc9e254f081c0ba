"""UniLSeg's configs: they are read, name data sets that exist, and describe the paper's model."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg

from segplugins.config import add_shared_config
from segplugins.data import dataset_metadata
from segplugins.data.register_yaml import register_from_yaml
from segplugins.engine import setup_cfg
from segplugins.projects.unilseg import add_config
from segplugins.projects.unilseg.language_path import LanguagePath
from segplugins.projects.unilseg.pre_fusion import PreFusion
from segplugins.projects.unilseg.vision_path import VisionPath

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
    assert names or file.stem == "swin_b"
    for name in names:
        dataset_metadata(name)
    assert len(cfg.DATALOADER.MIXING) in (0, len(cfg.DATASETS.TRAIN))


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_the_default_sizes_are_the_papers():
    # Counts of the official model: Pre-Fusion 1.38 + 4.20 + 0.98, decoders 28.43 and 11.96 million.
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    node = cfg.MODEL.UNILSEG
    channels = [node.SWIN.EMBED_DIM * 2**i for i in range(4)]
    shared = {"heads": node.NHEADS, "dropout": node.DROPOUT}
    with torch.device("meta"):
        fusion = PreFusion(channels, scales=node.PREFUSION_SCALES, text_width=512, **shared)
        vision = VisionPath(
            channels,
            width=node.CONV_DIM,
            mask_dim=node.MASK_DIM,
            hidden=node.DIM_FEEDFORWARD,
            ratios=node.SR_RATIOS,
            norm="BN",
            text_length=node.TEXT_LENGTH,
            attend=True,
            **shared,
        )
        language = LanguagePath(
            channels[-1],
            text_dim=512,
            query_dim=node.MASK_DIM,
            layers=node.DEC_LAYERS,
            hidden=node.DIM_FEEDFORWARD,
            norm="BN",
            **shared,
        )
    assert millions(fusion) == pytest.approx(6.56, abs=0.01)
    assert millions(vision) == pytest.approx(28.43, abs=0.01)
    assert millions(language) == pytest.approx(11.96, abs=0.01)
