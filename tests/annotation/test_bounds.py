"""Numbers of stages: what they are where a recipe says nothing, and how far they may go."""

import re
from dataclasses import MISSING, fields

import numpy as np
import pytest

from segplugins.annotation.adapters.blip import BlipSpec
from segplugins.annotation.adapters.clip import OpenClipSpec
from segplugins.annotation.adapters.grounding_dino import GroundingDinoSpec
from segplugins.annotation.adapters.owlv2 import Owlv2Spec
from segplugins.annotation.adapters.sam import SamSpec
from segplugins.annotation.adapters.truth import TruthSpec
from segplugins.annotation.combine import ComposePanoptic, MergeByText
from segplugins.annotation.filters import (
    Decide,
    FilterArea,
    FilterDuplicates,
    FilterScore,
    GateMasks,
    SuppressOverlaps,
)
from segplugins.annotation.recipe import STAGES, Settings
from segplugins.annotation.stage import asked, check_choice, check_share
from segplugins.annotation.stages import (
    CaptionBoxes,
    Detect,
    SegmentBoxes,
    SegmentStuff,
    TagImage,
)
from segplugins.annotation.verify import (
    FilterCaptions,
    FilterClip,
    FilterJitter,
    VerifyExistence,
    VerifyMask,
)

MODEL, PICKY = {"model": None}, {"model": None, "rivals": ()}
CLIP = {"name": "x", "weights": "x"}
JITTER = (-0.1, -0.05, 0.05, 0.1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TagImage, {"threshold": 0.0, "annotator": ""}),
        (Detect, {"names": "tags", "threshold": 0.0}),
        (SegmentBoxes, {"replace": True}),
        (CaptionBoxes, {"count": 1, "as_text": True}),
        (SegmentStuff, {"threshold": 0.0}),
        (MergeByText, {"template": "all {}"}),
        (ComposePanoptic, {"min_share": 0.2, "min_pixels": 64}),
        (FilterScore, {"value": "score", "drop": True}),
        (SuppressOverlaps, {"iou": 0.5, "per_text": False}),
        (FilterArea, {"low": 0.001, "high": 0.95, "min_pixels": 1, "drop": True}),
        (FilterDuplicates, {"iou": 0.9}),
        (GateMasks, {"min_quality": 0.7, "min_share": 0.05, "max_share": 1.0, "min_fit": 0.5}),
        (Decide, {"failures": 0}),
        (FilterClip, {"threshold": 0.2, "grow": 0.1, "fade": 0.5, "drop": True}),
        (FilterCaptions, {"threshold": 0.2}),
        (VerifyMask, {"threshold": 0.02, "grow": 0.3, "drop": True}),
        (VerifyExistence, {"threshold": 0.2, "negative_below": 0.05, "temperature": 0.01,
                           "grow": 0.1, "rivals": "vocabulary", "drop": True}),
        (FilterJitter, {"offsets": JITTER, "threshold": 0.8, "iou": "fg", "drop": True}),
        (Settings, {"task": "referring", "start": "nothing", "fraction": 1.0, "seed": 0,
                    "batch_size": 8}),
        (GroundingDinoSpec, {"threshold": 0.25, "batch_size": 8, "half": False}),
        (Owlv2Spec, {"threshold": 0.1, "template": "a photo of a {}"}),
        (SamSpec, {"boxes_at_once": 64}),
        (BlipSpec, {"prompts": (), "count": 1, "beams": 3, "max_tokens": 30, "batch_size": 16}),
        (OpenClipSpec, {"tags": (), "template": "a photo of a {}.", "most": 10, "batch_size": 64}),
        (TruthSpec, {"noisy_images": 1.0, "wrong_box": 0.0, "wrong_name": 0.0, "ragged": 0.0,
                     "score_noise": 0.0, "seed": 0}),
    ],
)  # fmt: skip
def test_numbers_where_a_recipe_says_nothing(kind, expected):
    # A recorded recipe leaves them out: its output changes with them.
    defaults = {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    assert {name: defaults[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "name", "low", "high", "others"),
    [
        (TagImage, "threshold", 0, 1, MODEL),
        (Detect, "threshold", 0, 1, MODEL),
        (SegmentStuff, "threshold", 0, 1, MODEL),
        (ComposePanoptic, "min_share", 0, 1, {}),
        (FilterScore, "threshold", -1, 1, {}),
        (SuppressOverlaps, "iou", 0, 1, {}),
        (FilterDuplicates, "iou", 0, 1, {}),
        (FilterArea, "low", 0, 1, {"high": 1.0}),
        (FilterArea, "high", 0.25, 1, {"low": 0.25}),
        (GateMasks, "min_quality", 0, 1, {}),
        (GateMasks, "min_share", 0, 1, {}),
        (GateMasks, "max_share", 0.25, 1, {"min_share": 0.25}),
        (GateMasks, "min_fit", 0, 1, {}),
        (FilterClip, "threshold", -1, 1, MODEL),
        (FilterClip, "fade", 0, 1, MODEL),
        (FilterClip, "grow", 0, 10, MODEL),
        (FilterCaptions, "threshold", -1, 1, MODEL),
        (VerifyMask, "threshold", -2, 2, MODEL),
        (VerifyMask, "grow", 0, 10, MODEL),
        (VerifyExistence, "threshold", 0, 1, {**PICKY, "negative_below": 0}),
        (VerifyExistence, "negative_below", 0, 0.25, {**PICKY, "threshold": 0.25}),
        (VerifyExistence, "grow", 0, 10, PICKY),
        (FilterJitter, "threshold", 0, 1, MODEL),
        (Settings, "fraction", 0, 1, {}),
        (GroundingDinoSpec, "threshold", 0, 1, {"folder": "x"}),
        (GroundingDinoSpec, "batch_size", 1, 4096, {"folder": "x"}),
        (Owlv2Spec, "threshold", 0, 1, {"folder": "x"}),
        (OpenClipSpec, "batch_size", 1, 100_000, CLIP),
        *[(TruthSpec, name, 0, 1, {"lines": "x"})
          for name in ("noisy_images", "wrong_box", "wrong_name", "ragged", "score_noise")],
    ],
)  # fmt: skip
def test_bounds_are_part_of_a_range_and_what_lies_behind_them_is_not(kind, name, low, high, others):
    for bound in (low, high):
        assert getattr(kind(**{**others, name: bound}), name) == bound
    for value in (low - 0.01, high + 0.01, float("nan")):
        message = f"{name} is {value}, expected {low:g} to {high:g}"
        with pytest.raises(ValueError, match=re.escape(message)):
            kind(**{**others, name: value})


@pytest.mark.parametrize(
    ("kind", "name", "least", "others"),
    [
        (Decide, "failures", 0, {}),
        (CaptionBoxes, "count", 1, MODEL),
        (Settings, "batch_size", 1, {}),
        (SamSpec, "boxes_at_once", 1, {"folder": "x"}),
        (OpenClipSpec, "most", 1, CLIP),
        *[(BlipSpec, name, 1, {"folder": "x"})
          for name in ("count", "beams", "max_tokens", "batch_size")],
    ],
)  # fmt: skip
def test_whole_numbers_have_a_least_one(kind, name, least, others):
    assert getattr(kind(**{**others, name: least}), name) == least
    message = f"{name} is {least - 1}, expected {least} or more"
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**{**others, name: least - 1})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (VerifyExistence, {**PICKY, "temperature": -1}, "temperature is -1, expected more than 0"),
        (VerifyExistence, {**PICKY, "temperature": float("nan")}, "temperature is nan, expected"),
        (VerifyExistence, {**PICKY, "temperature": float("inf")}, "temperature is inf, expected"),
        (VerifyExistence, {**MODEL, "rivals": "words"}, "rivals is 'words', expected one of 'voc"),
        (FilterJitter, {**MODEL, "iou": "bg"}, "iou is 'bg', expected one of 'fg', 'fg_bg_mean'"),
        (FilterJitter, {**MODEL, "offsets": ()}, "offsets are (), expected numbers in (-1, 1)"),
        (FilterJitter, {**MODEL, "offsets": (0.1, -1.0)}, "offsets are (0.1, -1.0), expected"),
        (FilterJitter, {**MODEL, "offsets": (float("nan"),)}, "offsets are (nan,), expected"),
        (MergeByText, {"template": "{} and {}"}, "expected '{}' once in it"),
        (Owlv2Spec, {"folder": "x", "template": "a {} {}"}, "template is 'a {} {}', expected '{}'"),
        (OpenClipSpec, {**CLIP, "template": "{}{}"}, "template is '{}{}', expected '{}' once"),
    ],
)
def test_other_values_that_cannot_be_meant(kind, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**options)


def test_offsets_reach_all_but_a_whole_box():
    assert FilterJitter(model=None, offsets=(-0.99, 0.99)).offsets == (-0.99, 0.99)


def test_messages_of_ranges_and_choices():
    with pytest.raises(ValueError, match=r"^x is 1.01, expected 0 to 1$"):
        check_share("x", 1.01)
    with pytest.raises(ValueError, match=r"^x is -0.5, expected 0.25 to 3$"):
        check_share("x", -0.5, 0.25, 3)
    with pytest.raises(ValueError, match=r"^x is 'c', expected one of 'a', 'b'$"):
        check_choice("x", "c", ("a", "b"))


def test_only_samples_with_a_question_are_asked_about():
    questions = [[], [1], [], np.zeros((2, 4)), np.zeros((0, 4))]
    assert asked([None] * 5, questions) == [1, 3]


def test_every_stage_is_called_by_its_name_and_names_the_roles_of_its_models():
    assert set(STAGES) == {
        "tag_image", "caption_image", "detect", "segment_boxes", "caption_boxes",
        "segment_phrase", "segment_stuff", "merge_by_text", "compose_panoptic", "filter_score",
        "suppress_overlaps", "filter_area", "filter_duplicates", "gate_masks", "decide",
        "filter_clip", "filter_captions", "verify_mask", "verify_existence", "filter_jitter",
    }  # fmt: skip
    roles = {name: stage.roles["model"] for name, stage in STAGES.items() if stage.roles}
    assert roles == {
        "tag_image": ("tagger",), "caption_image": ("captioner",), "detect": ("detector",),
        "segment_boxes": ("box_segmenter",), "caption_boxes": ("region_captioner",),
        "segment_phrase": ("phrase_segmenter",), "segment_stuff": ("stuff_segmenter",),
        "filter_clip": ("scorer",), "filter_captions": ("scorer",), "verify_mask": ("scorer",),
        "verify_existence": ("scorer",), "filter_jitter": ("box_segmenter",),
    }  # fmt: skip
    assert Decide().title == "decide" and Decide(title="4 decide").title == "4 decide"
