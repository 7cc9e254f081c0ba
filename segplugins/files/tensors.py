"""Tensors of a checkpoint: read by name, without running code, and copied into a model."""

import logging
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Union

import torch
from torch import Tensor

from segplugins.files.checkpoint_file import is_torchscript, read_checkpoint

logger = logging.getLogger(__name__)

# Keys under which programs keep a state dict; they may stand in each other.
_WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict", "module")


def read_state_dict(path: Path) -> Dict[str, Tensor]:
    """Reads tensors by name from a checkpoint, never running code that stands in it.

    Args:
        path: .safetensors, or what torch.save wrote: a state dict, bare or under "model",
            "state_dict" and the like.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, a TorchScript archive, holds more than tensors and plain
            containers, or no tensors at all.
    """
    path = Path(path)
    if is_torchscript(path):
        raise ValueError(
            f"{path} is a TorchScript archive, which is a program; make it a plain state "
            f"dict first: python tools/convert_checkpoint.py {path} OUT.pth --unsafe, "
            "if you trust where it comes from"
        )
    return _tensors_of(read_checkpoint(path), path)


def _tensors_of(content: Any, path: Path) -> Dict[str, Tensor]:
    """Returns the tensors of the innermost state dict."""
    while isinstance(content, Mapping):
        wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not wrapped:
            break
        content = content[wrapped[0]]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no tensors by name but a {type(content).__name__}")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            f"{path} holds no tensors by name; expected a state dict, bare or under one of "
            f"{list(_WRAPPERS)}, got the keys [{_some([str(key) for key in content])}]"
        )
    return tensors


def copy_tensors(
    weights: Mapping[str, Tensor],
    state_dict: Mapping[str, Tensor],
    *,
    source: Union[str, Path],
    target: str,
    new: Sequence[str] = (),
) -> None:
    """Copies a checkpoint into a model and reports by name what does not fit.

    Half precision becomes the precision of the model.

    Args:
        weights: of the checkpoint, under the model's names.
        state_dict: of the model; changed in place.
        source: the file, for messages.
        target: what the model is, for messages.
        new: tensors that such a checkpoint never has; the log names them without a warning.

    Raises:
        ValueError: less than half of the model's tensors are found in their shape; one of them is
            of another kind (whole numbers where the model has fractions) or holds a value that is
            not finite.
    """
    fits = {k: v for k, v in weights.items() if k in state_dict and v.shape == state_dict[k].shape}
    reports = {
        "missing": sorted(state_dict.keys() - weights.keys() - set(new)),
        "of another shape": [
            f"{k} {tuple(weights[k].shape)} for {tuple(state_dict[k].shape)}"
            for k in sorted(weights.keys() & state_dict.keys() - fits.keys())
        ],
        "unexpected": sorted(weights.keys() - state_dict.keys()),
    }
    if 2 * len(fits) < len(state_dict):
        detail = "; ".join(f"{what}: {_some(keys)}" for what, keys in reports.items() if keys)
        raise ValueError(
            f"{source} matches {len(fits)} of the {len(state_dict)} tensors of {target}, less "
            f"than half: it is another model's. {detail}"
        )
    _check_kinds(fits, state_dict, source)
    check_finite(fits, source=source)
    with torch.no_grad():
        for key, value in fits.items():
            state_dict[key].copy_(value)
    logger.info("%s: %d of %d tensors of %s", source, len(fits), len(state_dict), target)
    if untouched := sorted(state_dict.keys() & set(new) - weights.keys()):
        logger.info("%s: left as they were built: %s", source, ", ".join(untouched))
    for what, keys in reports.items():
        if keys:
            logger.warning("%s: %d tensors %s: %s", source, len(keys), what, ", ".join(keys))


def _check_kinds(
    weights: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], source: Union[str, Path]
) -> None:
    wrong = [
        f"{key} is {value.dtype}, expected {state_dict[key].dtype}"
        for key, value in weights.items()
        if (value.dtype.is_floating_point, value.is_complex())
        != (state_dict[key].dtype.is_floating_point, state_dict[key].is_complex())
        or value.layout != torch.strided
    ]
    if wrong:
        raise ValueError(
            f"{source}: {_some(sorted(wrong))}; quantised or sparse weights must be made plain "
            "float tensors first"
        )


def not_finite(tensors: Mapping[str, Tensor]) -> Dict[str, int]:
    """Returns the names of tensors that hold NaN or infinity, and how many of their values do."""
    floating = {k: v for k, v in tensors.items() if v.is_floating_point() or v.is_complex()}
    if not floating:
        return {}
    # The sum of a tensor is finite only if its values are: one number of each reaches the host.
    # In float64, since a sum of many finite values of a lower precision may overflow.
    sums = [value.detach().sum(dtype=_sum_type(value)) for value in floating.values()]
    by_device: Dict[torch.device, Dict[str, Tensor]] = {}
    for key, total in zip(floating, sums):
        by_device.setdefault(total.device, {})[key] = total
    suspects = [
        key
        for totals in by_device.values()
        for key, ok in zip(totals, torch.stack([*totals.values()]).isfinite().tolist())
        if not ok
    ]
    counts = {key: int((~floating[key].isfinite()).sum()) for key in suspects}
    return {key: count for key, count in counts.items() if count}


def _sum_type(value: Tensor) -> torch.dtype:
    return torch.complex128 if value.is_complex() else torch.float64


def check_finite(tensors: Mapping[str, Tensor], *, source: Union[str, Path]) -> None:
    """Refuses weights that hold NaN or infinity: they would make every answer the same.

    Args:
        tensors: by name.
        source: where they come from, for the message.

    Raises:
        ValueError: a value is not finite; the message names the tensors.
    """
    bad = not_finite(tensors)
    if bad:
        listed = _some([f"{key} ({count} of {tensors[key].numel()})" for key, count in bad.items()])
        raise ValueError(
            f"{source}: {len(bad)} tensors hold values that are not finite: {listed}. The training "
            "that made them has diverged, or the file is damaged; take an earlier checkpoint"
        )


def _some(keys: Sequence[str], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
