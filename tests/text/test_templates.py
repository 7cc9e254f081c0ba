"""Template sets: data in a fixed order."""

import pytest
from open_clip import OPENAI_IMAGENET_TEMPLATES

from segplugins.text import template_names, template_set


def test_the_80_templates_are_openais_in_their_order():
    assert [t.format("x") for t in template_set("imagenet80")] == [
        template("x") for template in OPENAI_IMAGENET_TEMPLATES
    ]


def test_every_set_has_its_size():
    sizes = {name: len(template_set(name)) for name in template_names()}
    expected = {
        "imagenet80": 80,
        "imagenet_select8": 8,
        "vild14": 14,
        "xdecoder81": 81,
        "groupvit7": 7,
    }
    assert sizes == {**expected, "single": 1, "simple": 1, "none": 1}
    assert template_set("none") == ("{}",)
    assert template_set("single") == ("A photo of a {} in the scene",)


def test_a_file_is_a_set_too(tmp_path):
    (tmp_path / "mine.txt").write_text("one {}\n\nall the {}s\n", encoding="utf-8")
    assert template_set(str(tmp_path / "mine.txt")) == ("one {}", "all the {}s")


def test_wrong_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown template set 'imagenet'. Known: .*imagenet80"):
        template_set("imagenet")
    (tmp_path / "mine.txt").write_text("no placeholder\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'no placeholder' must hold the placeholder"):
        template_set(str(tmp_path / "mine.txt"))
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a list of at least one"):
        template_set(str(tmp_path / "empty.txt"))
