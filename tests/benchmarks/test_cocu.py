from benchmarks import cocu


def test_the_benchmark_compares_outputs_and_gives_one_row(quick_bench):
    cocu.run(quick_bench)
    assert quick_bench.rows == ["8 neighbours of 16 queries in 2000 x 512, alone and in blocks"]
