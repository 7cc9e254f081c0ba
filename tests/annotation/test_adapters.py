"""Adapters without their packages: what is mapped, and what goes wrong before anything loads."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.adapters.blip import BlipSpec, distinct_phrases, without_prompt
from segplugins.annotation.adapters.clip import ClipAnnotator, OpenClipSpec
from segplugins.annotation.adapters.files import FileAnnotator, FileSpec
from segplugins.annotation.adapters.grounding_dino import (
    best_names,
    parts_of_names,
    text_of_names,
    token_spans,
)
from segplugins.annotation.adapters.pretrained import corners_of_unit_boxes, crops
from segplugins.annotation.adapters.sam import SamSegmenter, prompt_scale
from segplugins.annotation.interfaces import ROLES, Image, Phrase, View
from segplugins.clip import load_clip


def image(height=40, width=60, name="x.jpg", grey=100):
    return Image(np.full((height, width, 3), grey, np.uint8), name)


def test_every_kind_says_which_roles_it_plays():
    for kind, spec in KINDS.items():
        assert spec.kind == kind and spec.roles and set(spec.roles) <= set(ROLES)


def test_unit_boxes_become_corners_in_pixels():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.25], [0.1, 0.2, 0.2, 0.4]])
    corners = corners_of_unit_boxes(boxes, height=40, width=80)
    np.testing.assert_allclose(corners, [[20, 15, 60, 25], [0, 0, 16, 16]], atol=1e-5)


def test_crops_are_whole_pixels():
    shapes = [
        part.shape for part in crops(image(), np.array([[1.5, 2, 9.5, 12], [59.9, 0, 70, 1]]))
    ]
    assert shapes == [(10, 9, 3), (1, 1, 3)]


# Grounding DINO


def test_names_go_to_texts_that_have_room_for_their_tokens():
    assert parts_of_names("abcd", [3, 4, 2, 6], 7) == [["a", "b"], ["c"], ["d"]]
    assert parts_of_names([], [], 7) == []
    with pytest.raises(ValueError, match="name 'x' has 8 tokens, expected at most 7"):
        parts_of_names(["x"], [8], 7)


def test_names_find_their_tokens():
    names = ["Dog", "red car"]
    assert text_of_names(names) == "dog. red car."
    #          [CLS]   dog     .       red     ca      ##r      .        [SEP]
    offsets = [(0, 0), (0, 3), (3, 4), (5, 8), (9, 11), (11, 12), (12, 13), (0, 0)]
    assert token_spans(names, offsets) == [[1], [3, 4, 5]]


def test_a_box_has_the_name_of_its_highest_token():
    logits = torch.tensor([[-9.0, 0.0, 9.0, -1.0, 2.0], [9.0, 1.0, 0.0, -3.0, -float("inf")]])
    scores, best = best_names(logits, [[1], [3, 4]])
    assert best.tolist() == [1, 0]
    assert scores.tolist() == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))])
    assert best_names(logits, [[], [1]])[0].tolist()[0] == 0.5
    # Scores that are equal in float32 still differ as logits.
    assert best_names(torch.tensor([[30.0, 31.0]]), [[0], [1]])[1].tolist() == [1]


# SAM


def test_prompts_are_scaled_as_the_processor_scales_images():
    padded = {"reshaped_input_sizes": torch.tensor([[1024, 512], [683, 1024]])}
    np.testing.assert_allclose(
        prompt_scale(padded, 1, (400, 600)), [1024 / 600, 683 / 400, 1024 / 600, 683 / 400]
    )
    stretched = {"pixel_values": torch.zeros(1, 3, 1024, 1024)}
    np.testing.assert_allclose(
        prompt_scale(stretched, 0, (400, 600)), [1024 / 600, 1024 / 400, 1024 / 600, 1024 / 400]
    )


class FakeSam:
    """Answers a box with the square of the mask grid that it covers; counts encodings."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.encoded, self.decoded = 0, []

    def get_image_embeddings(self, pixels):
        self.encoded += len(pixels)
        return pixels

    def __call__(self, image_embeddings, input_boxes, multimask_output):
        assert multimask_output is False and len(image_embeddings) == 1
        self.decoded.append(input_boxes[0].tolist())
        masks = torch.full((1, len(input_boxes[0]), 1, 8, 8), -1.0)
        for mask, (x0, y0, x1, y1) in zip(masks[0, :, 0], (input_boxes[0] / 4).int().tolist()):
            mask[y0:y1, x0:x1] = 1
        return SimpleNamespace(
            pred_masks=masks, iou_scores=torch.full((1, len(input_boxes[0]), 1), 1.5)
        )


class FakeProcessor:
    def __call__(self, images, return_tensors):
        sizes = torch.tensor([each.shape[:2] for each in images])
        return {"pixel_values": torch.zeros(len(images), 3, 32, 32), "original_sizes": sizes}

    def post_process_masks(self, masks, sizes):
        size = tuple(sizes[0].tolist())
        return [torch.nn.functional.interpolate(masks[0].float(), size, mode="nearest") > 0]


def test_boxes_are_decoded_in_parts_and_images_encoded_once():
    model = FakeSam()
    segmenter = SamSegmenter(model, FakeProcessor(), boxes_at_once=2)
    images = [image(64, 64), image(32, 64)]
    boxes = [np.array([[0, 0, 32, 32], [32, 0, 64, 32], [0, 32, 64, 64.0]]), np.zeros((0, 4))]
    one, none = segmenter.segment_boxes(images, boxes)
    assert one.masks.shape == (3, 64, 64) and none.masks.shape == (0, 32, 64)
    assert [m.sum() for m in one.masks] == [1024, 1024, 2048] and one.masks[1, 0, 32]
    assert one.scores.tolist() == [1, 1, 1]  # clipped
    assert [len(part) for part in model.decoded] == [2, 1] and model.encoded == 2
    assert model.decoded[0] == [[0, 0, 16, 16], [16, 0, 32, 16]]
    segmenter.segment_boxes(images, boxes)
    assert model.encoded == 2  # the same images
    segmenter.segment_boxes([image(64, 64)], boxes[:1])
    assert model.encoded == 3 and segmenter.segment_boxes([], []) == []


# BLIP


def test_captions_are_distinct_and_without_their_prompt():
    phrases = [Phrase("a Dog", 0.2), Phrase("a cat", 0.5), Phrase("A dog", 0.4), Phrase("", 0.9)]
    assert [p.text for p in distinct_phrases(phrases, 5)] == ["a cat", "A dog"]
    assert [p.text for p in distinct_phrases(phrases, 1)] == ["a cat"]
    assert without_prompt("a picture of  a dog", "A picture of") == "a dog"
    assert without_prompt("a dog", "a picture of") == "a dog" == without_prompt("a dog", None)
    with pytest.raises(ValueError, match="beams is 0, expected 1 or more"):
        BlipSpec(folder="x", beams=0)


# transformers is not there


@pytest.mark.parametrize("kind", ["sam", "grounding_dino", "owlv2", "blip"])
def test_a_missing_package_is_named_before_anything_loads(kind, tmp_path, monkeypatch):
    spec = KINDS[kind](folder=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"lacks the config \(config.json\)"):
        spec.check()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=f"kind '{kind}' needs transformers: pip install"):
        spec.check()


# open_clip


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    torch.manual_seed(0)
    towers = load_clip("convnext_drawn")
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    model = torch.nn.ModuleDict({"visual": towers.visual, "text": towers.text})
    torch.save({**model.state_dict(), "logit_scale": towers.logit_scale.data}, path)
    return path


def annotator(path, **options):
    spec = OpenClipSpec(name="convnext_drawn", weights=str(path), **options)
    spec.check()
    return spec.build("cpu")


def test_scores_are_cosines_whatever_the_batch(clip_file):
    draws = np.random.default_rng(0)
    images = [Image(draws.integers(0, 256, (50, 70, 3), np.uint8)) for _ in range(3)]
    shown = np.zeros((50, 70), bool)
    shown[10:30, 20:50] = True
    views = [View(images[0], (0, 0, 70, 50)), View(images[1], (10, 5, 60, 45), shown, 1.0),
             View(images[2], (0, 0, 5, 50))]  # fmt: skip
    texts = [["a dog", "a cat"], ["a dog"], ["a red car", "a dog"]]
    with torch.inference_mode():
        one = annotator(clip_file).score(views, texts)
        small = annotator(clip_file, batch_size=1)
        for scores, again in zip(one, small.score(views, texts)):
            np.testing.assert_allclose(scores, again, atol=1e-5)
        # By hand: the towers on the resized view.
        towers = load_clip("convnext_drawn", str(clip_file))
        resized = small._resized(views[1])
        feature = towers.visual(resized[None])[0]
        word = towers.text(towers.tokenize(["a dog"]))[0][0]
    expected = torch.nn.functional.cosine_similarity(feature, word, dim=0)
    assert one[1][0] == pytest.approx(float(expected), abs=1e-5)
    assert [len(scores) for scores in one] == [2, 1, 2] and small.score([], []) == []


def test_a_view_is_seen_as_a_whole_in_the_colours_of_the_tower(clip_file):
    model = annotator(clip_file)
    resized = model._resized(View(image(grey=128), (0, 0, 60, 40)))
    towers = model._towers
    assert resized.shape == (3, *towers.image_size)
    for channel, mean, std in zip(resized, towers.image_mean, towers.image_std):
        assert channel.numpy() == pytest.approx((128 / 255 - mean) / std, abs=1e-4)


def test_tags_are_the_names_of_the_highest_share(clip_file):
    model = annotator(clip_file, tags=["dog", "cat", "car"], most=2, template="{}")
    with torch.inference_mode():
        (tags,) = model.tag([image()])
        (cosines,) = model.score([View(image(), (0, 0, 60, 40))], [["dog", "cat", "car"]])
    scale = float(model._towers.logit_scale.detach().exp())
    shares = np.exp(scale * (cosines - cosines.max()))
    shares /= shares.sum()
    order = np.argsort(-shares)[:2]
    assert [tag.text for tag in tags] == [["dog", "cat", "car"][i] for i in order]
    assert [tag.score for tag in tags] == pytest.approx(shares[order].tolist(), abs=1e-4)
    with pytest.raises(ValueError, match="needs the key 'tags'"):
        annotator(clip_file).tag([image()])


def test_texts_are_encoded_once_and_no_more_are_kept_than_fit(clip_file, monkeypatch):
    from segplugins.annotation.adapters import clip

    monkeypatch.setattr(clip, "_TEXTS", 3)
    model = annotator(clip_file)
    asked = []
    tokenize = model._towers.tokenize
    model._towers.tokenize = lambda texts: asked.append(list(texts)) or tokenize(texts)
    with torch.inference_mode():
        model.score([View(image(), (0, 0, 9, 9))], [["a", "b", "a"]])
        model.score([View(image(), (0, 0, 9, 9))], [["b", "c", "d"]])
        assert asked == [["a", "b"], ["c", "d"]] and list(model._texts) == ["b", "c", "d"]
        (scores,) = model.score([View(image(), (0, 0, 9, 9))], [["a", "b", "c", "d", "e"]])
    assert len(scores) == 5 and len(model._texts) == 3


def test_the_clip_spec_names_missing_weights_and_follows_their_content(clip_file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file 'none.pt' of kind 'open_clip'"):
        OpenClipSpec(name="ViT-B-16", weights="none.pt").check()
    with pytest.raises(ValueError, match="template is 'a photo', expected '{}' once in it"):
        OpenClipSpec(name="ViT-B-16", weights="x", template="a photo")
    copy = tmp_path / "copy.pt"
    copy.write_bytes(clip_file.read_bytes())
    one, other = (OpenClipSpec(name="convnext_drawn", weights=str(p)) for p in (clip_file, copy))
    assert one.identity() == other.identity()
    copy.write_bytes(b"other")
    assert one.identity() != other.identity()
    assert isinstance(annotator(clip_file), ClipAnnotator)


# Files


def test_tags_and_captions_of_files_in_every_form(tmp_path):
    path = tmp_path / "tags.json"
    path.write_text(json.dumps({
        "x.jpg": {"tags": "dog | red car", "captions": "a dog"},
        "b/x.jpg": {"tags": [{"name": "cat", "score": 0.5}],
                    "captions": [{"text": "a cat", "score": 1, "prompt_id": 3}]},
        "c.jpg": {"tags": []},
    }))  # fmt: skip
    model = FileAnnotator(path)
    images = [image(name=name) for name in ("x.jpg", "b/x.jpg", "c.jpg")]
    assert model.tag(images) == [[Phrase("dog"), Phrase("red car")], [Phrase("cat", 0.5)], []]
    assert model.caption(images) == [[Phrase("a dog")], [Phrase("a cat", 1, 3)], []]
    with pytest.raises(ValueError, match="tags.json' has no image 'other.jpg'"):
        model.tag([image(name="other.jpg")])
    lines = tmp_path / "tags.jsonl"
    lines.write_text('{"file_name": "x.jpg", "tags": ["dog"]}\n{"file_name": "y", "error": "z"}\n')
    assert FileAnnotator(lines).tag(images[:1]) == [[Phrase("dog")]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1]", r"a.json: got \[1\], expected a mapping of file names"),
        ("a.json", '{"x": ["dog"]}', r"'x': got \['dog'\], expected 'tags' or 'captions'"),
        ("a.json", '{"x": {"tags": [1]}}', "'x', tags: got 1, expected a text or its 'name'"),
        ("a.json", '{"x": {"tags": {"a": 1}}}', "expected a list of texts"),
        ("a.json", '{"x": {"captions": [{"text": "a", "score": "b"}]}}', "or its 'text'"),
        ("a.jsonl", '{"tags": []}', "line 1: got .*, expected a record with 'file_name'"),
        ("a.jsonl", '{"file_name": "x", "tags": []}\n' * 2, "line 2: 'x' stands twice"),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        FileSpec(path=str(tmp_path / name)).build("cpu")
    with pytest.raises(FileNotFoundError, match="no file 'none.json' with tags or captions"):
        FileSpec(path="none.json").check()
