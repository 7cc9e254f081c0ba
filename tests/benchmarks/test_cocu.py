from benchmarks import cocu


def test_the_benchmark_compares_outputs_and_gives_its_rows(quick_bench):
    cocu.run(quick_bench)
    assert quick_bench.rows[:2] == [
        "8 neighbours of 16 queries in 2000 x 512, alone and in blocks",
        "ranks of the concepts of 64 images, alone and together",
    ]
    assert len(quick_bench.rows) == 3 and quick_bench.rows[2].endswith("alone and together")
