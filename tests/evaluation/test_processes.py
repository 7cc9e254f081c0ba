"""Processes and batches do not change a number or a picture, for every evaluator in one run."""

import importlib
import json
import multiprocessing
import pkgutil

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image

import segplugins.evaluation
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.ref_davis import RefDavisEvaluator
from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.salient import SalientEvaluator
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.video import VideoEvaluator
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
        "file_name": f"{index}.jpg",
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
        "sem_seg_file_name": str(folder / f"{index}.png"),
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
    probabilities = torch.from_numpy(0.2 + 0.2 * (guess == np.arange(4)[:, None, None]))
    return {
        "sem_seg": torch.from_numpy(guess),
        "probabilities": probabilities * (0.5 + generator.random()),
        "phrase_masks": torch.from_numpy((guess == 1) * generator.random(SIZE))[None],
        "panoptic_seg": (torch.from_numpy(guess), [{"id": k, "category_id": k - 1} for k in found]),
        "instances": instances,
        "class_scores": torch.from_numpy(generator.normal(size=3)),
        "image_embedding": torch.from_numpy(generator.normal(size=4)),
        "text_embeddings": torch.from_numpy(generator.normal(size=(2, 4))),
    }


def as_read_by(kind, output):
    """The same answer with probabilities in place of labels for the evaluator that needs them."""
    return {"sem_seg": output["probabilities"]} if kind == "calibrated" else output


def evaluators_of(name):
    kept = {"gallery": Gallery(2)}
    return {
        "semantic": SemanticEvaluator(name, ("other", "car", "cat", "sky"), boundary=True, **kept),
        "calibrated": SemanticEvaluator(
            name, ("other", "car", "cat", "sky"), boundary="detectron2", calibration=True, **kept
        ),
        "referring": ReferringEvaluator(name, **kept),
        "generalised": ReferringEvaluator(name, generalised=True, no_target_below=3, **kept),
        "salient": SalientEvaluator(name, **kept),
        "video": VideoEvaluator(name, **kept),
        "davis": RefDavisEvaluator(name, **kept),
        "panoptic": PanopticEvaluator(name, class_agnostic=True, **kept),
        "instances": InstanceEvaluator(
            name,
            tasks=["bbox", "segm", "boundary"],
            class_agnostic=True,
            presence=True,
            calibration=True,
            **kept,
        ),
        "classification": ClassificationEvaluator(name),
        "retrieval": RetrievalEvaluator(name),
        "open vocabulary": OpenVocabEvaluator(
            name,
            [SemanticEvaluator(name, ("other", "car", "cat", "sky")), SalientEvaluator(name)],
            [0, 2],
            classes=("other", "car", "cat", "sky"),
        ),
    }


_WITHOUT_PICTURES = ("classification", "retrieval", "open vocabulary")


def share_of(rank, world):
    """Indices of a process; three processes get them from a sampler that pads with the first."""
    if world == 3:
        size = -(-COUNT // world)
        return [(rank * size + i) % COUNT for i in range(size)]
    return list(range(rank * COUNT // world, (rank + 1) * COUNT // world))


def evaluate(name, records, rank=0, world=1, answer=output_of, batch=1):
    results = {}
    for kind, evaluator in evaluators_of(name).items():
        evaluator.reset()  # those of one call share a gallery
        share = share_of(rank, world)
        for start in range(0, len(share), batch):
            chosen = share[start : start + batch]
            answers = [as_read_by(kind, answer(i)) for i in chosen]
            evaluator.process([records[i] for i in chosen], answers)
        # The processes but the first give an empty result, or none.
        results[kind] = dict(evaluator.evaluate() or {})
        if results[kind] and getattr(evaluator, "gallery", None) is not None:
            results[kind]["pictures"] = told_of(evaluator.gallery)
    return results


def told_of(gallery):
    """The pictures as numbers: the score of each, and its maps as one number."""
    told = {}
    for picture in gallery.pictures:
        told[picture.caption] = picture.score
        for side in ("truth", "prediction"):
            labels = getattr(picture, side).ravel().astype(float)
            told[f"{picture.caption}, {side}"] = float(labels @ np.sqrt(np.arange(labels.size)))
    return told


def one_process(rank, world, name, records, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store_{world}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    results = evaluate(name, records, rank, world, batch=world)
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
def test_any_number_of_processes_and_any_batch_gives_the_same_numbers_and_pictures(
    catalog, tmp_path
):
    register_vocabulary(VOCABULARY)
    records = [record_of(index, tmp_path) for index in range(COUNT)]
    name = catalog(records, vocabulary=VOCABULARY.name)
    expected = evaluate(name, records)
    # The comparison says something: no evaluator gives only 0, 100 or nothing.
    for kind, tasks in expected.items():
        measured = [scores for task, scores in tasks.items() if task != "pictures"]
        assert any(0 < value < 100 for scores in measured for value in scores.values()), kind
        assert kind in _WITHOUT_PICTURES or len(tasks["pictures"]) == 12, kind
    assert_equal(evaluate(name, records, batch=COUNT), expected)
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


def test_every_evaluator_is_among_those_compared(catalog, tmp_path):
    register_vocabulary(VOCABULARY)
    name = catalog([record_of(0, tmp_path)], vocabulary=VOCABULARY.name)
    compared = {type(evaluator) for evaluator in evaluators_of(name).values()}
    classes = set()
    for module in pkgutil.iter_modules(segplugins.evaluation.__path__):
        members = vars(importlib.import_module(f"segplugins.evaluation.{module.name}")).values()
        classes |= {m for m in members if isinstance(m, type) and issubclass(m, DatasetEvaluator)}
    own = {each for each in classes if each.__module__.startswith("segplugins.")}
    assert own - {SampleEvaluator} == compared


@pytest.mark.gpu
def test_answers_on_a_gpu_give_the_same_numbers(catalog, tmp_path):
    register_vocabulary(VOCABULARY)
    records = [record_of(index, tmp_path) for index in range(COUNT)]
    name = catalog(records, vocabulary=VOCABULARY.name)
    there = evaluate(name, records, answer=lambda index: on_gpu(output_of(index)))
    assert_equal(there, evaluate(name, records))
