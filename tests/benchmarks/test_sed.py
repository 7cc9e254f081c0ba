"""The benchmark at its smallest: it runs, compares outputs first, and reports what it says."""

import pytest
import torch

from benchmarks.sed import measure
from benchmarks.sed.scenes import PRESENT, SMALL, draw_scene


def test_it_measures_decoder_memory_and_images(monkeypatch, quick_bench):
    monkeypatch.setattr(measure, "OFFICIAL_RATIO", {30: 1.0, 50: 1.0})
    monkeypatch.setattr(measure, "OFFICIAL_MEMORY", {30: 1})
    measure.run(quick_bench)
    kinds = [name.partition(",")[0] for name in quick_bench.rows]
    assert [kinds.count(kind) for kind in ("decoder", "memory", "end to end")] == [5, 5, 1]
    stand = [note for note in quick_bench.notes if "stand after each rejection" in note]
    assert len(stand) == 2 and all(note.startswith(("30 ", "50 ")) for note in stand)


def test_a_check_fails_where_outputs_differ(monkeypatch):
    scene = draw_scene(20, 4, SMALL)
    measure.check_full(scene)
    monkeypatch.setattr(measure, "plain_logits", lambda *_: torch.zeros(20, 32, 32))
    with pytest.raises(AssertionError):
        measure.check_full(scene)


def test_the_scene_has_present_classes_that_stand_out_and_absent_ones_that_do_not():
    scene = draw_scene(40, 12, SMALL)
    cost = scene.cost().mean(dim=1)  # over templates: (40, 12, 12)
    best = cost.argmax(dim=0)
    # 3 x 4 rectangles in reading order, each of its own class.
    assert best[1, 1] == 0 and best[1, 10] == 3 and best[10, 10] == PRESENT - 1
    assert best.unique().tolist() == list(range(PRESENT))
    absent = cost[PRESENT:]
    assert (absent.max(dim=0).values - absent.min(dim=0).values).max() < 0.05
