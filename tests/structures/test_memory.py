import pytest
import torch

from segplugins.structures.memory import is_out_of_memory, joined_chunks, with_smaller_chunks


def limited(most, tried):
    """What fits only up to a number of things at a time."""

    def run(chunk):
        tried.append(chunk)
        if chunk > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"done with {chunk}"

    return run


@pytest.mark.parametrize("most, chunks", [(8, [8]), (3, [8, 4, 2]), (1, [8, 4, 2, 1])])
def test_the_chunk_is_halved_until_it_fits(most, chunks, caplog):
    tried = []
    assert with_smaller_chunks(limited(most, tried), 8) == f"done with {chunks[-1]}"
    assert tried == chunks
    assert caplog.text.count("Memory is used up: going on with") == len(chunks) - 1


def test_one_at_a_time_that_does_not_fit_and_other_errors_are_raised():
    tried = []
    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_chunks(limited(0, tried), 5)
    assert tried == [5, 2, 1]

    def broken(chunk):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        with_smaller_chunks(broken, 8)


def test_parts_are_joined_in_their_order():
    sizes = []

    def squared(items):
        sizes.append(len(items))
        if len(items) > 2:
            raise RuntimeError("[enforce fail] can't allocate memory: you tried to allocate")
        return torch.tensor(items) ** 2

    assert joined_chunks(squared, [1, 2, 3, 4, 5]).tolist() == [1, 4, 9, 16, 25]
    assert sizes == [5, 2, 2, 1]


def test_what_counts_as_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert"))
