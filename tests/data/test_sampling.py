from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, DatasetFromList, MapDataset, MetadataCatalog
from detectron2.data.build import build_batch_data_loader

from segplugins.data.sampling import MixingSampler, sampler_maker, training_records


def draw(count, sizes, ratios=None, **keywords):
    return list(islice(iter(MixingSampler(sizes, ratios, **{"seed": 5, **keywords})), count))


def set_of(indices, sizes):
    return np.searchsorted(np.cumsum(sizes), indices, side="right")


@pytest.mark.parametrize("ratios", [[3, 1], [0.2, 7], [1, 0], [5, 3.3, 0.013], [1] * 7])
def test_shares_are_within_one_percent_over_ten_thousand_samples(ratios):
    sizes = [11 + 90 * n for n in range(len(ratios))]
    counts = np.bincount(set_of(draw(10_000, sizes, ratios), sizes), minlength=len(sizes))
    shares = np.array(ratios) / sum(ratios)
    assert np.abs(counts / 10_000 - shares).max() < 0.001


def test_without_ratios_every_image_comes_equally_often():
    counts = np.bincount(draw(1_000, [2, 8]), minlength=10)
    assert counts.min() >= 99 and counts.max() <= 101


def test_every_image_of_a_set_comes_once_before_any_comes_again():
    indices = [i for i in draw(2_000, [30, 70], [1, 1]) if i < 30]
    for start in range(0, 900, 30):
        assert sorted(indices[start : start + 30]) == list(range(30))


def test_the_stream_follows_from_the_seed():
    assert draw(500, [30, 70]) == draw(500, [30, 70])
    assert draw(500, [30, 70]) != draw(500, [30, 70], seed=6)


def test_sets_of_one_size_have_orders_of_their_own_that_other_sets_do_not_change():
    indices = draw(400, [50, 50], [1, 1])
    first, second = [i for i in indices if i < 50], [i - 50 for i in indices if i >= 50]
    assert first[:50] != second[:50]
    # As one set alone, and beside two others: its images come in the same order.
    assert draw(150, [50]) == first[:150]
    assert [i for i in draw(600, [50, 7, 9], [1, 1, 1]) if i < 50][:150] == first[:150]


def test_every_block_of_a_hundred_has_the_shares_to_the_nearest_sample():
    for ratios in ([1, 2], [5, 3.3, 0.013], [1, 1, 1]):
        sizes = [11] * len(ratios)
        blocks = set_of(draw(3_000, sizes, ratios), sizes).reshape(30, 100)
        counts = np.stack([np.bincount(block, minlength=len(ratios)) for block in blocks])
        due = 100 * np.array(ratios) / sum(ratios)
        assert (np.abs(counts - due) < 2).all()
        # What rounding leaves over is carried on: never more than one sample is owed.
        owed = np.cumsum(counts, axis=0) - due * np.arange(1, 31)[:, None]
        assert (np.abs(owed) < 1).all()


def test_micro_batches_are_of_one_set():
    sizes = [5, 9, 50]
    batches = set_of(draw(4_000, sizes, [1, 2, 3], group=8), sizes).reshape(-1, 8)
    assert (batches == batches[:, :1]).all()
    assert set(batches[:, 0]) == {0, 1, 2}


@pytest.mark.parametrize("group", [1, 4])
def test_processes_share_one_stream_without_overlap(group):
    whole = np.array(draw(600, [40, 400], [1, 2], group=group)).reshape(-1, group)
    for rank in range(3):
        part = draw(200, [40, 400], [1, 2], group=group, rank=rank, world_size=3)
        assert part == whole[rank::3].ravel().tolist()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_order_is_the_same_for_any_number_of_workers(workers):
    sizes = [7, 20]
    loader = build_batch_data_loader(
        MapDataset(DatasetFromList(list(range(27))), _itself),
        MixingSampler(sizes, [1, 1], seed=5, group=4),
        total_batch_size=4,
        num_workers=workers,
    )
    got = [index for batch in islice(loader, 6) for index in batch]
    assert got == draw(24, sizes, [1, 1], group=4)


def _itself(record):
    return record


@pytest.mark.parametrize(
    "sizes, ratios, message",
    [
        ([], None, "no data set"),
        ([3], [1, 2], "2 mixing ratios for 1 data sets"),
        ([3, 3], [-1, 2], "must be >= 0"),
        ([3, 3], [0, 0], "not all 0"),
        ([3, 0], [1, 1], "set number 1 has no image"),
    ],
)
def test_ratios_that_do_not_fit_are_refused(sizes, ratios, message):
    with pytest.raises(ValueError, match=message):
        MixingSampler(sizes, ratios, seed=0)


def test_the_config_sets_ratios_and_the_size_of_a_micro_batch():
    cfg = SimpleNamespace(
        DATALOADER=SimpleNamespace(MIXING=[1, 3], ONE_SET_PER_BATCH=True),
        SOLVER=SimpleNamespace(IMS_PER_BATCH=16, ACCUMULATE=4),
    )
    sampler = sampler_maker(cfg, [10, 10])(7)
    assert (sampler.group, sampler.seed) == (4, 7)
    assert list(islice(sampler, 40)) == draw(40, [10, 10], [1, 3], seed=7, group=4)


class Chosen:
    """Stands for numpy's generator: sets come in ascending order within a block."""

    def permutation(self, values):
        return values


def blocks_of(sampler, count, monkeypatch):
    """Returns how often each set is drawn in each of the first blocks."""
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Chosen())
    sets = np.array(list(islice(sampler._sets(), 100 * count))).reshape(count, 100)
    assert (np.diff(sets, axis=1) >= 0).all()
    return [np.bincount(block, minlength=len(sampler.sizes)).tolist() for block in sets]


def test_what_rounding_leaves_over_is_carried_to_the_next_block(monkeypatch):
    # Thirds: 33.33 each. One of 100 is left over, and goes to the first that is owed most:
    # set 0, then set 1 (0.67 against -0.33), then set 2; after three blocks nobody is owed.
    blocks = blocks_of(MixingSampler([9, 9, 9], [1, 1, 1], seed=0), 4, monkeypatch)
    assert blocks == [[34, 33, 33], [33, 34, 33], [33, 33, 34], [34, 33, 33]]


def test_a_rare_set_is_drawn_in_the_block_in_which_it_is_owed_most(monkeypatch):
    # 1 of 400: a quarter of a draw a block. The other is owed 99.75, 99.5, 99.25, 99: the larger
    # rest wins, so the rare one has its turn where it is owed 0.5 or more, once in four blocks.
    blocks = blocks_of(MixingSampler([9, 9], [399, 1], seed=0), 8, monkeypatch)
    rare = [block[1] for block in blocks]
    assert sum(rare[:4]) == sum(rare[4:]) == 1 and rare[0] == rare[4] == 0


def test_images_of_a_set_stand_behind_those_of_the_sets_before():
    assert set(draw(40, [3, 2, 4], [0, 1, 0])) == {3, 4}
    assert set(draw(40, [3, 2, 4], [0, 0, 1])) == {5, 6, 7, 8}
    assert set(draw(40, [3, 0, 4], [1, 0, 1])) == set(range(7))


def test_orders_of_their_own_are_followed_and_get_a_generator_of_their_set():
    def first_then_last(size):
        def order(generator):
            first = int(generator.integers(10**9))
            seeds.append(first)
            while True:
                yield from (0, size - 1)

        return order

    seeds = []
    drawn = draw(40, [5, 7], [1, 1], orders=[first_then_last(5), first_then_last(7)])
    assert [i for i in drawn if i < 5][:4] == [0, 4, 0, 4]
    assert [i for i in drawn if i >= 5][:4] == [5, 11, 5, 11]
    assert seeds == [int(np.random.default_rng([5, n]).integers(10**9)) for n in (0, 1)]


@pytest.mark.parametrize("ratios", [[float("nan"), 1], [float("inf"), 1]])
def test_a_ratio_that_is_not_finite_is_refused(ratios):
    with pytest.raises(ValueError, match="mixing ratios must be >= 0 and not all 0"):
        MixingSampler([3, 3], ratios, seed=0)


def test_a_group_of_no_image_is_refused_and_an_empty_set_without_a_share_is_not():
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        MixingSampler([3], seed=0, group=0)
    with pytest.raises(ValueError, match="not all 0"):
        MixingSampler([0, 0], seed=0)
    assert sorted(draw(3, [3, 0], [1, 0])) == [0, 1, 2]


@pytest.mark.parametrize("images, accumulate, world, group", [(16, 4, 2, 2), (2, 2, 4, 1)])
def test_a_micro_batch_is_what_one_process_computes_at_a_time(
    images, accumulate, world, group, monkeypatch
):
    monkeypatch.setattr("segplugins.data.sampling.comm.get_world_size", lambda: world)
    monkeypatch.setattr("segplugins.data.sampling.comm.get_rank", lambda: world - 1)
    cfg = SimpleNamespace(
        DATALOADER=SimpleNamespace(MIXING=[], ONE_SET_PER_BATCH=True),
        SOLVER=SimpleNamespace(IMS_PER_BATCH=images, ACCUMULATE=accumulate),
    )
    sampler = sampler_maker(cfg, [10, 30])(7)
    assert (sampler.group, sampler.rank, sampler.world_size) == (group, world - 1, world)
    assert sampler.shares.tolist() == [0.25, 0.75]  # without MIXING every image equally often
    cfg.DATALOADER.ONE_SET_PER_BATCH = False
    assert sampler_maker(cfg, [10, 30])(7).group == 1


def test_wrong_ratios_of_a_config_are_an_error_at_once():
    cfg = SimpleNamespace(DATALOADER=SimpleNamespace(MIXING=[1], ONE_SET_PER_BATCH=False))
    with pytest.raises(ValueError, match="1 mixing ratios for 2 data sets"):
        sampler_maker(cfg, [10, 30])


def test_records_of_all_sets_come_set_after_set_with_their_numbers():
    for name, count in (("test_first", 2), ("test_second", 3)):
        DatasetCatalog.register(
            name, lambda n=name, c=count: [{"file_name": f"/{n}/{i}.jpg"} for i in range(c)]
        )
        MetadataCatalog.get(name).set(vocabulary=None)
    records, sizes = training_records(["test_second", "test_first"])
    assert sizes == [3, 2]
    assert [record["dataset"] for record in records] == ["test_second"] * 3 + ["test_first"] * 2
    with pytest.raises(ValueError, match="'test_first': all 2 records show images of DATASETS.EXC"):
        training_records(["test_second", "test_first"], ["test_first"])
