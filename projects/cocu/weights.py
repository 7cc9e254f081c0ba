"""Names of GroupViT's weights: the official ones are ours; those of transformers are renamed."""

from typing import Dict, Iterable, List, Mapping, Tuple

import torch
from torch import Tensor

from segplugins.engine.convert import released_config

# By the channels of the image encoder's patches.
_RELEASED = {384: "vit_s.yaml"}
_PATCHES = (
    "img_encoder.patch_embed.proj.weight",
    "vision_model.embeddings.patch_embeddings.projection.weight",
)
_PARTS = ("img_encoder.", "img_projector.", "text_encoder.", "text_projector.")
_SCALES = ("logit_scale", "multi_label_logit_scale")
_TRANSFORMERS = ("vision_model.", "text_model.", "visual_projection.", "text_projection.")
# Prefixes of transformers and ours, outside of the stages.
_PREFIXES = (
    ("vision_model.embeddings.position_embeddings", "img_encoder.pos_embed"),
    ("vision_model.embeddings.patch_embeddings.projection.", "img_encoder.patch_embed.proj."),
    ("vision_model.embeddings.layernorm.", "img_encoder.patch_embed.norm."),
    ("vision_model.encoder.stages.", "img_encoder.layers."),
    ("vision_model.layernorm.", "img_encoder.norm."),
    ("text_model.embeddings.token_embedding.", "text_encoder.token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "text_encoder.positional_embedding"),
    ("text_model.encoder.layers.", "text_encoder.transformer.resblocks."),
    ("text_model.final_layer_norm.", "text_encoder.ln_final."),
    ("visual_projection.", "img_projector."),
    ("text_projection.", "text_projector."),
)
# Next, parts of names, in image and text blocks.
_IMAGE = (
    (".layers.", ".blocks."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
    (".pre_assign_attn.attn.out_proj.", ".pre_assign_attn.attn.proj."),
)
_TEXT = (
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.out_proj.", ".attn.out_proj."),
)
_PROJECTOR = {"0": "linear_hidden.0", "1": "linear_hidden.1", "3": "linear_out"}


def is_official(names: Iterable[str]) -> bool:
    """Returns whether these are names of a GroupViT checkpoint, official or of transformers."""
    names = list(names)
    grouping = [name for name in names if "pre_assign_attn" in name]
    return bool(grouping) and all("img_encoder" in n or "vision_model" in n for n in grouping)


def convert(official: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Returns the tensors under our names, and the names of those that are not used."""
    if any(name.startswith(_TRANSFORMERS[0]) for name in official):
        return _from_transformers(official)
    ours = {k: v for k, v in official.items() if k.startswith(_PARTS) or k in _SCALES}
    return ours, sorted(official.keys() - ours.keys())


def config_file(official: Mapping[str, Tensor]) -> str:
    """Returns the config, relative to the checkout, of the released model with these widths.

    Raises:
        ValueError: there is none.
    """
    patches = next((official[name] for name in _PATCHES if name in official), None)
    return released_config("GroupViT", patches, _RELEASED, "configs/cocu")


def _from_transformers(tensors: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    ours: Dict[str, Tensor] = {}
    thirds: Dict[str, Dict[str, Tensor]] = {}
    unused: List[str] = []
    for name, value in tensors.items():
        renamed = _renamed(name)
        if name == "logit_scale":
            ours[name] = value.reshape(())
        elif renamed == name:
            unused.append(name)
        elif ".self_attn." in renamed:
            stem, part, kind = renamed.rsplit(".", 2)
            image = stem.startswith("img_encoder.")
            if image and part == "out_proj":
                ours[f"{stem.removesuffix('self_attn')}attn.proj.{kind}"] = value
                continue
            block = stem.removesuffix("self_attn")
            target = f"{block}attn.qkv.{kind}" if image else f"{block}attn.in_proj_{kind}"
            thirds.setdefault(target, {})[part] = value
        elif renamed.startswith(("img_projector.", "text_projector.")):
            top, number, kind = renamed.split(".", 2)
            convolution = number in ("0", "3") and kind == "weight"
            ours[f"{top}.{_PROJECTOR[number]}.{kind}"] = value[..., None] if convolution else value
        else:
            ours[renamed] = value
    for target, parts in thirds.items():
        ours[target] = torch.cat([parts[f"{which}_proj"] for which in "qkv"])
    return ours, sorted(unused)


def _renamed(name: str) -> str:
    for theirs, start in _PREFIXES:
        if name.startswith(theirs):
            name = start + name.removeprefix(theirs)
            for before, after in _IMAGE if name.startswith("img_encoder.") else _TEXT:
                if name.startswith(("img_encoder.", "text_encoder.")):
                    head, _, rest = name.partition(".")
                    stage, dot, rest = rest.partition(".")
                    name = f"{head}.{stage}{dot}" + f".{rest}".replace(before, after, 1)[1:]
            return name
    return name
