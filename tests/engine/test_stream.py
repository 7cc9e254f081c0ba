import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segplugins.data.sampling import MixingSampler
from segplugins.engine.stream import TrainingStream


def draw(item):
    """A mapper that augments with all three generators."""
    return {"item": item, "draws": (random.random(), np.random.rand(), torch.rand(()).item())}


def stream(rank=0, processes=1, mapper=draw, size=10, batch_size=2, seed=1):
    def sampler(seed):
        return MixingSampler([size], seed=seed, rank=rank, world_size=processes)

    built = TrainingStream(range(size), mapper, sampler, batch_size=batch_size, seed=seed)
    built._rank, built._processes = rank, processes
    return built


def batches(built, count, workers=0, batch_size=2):
    loader = DataLoader(
        built, batch_size=batch_size, num_workers=workers, collate_fn=lambda records: records
    )
    iterator = iter(loader)
    return [next(iterator) for _ in range(count)]


pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core


def test_samples_are_the_same_for_any_number_of_workers():
    alone = batches(stream(), 7)
    assert batches(stream(), 7, workers=2) == alone
    assert len({record["draws"] for batch in alone for record in batch}) == 14


def test_two_processes_share_the_samples_of_one():
    one = batches(stream(batch_size=4), 3, batch_size=4)
    two = [batches(stream(rank, 2), 3) for rank in range(2)]
    for step, batch in enumerate(one):
        # Sample n is that of process n % 2.
        assert [batch[0], batch[2]] == two[0][step] and [batch[1], batch[3]] == two[1][step]


def test_a_stream_goes_on_where_it_is_told():
    whole = batches(stream(), 6)
    resumed = stream(seed=99)
    resumed.seek(1, 8)
    assert batches(resumed, 2, workers=2) == whole[4:]


def test_reading_samples_leaves_the_generators_of_the_model_alone():
    iterator = iter(stream())
    next(iterator)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = draw(None)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    next(iterator)
    assert draw(None) == expected


def test_a_skipped_image_is_replaced_by_another_one_the_same_every_time():
    def without_odd(item):
        return draw(item) if item % 2 == 0 else None

    first = batches(stream(mapper=without_odd), 5)
    assert all(record["item"] % 2 == 0 for batch in first for record in batch)
    assert batches(stream(mapper=without_odd), 5) == first


def test_a_skipped_record_is_replaced_by_one_of_its_set_and_task():
    records = [
        {"dataset": name, "task": task, "item": f"{name} {task} {number}"}
        for name in ("a", "b")
        for task in ("part", "semantic")
        for number in range(4)
    ]

    def without_first(record):
        return None if record["item"].endswith(" 0") else record["item"]

    def sampler(seed):
        return iter([0, 4, 8, 12] * 20)  # the first of each set and task, all of them skipped

    built = TrainingStream(
        records, without_first, sampler, batch_size=4, seed=1, sizes=[8, len(records) - 8]
    )
    for batch in batches(built, 10, batch_size=4):
        kinds = [item[:-2] for item in batch]
        assert kinds == ["a part", "a semantic", "b part", "b semantic"]
    assert len({item for batch in batches(built, 20, batch_size=4) for item in batch}) == 12


def test_data_of_which_nothing_is_usable_is_an_error_and_no_endless_loop():
    with pytest.raises(RuntimeError, match="100 records .* were skipped in a row"):
        next(iter(stream(mapper=lambda item: None)))


def test_a_place_between_the_processes_is_an_error():
    with pytest.raises(ValueError, match="cannot continue at sample 3 with 2 processes"):
        stream(0, 2).seek(1, 3)


@pytest.mark.parametrize("index, others", [(0, {1, 2}), (2, {0, 1}), (3, {4}), (4, {3}), (5, {6})])
def test_a_record_at_the_border_of_its_set_is_replaced_by_one_of_its_own(index, others):
    built = TrainingStream(
        range(7),
        lambda item: None if item == index else item,
        lambda seed: iter([index] * 40),
        batch_size=1,
        seed=1,
        sizes=[3, 2, 2],
    )
    assert set(built) == others


@pytest.mark.parametrize("bad", [99, 100])
def test_a_hundred_skipped_records_in_a_row_are_the_end(bad):
    calls = []

    def mapper(item):
        calls.append(item)
        return None if len(calls) <= bad else {"item": item}

    iterator = iter(stream(mapper=mapper))
    if bad < 100:
        next(iterator)
        assert len(calls) == 100
    else:
        with pytest.raises(RuntimeError, match="^100 records of data set '' were skipped in a row"):
            next(iterator)


def test_places_in_a_run_are_shared_by_the_processes():
    built = stream(1, 2)
    built.seek(1, 8)
    assert built._start == 4
    with pytest.raises(ValueError, match="cannot continue at sample 1 with 2 processes"):
        built.seek(1, 1)
