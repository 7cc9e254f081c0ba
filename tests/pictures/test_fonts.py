"""Fonts: any script that DejaVu Sans has, a warning for others, a file of the user's own."""

import logging

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from segplugins.pictures import fonts


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(fonts, "_warned", [])
    monkeypatch.delenv(fonts.FONT_VARIABLE, raising=False)


def drawn(text):
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((4, 4), text, fill=255, font=fonts.font_for(text, 24))
    return np.asarray(image)


@pytest.mark.parametrize("letter", "дЖλΩéßşŁöאع")
def test_letters_are_drawn_and_are_no_boxes(letter, caplog):
    box = drawn("\U0010ffff")
    caplog.clear()
    fonts._warned.clear()
    assert (drawn(letter) > 0).any()
    assert (drawn(letter) != box).any()
    assert not caplog.records


def test_a_script_without_a_font_is_told_once(caplog):
    with caplog.at_level(logging.WARNING):
        for name in ("猫", "犬", "дом"):
            fonts.font_for(name, 12)
    (warning,) = caplog.records
    assert "'猫' of the name '猫'" in warning.message and "SEGPLUGINS_FONT" in warning.message


def test_a_font_of_the_user_is_asked_where_the_first_one_lacks_letters(monkeypatch, caplog):
    default = fonts.font_for("a", 12).path
    mono = default.replace("DejaVuSans.ttf", "STIXGeneral.ttf")
    monkeypatch.setenv(fonts.FONT_VARIABLE, mono)
    assert fonts.font_for("cat", 12).path == default
    # Sans has no mathematical bold capital A below some versions: ask for one that only STIX has.
    only = next(
        chr(code)
        for code in range(0x1D400, 0x1D500)
        if fonts.missing_characters(chr(code), default)
        and not fonts.missing_characters(chr(code), mono)
    )
    assert fonts.font_for(only, 12).path == mono
    assert not caplog.records


def test_a_font_that_is_none_is_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    path = tmp_path / "letter.ttf"
    path.write_text("no font")
    monkeypatch.setenv(fonts.FONT_VARIABLE, str(path))
    with pytest.raises(ValueError, match="SEGPLUGINS_FONT='.*letter.ttf' is not a font.*unset it"):
        fonts.font_for("a", 12)


def test_a_name_is_one_line_without_control_characters():
    assert fonts.plain_line("two\nlines\t of") == "two lines of"
    assert fonts.plain_line("bell\x07 half\ud800") == "bell? half?"


def test_a_long_name_is_cut_to_its_width():
    font = fonts.font_for("a", 12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    text = "a long name " * 20
    cut = fonts.shortened(text, font, 100)
    assert cut.endswith("…") and text.startswith(cut[:-1])
    assert 80 < font.getlength(cut) <= 100
    assert fonts.shortened("short", font, 100) == "short"
    assert fonts.shortened(text, font, 3) == ""
