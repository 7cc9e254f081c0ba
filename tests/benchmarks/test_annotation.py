from benchmarks import annotation


def test_the_engine_and_the_bare_loop_give_the_same_boxes_and_filters_are_measured(quick_bench):
    annotation.run(quick_bench)
    assert len(quick_bench.rows) == 3
    assert any("filter_clip" in line for line in quick_bench.notes)
