from benchmarks.evaluation import regions
from benchmarks.harness import Bench


def test_each_row_compares_equal_outputs_with_a_claim():
    # The figures of so small sizes mean nothing; that both sides agree, `compare` asserts.
    lines = []
    regions.run(Bench(quick=True, device="cpu", show=lines.append))
    for what in ("PQ of", "box AP of", "mask AP of", "salient scores of", "J and F of"):
        rows = [line for line in lines if line.startswith(what)]
        assert rows and "claimed at least" in rows[0] and "outputs equal" in rows[0]
