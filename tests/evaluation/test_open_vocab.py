"""Several measures of one data set under one vocabulary, on any number of processes."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import launch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from PIL import Image

from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.groups import harmonic_mean, per_class, seen_unseen
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.structures import Vocabulary

CLASSES = ("a", "b", "c-d", "e")
IMAGES = 11


class Fixed(DatasetEvaluator):
    """Gives a result that is known."""

    def __init__(self, task, **result):
        self.result = {task: result}
        self.calls = []

    def reset(self):
        self.calls.append("reset")

    def process(self, inputs, outputs):
        self.calls.append(len(outputs))

    def evaluate(self):
        return self.result


def test_parts_see_every_batch_and_their_results_are_joined():
    parts = [Fixed("segm", AP=1.0), Fixed("panoptic_seg", PQ=2.0)]
    evaluator = OpenVocabEvaluator("set", parts)
    evaluator.reset()
    evaluator.process([{}, {}], [{}, {}])
    evaluator.process([{}], [{}])
    assert evaluator.evaluate() == {"segm": {"AP": 1.0}, "panoptic_seg": {"PQ": 2.0}}
    assert parts[0].calls == parts[1].calls == ["reset", 2, 1]


def test_it_reads_what_its_parts_read():
    assert SemanticEvaluator.reads == {"sem_seg"}
    masks, nothing = Fixed("referring"), Fixed("segm")
    masks.reads = frozenset({"phrase_masks"})
    labels = Fixed("sem_seg")
    labels.reads = SemanticEvaluator.reads
    evaluator = OpenVocabEvaluator("set", [masks, labels, nothing])
    assert evaluator.reads == {"phrase_masks", "sem_seg"}


def test_two_parts_of_the_same_task_or_none_are_an_error():
    with pytest.raises(ValueError, match="two evaluators of 'set' measure 'segm'"):
        OpenVocabEvaluator("set", [Fixed("segm"), Fixed("segm")]).evaluate()
    with pytest.raises(ValueError, match="no evaluator for 'set'"):
        OpenVocabEvaluator("set", [])


def test_seen_and_unseen_are_means_over_the_classes_that_have_a_value():
    values = {"IoU-a": 10.0, "IoU-b": 50.0, "IoU-c-d": float("nan"), "IoU-e": 40.0}
    part = Fixed("sem_seg", mIoU=100 / 3, **values)
    vocabulary = Vocabulary("v", CLASSES)
    result = OpenVocabEvaluator("set", [part], [0, 1, 2], vocabulary=vocabulary).evaluate()[
        "sem_seg"
    ]
    assert result["mIoU_seen"] == pytest.approx(30.0)
    assert result["mIoU_unseen"] == pytest.approx(40.0)
    assert result["hIoU"] == pytest.approx(2 * 30 * 40 / 70)


def test_average_precision_and_panoptic_quality_are_split_too():
    result = {"AP-a": 10.0, "AP-b": 20.0, "PQ-a": 0.0, "PQ-b": 0.0, "AP": 15.0, "N-acc": 1.0}
    split = seen_unseen(result, ("a", "b"), [0])
    assert split == {
        "AP_seen": 10.0,
        "AP_unseen": 20.0,
        "hAP": pytest.approx(2 * 10 * 20 / 30),
        "PQ_seen": 0.0,
        "PQ_unseen": 0.0,
        "hPQ": 0.0,
    }


def test_a_group_without_a_class_is_not_a_number():
    split = seen_unseen({"IoU-a": 10.0}, ("a",), [0])
    assert split["mIoU_seen"] == 10.0
    assert np.isnan(split["mIoU_unseen"]) and np.isnan(split["hIoU"])
    assert harmonic_mean(0.0, 0.0) == 0.0


def test_seen_classes_outside_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match="seen class 4 of 4 classes"):
        OpenVocabEvaluator("set", [Fixed("x")], [4], classes=CLASSES)


@pytest.mark.parametrize(
    "seen, wrong",
    [
        ([True, False, True, True], "True"),  # not the indices 0 and 1
        (np.array([True, False, True, True]), "(np.)?True_?"),
        (["a"], "'a'"),
        ([1.0], "1.0"),
        ([-1], "-1"),
    ],
)
def test_seen_classes_are_indices(seen, wrong):
    with pytest.raises(ValueError, match=f"seen class {wrong} of 4 classes: expected indices, 0 "):
        OpenVocabEvaluator("set", [Fixed("x")], seen, classes=CLASSES)


def test_class_names_with_hyphens_are_told_from_metrics_with_hyphens():
    table = per_class({"IoU-c-d": 1.0, "IoU-a": 2.0, "T-acc": 3.0, "mIoU": 4.0})
    assert table == {"IoU": {"c-d": 1.0, "a": 2.0}}


def test_two_hundred_random_splits_equal_the_definition():
    generator = np.random.default_rng(0)
    for _ in range(200):
        count = int(generator.integers(1, 9))
        values = np.where(generator.random(count) < 0.2, np.nan, generator.random(count) * 100)
        seen = generator.random(count) < 0.5
        names = [f"n{i}" for i in range(count)]
        result = {f"IoU-{name}": value for name, value in zip(names, values)}
        split = seen_unseen(result, names, np.flatnonzero(seen).tolist())
        for key, chosen in (("mIoU_seen", seen), ("mIoU_unseen", ~seen)):
            kept = [v for v, c in zip(values, chosen) if c and v == v]
            expected = sum(kept) / len(kept) if kept else np.nan
            assert split[key] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def labels_of(index):
    """Truth and prediction of one image: deterministic, different for each."""
    generator = np.random.default_rng(index)
    truth, guess = generator.integers(0, 4, (2, 8, 9 + index))
    truth[generator.random(truth.shape) < 0.1] = 255
    return truth, np.where(generator.random(truth.shape) < 0.5, guess, truth % 4)


def register(folder, name):
    records = []
    for index in range(IMAGES):
        truth, _ = labels_of(index)
        label_file, image_file = f"{folder}/{index}.png", f"{folder}/{index}.jpg"
        records.append(
            {"file_name": image_file, "sem_seg_file_name": label_file, "image_id": index}
        )
        if comm.is_main_process():
            Image.fromarray(truth.astype(np.uint8)).save(label_file)
            Image.new("RGB", truth.shape[::-1], (index, 0, 0)).save(image_file)
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: records)
    comm.synchronize()
    return records


def evaluate_share(folder, indices_of_rank):
    """What one process does; the main one writes result.json."""
    name = "open_vocab_shares"
    records = register(folder, name)
    part = SemanticEvaluator(name, CLASSES, boundary=True, gallery=Gallery(2))
    evaluator = OpenVocabEvaluator(
        name, [part], [0, 1], classes=CLASSES, output_dir=f"{folder}/out"
    )
    evaluator.reset()
    for index in indices_of_rank[comm.get_rank()]:
        guess = torch.from_numpy(labels_of(index)[1])
        evaluator.process([records[index]], [{"sem_seg": guess}])
    results = evaluator.evaluate()
    assert bool(results) == comm.is_main_process()
    if comm.is_main_process():
        with open(f"{folder}/result.json", "w") as file:
            json.dump(results, file)


def results_in(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("processes", [3])
def test_three_processes_give_the_numbers_of_one_even_if_the_sampler_pads(
    tmp_path, processes, monkeypatch
):
    # Nothing here needs a fresh interpreter.
    forked = partial(torch.multiprocessing.start_processes, start_method="fork")
    monkeypatch.setattr(torch.multiprocessing, "start_processes", forked)
    (tmp_path / "one").mkdir()
    (tmp_path / "three").mkdir()
    # torch's DistributedSampler: 11 images and one again, so that all have four.
    padded = [*range(IMAGES), 0]
    shares = [padded[rank::processes] for rank in range(processes)]
    launch(evaluate_share, processes, dist_url="auto", args=(str(tmp_path / "three"), shares))
    evaluate_share(str(tmp_path / "one"), [list(range(IMAGES))])
    assert results_in(tmp_path / "three") == results_in(tmp_path / "one")
    kept = [
        json.loads((tmp_path / run / "out" / "details.json").read_text())
        for run in ("one", "three")
    ]
    assert kept[0]["confused"] == kept[1]["confused"]
    for rank in ("best", "worst"):
        assert kept[0][rank] == kept[1][rank]
        assert len(kept[0][rank]) == 2


@pytest.fixture(autouse=True)
def _forget():
    yield
    for name in ("open_vocab_shares",):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.pop(name, None)
