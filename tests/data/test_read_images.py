import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.data import read_images
from segplugins.data.read_images import read_image, read_labels, record_name

RECORD = {"image_id": 7, "dataset": "pets", "file_name": ""}


def test_a_record_is_called_by_its_id_and_its_data_set():
    assert record_name({"image_id": 7, "dataset": "pets"}) == "record 7 of 'pets'"
    assert record_name({"file_name": "a.jpg"}) == "record a.jpg"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_any_kind_of_picture_is_read_as_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode).save(path)
    image = read_image({"file_name": str(path)})
    assert image.shape == (2, 3, 3) and image.dtype == np.uint8
    assert (image > 250).all()


def test_a_picture_taken_upright_is_turned_as_its_exif_data_say(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255  # white left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the file
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image = read_image({"file_name": str(tmp_path / "a.jpg")})
    assert image.shape == (40, 20, 3)
    assert image[:15].min() > 200 and image[-15:].max() < 50  # white is on top now


def test_a_picture_is_left_as_it_lies_where_its_record_was_made_so(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / "a.jpg")
    Image.fromarray(pixels).save(path, exif=exif)
    assert read_image({"file_name": path, "height": 20, "width": 40}).shape == (20, 40, 3)
    assert read_image({"file_name": path, "height": 40, "width": 20}).shape == (40, 20, 3)


def test_a_missing_image_is_named_with_its_record(tmp_path):
    with pytest.raises(FileNotFoundError, match="record 7 of 'pets': image .*gone.jpg does not"):
        read_image({**RECORD, "file_name": str(tmp_path / "gone.jpg")})


def cut_off():
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    return whole.getvalue()[: whole.tell() // 2]


@pytest.mark.parametrize("content", [b"", b"not an image", cut_off()], ids=["empty", "text", "cut"])
def test_an_unreadable_image_is_named_with_its_record(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="record 7 of 'pets': image .*bad.jpg could not be read"):
        read_image({**RECORD, "file_name": str(path)})


def test_an_image_of_another_size_than_its_record_says_is_an_error(tmp_path, save):
    path = save(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(ValueError, match="is 4x6 .height x width., its record says 6x4"):
        read_image({**RECORD, "file_name": path, "height": 6, "width": 4})


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_labels_keep_their_values(tmp_path, save, suffix):
    path = save(tmp_path / f"a.{suffix}", np.array([[0, 459, 65535]], np.uint16))
    assert read_labels(path, RECORD).tolist() == [[0, 459, 65535]]


def test_palette_images_are_read_as_indices_not_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 7]], np.uint8))
    image.putpalette([9] * 768)
    image.save(tmp_path / "a.png")
    assert read_labels(str(tmp_path / "a.png"), RECORD).tolist() == [[0, 7]]


def test_a_coloured_label_map_is_refused(tmp_path, save):
    path = save(tmp_path / "a.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a.png has shape \(2, 3, 3\).*one channel"):
        read_labels(path, RECORD)


def test_a_png_whose_data_are_damaged_in_the_middle_is_no_image(tmp_path, save):
    # detectron2's own reader gives what could be decoded before the damage, and no error.
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8))
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    Path(path).write_bytes(data)
    for read, key in ((read_image, "image"), (read_labels, "label map")):
        with pytest.raises(ValueError, match=f"record .*: {key} .*a.png could not be read"):
            read(path, {}) if key == "label map" else read({"file_name": path})


def test_an_image_of_more_pixels_than_memory_should_hold_is_refused(tmp_path, monkeypatch, save):
    monkeypatch.setattr(read_images, "LARGEST", 11)
    path = save(tmp_path / "a.png", np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="it is 4x3 pixels, expected at most 11"):
        read_image({"file_name": path})
