"""This project's own models and data sets, as annotation takes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog

import segplugins
from segplugins.annotation.inputs import inputs_digest
from segplugins.annotation.interfaces import Detector, Image, PhraseSegmenter, StuffSegmenter
from segplugins.drawn_world import write_drawn_world
from segplugins.prediction import annotation
from segplugins.prediction.annotation import (
    SegmenterAnnotator,
    SegmenterSpec,
    dataset_inputs,
)
from segplugins.prediction.result import Result
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, get_vocabulary, register_vocabulary

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "configs" / "unilseg" / "tiny.yaml")


class FakeSegmenter:
    """Answers every name with a rectangle, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, pictures, vocabulary=None, *, prompts=None, task=None, **more):
        names = prompts or vocabulary
        self.asked.append((len(pictures), names, task))
        task = Task.REFERRING if prompts else task
        return [self._result(names, task, picture.shape[:2]) for picture in pictures]

    def _result(self, names, task, size):
        masks = np.zeros((len(names), *size), bool)
        for number, mask in enumerate(masks):
            if names[number] != "absent":
                mask[2:9, number : number + 5] = True
        labels = np.where(masks.any(axis=0), masks.argmax(axis=0), -1)
        if task is Task.SEMANTIC:
            return Result.from_label_map(labels, names, scores=np.full(size, 0.5))
        classes = np.arange(len(names))
        scores = np.linspace(0.9, 0.5, len(names))
        return Result.from_masks(masks, classes, names, scores=scores, task=task)


def image(size=(20, 30)):
    return Image(np.zeros((*size, 3), np.uint8), "x.jpg")


def spec(**options):
    return SegmenterSpec(config=TINY, weights="none.pth", **options)


def test_images_that_are_asked_the_same_go_through_together():
    model = FakeSegmenter()
    annotator = SegmenterAnnotator(model, spec())
    assert all(isinstance(annotator, r) for r in (PhraseSegmenter, Detector, StuffSegmenter))
    images = [image(), image((40, 20)), image()]
    answers = annotator.segment_phrases(images, [["a", "absent"], ["b"], ["a", "absent"]])
    assert [(count, names) for count, names, _ in model.asked] == [(2, ["a", "absent"]), (1, ["b"])]
    assert [each.masks.shape for each in answers] == [(2, 20, 30), (1, 40, 20), (2, 20, 30)]
    assert answers[0].masks[0].sum() == 35 and not answers[0].masks[1].any()
    np.testing.assert_allclose(answers[0].scores, [0.9, 0.5], atol=1e-6)


def test_instances_are_detections_with_the_boxes_of_their_masks():
    model = FakeSegmenter()
    annotator = SegmenterAnnotator(model, spec(task="panoptic"))
    (found,) = annotator.detect([image()], [["dog", "absent", "cat"]])
    assert [(d.text, d.box) for d in found] == [("dog", (0, 2, 5, 9)), ("cat", (2, 2, 7, 9))]
    assert found[0].score == pytest.approx(0.9) and model.asked[0][2] == "panoptic"


def test_stuff_is_what_a_label_map_shows():
    annotator = SegmenterAnnotator(FakeSegmenter(), spec(classes=["sky", "absent"]))
    (segments,) = annotator.segment_stuff([image()])
    assert [(s.text, int(s.mask.sum())) for s in segments] == [("sky", 35)]
    assert segments[0].score == pytest.approx(0.5)
    with pytest.raises(ValueError, match="stuff segmenter of kind 'segplugins' needs the key"):
        spec().check_role("stuff_segmenter")


class FakeBoxes(torch.nn.Module):
    """Answers each box with the rectangle itself, at the size of the record."""

    def __init__(self):
        super().__init__()
        self.records = []

    def box_masks(self, records):
        self.records += records
        answers = []
        for record in records:
            boxes = np.round(record["prompt_boxes"]).astype(int)
            masks = torch.zeros(len(boxes), record["height"], record["width"], dtype=torch.bool)
            for mask, (x0, y0, x1, y1) in zip(masks, boxes):
                mask[y0:y1, x0:x1] = True
            answers.append({"masks": masks, "scores": torch.full((len(boxes),), 0.75)})
        return answers


def test_boxes_are_asked_with_the_classes_of_the_weights(segmenter):
    model = segmenter(FakeBoxes(), settings={"training_names": ("cat", "dog")})
    annotator = SegmenterAnnotator(model, spec())
    boxes = [np.array([[2.0, 3.0, 9.0, 8.0]]), np.zeros((0, 4))]
    first, second = annotator.segment_boxes([image(), image((40, 20))], boxes)
    assert first.masks.shape == (1, 20, 30) and second.masks.shape == (0, 40, 20)
    assert np.argwhere(first.masks[0]).min(axis=0).tolist() == [3, 2]
    assert first.masks.sum() == 35 and first.scores.tolist() == [0.75]
    assert get_vocabulary(model.model.records[0]["vocabulary"]).classes == ("cat", "dog")
    with pytest.raises(ValueError, match="its weights do not say which classes"):
        SegmenterAnnotator(segmenter(FakeBoxes()), spec()).segment_boxes([image()], boxes[:1])


def test_the_masks_of_a_very_large_picture_have_its_size(segmenter, monkeypatch):
    monkeypatch.setattr("segplugins.prediction.segmenter._ANSWER_PIXELS", 20 * 30 // 4)
    model = segmenter(FakeBoxes(), settings={"training_names": ("cat",)})
    boxes = [np.array([[4.0, 6.0, 20.0, 16.0]])]
    (answer,) = SegmenterAnnotator(model, spec()).segment_boxes([image()], boxes)
    # Asked at half the size, [2, 3, 10, 8]; every pixel of the answer stands for four.
    assert answer.masks.shape == (1, 20, 30)
    assert np.array_equal(np.argwhere(answer.masks[0])[[0, -1]], [[6, 4], [15, 19]])


def test_a_model_that_turns_no_boxes_into_masks_is_refused_before_it_loads():
    with pytest.raises(ValueError, match="UniLSeg turns no boxes into masks"):
        spec().check_role("box_segmenter")
    meld = str(ROOT / "configs" / "querymeldnet" / "tiny.yaml")
    SegmenterSpec(config=meld, weights="none.pth").check_role("box_segmenter")


def test_missing_weights_are_named_before_anything_loads():
    with pytest.raises(FileNotFoundError, match="no checkpoint 'none.pth' of kind 'segplugins'"):
        spec().check()


def test_unilseg_segments_phrases_from_its_checkpoint(tmp_path):
    model = segplugins.load(TINY, random_weights=True, device="cpu")
    path = tmp_path / "tiny.pth"
    torch.save({"model": model.model.state_dict()}, path)
    made = SegmenterSpec(config=TINY, weights=str(path))
    made.check()
    identity = made.identity()
    assert "weights" not in identity and identity["digest"]
    draws = np.random.default_rng(0)
    images = [Image(draws.integers(0, 256, (*size, 3), np.uint8)) for size in ((48, 64), (64, 40))]
    answers = made.build("cpu").segment_phrases(images, [["a red car", "sky"], ["sky"]])
    assert [each.masks.shape for each in answers] == [(2, 48, 64), (1, 64, 40)]
    assert all(((a.scores >= 0) & (a.scores <= 1)).all() for a in answers)


def test_records_of_a_data_set_are_images_with_regions(tmp_path):
    root = tmp_path / "drawn"
    write_drawn_world(
        root, train=0, val=3, val_unseen=0, pairs=0, clips=0, val_clips=0, size=64, seed=0
    )
    described = f"kind: regions\nimages: {root}/images/val\nlines: {root}/regions/val.jsonl\n"
    (tmp_path / "set.yaml").write_text(f"{described}sets: {{drawn_to_annotate: {{}}}}\n")
    from segplugins.data.register_yaml import register_from_yaml

    register_from_yaml(tmp_path / "set.yaml")
    inputs = dataset_inputs("drawn_to_annotate")
    assert len(inputs) == 3 and inputs.source == "drawn_to_annotate"
    assert inputs.root == str(root / "images" / "val")
    item = inputs[1]
    assert item.file_name == inputs.name(1) == "000001.png" and item.size == (64, 64)
    assert "source_id" in item.more and all(region.text for region in item.regions)
    assert inputs_digest(inputs) == inputs_digest(dataset_inputs("drawn_to_annotate"))


def test_classes_that_are_not_annotated_everywhere_are_told_by_name(monkeypatch):
    record = {"file_name": "a.png", "regions": [], "not_exhaustive_classes": [1]}
    monkeypatch.setattr(annotation, "load_dataset", lambda name: [dict(record)])
    register_vocabulary(Vocabulary("annotation_pets", ("cat", "dog")))
    MetadataCatalog.get("annotation_pets").vocabulary = "annotation_pets"
    assert dataset_inputs("annotation_pets")[0].more == {"not_exhaustive": ("dog",)}


def test_a_record_per_phrase_is_one_image(tmp_path):
    from segplugins.annotation.inputs import RecordInputs
    from segplugins.structures.regions import Region

    folder = tmp_path / "a"
    records = [
        {"file_name": str(folder / "x.jpg"), "image_id": 7, "text": "one"},
        {"file_name": str(folder / "b" / "x.jpg"), "image_id": 8, "text": "two"},
        {"file_name": str(folder / "x.jpg"), "image_id": 7, "text": "three"},
    ]
    inputs = RecordInputs("set", records, lambda record: [Region(record["text"], (0, 0, 1, 1))])
    assert [inputs.name(index) for index in range(len(inputs))] == ["x.jpg", "b/x.jpg"]
    assert [region.text for region in inputs[0].regions] == ["one", "three"]
    with pytest.raises(ValueError, match="data set 'none' holds no image"):
        RecordInputs("none", [], lambda record: [])
