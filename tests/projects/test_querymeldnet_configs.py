"""QueryMeldNet's configs: read, their data sets looked up, their models built without numbers."""

from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from segplugins.data.augmentations import build_augmentations, tasks_apart
from segplugins.data.register_yaml import register_from_yaml
from segplugins.engine import setup_cfg
from segplugins.engine.groups import parameter_groups
from segplugins.projects.querymeldnet import add_config
from segplugins.structures.regions import Task
from segplugins.text import template_set

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "querymeldnet"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# Of the paper's size; the others are for a CPU.
PAPER = [name for name in CONFIGS if name.startswith(("table", "eval_", "six_", "swin_", "parity"))]
TABLE_2 = [f"table2_{mode}_{n}" for mode in ("learnable", "conditional", "meld") for n in (2, 4)]


def config_of(name):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.CLIP.WEIGHTS", "", "MODEL.WEIGHTS", ""]
    args = Namespace(config_file=str(FOLDER / f"{name}.yaml"), opts=opts)
    return setup_cfg(args, [add_config])


@cache
def meta_model(text):
    """Builds the model of a config's text on the device without numbers; the same one once."""
    cfg = config_of(text)
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    linspace = torch.linspace
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        # detectron2's Swin reads numbers, its drop path rates, as it is built.
        patch.setattr(torch, "linspace", lambda *a, **k: linspace(*a, **{**k, "device": "cpu"}))
        return build_model(cfg)


def model_of(name):
    """Configs of one architecture share a model: those of a table differ in data mostly."""
    cfg = config_of(name)
    node = str(cfg.MODEL.QMN)
    first = next(other for other in PAPER if str(config_of(other).MODEL.QMN) == node)
    return meta_model(first)


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_names_data_sets_that_are_registered(name, at_root):
    cfg = config_of(name)
    assert cfg.MODEL.META_ARCHITECTURE == "QueryMeldNet"
    for described in cfg.DATASETS.REGISTER:
        register_from_yaml(described)
    names = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, *cfg.DATASETS.EXCLUDE}
    assert names <= set(DatasetCatalog.list())
    assert len(cfg.DATALOADER.MIXING) in (0, len(cfg.DATASETS.TRAIN))
    assert len(set(cfg.DATASETS.TRAIN)) == len(cfg.DATASETS.TRAIN)
    for task in [None, *tasks_apart(cfg)]:
        assert build_augmentations(cfg, True, task) and build_augmentations(cfg, False, task)


@pytest.mark.parametrize("name", [name for name in PAPER if name.startswith("table")])
def test_every_row_of_a_table_trains_on_what_it_is_measured_on_by_others(name):
    cfg = config_of(name)
    assert cfg.DATASETS.TRAIN and cfg.DATASETS.TEST
    assert f"output/querymeldnet/{name}" == cfg.OUTPUT_DIR
    # Referring sets show images of COCO that are evaluated on, those of their validation splits.
    if any("refcoco" in each for each in cfg.DATASETS.TRAIN):
        assert "refcocog_umd_val" in cfg.DATASETS.EXCLUDE
    assert not set(cfg.DATASETS.TRAIN) & set(cfg.DATASETS.TEST)
    drops = [step / cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS]
    assert drops == pytest.approx([0.9, 0.95], abs=1e-4)


@pytest.mark.parametrize("name", PAPER)
def test_every_model_of_the_papers_size_is_built_and_its_keys_fit(name):
    cfg, model = config_of(name), model_of(name)
    node, solver = cfg.MODEL.QMN, cfg.SOLVER
    layers, names = model.decoder.layers, [key for key, _ in model.named_parameters()]
    assert len(layers) == 9 and len(model.pixel_decoder.layers) == 6
    melds = node.QUERY_MODE == "meld" and node.MELD.TYPE == "dual"
    assert all((layer.meld is not None) == melds for layer in layers)
    table = model.decoder.learnable
    learnable = 0 if table is None else len(table.content.weight)
    conditional = 0 if model.decoder.conditional is None else model.decoder.conditional.count
    assert learnable + conditional == node.NUM_LEARNABLE + node.NUM_CONDITIONAL
    for prefix, _ in solver.LR_MULTIPLIERS:
        assert any(key.startswith(prefix) for key in names)
    groups = parameter_groups(
        model,
        lr=solver.BASE_LR,
        lr_multipliers=solver.LR_MULTIPLIERS,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        no_weight_decay=solver.NO_WEIGHT_DECAY,
    )
    rates = {round(group["lr"], 8) for group in groups}
    assert rates == {2e-4, 2e-5}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}


def test_the_grid_of_table_2_differs_in_queries_and_in_data_alone():
    cells = {name: config_of(name) for name in TABLE_2}
    modes = [cells[name].MODEL.QMN.QUERY_MODE for name in TABLE_2]
    assert modes == ["learnable"] * 2 + ["conditional"] * 2 + ["meld"] * 2
    data = {tuple(cells[name].DATASETS.TRAIN) for name in TABLE_2}
    assert sorted(map(len, data)) == [2, 6]  # the referring task has three sets
    for cfg in cells.values():
        cfg.defrost()
        cfg.MODEL.QMN.QUERY_MODE = cfg.OUTPUT_DIR = ""
        cfg.DATASETS.TRAIN = cfg.DATASETS.EXCLUDE = cfg.SOLVER.NO_WEIGHT_DECAY = []
        cfg.INPUT.MAX_TEXTS = 0
    assert len({str(cfg) for cfg in cells.values()}) == 1


def test_sizes_of_the_grid():
    # 0.53 M per layer are the exchange's; tables of queries are 256 + 4 numbers for each.
    meld, learnable = model_of("table2_meld_2"), model_of("table2_learnable_2")
    conditional = model_of("table2_conditional_2")
    exchange = 9 * millions(meld.decoder.layers[0].meld)
    assert exchange == pytest.approx(4.75, abs=0.02)
    two_stage = millions(meld.decoder.conditional)
    expected = millions(learnable) - 400 * 260e-6 + 100 * 260e-6 + exchange + two_stage
    assert millions(meld) == pytest.approx(expected, abs=1e-4)
    assert millions(conditional) == pytest.approx(
        millions(meld) - exchange - 100 * 260e-6, abs=1e-4
    )
    assert millions(model_of("parity_286m")) == pytest.approx(286.5, abs=0.3)
    assert model_of("table9_1200").decoder.conditional.count == 900


def test_the_mixture_has_six_tasks_and_the_ratios_of_table_11(at_root):
    cfg = config_of("six_tasks")
    shares = dict(zip(cfg.DATASETS.TRAIN, cfg.DATALOADER.MIXING))
    salient = sum(share for name, share in shares.items() if name.startswith("fg_"))
    referring = sum(share for name, share in shares.items() if name.startswith("refcoco"))
    assert referring == pytest.approx(6 * (16.994 + 16.992 + 21.899), abs=1)
    thousands = 1.610 + 3.0 + 10.0 + 0.280 + 4.748 + 4.932 + 10.553
    assert salient == pytest.approx(9 * thousands, abs=1)
    assert shares["vg_train"] == 9 * 100 and shares["objects365_syn"] == 1700
    assert shares["coco_2017_train"] + shares["coco_2017_train_panoptic"] == 3 * 100
    assert not any("ade20k" in name for name in shares)
    with_ade20k = config_of("six_tasks_ade20k")
    assert with_ade20k.DATASETS.TRAIN[:-1] == cfg.DATASETS.TRAIN
    assert with_ade20k.DATALOADER.MIXING[-1] == 30 * 20


def test_the_templates_are_81_and_phrases_are_not_cropped():
    cfg = config_of("swin_l")
    assert len(set(template_set(cfg.MODEL.CLIP.TEMPLATES))) == 81
    of_task = {(task, key): value for task, key, value in cfg.INPUT.BY_TASK}
    assert of_task[Task.REFERRING, "JITTER"] == [0.1, 1.0]
    assert of_task[Task.SEMANTIC, "MIN_SIZE_TRAIN"] == [int(0.1 * k * 640) for k in range(5, 21)]


def test_seginw_has_all_sets():
    assert len(set(config_of("eval_seginw").DATASETS.TEST)) == 25
