import io

import numpy as np
import pytest
from PIL import Image

from segplugins.files.faults import Collect, FaultError
from segplugins.files.label_maps import read_colours, read_label_map, read_mask
from segplugins.files.panoptic_ids import read_segment_ids

LABELS = np.array([[0, 1, 2], [3, 1, 0]], np.uint8)


def encoded(image, kind="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_channel_of_any_width_keeps_its_numbers(dtype, kind):
    if kind == "PNG" and dtype in (np.int32, np.float32):
        pytest.skip("PNG has neither")
    labels = read_label_map(encoded(LABELS.astype(dtype), kind))
    assert labels.tolist() == LABELS.tolist()
    assert labels.dtype in (np.uint8, np.uint16, np.int32) and labels.dtype.isnative


def test_sixteen_bits_of_either_byte_order_are_numbers_of_this_machine():
    wide = np.array([[0, 459, 65535]], np.uint16)
    for image in (Image.fromarray(wide), Image.frombytes("I;16B", (3, 1), wide.byteswap())):
        labels = read_label_map(encoded(image, "TIFF"))
        assert labels.tolist() == wide.tolist() and labels.dtype.isnative


def test_one_bit_is_0_and_1():
    for kind in ("PNG", "TIFF", "BMP"):
        labels = read_label_map(encoded(Image.fromarray(LABELS == 1), kind))
        assert labels.dtype == np.uint8
        assert labels.tolist() == [[0, 1, 0], [0, 1, 0]], kind


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_gives_its_indices_and_not_its_colours(bits):
    image = Image.fromarray(LABELS % 2**bits)
    image.putpalette([9] * 768)
    assert read_label_map(encoded(image, bits=bits)).tolist() == (LABELS % 2**bits).tolist()


@pytest.mark.parametrize("bits, highest", [(2, 3), (4, 15)])
def test_grey_of_few_bits_is_not_spread_over_8(bits, highest):
    # As programs that squeeze PNGs write it; Pillow reads 15 of 4 bits as 255.
    import struct
    import zlib

    values = np.array([[0, 1, 2, highest]], np.uint8)
    packed = np.packbits(
        np.unpackbits(values[..., None], axis=-1)[..., -bits:].reshape(1, -1), axis=-1
    )

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    data = zlib.compress(b"\0" + packed.tobytes())
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)
    content += chunk(b"IEND", b"")
    assert np.asarray(Image.open(io.BytesIO(content))).max() == 255
    assert read_label_map(content).tolist() == values.tolist()


def test_floats_that_are_no_whole_numbers_are_refused():
    for wrong in (0.5, np.nan, 1e12):
        with pytest.raises(FaultError, match="holds the float .* whole numbers; save class"):
            read_label_map(encoded(np.array([[0, wrong]], np.float32), "TIFF"))


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("RGBA", 4), ("LA", 2)])
def test_colours_are_refused_with_the_key_that_describes_them(mode, channels):
    content = encoded(Image.fromarray(LABELS).convert(mode))
    with pytest.raises(FaultError, match=f"has {channels} channels .*label_colours"):
        read_label_map(content)


@pytest.mark.parametrize("read", [read_label_map, read_colours])
def test_a_jpeg_is_refused_whatever_its_name(tmp_path, read):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(LABELS, "JPEG"))
    with pytest.raises(FaultError, match="a.png: the label map is a JPEG, which alters values"):
        read(path)


def test_a_map_is_never_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "TIFF"):
        with pytest.raises(FaultError, match="is turned by EXIF orientation 6"):
            read_label_map(encoded(LABELS, kind, exif=exif))


def test_a_fault_that_the_policy_lets_pass_gives_no_map():
    collected = Collect()
    assert read_label_map(b"", collected) is None
    assert read_label_map(encoded(LABELS, "JPEG"), collected) is None
    assert [fault.kind for fault in collected.faults] == ["unreadable", "map-form"]


def test_colours_become_numbers():
    rgb = np.array([[[1, 2, 3], [255, 0, 0]]], np.uint8)
    expected = [[0x010203, 0xFF0000]]
    assert read_colours(encoded(rgb)).tolist() == expected
    assert read_colours(encoded(Image.fromarray(rgb).convert("RGBA"))).tolist() == expected
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([1, 2, 3, 255, 0, 0])
    assert read_colours(encoded(palette)).tolist() == expected
    with pytest.raises(FaultError, match="pixels of kind L, expected RGB"):
        read_colours(encoded(LABELS))


def test_a_mask_shows_what_is_brighter_than_128():
    grey = np.array([[0, 127, 128], [129, 200, 255]], np.uint8)
    expected = [[False, False, False], [True, True, True]]
    for image in (grey, Image.fromarray(grey).convert("RGB"), Image.fromarray(grey).convert("LA")):
        assert read_mask(encoded(image)).tolist() == expected
    assert read_mask(encoded(grey.astype(np.uint16) * 256)).tolist() == expected
    assert read_mask(encoded(grey.astype(np.float32) / 255, "TIFF")).tolist() == expected
    assert read_mask(encoded(Image.fromarray(grey > 128))).tolist() == expected


def test_a_mask_of_0_and_1_is_refused_and_an_empty_one_is_not():
    assert not read_mask(encoded(np.zeros((2, 2), np.uint8))).any()
    with pytest.raises(FaultError, match="grey values up to 1 only.*save the object as 255"):
        read_mask(encoded(np.eye(2, dtype=np.uint8)))
    dark = Image.fromarray(np.eye(2, dtype=np.uint8))
    dark.putpalette([0, 0, 0, 128, 0, 0])  # as DAVIS paints its first object
    with pytest.raises(FaultError, match="grey values up to 38 only"):
        read_mask(encoded(dark))


def test_panoptic_ids_are_the_number_that_a_colour_spells():
    ids = np.array([[0, 7, 300, 70000, 2**24 - 1]])
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    alpha = np.dstack([rgb, np.full(ids.shape, 9, np.uint8)])
    for pixels in (rgb, alpha):
        found = read_segment_ids(encoded(pixels))
        assert found.tolist() == ids.tolist() and found.dtype == np.uint32
    palette = Image.fromarray(np.arange(5, dtype=np.uint8)[None])
    palette.putpalette(rgb.ravel().tolist())
    assert read_segment_ids(encoded(palette)).tolist() == ids.tolist()
    assert read_segment_ids(encoded(palette, transparency=b"\0\1\2")).tolist() == ids.tolist()


def test_other_pictures_are_no_panoptic_maps():
    import cv2

    _, wide = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint16))
    for content in (encoded(LABELS), encoded(LABELS.astype(np.uint16)), wide.tobytes()):
        with pytest.raises(FaultError, match="pixels of kind .*expected RGB of 8 bits"):
            read_segment_ids(content)
    with pytest.raises(FaultError, match="the panoptic map cannot be read"):
        read_segment_ids(encoded(Image.fromarray(LABELS).convert("RGB"), "TIFF"))


def test_a_mask_whose_object_is_in_its_transparency_is_refused():
    shape = np.zeros((4, 5), np.uint8)
    colours = np.dstack([shape, shape, shape, shape + 255])
    assert not read_mask(encoded(colours)).any()  # all of it is seen, and black
    colours[1:3, 1:3, 3] = 0
    with pytest.raises(FaultError, match="by transparency alone; save it in grey"):
        read_mask(encoded(colours))
    colours[0, 0, :3] = 255
    assert read_mask(encoded(colours)).sum() == 1
