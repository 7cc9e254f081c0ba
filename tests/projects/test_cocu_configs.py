"""CoCu's configs: read, built without numbers, and held against the paper's tables."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

import segplugins.data.datasets  # noqa: F401
from segplugins.data.augmentations import build_augmentations
from segplugins.engine import setup_cfg
from segplugins.projects.cocu import add_config
from segplugins.structures.vocabulary import get_vocabulary

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "cocu"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TRAINED = [name for name in CONFIGS if name.startswith(("cocu_", "groupvit_", "table3_"))]
# Of the sheet: evaluation set, names, threshold, short side, window, stride.
EVALUATED = {
    "voc": ("voc21", 0.95, 448, 448, 224),
    "context": ("pcontext60", 0.35, 448, 448, 224),
    "coco_object": ("coco_object81", 0.95, 448, 448, 224),
    "imagenet_s50": ("imagenet_s50", 0.95, 448, 448, 224),
    "imagenet_s300": ("imagenet_s300", 0.75, 448, 448, 224),
    "cityscapes": ("cityscapes19", None, 1024, 448, 224),
    "ade20k": ("ade150", None, 512, 224, 112),
    "coco_stuff": ("coco_stuff171", None, 512, 224, 112),
}
# Images of each set as the sheet has them.
IMAGES = {"cc3m": 2_751_755, "cc12m": 9_716_186, "yfcc14m": 14_517_984}


def config_of(name):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    return setup_cfg(Namespace(config_file=str(FOLDER / f"{name}.yaml"), opts=opts), [add_config])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_names_registered_sets_and_can_build_its_data_path(name):
    cfg = config_of(name)
    assert cfg.MODEL.META_ARCHITECTURE == "CoCu"
    drawn = {each for each in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST) if "drawn" in each}
    assert {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST} - drawn <= set(DatasetCatalog.list())
    assert len(cfg.DATASETS.SIDECARS) in (0, len(cfg.DATASETS.TRAIN))
    assert build_augmentations(cfg, True) and build_augmentations(cfg, False)


def test_the_papers_model_is_built_without_numbers():
    cfg = config_of("cocu_c3").clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(55.73, abs=0.01)
    assert model.labels == 3 and model.sampler == "cluster"


@pytest.mark.parametrize("name", TRAINED)
def test_trainings_have_the_papers_schedule(name):
    cfg = config_of(name)
    sets = [each.removesuffix("_captions") for each in cfg.DATASETS.TRAIN]
    epoch = sum(IMAGES[each] for each in sets) // 1024
    solver = cfg.SOLVER
    assert (30 * epoch, 2 * epoch) == (solver.MAX_ITER, solver.WARMUP_ITERS)
    rates = (
        solver.BASE_LR,
        solver.BASE_LR_END,
        solver.BASE_LR * solver.WARMUP_FACTOR,
        solver.CLIP_GRADIENTS.CLIP_VALUE,
    )
    assert rates == pytest.approx((4e-4, 1e-5, 1e-6, 5.0))
    assert solver.IMS_PER_BATCH == 1024 and solver.LR_SCHEDULER_NAME == "GroupViTCosine"
    text = (FOLDER / f"{name}.yaml").read_text()
    for each, folder in zip(sets, cfg.DATASETS.SIDECARS):
        assert f"--data {each}_captions --out {folder.removesuffix('/archive/concepts')}" in text


def test_the_rows_of_table_3_differ_in_archive_and_sampler_alone():
    rows = ["groupvit_c3", "table3_1", "table3_2", "table3_3", "cocu_c3"]
    configs = [config_of(name) for name in rows]
    assert [cfg.MODEL.COCU.SAMPLER for cfg in configs] == ["uniform", *["topk"] * 3, "cluster"]
    kinds = [cfg.DATASETS.SIDECARS[0].split("_", 1)[1].split("/")[0] for cfg in configs]
    assert kinds == ["own", "lang", "naive", "full", "full"]
    rest = []
    for cfg in configs:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.COCU.SAMPLER, cfg.DATASETS.SIDECARS, cfg.OUTPUT_DIR = "", [], ""
        rest.append(cfg.dump())
    assert len(set(rest)) == 1


@pytest.mark.parametrize("name", EVALUATED)
def test_evaluations_follow_the_protocol_of_each_set(name):
    cfg = config_of(f"eval_{name}")
    _, threshold, short, side, stride = EVALUATED[name]
    node = cfg.MODEL.COCU.SLIDING
    assert node.ENABLED and (side, stride) == (node.SIZE, node.STRIDE)
    assert (short, 2048) == (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    assert threshold == cfg.TEST.BACKGROUND_THRESHOLD and cfg.TEST.LABEL_MAPS
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
    vocabulary = get_vocabulary(metadata.vocabulary)
    assert (vocabulary.none_index == 0) == (threshold is not None)
