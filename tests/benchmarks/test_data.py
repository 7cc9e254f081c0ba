from benchmarks import data
from benchmarks.harness import Bench


def test_every_kind_of_supervision_is_measured_with_equal_outputs():
    shown = []
    bench = Bench(quick=True, device="cpu", show=shown.append)
    bench.memory = lambda *arguments, **more: None  # a process each: the command's own tests do it
    data.run(bench)
    compared = [line for line in shown if "outputs equal" in line]
    assert len(compared) == len(data._ROWS) == 6


def test_a_worker_reads_as_many_images_as_it_is_asked_for():
    data._work((60, 80), 5, 64)
