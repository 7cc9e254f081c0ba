"""The content of a checkpoint file, read without running code; its faults told in one line."""

import pickle
import re
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ContextManager, List, Optional, Union

import numpy as np
import torch

from segplugins.files.plain_files import check_plain_file

__all__ = ["ENDINGS", "check_checkpoint", "is_checkpoint_path", "is_torchscript", "read_checkpoint"]

_SAFE = ".safetensors"
ENDINGS = (".pt", ".pth", ".bin", _SAFE)
_AGAIN = "copy or download it again"
# How files begin that come in the place of a checkpoint.
_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the weights; fetch them with "
    "`git lfs pull`",
    b"<!doctype html": "a web page, not the weights; download the file that the page offers",
    b"<html": "a web page, not the weights; download the file that the page offers",
}
# How torch names what a file of plain tensors has no need of.
_ASKED = re.compile(
    r"(?:unsupported global: |unsupported )GLOBAL (\S+)|unrecognized function (\S+)|but got (.+)",
    re.IGNORECASE,
)
_ZIP = b"PK\x03\x04"
_TRUSTED = "If you trust its source, tools/convert_checkpoint.py --unsafe makes a plain one"


def is_checkpoint_path(weights: str) -> bool:
    """Returns whether weights are named by a path, and not by a tag or an address."""
    if not isinstance(weights, str) or "://" in weights:
        return False
    return "/" in weights or Path(weights).suffix in ENDINGS or Path(weights).is_file()


def check_checkpoint(path: Union[str, Path]) -> None:
    """Looks at the first and last bytes of a checkpoint; takes no time, so it comes first of all.

    Raises:
        FileNotFoundError: no such file.
        OSError: it is a pipe or a device.
        ValueError: the file is empty, cut short, or plainly something else.
    """
    path = Path(path)
    check_plain_file(path)
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"checkpoint '{path}' {what}{_alternative(path)}")
    fault = _fault(path)
    if fault is not None:
        raise ValueError(f"checkpoint '{path}' {fault}")


def read_checkpoint(path: Union[str, Path], *, unsafe: bool = False) -> Any:
    """Returns the content of a checkpoint: tensors, numbers, texts and containers of these.

    Args:
        path: .safetensors, or what torch.save wrote.
        unsafe: read any object, which may run code from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, no checkpoint, or holds objects that could run code.
    """
    check_checkpoint(path)
    try:
        if str(path).endswith(_SAFE):
            from safetensors.torch import load_file

            return load_file(str(path))
        _check_packing(path)
        with _plain_numbers(unsafe):
            return torch.load(path, map_location="cpu", weights_only=not unsafe)
    except Exception as error:  # damaged files raise whatever they please
        with open(path, "rb") as file:
            start = file.read(2)
        raise ValueError(f"checkpoint '{path}' {_reason(error, start)}") from error


def _check_packing(path: Union[str, Path]) -> None:
    """Raises ValueError for compressed parts, by which a small file could fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            packed = [part.filename for part in archive.infolist() if part.compress_type]
        if packed:
            raise ValueError(f"its part '{packed[0]}' is compressed, which torch.save never does")


def is_torchscript(path: Union[str, Path]) -> bool:
    """Returns whether a file is a TorchScript archive, which is a program."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _alternative(path: Path) -> str:
    """Returns which checkpoint may be meant, by those that lie beside a missing one or in it."""
    folder = path if path.is_dir() else path.parent
    names = sorted(f.name for f in folder.glob("*") if f.suffix in ENDINGS)
    if not names:
        return "" if path.is_dir() or folder.is_dir() else f", and there is no folder '{folder}'"
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"; '{folder}' holds {shown}"


def _fault(path: Path) -> Optional[str]:
    size = path.stat().st_size
    if size == 0:
        return f"is empty (0 bytes); {_AGAIN}"
    with path.open("rb") as file:
        start = file.read(64)
    for beginning, what in _OTHERS.items():
        if start.lstrip().lower().startswith(beginning):
            return f"is {what}"
    if start.startswith(_ZIP) and not zipfile.is_zipfile(path):
        return f"is cut short or damaged: its end is missing after {size:,} bytes; {_AGAIN}"
    if path.suffix == _SAFE:
        header = int.from_bytes(start[:8], "little")
        if size < 8 or header > size - 8:
            return f"is cut short or no safetensors file ({size:,} bytes); {_AGAIN}"
    return None


def _reason(error: Exception, start: bytes) -> str:
    asked = _ASKED.search(str(error))
    # torch writes protocol 2; a pickle of another program is none of tensors alone.
    if asked or start in (b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        what = f"asks for {asked[asked.lastindex]}" if asked else "is a pickle of Python objects"
        return f"cannot be read as plain tensors: it {what}, which could run code. {_TRUSTED}"
    words = (str(error).strip().splitlines() or [""])[0].partition(". ")[0].rstrip(".")
    kind = "" if isinstance(error, (RuntimeError, pickle.UnpicklingError)) else type(error).__name__
    told = ": ".join(part for part in (kind, words) if part)
    return f"cannot be read as plain tensors: it is damaged or no checkpoint ({told}); {_AGAIN}"


def _plain_numbers(unsafe: bool) -> ContextManager:
    """Lets torch read a number of numpy, such as a trainer's best metric: it is harmless."""
    return nullcontext() if unsafe else torch.serialization.safe_globals(_numpy_scalars())


def _numpy_scalars() -> List[Any]:
    from numpy import dtypes

    # Taken from a number, since numpy 2 has moved the function; files know it by either name.
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    kinds = [getattr(dtypes, f"{kind}DType") for kind in ("Float64", "Float32", "Int64", "Int32")]
    return [*((scalar, name) for name in names), np.dtype, *kinds]
