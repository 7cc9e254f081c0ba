"""Sums of images, intervals by the bootstrap, calibration, and the comparison of two runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.evaluation.calibration import calibration_sums, expected_calibration_error
from segplugins.evaluation.compare import compare_results, comparison_table
from segplugins.evaluation.image_statistics import (
    FILE,
    ImageStatistics,
    dense_rows,
    read_statistics,
    sparse_rows,
    write_statistics,
)
from segplugins.evaluation.intervals import (
    bootstrap_intervals,
    image_draws,
    interval,
    resampled_metrics,
)
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.results import write_results
from segplugins.evaluation.rules import RULES, metrics_of
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.semantic_scores import mean_metrics
from tests.evaluation.test_processes import (
    COUNT,
    VOCABULARY,
    as_read_by,
    evaluators_of,
    output_of,
    record_of,
)
from tests.support.commands import run_process

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare.py"


def phrase_statistics(hits):
    """Phrases that were found wholly or not at all."""
    rows = np.zeros((len(hits), 9))
    rows[:, 0], rows[:, 2] = 1, 10
    rows[:, 1], rows[:, 3] = 10 * np.array(hits), hits
    names = tuple(f"phrase {i}" for i in range(len(hits)))
    return ImageStatistics("referring", "referring", names, dense_rows(rows, 9), {})


def test_the_sums_of_all_images_give_every_metric_again(catalog, tmp_path):
    from segplugins.structures import register_vocabulary

    register_vocabulary(VOCABULARY)
    records = [record_of(index, tmp_path) for index in range(COUNT)]
    name = catalog(records, vocabulary=VOCABULARY.name)
    rules = set()
    for kind, evaluator in evaluators_of(name).items():
        evaluator.process(records, [as_read_by(kind, output_of(i)) for i in range(COUNT)])
        scores = next(iter(evaluator.evaluate().values()))
        statistics = getattr(evaluator, "image_statistics", None)
        if statistics is None:
            assert kind in ("instances", "open vocabulary")  # the latter writes those of its parts
            continue
        rules.add(statistics.rule)
        write_statistics(tmp_path / kind, [statistics])
        read = read_statistics(tmp_path / kind)[statistics.task]
        assert read.samples == statistics.samples and read.facts == dict(statistics.facts)
        again = metrics_of(read, np.asarray(read.table.sum(axis=0)).reshape(-1))
        assert len(again) >= 3
        for metric, value in again.items():
            assert value == pytest.approx(scores[metric], abs=1e-9, nan_ok=True), (kind, metric)
    assert rules == set(RULES)


def test_draws_are_of_all_images_and_follow_the_seed(monkeypatch):
    monkeypatch.setattr("segplugins.evaluation.intervals._CHUNK", 40)
    draws = np.concatenate(list(image_draws(10, 25, seed=1)))
    assert draws.shape == (25, 10) and (draws.sum(axis=1) == 10).all()
    assert len({tuple(row) for row in draws.tolist()}) > 20
    np.testing.assert_array_equal(draws, np.concatenate(list(image_draws(10, 25, seed=1))))
    assert not np.array_equal(draws, np.concatenate(list(image_draws(10, 25, seed=2))))
    assert list(image_draws(0, 25, seed=1)) == []


def test_the_interval_of_a_share_is_that_of_the_binomial():
    # 400 phrases, 100 found: standard error 100 sqrt(0.25 * 0.75 / 400) = 2.165 percent.
    low, high = bootstrap_intervals(phrase_statistics([1, 0, 0, 0] * 100))["mIoU"]
    assert low == pytest.approx(25 - 1.96 * 2.165, abs=0.6)
    assert high == pytest.approx(25 + 1.96 * 2.165, abs=0.6)


def test_resampled_metrics_are_those_of_the_images_drawn(monkeypatch):
    counts = np.random.default_rng(0).integers(0, 9, (6, 3, 2)).astype(float)
    counts[:, 0] = np.minimum(counts[:, 0], np.minimum(counts[:, 1], counts[:, 2]))
    facts = {"background": None}
    table = dense_rows(counts, 6)
    statistics = ImageStatistics("sem_seg", "semantic", tuple("abcdef"), table, facts)
    values = resampled_metrics(statistics, resamples=20, seed=3)
    for position, draw in enumerate(np.concatenate(list(image_draws(6, 20, seed=3)))):
        chosen = np.repeat(counts, draw, axis=0).sum(axis=0)
        assert values["mIoU"][position] == pytest.approx(mean_metrics(chosen)["mIoU"], nan_ok=True)


def test_values_that_are_nan_are_left_out_of_an_interval():
    values = np.array([np.nan, *range(101)])
    assert interval(values) == (2.5, 97.5)
    assert all(np.isnan(interval(np.array([np.nan]))))
    assert bootstrap_intervals(phrase_statistics([])) == {}


def test_sparse_rows_hold_what_they_are_told():
    table = sparse_rows([np.array([2, 0]), np.zeros(0, int)], [np.array([5, 7]), np.zeros(0)], 3)
    assert table.toarray().tolist() == [[7, 0, 5], [0, 0, 0]]


def test_a_file_that_is_no_statistics_is_refused_and_an_old_one_goes(tmp_path):
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{FILE} holds no statistics of images"):
        read_statistics(tmp_path)
    np.savez(tmp_path / FILE, description=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="holds no statistics"):
        read_statistics(tmp_path)
    write_statistics(tmp_path, [])
    assert read_statistics(tmp_path) == {}


def test_a_rule_of_another_version_is_named():
    strange = phrase_statistics([1])
    strange = ImageStatistics("referring", "guess", strange.samples, strange.table, {})
    with pytest.raises(ValueError, match="follow the rule 'guess'; known are"):
        bootstrap_intervals(strange)


def test_calibration_compares_confidence_with_accuracy_bin_by_bin():
    # Bins end at k / 15. 0.2 (third bin): 1 of 4 right; 1.0 (last bin): 1 of 1 right; 0: first bin.
    confidence = torch.tensor([0.2, 0.19, 0.2, 0.19, 1.0, 0.0], dtype=torch.float64)
    right = torch.tensor([True, False, False, False, True, False])
    sums = calibration_sums(confidence, right)
    assert sums[0].tolist() == [1, 0, 4, *[0] * 11, 1]
    assert sums[1].tolist() == [0, 0, 1, *[0] * 11, 1]
    expected = 4 / 6 * abs(1 / 4 - 0.195)
    assert expected_calibration_error(sums) == pytest.approx(100 * expected, abs=1e-5)
    assert np.isnan(expected_calibration_error(None))
    assert np.isnan(expected_calibration_error(np.zeros((3, 15))))


@pytest.fixture
def images(catalog, tmp_path):
    """Twelve images of two classes, and label maps of which a share of pixels is wrong."""
    generator = np.random.default_rng(0)
    records, truths = [], []
    for index in range(12):
        truths.append(generator.integers(0, 2, (8, 9)).astype(np.uint8))
        Image.fromarray(truths[-1]).save(tmp_path / f"{index}.png")
        file = str(tmp_path / f"{index}.png")
        records.append({"file_name": file, "sem_seg_file_name": file})
    return catalog(records), records, truths


def test_calibration_of_an_evaluator_leaves_ignored_pixels_out(images):
    name, records, truths = images
    truths[0][:] = 255
    Image.fromarray(truths[0]).save(records[0]["sem_seg_file_name"])
    evaluator = SemanticEvaluator(name, ("a", "b"), calibration=True)
    # Class a with 0.9 everywhere: right in the share of class a.
    scores = torch.tensor([0.9, 0.1])[:, None, None].expand(2, 8, 9)
    evaluator.process(records, [{"sem_seg": scores}] * 12)
    share = np.mean(np.stack(truths[1:]) == 0)
    assert evaluator.evaluate()["sem_seg"]["ECE"] == pytest.approx(100 * (0.9 - share), abs=1e-5)
    evaluator.reset()
    with pytest.raises(ValueError, match="0.png: the highest scores range from 9 to 9; the calib"):
        evaluator.process(records[:1], [{"sem_seg": 10 * scores}])
    with pytest.raises(ValueError, match="0.png.*label map, but the calibration needs scores"):
        evaluator.process(records[:1], [{"sem_seg": scores[0].int()}])


def run_of(folder, images, wrong, seed, **protocol):
    """Evaluates and writes a run of which a share of pixels is wrong."""
    name, records, truths = images
    generator = np.random.default_rng(seed)
    output = folder / "inference" / name
    part = SemanticEvaluator(name, ("a", "b"))
    evaluator = OpenVocabEvaluator(name, [part], output_dir=str(output))
    guesses = [t ^ (generator.random(t.shape) < wrong) for t in truths]
    outputs = [{"sem_seg": torch.from_numpy(guess)} for guess in guesses]
    evaluator.process(records, outputs)
    described = {"classes": ["a", "b"], "seen": None, "resize": {"short side": 640}, **protocol}
    return write_results(folder, {name: evaluator.evaluate()}, {name: described})


def test_a_better_run_is_told_from_an_equal_one(images, tmp_path):
    good = run_of(tmp_path / "good", images, 0.1, 1)
    bad = run_of(tmp_path / "bad", images, 0.3, 2, resize={"short side": 512})
    comparison = compare_results(bad, good)
    change = {d.metric: d for d in comparison.differences}["mIoU"]
    assert change.bounds[0] > 0 and change.p_value < 0.01
    assert change.bounds[0] < change.second - change.first < change.bounds[1]
    (entry,) = comparison.protocol
    assert entry == (images[0], "resize.short side", 512, 640)
    # The same images for both: a run against itself has no spread at all.
    same = compare_results(good.parent, good)
    change = {d.metric: d for d in same.differences}["mIoU"]
    assert change.bounds == (0, 0) and change.p_value == 1
    assert "The protocols are the same." in comparison_table(same)
    back = {d.metric: d for d in compare_results(good, bad).differences}["mIoU"]
    forth = {d.metric: d for d in comparison.differences}["mIoU"]
    assert back.bounds == pytest.approx((-forth.bounds[1], -forth.bounds[0]))


def test_results_hold_the_interval_around_each_mean(images, tmp_path):
    path = run_of(tmp_path / "run", images, 0.2, 1)
    written = json.loads(path.read_text())
    name = images[0]
    for metric, (low, high) in written["intervals"][name]["sem_seg"].items():
        assert low < written["results"][name]["sem_seg"][metric] < high, metric
    assert "mIoU" in written["intervals"][name]["sem_seg"]


def spoiled(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


UNLIKE = [
    (lambda c, n: c["results"].update(other=c["results"].pop(n)), "the data sets differ"),
    (lambda c, n: c["results"][n].update(panoptic_seg={}), "the tasks differ"),
    (lambda c, n: c["protocol"][n].update(classes=["a", "c"]), "the classes differ"),
    (lambda c, n: c.pop("results"), "is no result file"),
    (lambda c, n: c.update(results={n: 3}), "is no result file"),
]


@pytest.mark.parametrize("change, message", UNLIKE)
def test_unlike_runs_are_refused_in_one_line(images, tmp_path, change, message):
    one = run_of(tmp_path / "one", images, 0.1, 1)
    other = run_of(tmp_path / "other", images, 0.1, 1)
    spoiled(other, lambda content: change(content, images[0]))
    with pytest.raises(ValueError, match=message) as caught:
        compare_results(one, other)
    assert "\n" not in str(caught.value)


def test_runs_on_other_images_are_refused(images, tmp_path):
    one = run_of(tmp_path / "one", images, 0.1, 1)
    name, records, truths = images
    other = run_of(tmp_path / "other", images, 0.1, 1)
    folder = tmp_path / "other" / "inference" / name
    statistics = read_statistics(folder)["sem_seg"]
    table, names = statistics.table[:11], statistics.samples[:11]
    fewer = ImageStatistics("sem_seg", "semantic", names, table, statistics.facts)
    write_statistics(folder, [fewer])
    with pytest.raises(ValueError, match="the images differ: '.*11.png' only in the first, none"):
        compare_results(one, other)
    swapped = (names[1], names[0], *statistics.samples[2:])
    write_statistics(
        folder,
        [ImageStatistics("sem_seg", "semantic", swapped, statistics.table, statistics.facts)],
    )
    with pytest.raises(ValueError, match="the images are in another order"):
        compare_results(one, other)


def test_without_statistics_the_change_stands_alone(images, tmp_path):
    one = run_of(tmp_path / "one", images, 0.1, 1)
    other = run_of(tmp_path / "other", images, 0.2, 1)
    (tmp_path / "other" / "inference" / images[0] / FILE).unlink()
    change = {d.metric: d for d in compare_results(one, other).differences}["mIoU"]
    assert change.bounds is None and change.p_value is None and change.second < change.first
    line = next(
        row for row in comparison_table(compare_results(one, other)).splitlines() if "mIoU " in row
    )
    assert line.split()[-2:] == ["-", "-"]


def test_the_tool_prints_the_table_or_one_line(images, tmp_path):
    one = run_of(tmp_path / "one", images, 0.1, 1)
    other = run_of(tmp_path / "other", images, 0.3, 2)

    done = run_process(TOOL, one, other, "--resamples", 50)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if " mIoU " in line)
    assert row.split()[0] == images[0] and row.split()[5].startswith("-")
    refused = run_process(TOOL, one, tmp_path / "nothing.json")
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1


def test_the_file_that_is_named_is_the_one_that_is_read(images, tmp_path):
    one = run_of(tmp_path / "one", images, 0.1, 1)
    for path, message in (
        (tmp_path / "one" / "result.json", r"there is no result.json of that name; name the folde"),
        (tmp_path, r"there is no results.json in that folder"),
        (tmp_path / "gone", r"no results to compare at '.*gone'"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            compare_results(one, path)
