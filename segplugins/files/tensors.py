"""Tensors of a checkpoint: read by name, without running code, and copied into a model."""

import logging
import zipfile
from pathlib import Path
from typing import Dict, Mapping, Sequence, Union

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def read_state_dict(path: Path) -> Dict[str, Tensor]:
    """Reads tensors by name from a checkpoint, never running code that stands in it.

    Args:
        path: .safetensors, or what torch.save wrote: a state dict, bare or under "model" or
            "state_dict".

    Raises:
        ValueError: the file is a TorchScript archive, holds more than tensors and plain
            containers, or no tensors at all.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(str(path))
        except Exception as error:
            raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.endswith("constants.pkl") for entry in archive.namelist()):
                raise ValueError(
                    f"{path} is a TorchScript archive, which is a program; make it a plain state "
                    f"dict first: python tools/convert_checkpoint.py {path} OUT.pth --unsafe, "
                    "if you trust where it comes from"
                )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} is not a plain checkpoint of tensors ({reason}); "
            "tools/convert_checkpoint.py makes one of it"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise ValueError(f"{path} holds no tensors by name; expected a state dict")
    return tensors


def copy_tensors(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    source: Union[str, Path],
    target: str,
    new: Sequence[str] = (),
) -> None:
    """Copies a checkpoint into a model and says by name what did not fit.

    Args:
        found: of the checkpoint, under the model's names.
        wanted: the model's state dict; changed in place.
        source: the file, for messages.
        target: what the model is, for messages.
        new: tensors that such a checkpoint never has; the log names them without a warning.

    Raises:
        ValueError: less than half of the wanted tensors are found in their shape.
    """
    fits = {k: v for k, v in found.items() if k in wanted and v.shape == wanted[k].shape}
    reports = {
        "missing": sorted(wanted.keys() - found.keys() - set(new)),
        "of another shape": [
            f"{k} {tuple(found[k].shape)} for {tuple(wanted[k].shape)}"
            for k in sorted(found.keys() & wanted.keys() - fits.keys())
        ],
        "unexpected": sorted(found.keys() - wanted.keys()),
    }
    if 2 * len(fits) < len(wanted):
        detail = "; ".join(f"{what}: {_some(keys)}" for what, keys in reports.items() if keys)
        raise ValueError(
            f"{source} matches {len(fits)} of the {len(wanted)} tensors of {target}, less "
            f"than half: it is another model's. {detail}"
        )
    with torch.no_grad():
        for key, value in fits.items():
            wanted[key].copy_(value)
    logger.info("%s: %d of %d tensors of %s", source, len(fits), len(wanted), target)
    if untouched := sorted(wanted.keys() & set(new) - found.keys()):
        logger.info("%s: left as they were built: %s", source, ", ".join(untouched))
    for what, keys in reports.items():
        if keys:
            logger.warning("%s: %d tensors %s: %s", source, len(keys), what, ", ".join(keys))


def _some(keys: Sequence[str], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
