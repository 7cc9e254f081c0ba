import logging

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segplugins.data.augmentations import LetterBox
from segplugins.engine.media import Frame
from segplugins.prediction import NOTHING
from segplugins.prediction.segmenter import _BATCH_PIXELS, answer_size, batches
from segplugins.structures import Vocabulary

WORDS = "dark, bright|light, never seen"


@pytest.mark.parametrize("label_maps", [False, True])
def test_a_label_map_has_the_size_of_its_image(segmenter, half_bright, label_maps):
    # 24 -> 32 in the model and back: the border of bright and dark is where it was.
    model = segmenter(label_maps=label_maps)
    first, second = model([half_bright(), half_bright(48, 30)], WORDS)
    assert first.size == (24, 30) and second.size == (48, 30)
    np.testing.assert_array_equal(first.label_map, np.arange(30)[None].repeat(24, 0) >= 15)
    assert first.names == ("dark", "bright", "never seen")


def test_the_model_sees_the_configured_size(segmenter, half_bright):
    model = segmenter()
    model([half_bright(24, 30), half_bright(10, 100)], WORDS)
    # short side 32, long side at most 64
    assert model.model.batches == [[(3, 32, 40), (3, 6, 64)]]


def test_the_model_is_told_where_a_padded_image_lies(segmenter, half_bright):
    # 24 x 30 in a square of 60: doubled, 6 rows of border above and below.
    model = segmenter(augmentations=[LetterBox(60, [120.0, 110.0, 100.0])])
    result = model(half_bright(24, 30), WORDS)
    (record,) = model.model.records
    assert record["image"].shape == (3, 60, 60)
    assert record["image_box"] == (0, 6, 60, 54)
    assert record["image"][:, 0, 0].tolist() == [120, 110, 100]
    np.testing.assert_array_equal(result.label_map, np.arange(30)[None].repeat(24, 0) >= 15)


def test_one_picture_gives_one_result_and_a_list_gives_a_list(segmenter, folder):
    model = segmenter()
    assert model(folder / "a.png", WORDS).name == "a"
    results = model([str(folder / "b.png"), folder / "a.png"], WORDS, batch_size=1)
    assert [result.name for result in results] == ["b", "a"]
    assert len(model.model.batches) == 3
    assert model([], WORDS) == []


def test_a_stream_holds_one_batch(segmenter, half_bright):
    taken = []

    def camera():
        for number in range(7):
            taken.append(number)
            yield half_bright()

    stream = segmenter().stream(camera(), WORDS, batch_size=2)
    assert taken == []
    next(stream)
    assert taken == [0, 1, 2]  # the third shows that the batch is full
    assert len(list(stream)) == 6


def test_a_video_is_a_stream_of_its_frames(tmp_path, segmenter, half_bright):
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for _ in range(3):
        video.write(half_bright(24, 32))
    video.release()
    names = [result.name for result in segmenter().stream(path, WORDS)]
    assert names == ["clip/000000", "clip/000001", "clip/000002"]
    with pytest.raises(ValueError, match="is a video: model.stream"):
        segmenter()(path, WORDS)
    with pytest.raises(ValueError, match="is a folder: model.stream"):
        segmenter()(tmp_path, WORDS)


@pytest.mark.parametrize(
    "words, names",
    [
        ("a, b|c", ("a", "b")),
        (["a, the first", "b|c"], ("a, the first", "b")),
        (Vocabulary("test_segmenter", ("a", "b")), ("a", "b")),
        ("classes.txt", ("a", "b")),
    ],
)
def test_words_come_as_text_list_vocabulary_or_file(
    segmenter, tmp_path, monkeypatch, half_bright, words, names
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert segmenter()(half_bright(), words).names == names


def test_an_edited_file_of_words_is_read_again(segmenter, tmp_path, half_bright):
    model, file = segmenter(), tmp_path / "test_edited.txt"
    file.write_text("a\nb\n")
    model(half_bright(), str(file))
    file.write_text("a\nb\nc\n")
    assert model(half_bright(), str(file)).names == ("a", "b", "c")
    assert model.ask(str(file)).vocabulary.classes == ("a", "b", "c")


def test_words_of_the_config_are_asked_where_a_call_names_none(segmenter, half_bright):
    assert segmenter(settings={"vocabulary": "x, y"})(half_bright()).names == ("x", "y")
    with pytest.raises(ValueError, match="nothing is asked for: give names such as"):
        segmenter()(half_bright())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"vocabulary": "a", "prompts": ["b"]}, "a vocabulary or prompts, not both"),
        ({"prompts": ["b"], "task": "panoptic"}, "a mask each, not by task 'panoptic'"),
        ({"vocabulary": "a", "task": "panoptc"}, "task 'panoptc' is not answered"),
        ({"vocabulary": "a, b", "threshold": 60}, r"threshold must lie in \[0, 1\], got 60"),
        ({"vocabulary": "a, b", "batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"vocabulary": "a, b", "channels": "GRB"}, "channels must be one of"),
    ],
)
def test_what_cannot_be_asked_is_refused(segmenter, half_bright, options, message):
    with pytest.raises(ValueError, match=message):
        segmenter()([half_bright()], **options)


def test_words_that_the_tiny_clip_never_read_are_told_once(segmenter, half_bright, caplog):
    model = segmenter(settings={"clip_name": "convnext_drawn"})
    with caplog.at_level(logging.WARNING):
        model(half_bright(), "red car, trees, tollgate|bollard, sky")
        model(half_bright(), "red car, trees, tollgate|bollard, sky")
    (message,) = [record.getMessage() for record in caplog.records]
    assert "does not know 'tollgate': unless" in message
    caplog.clear()
    trained = {"clip_name": "convnext_drawn", "training_names": ("Tollgate", "ford")}
    segmenter(settings=trained)(half_bright(), "red car, tollgate|bollard, sky")
    assert not caplog.records  # the text encoder has read it in the training of this model
    segmenter(settings=trained)(half_bright(), "red car, tollgate, bollard")
    (message,) = [record.getMessage() for record in caplog.records]
    assert "does not know 'bollard': the training had no such class either" in message
    caplog.clear()
    model(half_bright(), "sea, person in blue, tollgate|boat, the sun")
    segmenter(settings={"clip_name": "ViT-B-16"})(half_bright(), "tollgate")
    assert not caplog.records


def test_below_the_threshold_is_nothing(segmenter, half_bright):
    for label_maps in (False, True):
        result = segmenter(label_maps=label_maps)(half_bright(), WORDS, threshold=0.99)
        assert (result.label_map[:, 15:] == NOTHING).all()  # bright is 250/255
        assert (result.label_map[:, :14] == 0).all()


def test_windows_see_a_large_picture_at_full_resolution(segmenter, half_bright):
    picture = half_bright(40, 120)
    picture[7, 3] = 255  # one pixel, lost where the picture is made smaller
    model = segmenter()
    assert model(picture, WORDS).label_map[7, 3] == 0
    result = model(picture, WORDS, windows=True)
    expected = (np.arange(120)[None] >= 60).repeat(40, 0)
    expected[7, 3] = True
    np.testing.assert_array_equal(result.label_map, expected)
    phrases = segmenter("Pointing")(picture, prompts=["bright"], windows=True)
    np.testing.assert_array_equal(phrases.masks[0], expected)


def test_windows_would_cut_objects(segmenter, half_bright):
    with pytest.raises(ValueError, match="windows would cut objects, so task 'instance'"):
        segmenter()(half_bright(), WORDS, task="instance", windows=True)


class SmallMemory(nn.Module):
    """Answers two pictures at a time and no more."""

    def __init__(self, inner, most=2):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, records):
        if len(records) > self.most:
            raise torch.OutOfMemoryError("too many")
        return self.inner(records)


def test_too_little_memory_for_a_batch_halves_it(segmenter, fakes, half_bright):
    model = segmenter(SmallMemory(fakes.Brightness()))
    results = model([half_bright(24, 30 + 2 * i) for i in range(5)], WORDS, batch_size=5)
    assert [result.size[1] for result in results] == [30, 32, 34, 36, 38]
    with pytest.raises(torch.OutOfMemoryError):
        segmenter(SmallMemory(fakes.Brightness(), most=0))(half_bright(), WORDS)


def test_a_huge_picture_is_answered_at_a_bounded_size():
    assert answer_size(3000, 4000) == (3000, 4000)
    height, width = answer_size(12_000, 12_000)
    assert height == width == 4096
    height, width = answer_size(1, 10**9)
    assert height == 1 and 2**23 < width <= 2**24


def test_a_batch_holds_fewer_large_pictures():
    small = Frame("small", np.zeros((10, 10, 3), np.uint8))
    large = Frame("large", np.broadcast_to(np.uint8(0), (2**13, 2**12 + 1, 3)))
    assert _BATCH_PIXELS < 2 * (2**13) * (2**12 + 1)
    sizes = [len(batch) for batch in batches([small, small, small, large, large, small], 2)]
    assert sizes == [2, 2, 2]
    assert [len(batch) for batch in batches([large, large, large], 4)] == [1, 1, 1]


def test_a_picture_keeps_its_file_name(segmenter, folder, half_bright):
    model = segmenter()
    with Image.open(folder / "c.png") as image:
        assert model(image, WORDS).name == "c"
    names = [result.name for result in model([half_bright(), half_bright()], WORDS)]
    assert names == ["picture 0", "picture 1"]


def test_a_model_without_a_clip_tower_has_no_similarity(segmenter, half_bright):
    model = segmenter()
    with pytest.raises(ValueError, match="no image tower .* those of sed, umg_clip and cocu"):
        model.similarity([Frame("a", half_bright())], model.ask("dark, bright"))
