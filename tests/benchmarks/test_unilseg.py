from benchmarks import unilseg


def test_the_benchmark_compares_rates_and_measures_memory(monkeypatch, quick_bench):
    monkeypatch.setattr(unilseg, "_MANY", 20)
    unilseg.run(quick_bench)
    assert [name.split(",")[0] for name in quick_bench.rows] == [
        "12 phrases of one image",
        *("1 phrases per image", "3 phrases per image", "12 phrases per image"),
        *("memory", "memory"),
    ]
