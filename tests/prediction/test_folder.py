import json

import cv2
import numpy as np
import pytest
from PIL import Image

from segplugins.engine.media import find_media
from segplugins.engine.videos import frame_times
from segplugins.prediction.folder import IDENTITY_FILE, check_writable, open_folder, segment_files
from segplugins.structures import Vocabulary

NAMES = Vocabulary("test_folder", ("dark", "bright", "never seen"))
PROMPTS = ["bright side", "whole picture", "nothing"]
WEIGHTS = {"identity": {"weights": "0123", "config": "4567", "weights_file": "a.pth"}}


def segmented(model, question, source, out, **options):
    """Opens the folder and segments; returns the outcome."""
    open_folder(out, model, question)
    files = find_media(str(source))
    return segment_files(model, question, files, out, **{"batch_size": 2, **options})


def test_every_picture_gets_an_overlay_a_label_map_and_json(folder, tmp_path, segmenter):
    model, out = segmenter(), tmp_path / "out"
    done = segmented(model, model.ask(NAMES), folder, out)
    assert (done.written, done.kept, done.skipped) == (3, 0, [])
    assert len(list(out.iterdir())) == 9 + 1 and (out / IDENTITY_FILE).is_file()
    report = json.loads((out / "a.json").read_text())
    shares = {entry["name"]: (entry["pixels"], entry["share"]) for entry in report["classes"]}
    assert shares == {"dark": (360, 0.5), "bright": (360, 0.5)}  # 24 x 15 pixels each
    scores = {entry["name"]: entry["score"] for entry in report["classes"]}
    # A column on either side of the border is blended when the picture is brought to size.
    assert scores == pytest.approx({"dark": 1.0, "bright": 250 / 255}, abs=0.02)
    labels = np.asarray(Image.open(out / report["label_map"]))
    assert labels.dtype == np.uint8 and labels.shape == (24, 30)
    with Image.open(out / report["overlay"]) as overlay:
        assert min(overlay.size) >= 256  # a small image is enlarged so that it can be seen


def test_what_is_below_the_threshold_is_none_of_the_classes(folder, tmp_path, segmenter):
    model, out = segmenter(), tmp_path / "out"
    segmented(model, model.ask(NAMES), folder / "a.png", out, threshold=0.99)  # bright has 0.98
    report = json.loads((out / "a.json").read_text())
    assert [entry["name"] for entry in report["classes"]] == ["dark"]
    labels = np.asarray(Image.open(out / "a.labels.png"))
    assert report["none_of_these"] == 255
    assert set(np.unique(labels[:, :14])) == {0} and set(np.unique(labels[:, 15:])) == {255}


@pytest.mark.parametrize("scores", [False, True])
def test_every_prompt_gets_a_mask_at_the_size_of_its_picture(folder, tmp_path, segmenter, scores):
    model, out = segmenter("Pointing", scores=scores), tmp_path / "out"
    assert segmented(model, model.ask(prompts=PROMPTS), folder, out).written == 3
    assert len(list(out.iterdir())) == 3 * 5 + 1  # JSON, overlay and three masks each
    report = json.loads((out / "b.json").read_text())
    assert (report["height"], report["width"]) == (34, 34)
    expected = [("bright side", 34 * 17, 0.5), ("whole picture", 34 * 34, 1.0), ("nothing", 0, 0.0)]
    assert [(e["text"], e["pixels"], e["share"]) for e in report["prompts"]] == expected
    mask = np.asarray(Image.open(out / report["prompts"][0]["mask"]))
    np.testing.assert_array_equal(mask, np.repeat([[0] * 17 + [255] * 17], 34, axis=0))
    assert mask.dtype == np.uint8
    with Image.open(out / report["overlay"]) as overlay:
        assert min(overlay.size) >= 256


def test_a_video_gets_its_masks_frame_by_frame(tmp_path, segmenter, half_bright):
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for _ in range(5):
        video.write(half_bright(24, 32))
    video.release()
    model = segmenter("Pointing")
    done = segmented(model, model.ask(prompts=PROMPTS[:1]), path, tmp_path / "out")
    assert done.written == 5
    report = json.loads((tmp_path / "out" / "clip" / "000004.json").read_text())
    assert report["prompts"][0]["mask"] == "000004.mask0.png"
    assert report["prompts"][0]["share"] == pytest.approx(0.5, abs=0.07)


def test_a_video_comes_out_as_a_labelled_video(tmp_path, segmenter, half_bright):
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for _ in range(4):
        video.write(half_bright(24, 32))
    video.release()
    model = segmenter("Pointing")
    question = model.ask(prompts=PROMPTS[:1])
    segmented(model, question, path, tmp_path / "out")
    labelled = tmp_path / "out" / "clip.overlay.mp4"
    times, rate = frame_times(labelled)
    assert len(times) == 4 and rate == 5
    # Nothing new: it is not written again; without it, it is.
    before = labelled.stat().st_mtime_ns
    segmented(model, question, path, tmp_path / "out")
    assert labelled.stat().st_mtime_ns == before
    labelled.unlink()
    segmented(model, question, path, tmp_path / "out")
    assert labelled.is_file()


def test_a_video_that_cannot_be_labelled_keeps_its_pictures(
    tmp_path, segmenter, half_bright, monkeypatch
):
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    video.write(half_bright(24, 32))
    video.release()
    monkeypatch.setattr("segplugins.engine.videos._CODEC", "zzzz")
    model = segmenter("Pointing")
    done = segmented(model, model.ask(prompts=PROMPTS[:1]), path, tmp_path / "out")
    ((file, reason),) = done.skipped
    assert done.written == 1 and file == path and "cannot write 'zzzz' videos" in reason
    assert (tmp_path / "out" / "clip" / "000000.overlay.jpg").is_file()


def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path, segmenter):
    out, model = tmp_path / "out", segmenter()
    question = model.ask(NAMES)
    segmented(model, question, folder / "a.png", out)
    stamp = (out / "a.json").stat().st_mtime_ns
    done = segmented(model, question, folder, out)
    assert (done.written, done.kept) == (2, 1) and len(model.model.records) == 3
    assert (out / "a.json").stat().st_mtime_ns == stamp


def test_a_file_that_cannot_be_read_is_skipped_and_named(folder, tmp_path, segmenter):
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "._a.png").write_bytes(b"left by macOS")
    model = segmenter()
    done = segmented(model, model.ask(NAMES), folder, tmp_path / "out")
    assert done.written == 3
    ((file, reason),) = done.skipped
    # Named once: the line of the outcome begins with the file.
    assert file.name == "bad.png" and reason.startswith("the image cannot be read")


def test_another_question_does_not_go_into_the_same_folder(folder, tmp_path, segmenter):
    out, model = tmp_path / "out", segmenter()
    segmented(model, model.ask(NAMES), folder, out)
    for other in (
        model.ask(["night", "day"]),
        model.ask(["bright", "dark", "never seen"]),
        model.ask(prompts=["dark"]),
    ):
        with pytest.raises(ValueError, match="written with another vocabulary or other prompts"):
            open_folder(out, model, other)
    with pytest.raises(ValueError, match='with other options .*"threshold": 0.5.* --output, or'):
        open_folder(out, model, model.ask(NAMES), threshold=0.5)


@pytest.mark.parametrize("part, words", [("weights", "other weights"), ("config", "another conf")])
def test_another_model_does_not_go_into_the_same_folder(tmp_path, segmenter, part, words):
    before = segmenter(settings=WEIGHTS)
    open_folder(tmp_path / "out", before, before.ask(["so far", "without results"]))
    open_folder(tmp_path / "out", before, before.ask(NAMES))
    (tmp_path / "out" / "a.json").write_text("{}")
    now = segmenter(settings={"identity": {**WEIGHTS["identity"], part: "89ab"}})
    with pytest.raises(ValueError, match=f"with {words}.*now 89ab.; its weights were 'a.pth'"):
        open_folder(tmp_path / "out", now, now.ask(NAMES))
    moved = segmenter(settings={"identity": {**WEIGHTS["identity"], "weights_file": "b.pth"}})
    open_folder(tmp_path / "out", moved, moved.ask(NAMES))  # the same weights under another name


def test_results_of_another_program_are_not_mixed_in(tmp_path, segmenter):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="holds JSON files of another program"):
        open_folder(tmp_path, segmenter(), segmenter().ask(NAMES))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="nothing can be written into .*file.*--output"):
        check_writable(tmp_path / "file" / "out")
    check_writable(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_255_classes_are_written_with_16_bits(tmp_path, segmenter, half_bright):
    Image.fromarray(half_bright()).save(tmp_path / "a.png")
    for count, kind, nothing in ((255, np.uint8, 255), (256, np.uint16, 65535)):
        model, out = segmenter(), tmp_path / f"out{count}"
        segmented(model, model.ask([f"class {i}" for i in range(count)]), tmp_path / "a.png", out)
        labels = np.asarray(Image.open(out / "a.labels.png"))
        assert labels.dtype == kind and set(np.unique(labels)) == {0, 1}
        assert json.loads((out / "a.json").read_text())["none_of_these"] == nothing
