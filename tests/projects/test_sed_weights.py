"""Names of the official checkpoints, which are written out here as the official code has them."""

import pytest
import torch

from benchmarks.sed.scenes import Sizes, build_decoder
from segplugins.projects.sed.weights import (
    config_file,
    convert,
    is_official,
    official_name,
    our_name,
)

CLIP = "sem_seg_head.predictor.clip_model."
DECODER = "sem_seg_head.predictor.transformer."
# Official name, ours, and the shape in SED-B.
EXAMPLES = [
    (f"{CLIP}visual.trunk.stem.0.weight", "encoder.trunk.stem.0.weight", None),
    (f"{CLIP}visual.trunk.head.norm.bias", "encoder.trunk.head.norm.bias", None),
    (f"{CLIP}visual.head.proj.weight", "encoder.head.proj.weight", None),
    (f"{CLIP}ln_final.weight", "classifier.text_encoder.text.ln_final.weight", None),
    (f"{DECODER}conv1.weight", "decoder.embedding.weight", (128, 80, 7, 7)),
    (f"{DECODER}decoder_guidance_projection.1.0.weight", "decoder.skips.1.weight", (16, 256, 3, 3)),
    (
        f"{DECODER}decoder_corr_guidance_projection.2.0.weight",
        "decoder.stages.2.guidance.weight",
        (16, 8, 2, 2),
    ),
    (f"{DECODER}decoder1.up.weight", "decoder.stages.0.fusion.up.weight", (128, 96, 2, 2)),
    (
        f"{DECODER}decoder2.conv.double_conv.0.weight",
        "decoder.stages.1.fusion.first.weight",
        (32, 80, 3, 3),
    ),
    (
        f"{DECODER}decoder3.conv.double_conv.4.bias",
        "decoder.stages.2.fusion.second_norm.bias",
        (16,),
    ),
    (f"{DECODER}decoder1.cnext.gamma", "decoder.stages.0.spatial.gamma", (128,)),
    (
        f"{DECODER}decoder1.cnext.dwconv.weight",
        "decoder.stages.0.spatial.depthwise.weight",
        (128, 1, 9, 9),
    ),
    (
        f"{DECODER}decoder2.attention.attention.q.weight",
        "decoder.stages.1.classes.query.weight",
        (64, 64),
    ),
    (
        f"{DECODER}decoder3.attention.MLP.0.weight",
        "decoder.stages.2.classes.mlp.0.weight",
        (128, 32),
    ),
    (f"{DECODER}head2.weight", "decoder.rejection_heads.2.weight", (1, 32, 3, 3)),
    (f"{DECODER}head.weight", "decoder.head.weight", (1, 16, 3, 3)),
]


@pytest.mark.parametrize(("official", "ours", "shape"), EXAMPLES)
def test_official_names_are_ours_and_back(official, ours, shape):
    assert our_name(official) == ours
    assert official_name(ours) == official
    if shape:
        decoder = build_decoder(Sizes()).state_dict()
        assert tuple(decoder[ours.removeprefix("decoder.")].shape) == shape


def test_every_parameter_of_the_decoder_has_an_official_name():
    names = [f"decoder.{name}" for name in build_decoder(Sizes()).state_dict()]
    official = [official_name(name) for name in names]
    assert len(set(official)) == 115
    assert all(name.startswith(DECODER) for name in official)
    assert [our_name(name) for name in official] == names


def test_what_sed_does_not_use_is_named():
    value = torch.zeros(1)
    official = {f"{DECODER}conv1.bias": value, f"{CLIP}logit_scale": value, "criterion.x": value}
    converted, unused = convert(official)
    assert converted == {"decoder.embedding.bias": value}
    assert unused == [f"{CLIP}logit_scale", "criterion.x"]
    assert is_official(official) and not is_official(converted)


def test_the_released_models_are_told_by_the_width_of_their_encoder():
    stem = f"{CLIP}visual.trunk.stem.0.weight"
    assert config_file({stem: torch.zeros(128, 3, 4, 4)}).endswith("convnext_b.yaml")
    assert config_file({stem: torch.zeros(192, 3, 4, 4)}).endswith("convnext_l.yaml")
    with pytest.raises(ValueError, match="begins with 96 channels.*--config-file"):
        config_file({stem: torch.zeros(96, 3, 4, 4)})
    with pytest.raises(ValueError, match="begins with None channels"):
        config_file({})
