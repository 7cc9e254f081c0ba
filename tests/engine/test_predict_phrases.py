import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image
from torch import nn

from segplugins.data.augmentations import LetterBox
from segplugins.engine.media import find_media
from segplugins.engine.predict import Predictor, segment_files
from segplugins.engine.predict_labels import LabelMaps
from segplugins.engine.predict_phrases import PhraseMasks
from segplugins.structures import Vocabulary
from segplugins.structures.regions import Task

PROMPTS = ["bright side", "whole picture", "nothing"]


class Pointing(nn.Module):
    """Bright pixels for the first prompt, all for the second, none for the others."""

    def __init__(self, scores=False):
        super().__init__()
        self.scores = scores
        self.records = []

    def forward(self, records):
        self.records.extend(records)
        return [{"phrase_masks": self.point(record)} for record in records]

    def point(self, record):
        height, width = record["height"], record["width"]
        image = record["image"][:1].float() / 255
        x0, y0, x1, y1 = record.get("image_box", (0, 0, image.shape[2], image.shape[1]))
        bright = nn.functional.interpolate(image[None, :, y0:y1, x0:x1], (height, width))[0]
        others = [torch.full((1, height, width), float(i == 0)) for i in range(9)]
        scores = torch.cat([bright, *others])[: len(record["texts"])]
        return scores if self.scores else scores > 0.5


def predictor(prompts=PROMPTS, augmentations=(), **options):
    resize = augmentations or [T.ResizeShortestEdge([32, 32], 64)]
    return Predictor(Pointing(**options), PhraseMasks(prompts), augmentations=resize)


def half_bright(height=24, width=30):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 250
    return image


@pytest.fixture
def folder(tmp_path):
    """Three pictures of different sizes."""
    shots = tmp_path / "shots"
    shots.mkdir()
    for i, name in enumerate("abc"):
        Image.fromarray(half_bright(24 + 10 * i, 30 + 4 * i)).save(shots / f"{name}.png")
    return shots


@pytest.mark.parametrize("scores", [False, True])
def test_every_prompt_gets_a_mask_at_the_size_of_its_picture(folder, tmp_path, scores):
    out, asks = tmp_path / "out", predictor(scores=scores)
    done = segment_files(asks, find_media(str(folder)), out, batch_size=2)
    assert done == {"written": 3, "kept": 0}
    assert len(list(out.iterdir())) == 3 * 5  # JSON, overlay and three masks each
    report = json.loads((out / "b.json").read_text())
    assert (report["height"], report["width"]) == (34, 34)
    expected = [("bright side", 34 * 17, 0.5), ("whole picture", 34 * 34, 1.0), ("nothing", 0, 0.0)]
    assert [(e["text"], e["pixels"], e["share"]) for e in report["prompts"]] == expected
    mask = np.asarray(Image.open(out / report["prompts"][0]["mask"]))
    np.testing.assert_array_equal(mask, np.where(half_bright(34, 34)[..., 0] > 0, 255, 0))
    assert mask.dtype == np.uint8
    with Image.open(out / report["overlay"]) as overlay:
        assert min(overlay.size) >= 256
    assert asks.model.records[0]["task"] is Task.REFERRING
    assert asks.model.records[0]["vocabulary"] is None
    assert asks.model.records[0]["texts"] == PROMPTS


def test_a_letter_box_is_told_to_the_model(folder, tmp_path):
    asks = predictor(augmentations=[LetterBox(64, [0.0, 0.0, 0.0])])
    segment_files(asks, [folder / "a.png"], tmp_path / "out", batch_size=1)
    # 24 x 30 -> 51 x 64, in the middle of 64 x 64.
    assert asks.model.records[0]["image_box"] == (0, 6, 64, 57)
    report = json.loads((tmp_path / "out" / "a.json").read_text())
    assert report["prompts"][0]["share"] == pytest.approx(0.5, abs=0.04)


def test_a_video_gets_its_masks_frame_by_frame(tmp_path):
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for _ in range(5):
        video.write(half_bright(24, 32))
    video.release()
    done = segment_files(predictor(["bright side"]), [path], tmp_path / "out", batch_size=2)
    assert done["written"] == 5
    report = json.loads((tmp_path / "out" / "clip" / "000004.json").read_text())
    assert report["prompts"][0]["mask"] == "000004.mask0.png"
    assert report["prompts"][0]["share"] == pytest.approx(0.5, abs=0.07)


def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path):
    out = tmp_path / "out"
    segment_files(predictor(), [folder / "a.png"], out, batch_size=2)
    asks = predictor()
    done = segment_files(asks, find_media(str(folder)), out, batch_size=2)
    assert done == {"written": 2, "kept": 1} and len(asks.model.records) == 2


def test_results_of_another_question_are_not_mixed_in(folder, tmp_path):
    out, files = tmp_path / "out", find_media(str(folder))
    segment_files(predictor(), files, out, batch_size=2)
    reordered = predictor(PROMPTS[::-1])
    with pytest.raises(ValueError, match=r"a.json' was written for .* other prompts \(\['bright"):
        segment_files(reordered, files, out, batch_size=2)
    classes = LabelMaps(Vocabulary("test_phrases", ("dark", "bright")))
    asks = Predictor(Pointing(), classes, augmentations=[T.ResizeShortestEdge([32, 32], 64)])
    with pytest.raises(ValueError, match="was written for another vocabulary or other prompts"):
        segment_files(asks, files, out, batch_size=2)


@pytest.mark.parametrize(
    "prompts, message",
    [
        (["a car", "  "], "prompt 2 of 2 is empty; write one as --prompt"),
        ([], "is empty"),
        (["a  car", "A car "], "prompts 'a car' and 'A car' are the same; leave one out"),
    ],
)
def test_prompts_that_ask_nothing_new_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        PhraseMasks(prompts)


def test_a_model_without_masks_is_told_of_vocabularies():
    with pytest.raises(ValueError, match=r"with \['sem_seg'\], not .* asked with --vocabulary"):
        PhraseMasks(["a car"]).read({"sem_seg": torch.zeros(1, 2, 2)})
