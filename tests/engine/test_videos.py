"""Videos: read to their real end, damaged ones told by the decoder's own error, labelled ones."""

import cv2
import numpy as np
import pytest
from PIL import Image

from segplugins.engine import videos
from segplugins.engine.videos import frame_times, label_video, read_video, timing


def write_video(path, frames=20, codec="MJPG", rate=5.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (32, 24))
    for i in range(frames):
        writer.write(np.full((24, 32, 3), 10 * i, np.uint8))
    writer.release()
    return path


def write_pictures(folder, count, sizes=((24, 32),)):
    paths = []
    for i in range(count):
        size = sizes[i % len(sizes)]
        paths.append(folder / f"{i:06d}.png")
        Image.fromarray(np.full((*size, 3), 10 * i, np.uint8)).save(paths[-1])
    return paths


def estimates(monkeypatch, count):
    """Makes the container's number of frames an estimate."""
    monkeypatch.setattr(videos, "_frame_count", lambda video: count)


def test_a_number_of_frames_that_is_too_high_is_no_damage(tmp_path, monkeypatch):
    video = write_video(tmp_path / "clip.avi")
    estimates(monkeypatch, 60)
    assert len(list(read_video(video))) == 20


def cut_off(path):
    """Writes a video of noise and cuts its file in the middle, of a frame and of all."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (96, 64))
    rng = np.random.default_rng(0)
    for _ in range(12):
        writer.write(rng.integers(0, 256, (64, 96, 3)).astype(np.uint8))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 55 // 100])
    return path


def test_a_video_that_was_cut_off_is_damaged_after_its_last_frame(tmp_path):
    frames = []
    with pytest.raises(ValueError, match=r"cut.avi' is damaged after frame \d+: .+; re-encode it"):
        for frame in read_video(cut_off(tmp_path / "cut.avi")):
            frames.append(frame)
    assert 4 <= len(frames) <= 8


def test_the_decoder_is_asked_though_its_messages_are_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")
    error = videos._decoder_error(cut_off(tmp_path / "cut.avi"))
    assert error and "0x" not in error
    assert videos._decoder_error(write_video(tmp_path / "whole.avi")) is None


def test_a_file_without_a_frame_is_not_readable(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"this is no video")
    with pytest.raises(ValueError, match="a.mp4' is not readable: no frame of it"):
        list(read_video(tmp_path / "a.mp4"))


def test_a_labelled_video_has_every_picture_at_the_same_rate(tmp_path):
    video = write_video(tmp_path / "clip.avi", rate=12.5)
    label_video(video, write_pictures(tmp_path, 20), tmp_path / "labelled.mp4")
    times, rate = frame_times(tmp_path / "labelled.mp4")
    assert rate == 12.5
    np.testing.assert_allclose(times, np.arange(20) / 12.5, atol=1e-3)
    means = [frame.mean() for frame in read_video(tmp_path / "labelled.mp4")]
    np.testing.assert_allclose(means, 10 * np.arange(20), atol=4)  # the codec is lossy
    assert sorted(p.name for p in tmp_path.glob("*.mp4")) == ["labelled.mp4"]


def test_pictures_of_different_sizes_share_a_canvas_with_even_sides(tmp_path):
    video = write_video(tmp_path / "clip.avi", frames=3)
    pictures = write_pictures(tmp_path, 3, sizes=((25, 33), (21, 45)))
    label_video(video, pictures, tmp_path / "labelled.mp4")
    frames = list(read_video(tmp_path / "labelled.mp4"))
    assert [frame.shape for frame in frames] == [(24, 44, 3)] * 3
    assert frames[0][:, 38:].mean() > 240  # paper beside the narrower picture


def test_a_large_picture_is_reduced(tmp_path):
    video = write_video(tmp_path / "clip.avi", frames=1)
    pictures = write_pictures(tmp_path, 1, sizes=((40, 3840),))
    label_video(video, pictures, tmp_path / "labelled.mp4")
    assert next(read_video(tmp_path / "labelled.mp4")).shape == (20, 1920, 3)


def test_no_pictures_are_no_video(tmp_path):
    with pytest.raises(ValueError, match="labelled.mp4': a video needs at least one picture"):
        label_video(tmp_path / "clip.avi", [], tmp_path / "labelled.mp4")


def test_a_video_that_cannot_be_written_leaves_the_one_of_before(tmp_path, monkeypatch):
    video = write_video(tmp_path / "clip.avi", frames=2)
    path = tmp_path / "labelled.mp4"
    path.write_text("before")
    monkeypatch.setattr(videos, "_CODEC", "zzzz")
    with pytest.raises(OSError, match="cannot write 'zzzz' videos here; install"):
        label_video(video, write_pictures(tmp_path, 2), path)
    assert path.read_text() == "before"
    monkeypatch.setattr(videos, "_CODEC", "mp4v")
    monkeypatch.setattr(videos, "frame_count", lambda file: 1)
    with pytest.raises(OSError, match="only 1 of 2 frames were written; is the disk full"):
        label_video(video, write_pictures(tmp_path, 2), path)
    assert path.read_text() == "before"


def test_constant_times_show_every_picture_once():
    assert timing([0, 0.04, 0.08, 0.12], 25.0, 4) == (25.0, [1, 1, 1, 1])
    # Times in whole milliseconds at 29.97 frames a second.
    times = [round(i / 29.97, 3) for i in range(300)]
    assert timing(times, 29.97, 300) == (29.97, [1] * 300)


def test_variable_times_show_pictures_as_long_as_the_frames():
    times = [0, 0.1, 0.2, 0.9, 1.6]
    rate, repeats = timing(times, 10.0, 5)
    assert rate == 10.0
    np.testing.assert_allclose(np.cumsum([0, *repeats[:-1]]) / rate, times)


def test_a_frame_is_never_left_out_where_frames_follow_fast():
    rate, repeats = timing([0, 0.1, 0.11, 0.2, 0.3], 10.0, 5)
    assert rate == 10.0 and min(repeats) == 1 and sum(repeats) == 5


@pytest.mark.parametrize("told", [0.0, 1000.0, float("nan")])
def test_a_rate_that_makes_no_sense_is_taken_from_the_times(told):
    rate, repeats = timing([0, 0.05, 0.1, 0.15], told, 4)
    assert rate == pytest.approx(20) and repeats == [1] * 4


@pytest.mark.parametrize("times", [[], [0, 0, 0, 0], [0, 0.2, 0.1, 0.3], [0, 0.1]])
def test_without_times_the_rate_of_the_container_is_kept(times):
    assert timing(times, 30.0, 4) == (30.0, [1] * 4)
    assert timing(times, 0.0, 4) == (25.0, [1] * 4)


def test_a_broken_time_does_not_fill_the_disk():
    rate, repeats = timing([0, 0.1, 1e6, 1e6 + 0.1, 1e6 + 0.2], 10.0, 5)
    assert rate == 10.0 and max(repeats) <= 50


@pytest.mark.parametrize(
    "stated, times, rate",
    [
        (60.0, [], 60.0),  # the fastest rate that is believed
        (60.1, [], 25.0),
        (-1.0, [], 25.0),
        (61.0, [0, 0.01, 0.02], 60.0),  # 100 frames a second are written as 60
        (5.0, [0, 0.1, 0.2], 5.0),  # half a frame a picture is still variable
        (4.9, [0, 0.1, 0.2], 10.0),  # less is a rate of nonsense
    ],
)
def test_a_stated_rate_is_believed_within_its_bounds(stated, times, rate):
    assert timing(times, stated, 3)[0] == pytest.approx(rate)


@pytest.mark.parametrize("gap, frames", [(4.9, 49), (5.0, 50), (5.1, 50)])
def test_a_picture_stands_for_five_seconds_at_most(gap, frames):
    _, repeats = timing([0, 0.1, 0.2, 0.2 + gap, 0.3 + gap], 10.0, 5)
    assert repeats[:3] == [1, 1, frames] and repeats[4] == 1


@pytest.mark.parametrize(
    "stated, count",
    [(-1.0, 0), (0.0, 0), (1.0, 1), (7.9, 7), (1e9, 0), (1e9 - 1, 10**9 - 1), (float("nan"), 0)],
)
def test_a_number_of_frames_that_makes_no_sense_is_none(stated, count):
    class Video:
        def get(self, key):
            assert key == cv2.CAP_PROP_FRAME_COUNT
            return stated

    assert videos._frame_count(Video()) == count


@pytest.mark.parametrize("missing, asked", [(0, 0), (1, 0), (2, 1)])
def test_one_frame_too_many_is_a_habit_of_containers_and_two_are_looked_into(
    tmp_path, monkeypatch, missing, asked
):
    video, calls = write_video(tmp_path / "clip.avi", frames=4), []
    estimates(monkeypatch, 4 + missing)
    monkeypatch.setattr(videos, "_check_end", lambda file, count: calls.append(count))
    assert len(list(read_video(video))) == 4
    assert calls == [4] * asked
