from benchmarks.evaluation import instances, regions
from benchmarks.harness import Bench


def test_each_row_compares_equal_outputs_with_a_claim():
    # The figures of so small sizes mean nothing; that both sides agree, `compare` asserts.
    lines = []
    bench = Bench(quick=True, device="cpu", show=lines.append)
    instances.run(bench)
    regions.run(bench)
    compared = (
        "box AP of",
        "mask AP of",
        "4 masks to RLE",
        "PQ of",
        "salient scores of",
        "J and F of",
    )
    for what in compared:
        rows = [line for line in lines if line.startswith(what)]
        assert rows and "claimed at least" in rows[0] and "outputs equal" in rows[0]
    for what in ("predictions", "instance evaluation"):
        assert any(line.startswith(f"{what} of 20 images") for line in lines)
    costs = [line for line in lines if "ms of CPU time, goal" in line]
    assert len(costs) == 2 and all(line.startswith("PQ of 2 images") for line in costs)
