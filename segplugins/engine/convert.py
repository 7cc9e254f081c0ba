"""Checkpoints of other programs: read without running code, and compared with a model by name."""

from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from torch import Tensor

from segplugins.files.checkpoint_file import is_torchscript, read_checkpoint

# Where other programs keep the weights among optimizer, schedule and the like.
_WEIGHTS = ("model", "state_dict", "model_state")
# What a CLIP is made of, by the first part of the names that open_clip gives.
_CLIP_PARTS = (
    "visual",
    "text",
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "logit_scale",
    "logit_bias",
)
# Buffers that a model computes or counts itself: a checkpoint without them lacks nothing.
OWN_BUFFERS = ("relative_position_index", "num_batches_tracked")
_TIMM_TRUNK = ("stem", "stages", "patch_embed", "blocks", "norm", "head", "cls_token", "pos_embed")


def read_tensors(path: str, *, unsafe: bool = False) -> Dict[str, Tensor]:
    """Reads all tensors of a checkpoint.

    Args:
        path: .safetensors; what torch.save wrote, bare or with the weights under "model",
            "state_dict" or "model_state"; with `unsafe` also TorchScript (OpenAI's CLIP).
        unsafe: allows files that can run code when they are read.

    Returns:
        Name to tensor, on the CPU, floating point ones in float32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not readable without running code from it, or it holds no tensor by name.
    """
    content = _read(path, unsafe)
    for name in _WEIGHTS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {
        name: torch.as_tensor(value)
        for name, value in named
        if isinstance(value, (Tensor, np.ndarray))
    }
    if not tensors:
        raise ValueError(f"'{path}' holds no tensors by name; expected a state dict")
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def _read(path: str, unsafe: bool) -> Any:
    if is_torchscript(path):
        if not unsafe:
            raise ValueError(
                f"'{path}' is a TorchScript archive, which is a program; if you trust where it "
                "comes from, read it with --unsafe"
            )
        return torch.jit.load(path, map_location="cpu").state_dict()
    return read_checkpoint(path, unsafe=unsafe)


def pixel_decoder_prefixes(prefix: str) -> Iterator[Tuple[str, str]]:
    """Yields (official, ours) of the deformable pixel decoder of Mask2Former and its descendants.

    Args:
        prefix: before its names in the official checkpoint.
    """
    yield f"{prefix}transformer.encoder.layers.", "pixel_decoder.layers."
    yield f"{prefix}transformer.level_embed", "pixel_decoder.level_embed"
    yield f"{prefix}input_proj.", "pixel_decoder.input_proj."
    yield f"{prefix}mask_features.", "pixel_decoder.mask_features."
    for official, ours in (("adapter_1", "lateral"), ("layer_1", "output")):
        yield f"{prefix}{official}.norm.", f"pixel_decoder.{ours}.1."
        yield f"{prefix}{official}.", f"pixel_decoder.{ours}.0."


class Renaming:
    """Names of an official checkpoint and ours, told by how they begin; what follows is the same.

    Args:
        prefixes: (official, ours) each. The longest beginning that fits a name decides.
    """

    def __init__(self, prefixes: Iterable[Tuple[str, str]]):
        pairs = list(prefixes)
        self._to_ours = sorted(pairs, key=lambda pair: -len(pair[0]))
        self._to_official = sorted(((b, a) for a, b in pairs), key=lambda pair: -len(pair[0]))

    def ours(self, official: str) -> str:
        """Returns the name of an official tensor in this model; one that is not known stays."""
        return _renamed(official, self._to_ours)

    def official(self, ours: str) -> str:
        """Returns the name of one of our tensors in the official code; unknown ones stay."""
        return _renamed(ours, self._to_official)


def released_config(
    paper: str, first: Optional[Tensor], released: Mapping[int, str], folder: str
) -> str:
    """Finds the config of the released model that a checkpoint is of.

    Args:
        paper: for the message.
        first: the image encoder's first weight, (channels, ...); None where there is none.
        released: its channels to the config of that model.
        folder: of the configs, relative to the checkout.

    Returns:
        The config, relative to the checkout.

    Raises:
        ValueError: no released model has these channels.
    """
    width = None if first is None else len(first)
    if width not in released:
        raise ValueError(
            f"no released {paper} has an image encoder that begins with {width} channels "
            f"(released: {sorted(released)}); name its config with --config-file"
        )
    return f"{folder}/{released[width]}"


def _renamed(name: str, prefixes: Sequence[Tuple[str, str]]) -> str:
    for before, after in prefixes:
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def clip_names(tensors: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Gives the weights of a CLIP, or of its image trunk alone, open_clip's names.

    Args:
        tensors: of open_clip or OpenAI ("visual.*", "transformer.*", ...), the same below
            "module.", or of a timm image trunk ("stem.*", "stages.*", "blocks.*", ...).

    Returns:
        The tensors that a CLIP has, and the names of the others.
    """
    bare = {name.removeprefix("module."): value for name, value in tensors.items()}
    tops = {name.split(".")[0] for name in bare}
    if "visual" not in tops and tops & {"stages", "blocks"} and "token_embedding" not in tops:
        kept = {name: value for name, value in bare.items() if name.split(".")[0] in _TIMM_TRUNK}
        # A classifier of ImageNet ends such a trunk; CLIP's projection is another one.
        kept = {name: value for name, value in kept.items() if not name.startswith("head.fc.")}
        renamed = {f"visual.trunk.{name}": value for name, value in kept.items()}
    else:
        kept = renamed = {
            name: value for name, value in bare.items() if name.split(".")[0] in _CLIP_PARTS
        }
    return renamed, sorted(bare.keys() - kept.keys())


class Fit(NamedTuple):
    """How tensors fit a model, by name."""

    fitting: List[str]
    missing: List[str]  # the model has them, the checkpoint has not
    unexpected: List[str]  # the checkpoint has them, the model has not
    misshaped: List[str]  # with both shapes

    def report(self) -> List[str]:
        """Returns one line per kind of misfit that occurs, naming each tensor."""
        kinds = {
            "missing in the checkpoint": self.missing,
            "unknown to the model": self.unexpected,
            "of another shape": self.misshaped,
        }
        return [
            f"{len(names)} {what}: {', '.join(names)}" for what, names in kinds.items() if names
        ]


def fit(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, unused: Sequence[str] = ()
) -> Fit:
    """Compares a checkpoint with a model.

    Args:
        tensors: of the checkpoint, under the model's names.
        wanted: the model's state dict.
        unused: names in the checkpoint that were left out already.

    Raises:
        ValueError: fewer than half of the model's tensors are there in their shape.
    """
    both = tensors.keys() & wanted.keys()
    fitting = sorted(name for name in both if tensors[name].shape == wanted[name].shape)
    fitted = Fit(
        fitting,
        sorted(wanted.keys() - tensors.keys()),
        sorted([*unused, *(tensors.keys() - wanted.keys())]),
        [
            f"{name} {tuple(tensors[name].shape)} for {tuple(wanted[name].shape)}"
            for name in sorted(both - set(fitting))
        ],
    )
    if 2 * len(fitting) < len(wanted):
        raise ValueError(
            f"the checkpoint fits {len(fitting)} of the model's {len(wanted)} tensors, less than "
            f"half: it is another model's. {'; '.join(line[:200] for line in fitted.report())}"
        )
    return fitted
