"""What a model costs: its parameters, and the time of an answer, kept beside the results."""

import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Iterator, List, Union

import torch
from torch import nn

from segplugins.files.write import write_json

MODEL_FILE = "model.json"
SPEED_FILE = "speed.json"


def write_size(folder: Union[str, Path], model: nn.Module) -> None:
    """Writes model.json: {"parameters", "trained"}, numbers of elements."""
    parameters = list(model.parameters())
    size = {
        "parameters": sum(each.numel() for each in parameters),
        "trained": sum(each.numel() for each in parameters if each.requires_grad),
    }
    write_json(Path(folder, MODEL_FILE), size)


@contextmanager
def measured(model: nn.Module, folder: Union[str, Path], *, write: bool) -> Iterator[None]:
    """Measures every call of a model within, and writes speed.json in the end.

    {"images", "seconds_per_image"}: the median over the calls, reading and measuring left out. The
    first call of several is left out too: it sets things up.

    Args:
        model: takes a list of records.
        folder: of the file.
        write: whether this process writes it.
    """
    began: List[float] = []
    took: List[float] = []
    images: List[int] = []

    def start(module: nn.Module, inputs: Any) -> None:
        began.append(_now())

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        images.append(len(inputs[0]))
        took.append((_now() - began.pop()) / max(1, images[-1]))

    handles = [model.register_forward_pre_hook(start), model.register_forward_hook(stop)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if write and took:
        speed = {"images": sum(images), "seconds_per_image": median(took[1:] or took)}
        write_json(Path(folder, SPEED_FILE), speed)


def _now() -> float:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
