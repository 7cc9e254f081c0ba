import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from segplugins.files import pictures, raster
from segplugins.files.coco_images import picture_size
from segplugins.files.faults import Collect, FaultError
from segplugins.files.pictures import Picture, read_picture
from segplugins.files.raster import read_header, turn, turn_back

STRIPES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_any_kind_of_picture_becomes_rgb(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    white = Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode)
    pixels = read_picture(encoded(white, kind)).pixels
    assert pixels.shape == (2, 3, 3) and pixels.dtype == np.uint8
    assert (pixels > 250).all()


def test_a_palette_with_transparency_keeps_its_colours():
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60] + [0] * 762)
    content = encoded(image, transparency=b"\x00\xff")
    assert read_picture(content).pixels.tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_sixteen_bits_are_brought_to_eight_by_their_full_range():
    grey = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    expected = [0, 0, 1, 156, 255]  # value // 256
    for kind in ("PNG", "TIFF", "PPM"):
        content = encoded(Image.fromarray(grey), kind)
        assert read_picture(content).pixels[0, :, 0].tolist() == expected, kind
    whole = Image.fromarray(grey.astype(np.int32))
    assert read_picture(encoded(whole, "TIFF")).pixels[0, :, 2].tolist() == expected


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_colours_of_sixteen_bits_follow_the_rule_of_grey(ending):
    colours = np.array([[[0, 300, 65535], [4096, 512, 1]]], np.uint16)
    _, content = cv2.imencode(ending, colours)  # BGR
    assert read_picture(content.tobytes()).pixels.tolist() == [[[255, 1, 0], [0, 2, 16]]]
    _, dark = cv2.imencode(ending, colours // 17)  # up to 3855
    with pytest.raises(FaultError, match="16-bit values up to 4095 only.*save the picture in 8"):
        read_picture(dark.tobytes())


@pytest.mark.parametrize("highest, is_right", [(0, True), (1, False), (4095, False), (4096, True)])
def test_a_scale_of_less_than_12_bits_is_refused(highest, is_right):
    content = encoded(Image.fromarray(np.array([[0, highest]], np.uint16)))
    if is_right:
        assert read_picture(content).pixels[0, 1, 0] == highest // 256
    else:
        with pytest.raises(FaultError, match=f"16-bit values up to {highest} only"):
            read_picture(content)


@pytest.mark.parametrize("values", [[-1, 3], [0, 65536]])
def test_whole_numbers_outside_16_bits_are_refused_with_their_range(values):
    content = encoded(Image.fromarray(np.array([values], np.int32)), "TIFF")
    with pytest.raises(FaultError, match=f"from {values[0]} to {values[1]}, expected 0 to 65535"):
        read_picture(content)


def test_floats_between_0_and_1_are_scaled():
    floats = np.array([[0, 0.25, 0.5, 1]], np.float32)
    pixels = read_picture(encoded(Image.fromarray(floats), "TIFF")).pixels
    assert pixels[0, :, 1].tolist() == [0, 64, 128, 255]  # 63.75 and 127.5, to the even


@pytest.mark.parametrize("low, high", [(-0.5, 1), (0, 1.5), (0, 255), (0, np.inf), (0, np.nan)])
def test_other_floats_are_refused_with_their_range(low, high):
    content = encoded(Image.fromarray(np.array([[low, high]], np.float32)), "TIFF")
    with pytest.raises(FaultError, match="holds floats from .* to .*, expected 0 to 1"):
        read_picture(content)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_turned_as_exif_says_whatever_their_format(orientation, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(STRIPES), kind, exif=with_orientation(orientation), **options)
    tagged = Image.fromarray(STRIPES)
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    picture = read_picture(content)
    assert np.array_equal(picture.pixels, expected)
    assert picture.orientation == orientation
    assert np.array_equal(turn(STRIPES, orientation), expected)
    assert np.array_equal(turn_back(expected, orientation), STRIPES)
    header = read_header(content, Collect())
    assert header.stored_size == (2, 3) and header.size == expected.shape[:2]


def test_a_size_of_the_stored_picture_alone_gives_it_as_stored():
    content = encoded(Image.fromarray(STRIPES), exif=with_orientation(8))
    picture = read_picture(content)
    assert picture.size == (3, 2)
    assert np.array_equal(picture.fitted((2, 3)), STRIPES)
    for size in (None, (3, 2), (7, 7)):
        assert picture.fitted(size) is picture.pixels
    # A quarter turn is not to be seen in the size of a square.
    square = Picture(np.zeros((2, 2, 3), np.uint8), 6)
    assert square.fitted((2, 2)) is square.pixels
    # Without EXIF data, another size is another size.
    assert Picture(STRIPES).fitted((3, 2)) is STRIPES


def test_damaged_exif_data_leave_the_picture_as_it_is():
    content = encoded(Image.fromarray(STRIPES), "WEBP", lossless=True, exif=b"Exif\0\0broken")
    assert np.array_equal(read_picture(content).pixels, STRIPES)


def cut_off(kind):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", *map(cut_off, ("JPEG", "PNG", "BMP", "TIFF"))],
    ids=["empty", "text", "jpeg", "png", "bmp", "tiff"],
)
def test_a_file_that_is_no_whole_picture_is_unreadable(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(FaultError, match=f"^{path}: the image cannot be read .*; replace the"):
        read_picture(path)
    collected = Collect()
    assert read_picture(content, collected) is None
    assert [(fault.kind, fault.file) for fault in collected.faults] == [("unreadable", "")]


def test_a_png_whose_data_are_damaged_in_the_middle_is_unreadable():
    # detectron2's own reader gives what could be decoded before the damage, and no error.
    noise = np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)
    content = bytearray(encoded(Image.fromarray(noise)))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(FaultError, match="the image cannot be read"):
        read_picture(bytes(content))


def test_a_missing_picture_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.jpg: the image does not exist; copy it"):
        read_picture(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(FaultError, match="the image cannot be read"):
        read_picture(tmp_path / "folder.jpg")


def test_more_pixels_than_memory_should_hold_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(raster, "MAX_PIXELS", 5)
    with pytest.raises(FaultError, match="it is 3x2 pixels, expected at most 5"):
        read_picture(encoded(Image.fromarray(STRIPES)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_a_large_picture_is_copied_in_strips_of_rows(monkeypatch, mode):
    colours = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    image = Image.fromarray(colours).convert(mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    whole = read_picture(content).pixels
    monkeypatch.setattr(pictures, "_STRIP_PIXELS", 10)  # two rows, and one in the end
    np.testing.assert_array_equal(read_picture(content).pixels, whole)
    np.testing.assert_array_equal(whole, np.asarray(image.convert("RGB")))


def test_a_header_that_promises_terabytes_is_refused():
    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    with pytest.raises(FaultError, match="the image cannot be read .*pixels"):
        read_picture(content)


def test_formats_that_start_other_programs_are_not_opened(tmp_path):
    # Pillow hands PostScript to Ghostscript, whatever the file is called.
    path = tmp_path / "a.png"
    Image.fromarray(STRIPES).save(path, "EPS")
    with pytest.raises(FaultError, match="the image cannot be read"):
        read_picture(path)


def test_a_picture_that_cannot_become_rgb_names_the_reason(monkeypatch):
    content = encoded(Image.fromarray(STRIPES).convert("RGBA"))

    def refuse(image, mode):
        raise ValueError("conversion not supported")

    monkeypatch.setattr(Image.Image, "convert", refuse)
    with pytest.raises(FaultError, match="cannot be converted to RGB .conversion not supported"):
        read_picture(content)


def test_the_size_of_a_record_without_one_is_that_of_the_picture_as_shown(tmp_path):
    for kind, ending in (("TIFF", "tif"), ("PNG", "png"), ("WEBP", "webp")):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(encoded(Image.fromarray(STRIPES), kind, exif=with_orientation(6)))
        assert picture_size(path) == (3, 2) == read_picture(path).size, kind


def test_an_empty_file_is_told_as_such(tmp_path):
    (tmp_path / "a.jpg").touch()
    for source in (tmp_path / "a.jpg", b""):
        with pytest.raises(FaultError, match="it is empty, 0 bytes"):
            read_picture(source)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_of_several_pictures_in_a_file_the_first_is_read_and_a_warning_says_so(
    tmp_path, caplog, ending
):
    red, blue = (Image.new("RGB", (8, 4), colour) for colour in ("red", "blue"))
    moving, still = tmp_path / f"moving.{ending}", tmp_path / f"still.{ending}"
    exact = {"lossless": True} if ending == "webp" else {}
    red.save(moving, save_all=True, append_images=[blue], **exact)
    red.save(still, **exact)
    for path in (moving, still, moving, still):  # every epoch reads them again
        assert (read_picture(path).pixels == (255, 0, 0)).all()
    assert [line.split(" holds ")[0] for line in caplog.messages] == [str(moving)]
