"""Two and three processes give the numbers of one, each evaluator in one run."""

import json
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.structures import Boxes, Instances
from PIL import Image

from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.salient import SalientEvaluator
from segplugins.evaluation.video import RefDavisEvaluator, VideoEvaluator
from segplugins.evaluation.zero_shot import ClassificationEvaluator, RetrievalEvaluator
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Region, encode_mask

COUNT, SIZE = 7, (9, 12)
VOCABULARY = Vocabulary("processes_test", ("car", "cat", "sky"), is_thing=(1, 1, 0))


def labels_of(generator):
    return np.kron(generator.integers(0, 4, (3, 4)), np.ones((3, 3), np.int64))


def record_of(index, folder):
    """One record that every evaluator finds its truth in."""
    generator = np.random.default_rng(index)
    labels = labels_of(generator)
    found = [int(label) for label in np.unique(labels) if label]
    Image.fromarray(labels.astype(np.uint8)).save(folder / f"{index}.png")
    channels = np.stack([labels, 0 * labels, 0 * labels], axis=-1).astype(np.uint8)
    Image.fromarray(channels).save(folder / f"pan_{index}.png")
    segments = [
        {"id": k, "category_id": k - 1, "area": int((labels == k).sum()), "iscrowd": 0}
        for k in found
    ]
    regions = [Region("it", mask=encode_mask(labels == 1), class_index=0)]
    return {
        "image_id": index,
        "video_id": "v",
        "expression_id": str(index // 4),
        "frame": f"{index:05}",
        "height": SIZE[0],
        "width": SIZE[1],
        "texts": ["it"],
        "regions": regions,
        "pan_seg_file_name": str(folder / f"pan_{index}.png"),
        "segments_info": segments,
        "label_file_name": str(folder / f"{index}.png"),
        "class_index": index % 3,
        "captions": ["one", "two"],
    }


def output_of(index):
    """What a model answers to a record: nearly the truth."""
    labels = labels_of(np.random.default_rng(index))
    generator = np.random.default_rng(100 + index)
    guess = np.where(generator.random(SIZE) < 0.2, generator.integers(0, 4, SIZE), labels)
    instances = Instances(SIZE)
    instances.pred_masks = torch.from_numpy(np.stack([guess == 1, guess == 2]))
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 0, 12, 9], [1, 1, 7, 8]]))
    instances.scores = torch.tensor([0.5, 0.1 * index])
    instances.pred_classes = torch.tensor([0, 1])
    found = [int(label) for label in np.unique(guess) if label]
    return {
        "phrase_masks": torch.from_numpy((guess == 1) * generator.random(SIZE))[None],
        "panoptic_seg": (torch.from_numpy(guess), [{"id": k, "category_id": k - 1} for k in found]),
        "instances": instances,
        "class_scores": torch.from_numpy(generator.normal(size=3)),
        "image_embedding": torch.from_numpy(generator.normal(size=4)),
        "text_embeddings": torch.from_numpy(generator.normal(size=(2, 4))),
    }


def evaluators_of(name):
    return {
        "referring": ReferringEvaluator(name),
        "generalised": ReferringEvaluator(name, generalised=True, no_target_below=3),
        "salient": SalientEvaluator(name),
        "video": VideoEvaluator(name),
        "davis": RefDavisEvaluator(name),
        "panoptic": PanopticEvaluator(name, class_agnostic=True),
        "instances": InstanceEvaluator(name, class_agnostic=True),
        "classification": ClassificationEvaluator(name),
        "retrieval": RetrievalEvaluator(name),
    }


def evaluate(name, records, rank=0, world=1, answer=output_of):
    results = {}
    for kind, evaluator in evaluators_of(name).items():
        mine = range(rank * COUNT // world, (rank + 1) * COUNT // world)
        for index in mine:
            evaluator.process([records[index]], [answer(index)])
        results[kind] = evaluator.evaluate()
    return results


def one_process(rank, world, name, records, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store_{world}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    results = evaluate(name, records, rank, world)
    (folder / f"results_{world}_{rank}.json").write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


def on_gpu(output):
    """The same answer with all its tensors on a GPU."""
    moved = {name: v.to("cuda") if hasattr(v, "to") else v for name, v in output.items()}
    ids, segments = output["panoptic_seg"]
    return {**moved, "panoptic_seg": (ids.to("cuda"), segments)}


def assert_equal(ours, expected):
    assert set(ours) == set(expected)
    for kind, tasks in expected.items():
        assert set(ours[kind]) == set(tasks)
        for task, scores in tasks.items():
            assert ours[kind][task] == pytest.approx(scores, abs=1e-9, nan_ok=True), kind


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_any_number_of_processes_gives_the_same_numbers(catalog, tmp_path):
    register_vocabulary(VOCABULARY)
    records = [record_of(index, tmp_path) for index in range(COUNT)]
    name = catalog(records, vocabulary=VOCABULARY.name)
    expected = evaluate(name, records)
    # The comparison says something: no evaluator gives only 0, 100 or nothing.
    for kind, tasks in expected.items():
        assert any(0 < value < 100 for scores in tasks.values() for value in scores.values()), kind
    context = multiprocessing.get_context("fork")  # inherits the registered data set
    for world in (2, 3):
        processes = [
            context.Process(target=one_process, args=(rank, world, name, records, tmp_path))
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * world
        first, *others = (
            json.loads((tmp_path / f"results_{world}_{rank}.json").read_text())
            for rank in range(world)
        )
        assert_equal(first, expected)
        assert not any(any(results.values()) for results in others)  # the first one reports


@pytest.mark.gpu
def test_answers_on_a_gpu_give_the_same_numbers(catalog, tmp_path):
    register_vocabulary(VOCABULARY)
    records = [record_of(index, tmp_path) for index in range(COUNT)]
    name = catalog(records, vocabulary=VOCABULARY.name)
    there = evaluate(name, records, answer=lambda index: on_gpu(output_of(index)))
    assert_equal(there, evaluate(name, records))
