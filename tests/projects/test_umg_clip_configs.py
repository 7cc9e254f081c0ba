"""UMG-CLIP's configs: read, their data sets looked up, their models built without numbers."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from segplugins.clip import load_clip
from segplugins.data.register_yaml import register_from_yaml
from segplugins.engine import setup_cfg
from segplugins.engine.groups import parameter_groups
from segplugins.projects.umg_clip import add_config
from segplugins.text import template_set

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "umg_clip"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# Millions of trained parameters of the tower: adapters of width 8, 2 C d + 9 d^2 + 2 d + C each.
ADAPTERS = {
    "dense_eva_b": 24 * (2 * 768 * 8 + 9 * 64 + 16 + 768),
    "dense_eva_l": 48 * (2 * 1024 * 8 + 9 * 64 + 16 + 1024),
    "dense_eva_l_bigdet": 48 * (2 * 1024 * 8 + 9 * 64 + 16 + 1024),
    "dense_eva_g": 80 * (2 * 1408 * 8 + 9 * 64 + 16 + 1408),
    "dense_eva_e": 128 * (2 * 1792 * 8 + 9 * 64 + 16 + 1792),
    "dense_vit_b": 24 * (2 * 768 * 8 + 9 * 64 + 16 + 768),
    "fc_clip_convnext_l": 0,
}
PRETRAINING = [n for n in CONFIGS if n.startswith(("pretrain_eva", "table", "random", "image_"))]
# Rates of tower and texts, layer decays of both (Sec. 5.1, EVA-CLIP's recipes).
RECIPES = {
    "pretrain_eva_b": (2e-4, 2e-5, 0.75, 0.75),
    "pretrain_eva_l": (4e-4, 4e-5, 0.75, 0.65),
    "pretrain_eva_g": (4e-4, 4e-5, 0.85, 0.75),
    "pretrain_eva_e": (4e-4, 4e-5, 0.90, 0.75),
}


def config_of(name):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.CLIP.WEIGHTS", "", "MODEL.WEIGHTS", ""]
    return setup_cfg(Namespace(config_file=str(FOLDER / f"{name}.yaml"), opts=opts), [add_config])


def meta_model(cfg):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


NO_OUTPUT = ("dense_base", "pretrain_base", "drawn_clip")


def groups_of(cfg, model):
    solver = cfg.SOLVER
    return parameter_groups(
        model,
        lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        lr_multipliers=solver.LR_MULTIPLIERS,
        layer_decay=solver.LAYER_DECAY,
        weight_decay_1d=solver.WEIGHT_DECAY_1D,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        no_weight_decay=solver.NO_WEIGHT_DECAY,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_names_data_sets_that_are_registered(name, at_root):
    cfg = config_of(name)
    assert cfg.MODEL.META_ARCHITECTURE in ("ClipPretraining", "ClipSegmentor")
    assert template_set(cfg.MODEL.CLIP.TEMPLATES)
    for described in cfg.DATASETS.REGISTER:
        register_from_yaml(described)
    assert {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST} <= set(DatasetCatalog.list())
    assert f"output/umg_clip/{name}" == cfg.OUTPUT_DIR or name in NO_OUTPUT
    assert not set(cfg.DATASETS.TRAIN) & set(cfg.DATASETS.TEST)


@pytest.mark.parametrize("name", ADAPTERS)
def test_dense_models_of_the_papers_size_train_adapters_and_decoder_alone(name):
    cfg = config_of(name)
    model = meta_model(cfg)
    tower = sum(p.numel() for p in model.tower.parameters() if p.requires_grad)
    assert tower == ADAPTERS[name]
    assert not any(p.requires_grad for p in model.classifier.parameters())
    assert len(model.decoder.content.weight) == 250 and len(model.decoder.layers) == 9
    # 14-pixel patches: 896 = 32 x 28; batches are padded to two patches.
    patch = {"dense_eva_b": 32, "dense_vit_b": 32, "fc_clip_convnext_l": 32}.get(name, 28)
    assert model.normalizer.divisibility == patch and cfg.INPUT.SIZE % patch == 0
    assert {group["lr"] for group in groups_of(cfg, model)} == {1e-4}


@pytest.mark.parametrize("name", RECIPES)
def test_rates_of_pre_training_are_eva_clips(name):
    cfg = config_of(name)
    model = meta_model(cfg)
    visual, text, visual_decay, text_decay = RECIPES[name]
    names = {id(p): n for n, p in model.named_parameters()}
    rate = {names[id(p)]: g["lr"] for g in groups_of(cfg, model) for p in g["params"]}
    assert rate["encoder.trunk.head.weight"] == pytest.approx(visual)
    assert rate["classifier.text_encoder.text.text_projection"] == pytest.approx(text)
    assert rate["classifier.logit_scale"] == pytest.approx(5e-4)
    depth = len(model.encoder.trunk.blocks)
    last = [r for n, r in rate.items() if n.startswith(f"encoder.trunk.blocks.{depth - 1}.")]
    assert last == pytest.approx([visual * visual_decay] * len(last)) and last
    layers = len(model.classifier.text_encoder.text.transformer.resblocks)
    first = "classifier.text_encoder.text.token_embedding.weight"
    assert rate[first] == pytest.approx(text * text_decay ** (layers + 1))


@pytest.mark.parametrize("name", PRETRAINING)
def test_every_row_of_an_ablation_says_what_it_changes(name):
    cfg = config_of(name)
    node = cfg.MODEL.UMG_CLIP
    weights = (
        node.CAPTION_WEIGHT, node.REGION_CAPTION_WEIGHT, node.IMAGE_TAG_WEIGHT,
        node.REGION_TAG_WEIGHT,
    )  # fmt: skip
    expected = {
        "table7_captions": (1, 0, 0, 0),
        "table7_region_captions": (1, 1, 0, 0),
        "table7_image_tags": (1, 1, 1, 0),
        "table9_regions_half": (1, 0.5, 1, 0.5),
        "table9_images_half": (0.5, 1, 0.5, 1),
        "image_level_eva_l": (1, 0, 0, 0),
    }.get(name, (1, 1, 1, 1))
    assert weights == expected and cfg.INPUT.SIZE == 336
    assert (node.TAG_LOSS == "contrastive") == (name == "table8_contrastive")
    kind = {"random_masking": "random", "image_level_eva_l": "none"}.get(name, "density")
    assert kind == node.CLUSTER.KIND
    assert (cfg.SOLVER.OPTIMIZER, cfg.SOLVER.IMS_PER_BATCH) == ("lamb", 8192)


def test_image_level_adaptation_trains_adapters_alone():
    cfg = config_of("image_level_eva_l")
    model = meta_model(cfg)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith("encoder.adapters.") for name in trained)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == ADAPTERS["dense_eva_l"]
    assert {group["lr"] for group in groups_of(cfg, model)} == {4e-4}


@pytest.mark.parametrize(
    "name, visual, text",
    [
        ("EVA02-B-16", 86_263_040, 63_428_096),
        ("EVA02-L-14", 304_105_152, 123_650_304),
        ("EVA02-L-14-336", 304_432_832, 123_650_304),
        ("EVA01-g-14", 1_012_588_928, 123_846_912),
        ("EVA02-E-14", 4_350_556_928, 354_032_640),
        ("convnext_large_d_320", 199_770_816, None),
    ],
)
def test_the_towers_have_the_parameters_of_table_6(name, visual, text):
    with torch.device("meta"):
        towers = load_clip(name)
    count = sum(p.numel() for p in towers.visual.parameters())
    assert count == visual
    if text is not None:
        assert sum(p.numel() for p in towers.text.parameters()) == text
