"""Names of official EVA-CLIP towers and FC-CLIP checkpoints, and ours."""

import re
from typing import Dict, Iterable, Iterator, List, Mapping, Tuple

from torch import Tensor

from segplugins.engine.convert import Renaming, pixel_decoder_prefixes, released_config

_PIXEL, _PREDICTOR = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
_CLIP = "backbone.clip_model."
_VISUAL = f"{_CLIP}visual."
_TEXT_PARTS = (
    "token_embedding.",
    "positional_embedding",
    "transformer.",
    "ln_final.",
    "text_projection",
)
# Channels of the first convolution of a released model's tower, and its config.
_RELEASED = {192: "fc_clip_convnext_l.yaml"}
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
    """Yields (official, ours) of FC-CLIP's CLIP and decoders."""
    yield _VISUAL, "tower."
    yield f"{_CLIP}logit_scale", "classifier.logit_scale"
    for part in _TEXT_PARTS:
        yield f"{_CLIP}{part}", f"classifier.text_encoder.text.{part}"
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
    """Returns the name of a tensor of FC-CLIP in this model; unknown ones stay."""
    return _NAMES.ours(official.removeprefix("module."))


def is_official(names: Iterable[str]) -> bool:
    """Returns whether these are the names of an FC-CLIP checkpoint."""
    head = f"{_PREDICTOR}_mask_pooling_proj."
    return any(name.removeprefix("module.").startswith((_CLIP, head)) for name in names)


def convert(official: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Returns the tensors under our names, and the names of those that are not used."""
    ours: Dict[str, Tensor] = {}
    unused: List[str] = []
    for name, value in official.items():
        bare = name.removeprefix("module.")
        renamed = our_name(bare)
        if renamed == bare:  # such as the weights of the classes in the loss
            unused.append(name)
        else:
            ours[renamed] = value
    return ours, unused


def config_file(official: Mapping[str, Tensor]) -> str:
    """Returns the config of the released FC-CLIP that a checkpoint is of.

    Raises:
        ValueError: no released model has such a tower.
    """
    bare = {name.removeprefix("module."): value for name, value in official.items()}
    first = bare.get(f"{_VISUAL}trunk.stem.0.weight")
    return released_config("FC-CLIP", first, _RELEASED, "configs/umg_clip")
