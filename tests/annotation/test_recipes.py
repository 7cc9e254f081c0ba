"""The recipes that ship: read, checked, and refused in one line where their weights are missing."""

from pathlib import Path

import pytest

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.recipe import read_recipe
from segplugins.prediction import annotation

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "configs" / "annotation").glob("*.yaml"))
STAGES = {
    "drawn": ["tag_image", "detect", "suppress_overlaps", "segment_boxes", "filter_area",
              "filter_score", "filter_clip", "filter_jitter", "verify_mask", "decide",
              "verify_existence", "caption_boxes", "filter_duplicates"],
    "own_boxes": ["segment_boxes", "gate_masks"],
    "own_streets": ["segment_stuff", "filter_area"],
    "querymeldnet_captions": ["segment_boxes", "gate_masks", "caption_boxes"],
    "querymeldnet_masks": ["segment_boxes", "gate_masks"],
    "umg_clip": ["tag_image", "caption_image", "filter_captions", "detect", "detect",
                 "suppress_overlaps", "segment_boxes", "filter_jitter", "caption_boxes",
                 "filter_duplicates", "segment_stuff", "compose_panoptic"],
    "unilseg_boxes": ["caption_boxes", "segment_boxes", "filter_area", "filter_clip",
                      "filter_duplicates"],
    "unilseg_images": ["caption_image", "segment_phrase", "filter_area", "filter_clip"],
    "unilseg_masks": ["tag_image", "detect", "suppress_overlaps", "segment_boxes",
                      "merge_by_text", "filter_area", "filter_clip"],
}  # fmt: skip


def test_every_recipe_is_listed():
    assert [path.stem for path in RECIPES] == list(STAGES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_reads_and_names_what_is_missing(path, monkeypatch, tmp_path):
    kinds = {**KINDS, **annotation.KINDS}
    recipe = read_recipe(path, kinds, vocabulary=["dog", "cat"])
    assert [stage.name for stage in recipe.stages] == STAGES[path.stem]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^model '\w+': no ") as caught:
        recipe.check_models()
    assert "\n" not in str(caught.value)
