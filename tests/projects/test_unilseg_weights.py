"""Names of the official checkpoints, which are written out here as the official code has them."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from segplugins.engine import setup_cfg
from segplugins.engine.convert import OWN_BUFFERS
from segplugins.projects.unilseg import add_config
from segplugins.projects.unilseg.weights import (
    config_file,
    convert,
    is_official,
    official_name,
    our_name,
)

TINY = str(Path(__file__).resolve().parents[2] / "configs" / "unilseg" / "tiny.yaml")
QUERY, LAYERS = "query_decoder.query_transformer.decoder.", "language_path.layers."
EXAMPLES = [
    ("backbone.positional_embedding", "text_encoder.text.positional_embedding"),
    ("backbone.text_projection", "text_encoder.text.text_projection"),
    (
        "backbone.transformer.resblocks.1.mlp.c_fc.bias",
        "text_encoder.text.transformer.resblocks.1.mlp.c_fc.bias",
    ),
    (
        "backbone_visual.layers.2.blocks.1.attn.relative_position_bias_table",
        "image_encoder.layers.2.blocks.1.attn.relative_position_bias_table",
    ),
    ("backbone_visual.norm3.bias", "image_encoder.norm3.bias"),
    # The coarsest scale stands apart, and is the last here.
    ("fusion.multihead_attn.in_proj_weight", "pre_fusion.scales.3.attention.in_proj_weight"),
    ("fusion_proj.bias", "pre_fusion.scales.3.projection.bias"),
    (
        "all_fusion_module.0.multihead_attn.out_proj.bias",
        "pre_fusion.scales.0.attention.out_proj.bias",
    ),
    ("all_fusion_proj.2.weight", "pre_fusion.scales.2.projection.weight"),
    ("pixel_decoder.adapter_1.0.weight", "vision_path.laterals.0.weight"),
    ("pixel_decoder.adapter_4.1.running_var", "vision_path.laterals.3.norm.running_var"),
    ("pixel_decoder.layer_2.0.weight", "vision_path.outputs.1.weight"),
    ("pixel_decoder.layer_2.1.bias", "vision_path.outputs.1.norm.bias"),
    (
        "pixel_decoder.cross_attn_3.self_attn.in_proj_bias",
        "vision_path.layers.2.self_attn.in_proj_bias",
    ),
    (
        "pixel_decoder.cross_attn_3.multihead_attn.out_proj.weight",
        "vision_path.layers.2.cross_attn.out_proj.weight",
    ),
    ("pixel_decoder.cross_attn_1.norm3.weight", "vision_path.layers.0.norm3.weight"),
    ("pixel_decoder.mask_features.0.weight", "vision_path.mask_features.weight"),
    ("pixel_decoder.mask_features.1.weight", "vision_path.mask_features.norm.weight"),
    ("query_decoder.visual_proj.0.weight", "language_path.memory.weight"),
    ("query_decoder.visual_proj.1.running_mean", "language_path.memory.norm.running_mean"),
    ("query_decoder.text_proj.0.weight", "language_path.sentence.weight"),
    ("query_decoder.text_proj.1.weight", "language_path.sentence_norm.weight"),
    (f"{QUERY}layers.5.multihead_attn.in_proj_bias", f"{LAYERS}5.cross_attn.in_proj_bias"),
    (f"{QUERY}layers.0.self_attn.out_proj.weight", f"{LAYERS}0.self_attn.out_proj.weight"),
    (f"{QUERY}layers.1.linear1.weight", f"{LAYERS}1.linear1.weight"),
    (f"{QUERY}norm.weight", "language_path.norm.weight"),
]
UNUSED = [
    "module.backbone.visual.conv1.weight",
    "module.backbone.logit_scale",
    "module.backbone_visual.layers.0.blocks.0.attn.relative_position_index",
    "module.pixel_decoder.layer_1.1.num_batches_tracked",
    "module.criterion.weight",
]


@pytest.mark.parametrize(("official", "ours"), EXAMPLES)
def test_official_names_are_ours_and_back(official, ours):
    assert our_name(official) == our_name(f"module.{official}") == ours
    assert official_name(ours) == official


def test_the_whole_model_has_official_names_and_finds_its_tensors_under_them():
    opts = ["MODEL.DEVICE", "cpu"]
    model = build_model(setup_cfg(Namespace(config_file=TINY, opts=opts), [add_config]))
    state = model.state_dict()
    official = {f"module.{official_name(name)}": value for name, value in state.items()}
    assert len(official) == len(state) and is_official(official)
    assert not any(name.removeprefix("module.") in state for name in official)
    converted, unused = convert(official | {name: torch.zeros(1) for name in UNUSED})
    assert set(UNUSED) <= set(unused)
    assert converted.keys() == {name for name in state if not name.endswith(OWN_BUFFERS)}
    assert all(torch.equal(converted[name], state[name]) for name in converted)


def test_what_unilseg_does_not_use_is_named():
    value = torch.zeros(1)
    official = {f"module.{QUERY}norm.bias": value, **dict.fromkeys(UNUSED, value)}
    converted, unused = convert(official)
    assert converted == {"language_path.norm.bias": value}
    assert unused == UNUSED
    assert is_official(official) and not is_official(converted)


def test_the_released_models_are_told_by_the_width_of_their_encoder():
    patches = "module.backbone_visual.patch_embed.proj.weight"
    found = config_file({patches: torch.zeros(128, 3, 4, 4)})
    assert found == "configs/unilseg/unilseg_20.yaml"
    with pytest.raises(ValueError, match="begins with 8 channels.*--config-file"):
        config_file({patches: torch.zeros(8, 3, 4, 4)})
    with pytest.raises(ValueError, match="begins with None channels"):
        config_file({})
