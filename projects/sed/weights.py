"""Names of the official SED checkpoints and ours, in both directions.

Nothing is transposed or merged: every official tensor is one of ours under another name.
"""

from typing import Dict, Iterable, Iterator, List, Mapping, Tuple

from torch import Tensor

from segplugins.engine.convert import Renaming, released_config

PREDICTOR = "sem_seg_head.predictor."
# CLIP's temperature is in the official checkpoint but in no equation of SED.
UNUSED = (f"{PREDICTOR}clip_model.logit_scale",)
# By the channels of the encoder's stem.
_RELEASED = {128: "convnext_b.yaml", 192: "convnext_l.yaml"}

_STAGE = {
    "cnext.dwconv.": "spatial.depthwise.",
    "cnext.norm.": "spatial.norm.",
    "cnext.pwconv1.": "spatial.expand.",
    "cnext.pwconv2.": "spatial.contract.",
    "cnext.gamma": "spatial.gamma",
    "attention.norm1.": "classes.attention_norm.",
    "attention.attention.q.": "classes.query.",
    "attention.attention.k.": "classes.key.",
    "attention.attention.v.": "classes.value.",
    "attention.norm2.": "classes.mlp_norm.",
    "attention.MLP.": "classes.mlp.",
    "up.": "fusion.up.",
    "conv.double_conv.0.": "fusion.first.",
    "conv.double_conv.1.": "fusion.first_norm.",
    "conv.double_conv.3.": "fusion.second.",
    "conv.double_conv.4.": "fusion.second_norm.",
}


def _prefixes() -> Iterator[Tuple[str, str]]:
    """(official, ours)."""
    yield f"{PREDICTOR}clip_model.visual.", "encoder."
    yield f"{PREDICTOR}clip_model.", "classifier.text_encoder.text."
    official, ours = f"{PREDICTOR}transformer.", "decoder."
    yield f"{official}conv1.", f"{ours}embedding."
    for i in range(3):
        yield f"{official}decoder_guidance_projection.{i}.0.", f"{ours}skips.{i}."
        yield f"{official}decoder_corr_guidance_projection.{i}.0.", f"{ours}stages.{i}.guidance."
        for official_name, our_name in _STAGE.items():
            yield f"{official}decoder{i + 1}.{official_name}", f"{ours}stages.{i}.{our_name}"
        yield f"{official}head{i}.", f"{ours}rejection_heads.{i}."
    yield f"{official}head.", f"{ours}head."


_NAMES = Renaming(_prefixes())
our_name, official_name = _NAMES.ours, _NAMES.official


def is_official(names: Iterable[str]) -> bool:
    """Returns whether these are the names of an official SED checkpoint."""
    return any(name.startswith(PREDICTOR) for name in names)


def convert(official: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Returns the tensors under our names, and the names of those that SED does not use."""
    unused = [name for name in official if our_name(name) == name or name in UNUSED]
    return {our_name(k): v for k, v in official.items() if k not in unused}, unused


def config_file(official: Mapping[str, Tensor]) -> str:
    """Returns the config, relative to the checkout, of the released model with these widths.

    Raises:
        ValueError: there is none.
    """
    stem = official.get(f"{PREDICTOR}clip_model.visual.trunk.stem.0.weight")
    return released_config("SED", stem, _RELEASED, "configs/sed")
