import cv2
import numpy as np
import pytest
from PIL import Image

from segplugins.engine.media import count_frames, find_media, read_frames


def write_image(path, value=7, size=(6, 4)):
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)
    return path


def write_video(path, frames=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for i in range(frames):
        writer.write(np.full((24, 32, 3), 40 * i, np.uint8))
    writer.release()
    return path


def test_a_folder_a_pattern_and_a_file_are_found_in_order(tmp_path):
    for name in ("b.png", "a.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert [file.name for file in find_media(str(tmp_path))] == ["a.png", "b.png"]
    assert [file.name for file in find_media(str(tmp_path / "b*"))] == ["b.png"]
    assert find_media(str(tmp_path / "a.png")) == [tmp_path / "a.png"]


def test_hidden_files_are_no_pictures(tmp_path):
    for name in ("a.png", "._a.png", ".b.png"):
        write_image(tmp_path / name)
    assert find_media(str(tmp_path)) == [tmp_path / "a.png"]


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image or video at .*a file, a folder or a"):
        find_media(str(tmp_path / "gone"))


def test_two_files_of_one_stem_are_refused(tmp_path):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="would both be written as 'a'"):
        find_media(str(tmp_path))


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by a quarter
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    (frame,) = read_frames(tmp_path / "a.jpg")
    assert frame.name == "a"
    assert frame.image.shape == (6, 4, 3)


def test_a_video_gives_its_frames_one_by_one(tmp_path):
    video = write_video(tmp_path / "clip.avi")
    assert count_frames([video, write_image(tmp_path / "a.png")]) == 6
    frames = list(read_frames(video))
    assert [frame.name for frame in frames] == [f"clip/{i:06d}" for i in range(5)]
    means = [frame.image.mean() for frame in frames]
    np.testing.assert_allclose(means, [0, 40, 80, 120, 160], atol=4)  # the codec is lossy


@pytest.mark.parametrize(
    "name, message",
    [("a.png", "a.png: the image cannot be read"), ("a.mp4", "video '.*a.mp4'.* not readable")],
)
def test_a_broken_file_is_named(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"this is no picture")
    with pytest.raises(ValueError, match=message):
        list(read_frames(tmp_path / name))


def test_hidden_files_are_passed_over(tmp_path):
    image = write_image(tmp_path / "a.png")
    (tmp_path / "._a.jpg").write_bytes(b"left by macOS")
    assert find_media(str(tmp_path)) == [image]
    assert find_media(str(tmp_path / "*")) == [image]


def test_pictures_of_16_bits_are_scaled_and_not_cut(tmp_path):
    Image.fromarray(np.array([[0, 40000]], np.uint16)).save(tmp_path / "a.png")
    [frame] = read_frames(tmp_path / "a.png")
    assert frame.image[0].tolist() == [[0, 0, 0], [156, 156, 156]]  # 40000 // 256


@pytest.mark.parametrize(
    "source, message",
    [
        ("", "the input is empty: name a picture"),
        (" ", "the input is empty"),
        ("https://a.org/x.jpg", "'https://a.org/x.jpg' is an address; fetch the file"),
        ("sub", "the folder 'sub' holds no image and no video itself .folders in it are not look"),
    ],
)
def test_what_names_no_picture_is_told_apart(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.jpg").touch()
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    (tmp_path / "sub" / "deeper" / "a.jpg").touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_media(source)
