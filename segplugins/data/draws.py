"""Random draws that follow from a place in a run instead of from what was drawn before."""

import random
from contextlib import contextmanager
from typing import Iterator

import numpy as np
import torch


@contextmanager
def draws_of(*place: int) -> Iterator[None]:
    """Within it torch (on the CPU), numpy and random draw what follows from `place`.

    After it they go on as if nothing had been drawn.

    Args:
        place: not negative: the seed of the run, and which sample of it.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    seed = int(np.random.SeedSequence(place).generate_state(1)[0])
    torch.default_generator.manual_seed(seed)  # not those of GPUs: the model draws there
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
