import tracemalloc

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from segplugins.prediction import NOTHING
from segplugins.prediction import result as result_module
from segplugins.prediction.questions import ask_classes, ask_phrases, read_output
from segplugins.structures import Vocabulary
from segplugins.structures.regions import Task

WORDS = Vocabulary("test_questions", ("sky", "car"), is_thing=(False, True))


@pytest.mark.parametrize(
    "prompts, message",
    [
        (["a car", "  "], "prompt 2 of 2 is empty; write one as --prompt"),
        ([], "is empty"),
        (["a  car", "A car "], "prompts 'a car' and 'A car' are the same; leave one out"),
        ("a car", "must be a list of phrases"),
    ],
)
def test_prompts_that_ask_nothing_new_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        ask_phrases(prompts)


def test_a_question_says_what_a_record_needs():
    classes, phrases = ask_classes(WORDS, "panoptic"), ask_phrases(["a  car"])
    assert classes.record == {"task": Task.PANOPTIC, "vocabulary": "test_questions"}
    assert phrases.record == {"task": Task.REFERRING, "vocabulary": None, "texts": ["a car"]}
    assert classes.identity == {"task": "panoptic", "vocabulary": WORDS.digest()}
    with pytest.raises(ValueError, match="task 'referring' is not answered by a vocabulary"):
        ask_classes(WORDS, "referring")


def test_probabilities_become_the_best_class_and_its_mean_score():
    scores = torch.tensor([[[0.9, 0.2]], [[0.4, 0.6]]])
    result = read_output(ask_classes(WORDS), {"sem_seg": scores})
    assert result.label_map.tolist() == [[0, 1]]
    assert result.scores.tolist() == pytest.approx([0.9, 0.6])
    assert result.is_thing == (False, True)
    cut = read_output(ask_classes(WORDS), {"sem_seg": scores}, threshold=0.7)
    assert cut.label_map.tolist() == [[0, NOTHING]] and cut.classes.tolist() == [0]
    kept = read_output(ask_classes(WORDS), {"sem_seg": scores}, threshold=0.6 - 1e-6)
    assert kept.label_map.tolist() == [[0, 1]]


def test_label_maps_bring_their_scores_or_have_none():
    labels = torch.tensor([[0, 1]])
    bare = read_output(ask_classes(WORDS), {"sem_seg": labels})
    assert bare.scores is None
    with pytest.raises(ValueError, match="label maps without scores, so no threshold"):
        read_output(ask_classes(WORDS), {"sem_seg": labels}, threshold=0.5)
    output = {"sem_seg": labels, "sem_seg_scores": torch.tensor([[0.3, 0.8]])}
    assert read_output(ask_classes(WORDS), output, threshold=0.5).label_map.tolist() == [
        [NOTHING, 1]
    ]


def test_an_answer_of_another_size_gets_the_nearest_values():
    labels = torch.tensor([[0, 1]])
    result = read_output(ask_classes(WORDS), {"sem_seg": labels}, size=(2, 6))
    assert result.label_map.tolist() == [[0, 0, 0, 1, 1, 1]] * 2


def test_panoptic_segments_keep_their_classes():
    segments = torch.tensor([[1, 1, 2, 0]])
    infos = [
        {"id": 1, "category_id": 1, "isthing": True, "score": 0.9},
        {"id": 2, "category_id": 0, "isthing": False, "score": 0.4},
    ]
    question = ask_classes(WORDS, "panoptic")
    result = read_output(question, {"panoptic_seg": (segments, infos)})
    assert result.label_map.tolist() == [[1, 1, 0, NOTHING]]
    assert result.scores.tolist() == pytest.approx([0.9, 0.4])
    cut = read_output(question, {"panoptic_seg": (segments, infos)}, threshold=0.5)
    assert cut.label_map.tolist() == [[1, 1, NOTHING, NOTHING]]


def test_instances_keep_their_scores():
    instances = Instances((1, 3))
    instances.pred_masks = torch.tensor([[[True, True, False]], [[False, True, True]]])
    instances.pred_classes, instances.scores = torch.tensor([1, 1]), torch.tensor([0.3, 0.6])
    question = ask_classes(WORDS, "instance")
    result = read_output(question, {"instances": instances})
    assert len(result) == 2 and result.scores.tolist() == pytest.approx([0.3, 0.6])
    assert len(read_output(question, {"instances": instances}, threshold=0.5)) == 1
    instances.remove("pred_masks")
    with pytest.raises(ValueError, match="boxes without masks"):
        read_output(question, {"instances": instances})


def test_phrase_scores_are_the_mean_inside_the_mask():
    scores = torch.tensor([[[0.9, 0.7, 0.2]], [[0.1, 0.5, 0.4]]])  # 0.5 is not above the half
    result = read_output(ask_phrases(["a", "b"]), {"phrase_masks": scores})
    np.testing.assert_array_equal(result.masks, scores.numpy() > 0.5)
    assert result.scores.tolist() == pytest.approx([0.8, 0.0])
    masks = read_output(ask_phrases(["a", "b"]), {"phrase_masks": scores > 0.5})
    assert masks.scores is None and len(masks) == 2
    with pytest.raises(ValueError, match="2 masks for 1 prompts"):
        read_output(ask_phrases(["a"]), {"phrase_masks": scores})


@pytest.mark.parametrize(
    "question, output, message",
    [
        (ask_classes(WORDS), "phrase_masks", r"with \['phrase_masks'\], not .* with --prompt"),
        (ask_phrases(["a car"]), "sem_seg", r"with \['sem_seg'\], not .* with --vocabulary"),
        (ask_classes(WORDS, "panoptic"), "sem_seg", "'panoptic' needs; ask with task 'semantic'"),
        (ask_classes(WORDS), "instances", "'semantic' needs; ask with task 'instance'"),
    ],
)
def test_a_model_that_answers_otherwise_is_told_how_to_be_asked(question, output, message):
    with pytest.raises(ValueError, match=message):
        read_output(question, {output: torch.zeros(1, 2, 2)})


def test_a_large_picture_takes_two_bytes_of_a_pixel_and_little_more(monkeypatch):
    monkeypatch.setattr(result_module, "_STRIP_PIXELS", 2**14)
    labels = torch.arange(64).expand(64, 64) // 32
    output = {"sem_seg": labels, "sem_seg_scores": (labels + 1) / 4}
    tracemalloc.start()
    result = read_output(ask_classes(WORDS), output, size=(1500, 2000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 1500 * 2000  # the map itself is torch's; int64 alone would be 8
    assert result.label_map.dtype == np.int16 and result.label_map.shape == (1500, 2000)
    expected = (np.arange(2000) >= 1000)[None].repeat(1500, 0)
    np.testing.assert_array_equal(result.label_map, expected)
    assert result.scores.tolist() == [0.25, 0.5]


def test_masks_are_brought_to_the_size_of_a_large_picture_one_by_one():
    masks = torch.zeros(20, 40, 40, dtype=torch.bool)
    for number, mask in enumerate(masks):
        mask[number : number + 10, 5:15] = True
    prompts = [f"prompt {number}" for number in range(20)]
    tracemalloc.start()
    result = read_output(ask_phrases(prompts), {"phrase_masks": masks}, size=(800, 1200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 800 * 1200  # all of them would be 20
    assert result.areas.tolist() == [200 * 300] * 20
    assert result.boxes[3].tolist() == [150, 60, 450, 260]
