"""Fonts that draw the names of any vocabulary."""

import logging
import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import List, Tuple

from PIL import ImageFont

# A font file for scripts that DejaVu Sans lacks.
FONT_VARIABLE = "SEGPLUGINS_FONT"
_MISSING = "\U0010ffff"  # no font has it; drawn as the font draws any character that it lacks

logger = logging.getLogger(__name__)
_warned: List[str] = []


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Returns a font that has every character of the text.

    DejaVu Sans, which comes with matplotlib, has Latin with all accents, Cyrillic, Greek, Armenian,
    Georgian, Hebrew and Arabic. For other scripts the environment variable SEGPLUGINS_FONT names a
    font file (.ttf, .otf, .ttc), which is taken for the texts that need it.

    Args:
        text: what will be drawn, in one line.
        size: height of the letters in pixels, about.

    Raises:
        ValueError: SEGPLUGINS_FONT is not a font file.
    """
    paths = _font_files(os.environ.get(FONT_VARIABLE, ""))
    for path in paths:
        if not missing_characters(text, path):
            return _font(path, size, text.isascii())
    _warn_once(missing_characters(text, paths[-1]), text)
    return _font(paths[0], size, text.isascii())


def plain_line(text: str) -> str:
    """Returns the text in one line, with characters that no font can draw as "?"."""
    line = " ".join(str(text).split())
    encodable = line.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "?" for letter in encodable)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Returns the text, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept and font.getlength(text[:kept].rstrip() + "…") > width:
        kept -= max(1, kept // 8) if kept > 16 else 1
    return text[:kept].rstrip() + "…" if kept else ""


@lru_cache(maxsize=4096)
def missing_characters(text: str, path: str) -> str:
    """Returns the characters of the text that a font file lacks."""
    return "".join(letter for letter in dict.fromkeys(text) if not _has_glyph(letter, path))


@lru_cache(maxsize=16384)
def _has_glyph(letter: str, path: str) -> bool:
    font = _font(path, 24, True)
    return letter.isspace() or _drawn(font, letter) != _drawn(font, _MISSING)


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> Tuple:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=4)
def _font_files(user_font: str) -> Tuple[str, ...]:
    package = find_spec("matplotlib").submodule_search_locations[0]
    default = str(Path(package, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf"))
    if not user_font:
        return (default,)
    try:
        ImageFont.truetype(user_font, 12)
    except OSError as error:
        raise ValueError(
            f"{FONT_VARIABLE}='{user_font}' is not a font that can be read ({error}); give the "
            "path of a .ttf, .otf or .ttc file, or unset it"
        ) from error
    return (default, user_font)


@lru_cache(maxsize=64)
def _font(path: str, size: int, simple: bool) -> ImageFont.FreeTypeFont:
    # Joined and right-to-left scripts need Raqm, where Pillow has it; it is several times slower.
    engine = ImageFont.Layout.BASIC if simple else None
    return ImageFont.truetype(path, size, layout_engine=engine)


def _warn_once(missing: str, text: str) -> None:
    """Warns for the first such name of a process; hundreds of names would bury other messages."""
    if not _warned:
        _warned.append(text)
        logger.warning(
            "no font has '%s' of the name '%s': such names are drawn with boxes; set %s to the "
            "path of a font that has them, for example of Noto Sans CJK",
            missing,
            text,
            FONT_VARIABLE,
        )
