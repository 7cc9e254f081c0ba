"""Weights of the zoo as MODEL.WEIGHTS takes them: fetched, and converted to our names."""

import importlib
import logging
from pathlib import Path

import torch
from detectron2.utils import comm

from segplugins.engine.convert import read_tensors
from segplugins.files.write import replacing
from segplugins.zoo import Entry, entry_of, fetch

logger = logging.getLogger(__name__)

PREFIX = "zoo://"


def weights_path(name: str) -> Path:
    """Returns the file of weights of the zoo; fetched and converted where need be.

    The main process works, and the others wait for it.

    Args:
        name: of an entry, with or without "zoo://".

    Raises:
        ValueError: no such entry, or a file that is not the one published.
        OSError: it cannot be fetched; the message says what to put where.
    """
    entry = entry_of(name.removeprefix(PREFIX))
    if not comm.is_main_process():
        comm.synchronize()
        return _converted(entry)
    try:
        return _converted(entry)
    finally:
        comm.synchronize()


def _converted(entry: Entry) -> Path:
    original = fetch(entry)
    if not entry.converter:
        return original
    converted = original.with_name(f"{entry.name}.converted.pth")
    if converted.is_file() and converted.stat().st_mtime_ns >= original.stat().st_mtime_ns:
        return converted
    weights = importlib.import_module(f"segplugins.projects.{entry.converter}.weights")
    tensors, unused = weights.convert(read_tensors(str(original)))
    if unused:
        logger.info("%d tensors of '%s' have no use here", len(unused), original)
    with replacing(converted) as temporary:
        torch.save({"model": tensors}, temporary)
    return converted
