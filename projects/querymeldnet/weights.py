"""Names of official Mask DINO checkpoints and ours.

Every tensor that both have is the same tensor under another name. Mask DINO's class layer and label
table belong to its 80 or 133 classes; a text head takes their place, so they are left out.
"""

from typing import Dict, Iterable, Iterator, List, Mapping, Tuple

from torch import Tensor

from segplugins.engine.convert import Renaming, pixel_decoder_prefixes

_PIXEL, _PREDICTOR = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
_DECODER = f"{_PREDICTOR}decoder."
# Modules that stand a second time, under other names, in an official checkpoint.
_COPIES = ("decoder.bbox_embed.", "bbox_embed.", "decoder.norm.")
_CLASSES = ("class_embed.", "label_enc.")


def _prefixes() -> Iterator[Tuple[str, str]]:
    """Yields (official, ours)."""
    yield "backbone.", "backbone."
    yield from pixel_decoder_prefixes(_PIXEL)
    yield f"{_PREDICTOR}query_feat.", "decoder.learnable.content."
    yield f"{_PREDICTOR}query_embed.", "decoder.learnable.anchors."
    yield f"{_PREDICTOR}enc_output_norm.", "decoder.conditional.norm."
    yield f"{_PREDICTOR}enc_output.", "decoder.conditional.output."
    yield f"{_PREDICTOR}mask_embed.", "decoder.mask_head."
    yield f"{_PREDICTOR}_bbox_embed.", "decoder.box_head."
    yield f"{_PREDICTOR}decoder_norm.", "decoder.norm."
    yield f"{_DECODER}ref_point_head.", "decoder.position_head."
    yield f"{_DECODER}layers.", "decoder.layers."


_NAMES = Renaming(_prefixes())


def our_name(official: str) -> str:
    """Returns the name of an official tensor in this model; an unknown one stays as it is."""
    return _NAMES.ours(official.removeprefix("module."))


def is_official(names: Iterable[str]) -> bool:
    """Returns whether these are the names of a Mask DINO checkpoint."""
    return any(name.removeprefix("module.").startswith(_DECODER) for name in names)


def convert(official: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Returns the tensors under our names, and the names of those that are not used.

    A checkpoint that holds the shared box head only as a copy per layer gives the first one.
    """
    bare = {name.removeprefix("module."): value for name, value in official.items()}
    box_head = f"{_PREDICTOR}_bbox_embed."
    if not any(name.startswith(box_head) for name in bare):
        for copy in (f"{_PREDICTOR}bbox_embed.0.", f"{_DECODER}bbox_embed.0."):
            copies = {k: v for k, v in bare.items() if k.startswith(copy)}
            bare |= {box_head + k.removeprefix(copy): v for k, v in copies.items()}
            if copies:
                break
    ours: Dict[str, Tensor] = {}
    unused: List[str] = []
    for name, value in bare.items():
        rest = name.removeprefix(_PREDICTOR)
        copied = rest != name and rest.startswith((*_COPIES, *_CLASSES))
        renamed = our_name(name)
        if copied or (renamed == name and not name.startswith("backbone.")):
            unused.append(name)
        else:
            ours[renamed] = value
    return ours, unused


def config_file(official: Mapping[str, Tensor]) -> str:
    """Raises ValueError: Mask DINO's checkpoints begin a training and are of no released config."""
    raise ValueError(
        f"{len(official)} tensors of Mask DINO: no QueryMeldNet is released; name the config of "
        "the model that begins with them by --config-file"
    )
