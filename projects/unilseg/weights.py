"""Names of the official UniLSeg checkpoints and ours, in both directions.

Nothing is transposed or merged: every official tensor is one of ours under another name. Scales
are counted from 0, the finest; the official code counts from 1 in the vision path, and keeps the
coarsest one's Pre-Fusion apart.
"""

from typing import Dict, Iterable, Iterator, List, Mapping, Tuple

from torch import Tensor

from segplugins.engine.convert import OWN_BUFFERS, Renaming, released_config

# Of CLIP; its image tower and temperature in the official checkpoint are not used.
_TEXT = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
_MOST_LAYERS = 12  # of the language path that can be renamed; the released models have 6
# By the channels of the image encoder's patches.
_RELEASED = {128: "unilseg_20.yaml"}

_LAYER = {
    "self_attn.": "self_attn.",
    "multihead_attn.": "cross_attn.",
    **{part: part for part in ("linear1.", "linear2.", "norm1.", "norm2.", "norm3.")},
}
_CONV = {"0.": "", "1.": "norm."}  # convolution without a bias, BatchNorm


def _prefixes() -> Iterator[Tuple[str, str]]:
    """(official, ours)."""
    for part in _TEXT:
        yield f"backbone.{part}", f"text_encoder.text.{part}"
    yield "backbone_visual.", "image_encoder."
    yield from _pre_fusion()
    yield from _vision_path()
    yield from _language_path()


def _pre_fusion() -> Iterator[Tuple[str, str]]:
    scales = [(f"all_fusion_module.{i}.", f"all_fusion_proj.{i}.") for i in range(3)]
    for i, (attention, projection) in enumerate([*scales, ("fusion.", "fusion_proj.")]):
        yield f"{attention}multihead_attn.", f"pre_fusion.scales.{i}.attention."
        yield projection, f"pre_fusion.scales.{i}.projection."


def _vision_path() -> Iterator[Tuple[str, str]]:
    official, ours = "pixel_decoder.", "vision_path."
    for i in range(4):
        for official_name, our_name in _CONV.items():
            yield f"{official}adapter_{i + 1}.{official_name}", f"{ours}laterals.{i}.{our_name}"
            yield f"{official}layer_{i + 1}.{official_name}", f"{ours}outputs.{i}.{our_name}"
        for official_name, our_name in _LAYER.items():
            yield f"{official}cross_attn_{i + 1}.{official_name}", f"{ours}layers.{i}.{our_name}"
    for official_name, our_name in _CONV.items():
        yield f"{official}mask_features.{official_name}", f"{ours}mask_features.{our_name}"


def _language_path() -> Iterator[Tuple[str, str]]:
    official, ours = "query_decoder.", "language_path."
    for official_name, our_name in _CONV.items():
        yield f"{official}visual_proj.{official_name}", f"{ours}memory.{our_name}"
    yield f"{official}text_proj.0.", f"{ours}sentence."
    yield f"{official}text_proj.1.", f"{ours}sentence_norm."
    decoder = f"{official}query_transformer.decoder."
    for j in range(_MOST_LAYERS):
        for official_name, our_name in _LAYER.items():
            yield f"{decoder}layers.{j}.{official_name}", f"{ours}layers.{j}.{our_name}"
    yield f"{decoder}norm.", f"{ours}norm."


_NAMES = Renaming(_prefixes())
official_name = _NAMES.official


def our_name(official: str) -> str:
    """Returns the name of an official tensor in this model; an unknown one stays as it is."""
    bare = official.removeprefix("module.")
    ours = _NAMES.ours(bare)
    return official if ours == bare else ours


def is_official(names: Iterable[str]) -> bool:
    """Returns whether these are the names of an official UniLSeg checkpoint."""
    decoder = "query_decoder.query_transformer."
    return any(name.removeprefix("module.").startswith(decoder) for name in names)


def convert(official: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Returns the tensors under our names, and the names of those that UniLSeg does not use."""
    unused = [name for name in official if our_name(name) == name or name.endswith(OWN_BUFFERS)]
    left_out = set(unused)
    return {our_name(k): v for k, v in official.items() if k not in left_out}, unused


def config_file(official: Mapping[str, Tensor]) -> str:
    """Returns the config, relative to the checkout, of the released model with these widths.

    Raises:
        ValueError: there is none.
    """
    bare = {name.removeprefix("module."): value for name, value in official.items()}
    patches = bare.get("backbone_visual.patch_embed.proj.weight")
    return released_config("UniLSeg", patches, _RELEASED, "configs/unilseg")
