"""Names of official EVA-CLIP towers and FC-CLIP checkpoints, and ours."""

import re
from typing import Dict, Iterator, Mapping, Tuple

from torch import Tensor

from segplugins.engine.convert import Renaming, pixel_decoder_prefixes

_PIXEL, _PREDICTOR = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
_LAYERS = 32  # more than any released decoder has
_EVA = (
    (re.compile(r"\battn\.inner_attn_ln\."), "attn.norm."),
    (re.compile(r"\bmlp\.w1\."), "mlp.fc1_g."),
    (re.compile(r"\bmlp\.w2\."), "mlp.fc1_x."),
    (re.compile(r"\bmlp\.w3\."), "mlp.fc2."),
    (re.compile(r"\bmlp\.ffn_ln\."), "mlp.norm."),
)


def eva_names(official: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Returns the tensors of an official EVA image tower under timm's names.

    Blocks with separate projections hold their biases in them; blocks with one projection keep
    them apart, under the same names.
    """
    ours: Dict[str, Tensor] = {}
    for name, value in official.items():
        for pattern, timm_name in _EVA:
            name = pattern.sub(timm_name, name)
        start, _, last = name.rpartition("attn.")
        if last in ("q_bias", "v_bias") and f"{start}attn.q_proj.weight" in official:
            name = f"{start}attn.{last[0]}_proj.bias"
        ours[name] = value
    return ours


def _prefixes() -> Iterator[Tuple[str, str]]:
    """Yields (official, ours) of FC-CLIP's decoders."""
    yield from pixel_decoder_prefixes(_PIXEL)
    for official, ours in (
        ("query_feat.", "content."),
        ("query_embed.", "place."),
        ("level_embed.", "level_embed."),
        ("decoder_norm.", "norm."),
        ("_mask_pooling_proj.", "pooled_head."),
        ("logit_scale", "logit_scale"),
    ):
        yield f"{_PREDICTOR}{official}", f"decoder.{ours}"
    for official, ours in (("mask_embed", "mask_head"), ("class_embed", "class_head")):
        for layer in range(3):  # ReLUs stand between them
            yield f"{_PREDICTOR}{official}.layers.{layer}.", f"decoder.{ours}.{2 * layer}."
    for layer in range(_LAYERS):
        ours = f"decoder.layers.{layer}."
        for kind, part, inside in (
            ("cross_attention", "multihead_attn", "cross"),
            ("self_attention", "self_attn", "self_attn"),
        ):
            official = f"{_PREDICTOR}transformer_{kind}_layers.{layer}."
            yield f"{official}{part}.", f"{ours}{inside}."
            yield f"{official}norm.", f"{ours}{kind.split('_')[0]}_norm."
        yield f"{_PREDICTOR}transformer_ffn_layers.{layer}.", ours
    yield "void_embedding.weight", "void.weight"


_NAMES = Renaming(_prefixes())


def our_name(official: str) -> str:
    """Returns the name of a tensor of FC-CLIP's decoders in this model; unknown ones stay."""
    return _NAMES.ours(official.removeprefix("module."))
