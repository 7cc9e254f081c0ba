"""Answers and records that must not become a number: each is an error, or the right number."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from PIL import Image

from segplugins.config import add_shared_config
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.ref_davis import RefDavisEvaluator
from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.salient import SalientEvaluator
from segplugins.evaluation.sample_identity import sample_key
from segplugins.evaluation.samples import Samples
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.setting import read_setting
from segplugins.evaluation.video import VideoEvaluator
from segplugins.evaluation.zero_shot import ClassificationEvaluator, RetrievalEvaluator
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Region, encode_mask

SIZE = (4, 6)
TRUTH = np.arange(24).reshape(SIZE) % 3 == 0
NAN = float("nan")


@pytest.fixture
def name(catalog, tmp_path):
    """A data set of two images in which every evaluator finds its truth."""
    register_vocabulary(Vocabulary("faulty_answers", ("a", "b")))
    records = []
    for index in range(2):
        Image.fromarray(TRUTH.astype(np.uint8)).save(tmp_path / f"{index}.png")
        records.append(
            {
                **{"file_name": f"{index}.jpg", "image_id": index, "frame": str(index)},
                **{"video_id": "v", "expression_id": "0", "height": SIZE[0], "width": SIZE[1]},
                **{"class_index": 0, "captions": ["one", "two"], "texts": ["it"]},
                "regions": [Region("it", mask=encode_mask(TRUTH))],
                "sem_seg_file_name": str(tmp_path / f"{index}.png"),
                "label_file_name": str(tmp_path / f"{index}.png"),
                "pan_seg_file_name": "in memory",
                "segments_info": [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 1}],
            }
        )
    return catalog(records, vocabulary="faulty_answers")


def read_ids(path):
    return TRUTH + np.uint32(1)


EVALUATORS = {
    "semantic": lambda name: SemanticEvaluator(name, ("a", "b")),
    "panoptic": lambda name: PanopticEvaluator(name, read_truth=read_ids),
    "referring": ReferringEvaluator,
    "generalised": lambda name: ReferringEvaluator(name, generalised=True),
    "salient": SalientEvaluator,
    "video": VideoEvaluator,
    "davis": RefDavisEvaluator,
    "classification": ClassificationEvaluator,
    "retrieval": RetrievalEvaluator,
}
SCORES = torch.stack([torch.from_numpy(~TRUTH), torch.from_numpy(TRUTH)]).float()
RIGHT = {
    "sem_seg": SCORES,
    "panoptic_seg": (
        torch.from_numpy(read_ids("")).int(),
        [{"id": i + 1, "category_id": i} for i in (0, 1)],
    ),
    "phrase_masks": SCORES[1:],
    "class_scores": torch.tensor([0.9, 0.1]),
    "image_embedding": torch.ones(3),
    "text_embeddings": torch.ones(2, 3),
}
PHRASES = ("referring", "generalised", "salient", "video", "davis")


def spoiled(value, at=0):
    value = value.clone()
    value.view(-1)[at] = NAN
    return value


FAULTS = [
    *(
        (kind, {"phrase_masks": spoiled(SCORES[1:], 5)}, "phrase_masks holds NaN")
        for kind in PHRASES
    ),
    *((kind, {"phrase_masks": SCORES[1:] * 9 - 4}, "range from -4 to 5") for kind in PHRASES),
    *((kind, {"phrase_masks": SCORES[1:] * 1.5}, "range from 0 to 1.5") for kind in PHRASES),
    *((kind, {"phrase_masks": SCORES}, r"shape \(2, 4, 6\)") for kind in PHRASES),
    *((kind, {"phrase_masks": SCORES[1]}, r"shape \(4, 6\)") for kind in PHRASES),
    *((kind, {"phrase_masks": SCORES[1:, 1:]}, r"shape \(1, 3, 6\)") for kind in PHRASES),
    *((kind, {"phrase_masks": SCORES[1:].cfloat()}, "complex64") for kind in PHRASES),
    *((kind, {"phrase_masks": "no mask"}, "phrase_masks is no tensor") for kind in PHRASES),
    *((kind, {"phrase_masks": 7 * SCORES[1:].int()}, "int32") for kind in PHRASES),
    *((kind, {"phrase_masks": None}, "gave None as 'phrase_masks'") for kind in PHRASES),
    ("video", {"phrase_masks": SCORES[1:].to_sparse()}, "is torch.sparse_coo, expected a dense"),
    ("referring", {"phrase_masks": 255 * SCORES[1:].byte()}, "uint8 values 0 to 255"),
    ("salient", {"phrase_masks": SCORES[1:].bool()}, "torch.bool"),
    ("generalised", {"no_target": torch.tensor([0.3])}, "no_target holds torch.float32"),
    ("generalised", {"no_target": torch.tensor([-4.0])}, "no_target holds torch.float32"),
    ("generalised", {"no_target": torch.tensor([NAN])}, "no_target holds torch.float32"),
    ("generalised", {"no_target": torch.tensor([2])}, "no_target holds torch.int64"),
    ("generalised", {"no_target": torch.tensor([True, False])}, r"no_target has shape \(2,\)"),
    ("semantic", {"sem_seg": spoiled(SCORES, 30)}, "scores hold NaN"),
    ("semantic", {"sem_seg": SCORES / 0}, "scores hold NaN"),
    ("semantic", {"sem_seg": torch.where(SCORES > 0, torch.inf, 0.0)}, "hold NaN or infinity"),
    ("semantic", {"sem_seg": SCORES[0]}, r"float32 \(4, 6\), expected float scores"),
    ("semantic", {"sem_seg": SCORES.int()}, r"int32 \(2, 4, 6\)"),
    ("semantic", {"sem_seg": SCORES.cfloat()}, "complex64"),
    ("semantic", {"sem_seg": [[0, 1], [2]]}, "sem_seg is no tensor"),
    ("panoptic", {"panoptic_seg": (SCORES[0], [])}, "must be integers"),
    ("panoptic", {"panoptic_seg": SCORES[0].int()}, "expected a pair"),
    ("panoptic", {"panoptic_seg": (SCORES[0].int(), [1])}, "a predicted segment is no dict"),
    ("panoptic", {"panoptic_seg": (SCORES[0].int(), [{"id": 1}])}, "'category_id'"),
    ("panoptic", {"panoptic_seg": (SCORES[0].int(), [{"id": 1, "category_id": NAN}])}, "whole"),
    ("classification", {"class_scores": torch.tensor([NAN, 1])}, "class_scores holds NaN"),
    ("classification", {"class_scores": torch.tensor([torch.inf, 1])}, "infinite"),
    ("classification", {"class_scores": torch.tensor([True, False])}, "bool"),
    ("classification", {"class_scores": torch.ones(1, 2)}, r"shape \(1, 2\)"),
    ("retrieval", {"image_embedding": torch.zeros(3)}, "image_embedding is zero"),
    ("retrieval", {"text_embeddings": torch.eye(3)[:2] * 0}, "text_embeddings is zero"),
    ("retrieval", {"text_embeddings": spoiled(torch.ones(2, 3))}, "text_embeddings holds NaN"),
    ("retrieval", {"text_embeddings": torch.ones(1, 3)}, r"shape \(1, 3\), the truth \(2, 3\)"),
    ("retrieval", {"image_embedding": torch.ones(4)}, r"shape \(4,\)"),
]


@pytest.mark.parametrize("kind, answer, message", FAULTS)
def test_a_faulty_answer_names_the_image_and_leaves_it_unscored(name, kind, answer, message):
    evaluator = EVALUATORS[kind](name)
    records = evaluator._samples.records
    with pytest.raises(ValueError, match=rf"0.jpg \(image_id 0.*{message}") as caught:
        evaluator.process(records[:1], [{**RIGHT, **answer}])
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="2 of 2 records"):
        evaluator.evaluate()
    evaluator.process(records, [RIGHT, RIGHT])  # neither image counts as done
    scores = next(iter(evaluator.evaluate().values()))
    again = EVALUATORS[kind](name)
    again.process(records, [RIGHT, RIGHT])
    assert scores == pytest.approx(next(iter(again.evaluate().values())), nan_ok=True)


@pytest.mark.parametrize("kind", EVALUATORS)
def test_an_answer_that_is_no_dict_or_given_twice_names_the_image(name, kind):
    evaluator = EVALUATORS[kind](name)
    records = evaluator._samples.records
    with pytest.raises(ValueError, match="0.jpg.*the model gave a NoneType"):
        evaluator.process(records[:1], [None])
    evaluator.process(records[1:], [RIGHT])
    with pytest.raises(ValueError, match="two predictions for 1.jpg"):
        evaluator.process(records[1:], [RIGHT])
    with pytest.raises(ValueError, match="1 of 2 records .*the first is 0.jpg"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match="other.jpg .*is 0.jpg in data set"):
        evaluator.process([{**records[0], "file_name": "other.jpg"}], [RIGHT])


@pytest.mark.parametrize("kind", EVALUATORS)
def test_evaluating_twice_gives_the_same(name, kind):
    evaluator = EVALUATORS[kind](name)
    evaluator.process(evaluator._samples.records, [RIGHT, RIGHT])
    first = evaluator.evaluate()
    assert next(iter(evaluator.evaluate().values())) == pytest.approx(
        next(iter(first.values())), nan_ok=True
    )


@pytest.mark.parametrize("kind", EVALUATORS)
def test_half_precision_and_autocast_change_nothing(name, kind):
    generator = torch.Generator().manual_seed(0)
    noisy = {
        **RIGHT,
        "sem_seg": torch.rand(2, *SIZE, generator=generator),
        "phrase_masks": torch.rand(1, *SIZE, generator=generator),
        "class_scores": torch.rand(2, generator=generator),
        "image_embedding": torch.rand(3, generator=generator),
        "text_embeddings": torch.rand(2, 3, generator=generator),
    }
    scores = []
    for autocast in (False, True):
        evaluator = EVALUATORS[kind](name)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            for record in evaluator._samples.records:
                evaluator.process([record], [noisy])
            scores.append(next(iter(evaluator.evaluate().values())))
    assert scores[0] == pytest.approx(scores[1], abs=1e-12, nan_ok=True)


def test_similarities_are_those_of_float32_inside_autocast(catalog):
    # In bfloat16 0.999 and 1 are one number: both texts would tie, and the first win.
    records = [{"file_name": f"{i}.jpg", "captions": ["text"]} for i in range(2)]
    angles = torch.tensor([0.045, 0.0])  # cosines 0.99899 and 1
    texts = torch.stack([angles.cos(), angles.sin()], dim=1)
    images = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    evaluator = RetrievalEvaluator(catalog(records))
    with torch.autocast("cpu", torch.bfloat16):
        for record, image, text in zip(records, images, texts):
            answer = {"image_embedding": image, "text_embeddings": text[None]}
            evaluator.process([record], [answer])
        scores = evaluator.evaluate()["retrieval"]
    assert scores["I2T_R@1"] == scores["T2I_R@1"] == 50.0 or scores["I2T_R@1"] == 100.0
    assert scores["I2T_R@1"] == 100.0


@pytest.mark.parametrize("length", [1e30, 1e-30, 1e200, 1e-200])
def test_the_length_of_an_embedding_does_not_matter(catalog, length):
    records = [{"file_name": f"{i}.jpg", "captions": ["text"]} for i in range(3)]
    evaluator = RetrievalEvaluator(catalog(records))
    for record, row in zip(records, torch.eye(3, dtype=torch.float64)):
        answer = {"image_embedding": length * row, "text_embeddings": length * row[None]}
        evaluator.process([record], [answer])
    assert set(evaluator.evaluate()["retrieval"].values()) == {100.0}


def test_embeddings_of_two_widths_name_the_image(catalog):
    records = [{"file_name": f"{i}.jpg", "captions": ["text"]} for i in range(2)]
    evaluator = RetrievalEvaluator(catalog(records))
    answers = [
        {"image_embedding": torch.ones(n), "text_embeddings": torch.ones(1, n)} for n in (3, 4)
    ]
    with pytest.raises(ValueError, match="1.jpg: image_embedding has 4 numbers.*other images 3"):
        evaluator.process(records, answers)


@pytest.mark.parametrize("bits", [torch.bool, torch.uint8, torch.uint16, torch.int64])
def test_a_bool_label_map_is_labels_not_a_choice_of_classes(catalog, tmp_path, bits):
    # As many pairs of labels as classes: as an index, bool would choose among the classes.
    truth = np.array([[0, 0, 1, 1]])
    Image.fromarray(truth.astype(bool)).save(tmp_path / "bits.png")
    records = [{"file_name": "a.jpg", "sem_seg_file_name": str(tmp_path / "bits.png")}]
    evaluator = SemanticEvaluator(catalog(records), ("a", "b"), boundary=True)
    evaluator.process(records, [{"sem_seg": torch.from_numpy(truth).to(bits)}])
    scores = evaluator.evaluate()["sem_seg"]
    assert scores["mIoU"] == scores["IoU-a"] == scores["IoU-b"] == 100.0


def test_labels_of_a_truth_that_are_no_whole_numbers_are_refused(name):
    evaluator = SemanticEvaluator(name, ("a", "b"), read_truth=lambda file: TRUTH * 0.5)
    with pytest.raises(ValueError, match="0.jpg.*labels of the truth are float64"):
        evaluator.process(evaluator._samples.records[:1], [RIGHT])


def test_nan_of_the_class_that_a_threshold_leaves_out_is_found(catalog, tmp_path):
    from segplugins.evaluation.folding import ClassFold

    Image.fromarray(np.zeros((1, 2), np.uint8)).save(tmp_path / "t.png")
    records = [{"file_name": "a.jpg", "sem_seg_file_name": str(tmp_path / "t.png")}]
    options = {"fold": ClassFold(2, background=0), "background_threshold": 0.5, "none_class": 0}
    evaluator = SemanticEvaluator(catalog(records), ("none", "a"), **options)
    with pytest.raises(ValueError, match="a.jpg: the scores hold NaN"):
        evaluator.process(records, [{"sem_seg": torch.tensor([[[NAN, 0]], [[0.1, 0.2]]])}])


@pytest.mark.parametrize("kind", ["referring", "generalised"])
def test_phrases_that_the_model_was_not_asked_for_are_missed(catalog, kind):
    regions = [Region(text, mask=encode_mask(TRUTH)) for text in ("one", "other")]
    record = {"file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1], "regions": regions}
    evaluator = EVALUATORS[kind](catalog([record]))
    answer = {"phrase_masks": torch.from_numpy(TRUTH)[None]}
    with pytest.raises(ValueError, match=r"asked for 1 phrases for the 2.*missing \['other'\]"):
        evaluator.process([{**record, "texts": ["one"]}], [answer])
    with pytest.raises(ValueError, match="a phrase stands twice"):
        evaluator.process([{**record, "texts": ["one", "one"]}], [answer])
    with pytest.raises(ValueError, match="texts must be a list of phrases, got 'one'"):
        evaluator.process([{**record, "texts": "one"}], [answer])
    listed = EVALUATORS[kind](catalog([{**record, "texts": ["one"]}]))
    with pytest.raises(ValueError, match=r"its record lists 1 phrases.*missing \['other'\]"):
        listed.process([record], [answer])
    swapped = {"phrase_masks": torch.from_numpy(np.stack([~TRUTH, TRUTH]))}
    swapped["no_target"] = torch.tensor([False, False])
    evaluator.process([{**record, "texts": ["other", "one"]}], [swapped])  # any order
    assert next(iter(evaluator.evaluate().values()))["Pr@0.7"] == 50.0


def test_a_size_that_nobody_gives_and_a_mask_of_another_size_are_named(catalog, tmp_path):
    record = {"file_name": "a.jpg", "regions": [Region("it", mask=encode_mask(TRUTH))]}
    with pytest.raises(ValueError, match="a.jpg: height and width of the image are missing"):
        ReferringEvaluator(catalog([record])).process([record], [RIGHT])
    Image.fromarray(np.uint8(255 * TRUTH)).save(tmp_path / "m.png")
    record = {"file_name": "a.jpg", "texts": ["it"], "mask_file_name": str(tmp_path / "m.png")}
    record = {**record, "height": 5, "width": 6}
    with pytest.raises(ValueError, match=r"a.jpg: the mask .*m.png has shape \(4, 6\)"):
        SalientEvaluator(catalog([record])).process([record], [RIGHT])


@pytest.mark.parametrize("kind", ["salient", "video"])
@pytest.mark.parametrize("highest", [1, 2, 100, 128])
def test_a_mask_file_that_is_not_0_and_255_is_no_empty_truth(catalog, tmp_path, kind, highest):
    Image.fromarray(np.uint8(highest * TRUTH)).save(tmp_path / "m.png")
    record = {"file_name": "a.jpg", "texts": ["it"], "mask_file_name": str(tmp_path / "m.png")}
    record = {**record, "height": SIZE[0], "width": SIZE[1]}
    record = {**record, "video_id": "v", "expression_id": "0", "frame": "0"}
    with pytest.raises(ValueError, match=f"m.png.*grey values up to {highest} only"):
        EVALUATORS[kind](catalog([record])).process([record], [RIGHT])


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 7, NAN])
def test_a_threshold_of_scores_lies_within_them(name, threshold):
    for kind in (ReferringEvaluator, VideoEvaluator):
        with pytest.raises(ValueError, match="threshold must be at least 0 and below 1"):
            kind(name, threshold=threshold)


def test_rounding_of_enlarged_probabilities_is_no_error(name):
    evaluator = ReferringEvaluator(name)
    masks = SCORES[1:] * 1.0001 - 1e-5
    evaluator.process(evaluator._samples.records, [{"phrase_masks": masks}] * 2)
    assert evaluator.evaluate()["referring"]["mIoU"] == 100.0


def test_ids_are_numbers_or_text_and_tensors_count_by_value():
    assert sample_key({"image_id": torch.tensor(3)}) == sample_key({"image_id": 3})
    assert sample_key({"image_id": np.int64(3)}) == sample_key({"image_id": 3})
    for value in ([1, 2], NAN, None, torch.ones(2)):
        with pytest.raises(ValueError, match="image_id must be a number or text"):
            sample_key({"image_id": value})


def test_two_records_with_one_image_id_are_refused(catalog):
    records = [{"file_name": f"{i}.jpg", "image_id": 1.0 if i else 1} for i in range(2)]
    with pytest.raises(ValueError, match="two records 1.jpg"):
        Samples(catalog(records))


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_shared_config(cfg)
    return cfg


def metadata_of(name, **entries):
    MetadataCatalog.get(name).set(**entries)
    return name


@pytest.mark.parametrize("key", ["stuff_classes", "thing_classes"])
@pytest.mark.parametrize("kind", ["sem_seg", "panoptic", ["sem_seg", "panoptic"]])
def test_classes_in_another_order_than_the_vocabulary_are_refused(catalog, cfg, key, kind):
    register_vocabulary(Vocabulary("ordered", ("cat", "dog", "sky")))
    name = catalog([], vocabulary="ordered", evaluator_type=kind)
    metadata_of(name, **{key: ["dog", "cat", "sky"]})
    with pytest.raises(
        ValueError, match=f"{key} has 'dog' at index 0, its vocabulary 'ordered' at 1"
    ):
        read_setting(cfg, name)


def test_classes_under_other_words_keep_their_indices(catalog, cfg):
    register_vocabulary(Vocabulary("worded", ("cat, kitten", "dog")))
    name = catalog([], vocabulary="worded", evaluator_type="sem_seg", stuff_classes=["cat", "Dog"])
    assert read_setting(cfg, name).classes == ("cat", "Dog")
    short = catalog([], vocabulary="worded", evaluator_type="sem_seg", stuff_classes=["cat"])
    with pytest.raises(ValueError, match="1 stuff_classes, but 2 classes in its vocabulary"):
        read_setting(cfg, short)


def test_a_result_under_a_name_that_is_no_class_is_neither_seen_nor_unseen(name):
    class Strange(SemanticEvaluator):
        def evaluate(self):
            return {"sem_seg": {"mIoU": 1.0, "IoU-A": 1.0}}

    evaluator = OpenVocabEvaluator(name, [Strange(name, ("a", "b"))], [0], classes=("a", "b"))
    with pytest.raises(ValueError, match="IoU of 'A', which is none of the 2 classes"):
        evaluator.evaluate()
