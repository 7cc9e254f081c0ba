import random

import numpy as np
import pytest
import torch

from segplugins.data.draws import draws_of


def drawn():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_draws_follow_from_their_place_alone():
    places = [(1, 2), (1, 3), (2, 2), (1,), (1, 2, 3)]
    first = []
    for place in places:
        with draws_of(*place):
            first.append(drawn())
    assert len(set(first)) == len(places)
    for place, before in reversed(list(zip(places, first))):
        drawn()
        with draws_of(*place):
            assert drawn() == before


def test_after_it_the_generators_go_on_as_before_even_after_an_error():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = drawn()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    with pytest.raises(RuntimeError), draws_of(1):
        drawn()
        raise RuntimeError
    assert drawn() == expected
