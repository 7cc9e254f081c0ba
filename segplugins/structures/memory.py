"""Work that is done in smaller parts when the memory of a device is used up."""

import logging
from typing import Callable, List, Sequence, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that the memory of a device, or of the host, is used up."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def with_smaller_chunks(run: Callable[[int], Result], chunk: int) -> Result:
    """Returns `run(chunk)`; where memory is used up, that of half the chunk, and so on down to 1.

    Args:
        run: takes the number of things that are computed at a time; its result does not depend on
            it, up to rounding.
        chunk: the number to begin with, from 1.

    Raises:
        RuntimeError: what `run` raises, if it is not memory, or with a chunk of 1.
    """
    while True:
        try:
            return run(chunk)
        except RuntimeError as error:
            if chunk < 2 or not is_out_of_memory(error):
                raise
        # Outside of the except block, whose traceback keeps the tensors of the failed try alive.
        chunk //= 2
        logger.warning("Memory is used up: going on with %d at a time", chunk)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def joined_chunks(run: Callable[[List[Result]], Tensor], items: Sequence[Result]) -> Tensor:
    """Returns `run(items)`, (N, ...), joined of smaller parts where memory is used up."""
    items = list(items)

    def in_parts(chunk: int) -> Tensor:
        parts = [run(items[start : start + chunk]) for start in range(0, len(items), chunk)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return with_smaller_chunks(in_parts, max(len(items), 1))
