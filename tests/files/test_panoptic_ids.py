"""Ids of panoptic maps: R + 256 G + 65536 B, in every kind of PNG that holds them."""

import io

import numpy as np
import pytest
from PIL import Image

from segplugins.files.faults import Collect, FaultError
from segplugins.files.panoptic_ids import read_segment_ids

COLOURS = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[255, 255, 255], [7, 8, 9], [0, 0, 0]]])
IDS = [[1, 256, 65536], [2**24 - 1, 7 + 8 * 256 + 9 * 65536, 0]]


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def colours(mode="RGB"):
    image = Image.fromarray(COLOURS.astype(np.uint8))
    if mode == "P":
        return image.quantize(6, dither=Image.Dither.NONE)
    image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.array([[0, 1, 128], [255, 3, 200]], np.uint8)))
    return image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_colour_is_its_number_whatever_its_alpha(mode):
    ids = read_segment_ids(png(colours(mode)))
    assert ids.dtype == np.uint32 and ids.tolist() == IDS


def test_a_palette_with_transparency_is_looked_up():
    assert read_segment_ids(png(colours("P"), transparency=0)).tolist() == IDS


def test_a_map_is_not_turned_as_its_exif_data_say():
    exif = Image.Exif()
    exif[274] = 6
    assert read_segment_ids(png(colours(), exif=exif)).tolist() == IDS


@pytest.mark.parametrize(("mode", "raw"), [("L", "L"), ("1", "1"), ("I;16", "I;16B"), ("LA", "LA")])
def test_grey_maps_are_refused(mode, raw):
    content = png(Image.new(mode, (3, 2)))
    with pytest.raises(FaultError, match=f"has pixels of kind {raw}, expected RGB of 8 bits"):
        read_segment_ids(content)
    policy = Collect()
    assert read_segment_ids(content, policy) is None
    assert [fault.kind for fault in policy.faults] == ["map-form"]


def test_a_damaged_or_missing_map_is_a_fault(tmp_path):
    policy = Collect()
    content = png(colours().resize((64, 64)))
    assert read_segment_ids(content[: len(content) // 2], policy, what="sky map") is None
    assert read_segment_ids(tmp_path / "gone.png", policy) is None
    assert [fault.kind for fault in policy.faults] == ["unreadable", "missing"]
    assert "sky map" in str(policy.faults[0])
