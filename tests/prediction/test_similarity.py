"""Pictures of similarity: one a frame, files that cannot be read, and what the model is asked."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segplugins.prediction.similarity import paint_similarity


class Towers(nn.Module):
    """Cosines that rise from left to right for the first word and fall for the others."""

    def __init__(self):
        super().__init__()
        self.records = []

    def word_similarity(self, records):
        self.records += records
        rising = torch.linspace(-1, 1, 8).expand(4, 8)
        return [torch.stack([rising, -rising]).double() for _ in records]


@pytest.fixture
def asked(segmenter):
    """A model of cosines and a question of two words."""
    model = segmenter(Towers())
    return model, model.ask("left, right")


def test_cosines_are_float32_on_the_host_for_every_word(asked, half_bright):
    from segplugins.engine.media import Frame

    model, question = asked
    first, second = model.similarity(
        [Frame("a", half_bright()), Frame("b", half_bright())], question
    )
    assert first.shape == second.shape == (2, 4, 8) and first.dtype == np.float32
    np.testing.assert_allclose(first[0, 0], np.linspace(-1, 1, 8), atol=1e-6)
    assert [record["vocabulary"] for record in model.model.records] == [
        question.vocabulary.name
    ] * 2


def test_every_file_is_painted_and_bad_ones_are_skipped_and_named(asked, folder, tmp_path):
    model, question = asked
    (folder / "b.png").write_bytes(b"no picture")
    out = tmp_path / "new" / "out"
    done = paint_similarity(model, question, sorted(folder.iterdir()), out)
    assert (done.written, done.kept) == (2, 0)
    ((file, reason),) = done.skipped
    assert file == folder / "b.png" and "b.png" in reason
    assert sorted(p.name for p in out.iterdir()) == ["a.similarity.png", "c.similarity.png"]
    # A picture that is there is painted anew.
    (out / "a.similarity.png").write_bytes(b"old")
    paint_similarity(model, question, [folder / "a.png"], out)
    painted = np.asarray(Image.open(out / "a.similarity.png"))
    assert painted.shape[1] > 3 * painted.shape[0] / 2  # the picture and two words beside it


def test_of_a_video_every_frame_is_painted(asked, tmp_path, half_bright):
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for _ in range(3):
        video.write(half_bright(24, 32))
    video.release()
    done = paint_similarity(*asked, [path], tmp_path / "out")
    assert done.written == 3 and not done.skipped
    names = [p.name for p in sorted((tmp_path / "out" / "clip").iterdir())]
    assert names == [f"{i:06d}.similarity.png" for i in range(3)]
