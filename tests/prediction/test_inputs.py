import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.prediction.inputs import read_picture, read_pictures

RED = np.array([[[200, 10, 20]]], np.uint8)


@pytest.mark.parametrize(
    "source, expected",
    [
        (RED, [200, 10, 20]),
        (np.concatenate([RED, RED[..., :1]], axis=2), [200, 10, 20]),  # with opacity
        (np.full((1, 1), 7, np.uint8), [7, 7, 7]),
        (np.full((1, 1, 1), 7, np.uint8), [7, 7, 7]),
        (torch.tensor(RED).permute(2, 0, 1), [200, 10, 20]),
        (Image.fromarray(RED), [200, 10, 20]),
        (Image.fromarray(RED).convert("RGBA"), [200, 10, 20]),
        (Image.fromarray(np.full((1, 1), 7, np.uint8)), [7, 7, 7]),
        (RED / 255, [200, 10, 20]),
        (torch.tensor(RED).permute(2, 0, 1) / 255, [200, 10, 20]),
        (RED.astype(np.uint16) * 257, [200, 10, 20]),
        (Image.fromarray(np.full((1, 1), 7 * 257 * 9, np.uint16)), [63, 63, 63]),
        (Image.fromarray(np.full((1, 1), 0.5, np.float32)), [128, 128, 128]),
    ],
)
def test_a_picture_becomes_rgb(source, expected):
    image = read_picture(source).image
    assert image.shape == (1, 1, 3) and image.dtype == np.uint8
    assert image[0, 0].tolist() == expected and image.flags["C_CONTIGUOUS"]


def test_channels_of_opencv_are_told():
    assert read_picture(RED, channels="BGR").image[0, 0].tolist() == [20, 10, 200]
    four = np.concatenate([RED, RED[..., :1]], axis=2)
    assert read_picture(four, channels="BGR").image[0, 0].tolist() == [20, 10, 200]
    # A PIL image says itself what its channels are.
    assert read_picture(Image.fromarray(RED), channels="BGR").image[0, 0].tolist() == [200, 10, 20]


def test_a_pil_image_is_turned_as_its_exif_says():
    image = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    image.getexif()[0x0112] = 6
    assert read_picture(image).image.shape == (6, 4, 3)


@pytest.mark.parametrize(
    "source, message",
    [
        (RED * 1.0, "the array holds floats from 10 to 200, expected 0 to 1; scale it to 0-255"),
        (RED.astype(np.uint16), "16-bit values up to 200 only"),
        (RED * np.nan, "holds floats from nan"),
        (RED > 0, "got bool"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got \(2, 4, 4, 3\); give several pictures as a list"),
        (np.zeros((3, 4, 5), np.uint8), r"got \(3, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "one picture .3, H, W."),
        (torch.full((3, 4, 4), 7.0), "floats from 7 to 7"),
        (Image.fromarray(np.full((2, 2), 900, np.uint16)), "16-bit values up to 900 only"),
        (Image.fromarray(np.full((2, 2), 3.5, np.float32)), "floats from 3.5 to 3.5"),
        (7, "got int"),
    ],
)
def test_what_is_no_picture_of_8_bits_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        read_picture(source)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image '.*gone.png'"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="expected a path or|a path or an iterable, got int"):
        list(read_pictures(7))


def test_a_stream_takes_files_arrays_and_folders_together(tmp_path):
    for name in "ab":
        Image.fromarray(RED).save(tmp_path / f"{name}.png")
    names = [frame.name for frame in read_pictures([RED, tmp_path / "b.png", tmp_path])]
    assert names == ["picture 0", "b", "a", "b"]
    assert [frame.name for frame in read_pictures(RED)] == ["picture 0"]
    assert [frame.name for frame in read_pictures(str(tmp_path / "*.png"))] == ["a", "b"]
