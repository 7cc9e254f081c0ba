"""What adapters make of the tensors of a model: boxes, spans, scores, captions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segplugins.annotation.adapters.blip import (
    BlipCaptioner,
    BlipSpec,
    distinct_phrases,
    without_prompt,
)
from segplugins.annotation.adapters.files import FileAnnotator
from segplugins.annotation.adapters.grounding_dino import (
    GroundingDinoDetector,
    best_names,
    parts_of_names,
    text_of_names,
    token_spans,
)
from segplugins.annotation.adapters.owlv2 import Owlv2Detector
from segplugins.annotation.adapters.pretrained import corners_of_unit_boxes, crops, moved
from segplugins.annotation.adapters.sam import SamSegmenter, _embeddings_of, prompt_scale
from segplugins.annotation.adapters.truth import TruthSpec, is_true, meant_regions
from segplugins.annotation.interfaces import Detection, Image, Phrase, View
from segplugins.files.lines import LineEntry
from segplugins.structures.regions import Region, Task, encode_mask

INFINITE = float("inf")


def image(height, width, name="x.jpg"):
    return Image(np.zeros((height, width, 3), np.uint8), name)


def logit(share):
    return float(np.log(share / (1 - share)))


# Boxes, crops, types


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(0, 50)] * 2), st.tuples(*[st.integers(1, 50)] * 2))
def test_unit_boxes_come_back_as_the_corners_that_they_were_made_of(low, sides):
    x0, y0, x1, y1 = *low, low[0] + sides[0], low[1] + sides[1]
    unit = [(x0 + x1) / 2 / 200, (y0 + y1) / 2 / 120, sides[0] / 200, sides[1] / 120]
    corners = corners_of_unit_boxes(
        torch.tensor([unit], dtype=torch.float64), height=120, width=200
    )
    np.testing.assert_allclose(corners, [[x0, y0, x1, y1]], atol=1e-9)


def test_boxes_of_half_precision_are_scaled_in_double():
    corners = corners_of_unit_boxes(torch.tensor([[0.5, 0.5, 1, 1]]).half(), 3001, 4001)
    assert corners.dtype == np.float64 and corners.tolist() == [[0, 0, 4001, 3001]]
    assert corners_of_unit_boxes(torch.zeros(0, 4), 4, 4).shape == (0, 4)


def test_crops_show_rows_and_columns_of_their_box():
    pixels = np.arange(40 * 60, dtype=np.int64).reshape(40, 60, 1).repeat(3, axis=2)
    (part,) = crops(Image(pixels), np.array([[5, 7, 8, 9.0]]))
    assert part[..., 0].tolist() == [[425, 426, 427], [485, 486, 487]]


def test_numbers_go_to_the_type_of_the_model_and_indices_stay():
    model = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float16)
    given = {"pixels": torch.ones(2), "ids": torch.tensor([1, 2]), "words": ["a"]}
    types = {key: getattr(value, "dtype", None) for key, value in moved(given, model).items()}
    assert types == {"pixels": torch.float16, "ids": torch.int64, "words": None}


# Grounding DINO


def test_spans_follow_names_of_every_length():
    names = ["A", "blue whale", "sky"]
    text = text_of_names(names)
    assert text == "a. blue whale. sky."
    letters = [(n, n + 1) for n in range(len(text))]  # a token per letter
    assert token_spans(names, letters) == [[0], list(range(3, 13)), [15, 16, 17]]
    # Tokens that hang over a border belong to nobody.
    assert token_spans(["ab", "cd"], [(0, 3), (2, 3), (4, 6), (1, 1)]) == [[], [2]]


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([3, 4], 7, [["a", "b"]]),
        ([4, 4], 7, [["a"], ["b"]]),
        ([7, 1, 6, 1], 7, [["a"], ["b", "c"], ["d"]]),
        ([7], 7, [["a"]]),
    ],
)
def test_texts_are_filled_to_their_limit(lengths, limit, expected):
    assert parts_of_names("abcd", lengths, limit) == expected


def test_a_name_has_the_score_of_its_best_token_and_none_where_it_has_no_token():
    logits = torch.tensor([[1.0, -2.0, 0.5], [-INFINITE, 3.0, 4.0]]).half()
    scores, best = best_names(logits, [[], [0, 1], [2]])
    assert best.tolist() == [1, 2] and scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-4))])
    assert best_names(logits, [[]])[0].tolist() == [0, 0]


class Dino:
    """Reads one token per name and one per full stop; a query per name in the order asked."""

    config = SimpleNamespace(max_text_len=6)
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.asked = []
        self.tokenizer = self._tokens

    def _tokens(self, texts, add_special_tokens=True, **options):
        if not add_special_tokens:
            return SimpleNamespace(input_ids=[[1, 2] for _ in texts])
        offsets = []
        for text in texts:
            places, start = [(0, 0)], 0
            for word in text.split(" "):
                places += [(start, start + len(word) - 1), (start + len(word) - 1,) * 2]
                start += len(word) + 1
            offsets.append([*places, (0, 0)])
        longest = max(map(len, offsets))
        padded = [[*each, *[(0, 0)] * (longest - len(each))] for each in offsets]
        return SimpleNamespace(offset_mapping=padded)

    def processor(self, images, text, padding, return_tensors):
        assert padding and return_tensors == "pt"
        self.asked.append(([each.shape[:2] for each in images], list(text)))
        return {"count": torch.tensor(len(images))}

    def __call__(self, count):
        logits = torch.full((int(count), 3, 6), -INFINITE)
        logits[:, 0, 1], logits[:, 1, 1], logits[:, 2, 1] = logit(0.9), logit(0.6), logit(0.25)
        logits[:, 1, 3] = logit(0.7)  # the second name
        boxes = torch.tensor([[0.5, 0.5, 1, 1], [0.25, 0.75, 0.5, 0.5], [0.5, 0.5, 0.1, 0.1]])
        return SimpleNamespace(logits=logits, pred_boxes=boxes.expand(int(count), 3, 4))


def dino(threshold=0.25, batch_size=8):
    model = Dino()

    class Processor:
        tokenizer = staticmethod(model.tokenizer)

        def __call__(self, **given):
            return model.processor(**given)

    return model, GroundingDinoDetector(model, Processor(), threshold, batch_size)


def test_detections_have_pixels_of_their_image_and_the_name_as_it_was_asked():
    model, detector = dino(threshold=0.5)
    one, other = detector.detect([image(40, 80), image(20, 10)], [["Dog", "Car"], ["Sky"]])
    assert [(d.text, d.box) for d in one] == [("Dog", (0, 0, 80, 40)), ("Car", (0, 20, 40, 40))]
    assert [d.score for d in one] == pytest.approx([0.9, 0.7])
    assert [(d.text, d.box) for d in other] == [("Sky", (0, 0, 10, 20)), ("Sky", (0, 10, 5, 20))]
    assert [d.score for d in other] == pytest.approx([0.9, 0.6])
    assert model.asked == [([(40, 80), (20, 10)], ["dog. car.", "sky."])]


@pytest.mark.parametrize(("threshold", "count"), [(0.24, 3), (0.26, 2), (0.75, 1), (0.95, 0)])
def test_only_higher_scores_than_the_threshold_are_detections(threshold, count):
    _, detector = dino(threshold=threshold)
    assert len(detector.detect([image(40, 80)], [["Dog", "Car"]])[0]) == count


def test_names_that_fill_several_texts_are_asked_in_batches_of_pairs():
    model, detector = dino(threshold=0.8, batch_size=2)
    # 6 tokens less 2 around the text: two names of two tokens each.
    found = detector.detect([image(4, 8), image(6, 6)], [["a", "b", "c"], ["d"]])
    assert [texts for _, texts in model.asked] == [["a. b.", "c."], ["d."]]
    assert [[d.text for d in listed] for listed in found] == [["a", "c"], ["d"]]
    assert detector.detect([image(4, 8)], [[]]) == [[]] and len(model.asked) == 2


# OWLv2


class Owl:
    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=16))
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, logits):
        self.logits, self.texts = torch.tensor(logits), None

    def tokenizer(self, texts, padding, truncation, max_length, return_tensors):
        assert (padding, truncation, max_length) == ("max_length", True, 16)
        self.texts = texts
        ids = torch.zeros(len(texts), 16, dtype=torch.long)
        return {"input_ids": ids, "attention_mask": ids, "other": ids}

    def image_processor(self, pixels, return_tensors):
        return {"pixel_values": torch.zeros(len(pixels), 3, 8, 8)}

    def __call__(self, input_ids, attention_mask, pixel_values):
        boxes = torch.tensor([[0.5, 0.5, 1, 1], [0.25, 0.125, 0.5, 0.25]])
        return SimpleNamespace(logits=self.logits, pred_boxes=boxes.expand(len(pixel_values), 2, 4))


def owl(logits, **options):
    model = Owl(logits)
    return model, Owlv2Detector(model, model, **options)


def test_boxes_are_shares_of_the_square_that_images_are_padded_to():
    high, low = logit(0.8), logit(0.05)
    logits = [[[high, low], [low, logit(0.3)]], [[low, 9.0], [logit(0.5), 9.0]]]
    model, detector = owl(logits, template="one {x} {}")
    wide, tall = detector.detect([image(40, 80), image(60, 20)], [["dog", "car"], ["sky"]])
    assert model.texts == ["one {x} dog", "one {x} car", "one {x} sky", ""]
    assert [(d.text, d.box) for d in wide] == [("dog", (0, 0, 80, 80)), ("car", (0, 0, 40, 20))]
    assert [d.score for d in wide] == pytest.approx([0.8, 0.3])
    # The second text of the second image was added to fill up: its 9.0 counts for nothing.
    assert [(d.text, d.box) for d in tall] == [("sky", (0, 0, 30, 15))]
    assert tall[0].score == pytest.approx(0.5)


def test_images_without_names_get_no_boxes():
    model, detector = owl([[[1.0], [1.0]], [[2.0], [2.0]]])
    found = detector.detect([image(4, 4), image(4, 4)], [[], ["a"]])
    assert [len(listed) for listed in found] == [0, 2] and model.texts == ["", "a photo of a a"]
    model, detector = owl([[[1.0]]])
    assert detector.detect([image(4, 4)], [[]]) == [[]] and model.texts is None


# SAM


def test_the_embeddings_of_one_image_are_taken_out_in_every_form():
    first, levels = torch.arange(3.0)[:, None], [torch.arange(3.0), torch.arange(3.0) * 2]
    assert _embeddings_of(first, 1)["image_embeddings"].tolist() == [[1.0]]
    high = _embeddings_of((first, levels), 2)  # SAM-HQ
    assert high["image_embeddings"].tolist() == [[2.0]]
    assert [each.tolist() for each in high["intermediate_embeddings"]] == [[2.0], [4.0]]
    pyramid = _embeddings_of(levels, 1)["image_embeddings"]  # SAM 2
    assert [each.tolist() for each in pyramid] == [[1.0], [2.0]]


def test_prompts_stretch_each_axis_by_its_own_factor():
    inputs = {"reshaped_input_sizes": torch.tensor([[64, 32]])}
    assert prompt_scale(inputs, 0, (16, 64)).tolist() == [0.5, 4, 0.5, 4]


def test_quality_is_cut_to_a_share_and_masks_are_those_above_zero():
    class Model:
        device, dtype = torch.device("cpu"), torch.float32

        def get_image_embeddings(self, pixels):
            return pixels

        def __call__(self, image_embeddings, input_boxes, multimask_output):
            masks = torch.tensor([[-1.0, 1.0], [0.0, 2.0]]).expand(1, 3, 1, 2, 2)
            return SimpleNamespace(
                pred_masks=masks, iou_scores=torch.tensor([[[-0.5], [0.25], [1.5]]])
            )

    class Processor:
        def __call__(self, images, return_tensors):
            sizes = torch.tensor([each.shape[:2] for each in images])
            pixels = torch.zeros(len(images), 3, 2, 2)
            return {"pixel_values": pixels, "original_sizes": sizes}

        def post_process_masks(self, masks, sizes):
            assert sizes.tolist() == [[2, 2]]
            return [masks[0] > 0]

    (answer,) = SamSegmenter(Model(), Processor()).segment_boxes([image(2, 2)], [np.ones((3, 4))])
    assert answer.scores.tolist() == [0, 0.25, 1]
    assert answer.masks.tolist() == [[[False, True], [False, True]]] * 3


# BLIP


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("a photo of a dog", "a photo of", "a dog"),
        ("A  Photo of\na dog", "a photo of", "a dog"),
        ("animals of the zoo", "a", "animals of the zoo"),  # no word "a"
        ("a photo of animals", "a photo of a", "a photo of animals"),
        ("Straße mit Auto", "straße mit", "Auto"),  # of another length in lower case
        ("a photo of", "a photo of", ""),
        ("a", "a photo of", "a"),
        ("a dog", "", "a dog"),
        ("a dog", None, "a dog"),
    ],
)
def test_prompts_are_taken_off_word_by_word(text, prompt, expected):
    assert without_prompt(text, prompt) == expected


def test_the_best_of_equal_texts_stays_and_those_without_score_come_last():
    phrases = [Phrase("x"), Phrase("b", 0.2), Phrase("a", 0.3, 1), Phrase("A", 0.3, 2)]
    assert distinct_phrases(phrases, 3) == [Phrase("a", 0.3, 1), Phrase("b", 0.2), Phrase("x")]


class Blip:
    """Says the mean colour of a part and the number of the beam."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.calls = []

    def __call__(self, images, return_tensors, padding, text=None):
        prompts = [""] * len(images) if text is None else text
        self.words = [f"{prompt} {int(each.mean())}" for prompt, each in zip(prompts, images)]
        return {"pixel_values": torch.zeros(len(images), 1)}

    def generate(self, pixel_values, num_beams, num_return_sequences, max_new_tokens, **options):
        self.calls.append((len(pixel_values), num_beams, num_return_sequences, max_new_tokens))
        names = [f"{word} {n}" for word in self.words for n in range(num_return_sequences)]
        chances = [np.log(0.5 / (n + 1)) for _ in self.words for n in range(num_return_sequences)]
        return SimpleNamespace(sequences=names, sequences_scores=torch.tensor(chances))

    def batch_decode(self, sequences, skip_special_tokens):
        return list(sequences)


def test_captions_stand_by_image_and_prompt_with_their_chance():
    model = Blip()
    spec = BlipSpec(folder="x", prompts=["go", "so"], count=2, beams=1, batch_size=2, max_tokens=7)
    images = [Image(np.full((4, 4, 3), grey, np.uint8)) for grey in (1, 2, 3)]
    found = BlipCaptioner(model, model, spec).caption(images)
    assert [[(p.text, p.prompt_id) for p in listed] for listed in found] == [
        [(f"{grey} 0", 0), (f"{grey} 1", 0), (f"{grey} 0", 1), (f"{grey} 1", 1)]
        for grey in (1, 2, 3)
    ]
    assert [p.score for p in found[0]] == pytest.approx([0.5, 0.25] * 2)
    assert model.calls == [(2, 2, 2, 7), (1, 2, 2, 7)] * 2  # beams as many as captions


def test_captions_of_boxes_come_back_to_their_boxes():
    model = Blip()
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = 90
    boxes = [np.array([[0, 0, 3, 4], [3, 0, 6, 4.0]]), np.zeros((0, 4)), np.array([[1, 0, 5, 4.0]])]
    captioner = BlipCaptioner(model, model, BlipSpec(folder="x", beams=5))
    found = captioner.caption_boxes([Image(pixels)] * 3, boxes, 1)
    assert [[[p.text for p in its] for its in listed] for listed in found] == [
        [["0 0"], ["90 0"]], [], [["45 0"]],
    ]  # fmt: skip
    assert model.calls == [(3, 5, 1, 30)] and found[0][0][0].prompt_id is None


# Files and the truth


def test_tags_in_one_text_are_cut_at_bars_and_captions_are_not(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(
        '{"x.jpg": {"tags": " dog|red car ", "captions": "a | b"}, "y": {"tags": null}}'
    )
    model = FileAnnotator(path)
    assert model.tag([image(1, 1)]) == [[Phrase("dog"), Phrase("red car")]]
    assert model.caption([image(1, 1)]) == [[Phrase("a | b")]]
    assert model.tag([image(1, 1, "y")]) == [[]]


def entry(*regions, size=(20, 30)):
    made = []
    for text, (x0, y0, x1, y1) in regions:
        mask = np.zeros(size, bool)
        mask[y0:y1, x0:x1] = True
        made.append(Region(text, (x0, y0, x1, y1), encode_mask(mask)))
    return LineEntry(1, "x", "x.jpg", *size, Task.INSTANCE, made)


@pytest.mark.parametrize(
    ("text", "box", "iou", "expected"),
    [
        ("dog", (0, 0, 10, 5), 0.5, True),  # half of the first
        ("dog", (0, 0, 10, 5), 0.51, False),
        ("DOG", (0, 0, 20, 10), 1.0, True),  # both together
        ("cat", (0, 0, 10, 10), 0.1, False),  # another's box
        ("all cat", (20, 10, 30, 20), 1.0, True),
    ],
)
def test_a_region_is_right_where_one_or_all_of_its_name_overlap_enough(text, box, iou, expected):
    truth = entry(("dog", (0, 0, 10, 10)), ("dog", (10, 0, 20, 10)), ("cat", (20, 10, 30, 20)))
    mask = np.zeros((20, 30), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    assert is_true(truth, text, box, None, iou) is expected
    assert bool(is_true(truth, text, (0, 0, 1, 1), mask, iou)) is expected  # the mask counts
    assert not is_true(truth, text, box, mask & False, iou)


def test_names_mean_more_than_captions_and_captions_more_than_words():
    truth = entry(("dog", (0, 0, 10, 10)), ("cat", (10, 0, 20, 10)), ("cat dog", (0, 10, 9, 19)))
    truth.regions[1].extra["captions"] = [{"text": "A dog and more"}]
    texts = lambda phrase: [r.text for r in meant_regions(truth, phrase)]  # noqa: E731
    assert texts("All Dog") == ["dog"] and texts("a dog and more") == ["cat"]
    assert texts("the cat dog sleeps") == ["dog", "cat", "cat dog"] and texts("catdog") == []


def test_the_scorer_weighs_faded_pixels_and_looks_at_its_box_alone(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text(
        '{"file_name": "x.jpg", "height": 20, "width": 30, "regions": [{"text": "dog", '
        '"mask": [[0, 0, 10, 0, 10, 10, 0, 10]]}]}\n'
    )
    looker = TruthSpec(lines=str(path)).build("cpu")
    shown = np.zeros((20, 30), bool)
    shown[:, 5:] = True
    views = [View(image(20, 30), (0, 0, 20, 10)), View(image(20, 30), (0, 0, 20, 10), shown, 0.8)]
    (plain,), (faded,) = looker.score(views, [["dog"], ["dog"]])
    # 100 of 200 pixels; of the dog 50 count a fifth, of the view too: 60 of 160.
    assert (plain, faded) == pytest.approx((0.12 + 0.18 * 0.5, 0.12 + 0.18 * 60 / 160))
    ((one,),) = looker.detect([image(20, 30)], [["DOG"]])
    assert isinstance(one, Detection) and one.box == (0, 0, 10, 10) and 0.55 <= one.score <= 1
