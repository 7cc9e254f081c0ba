import json

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
from segplugins.structures import Vocabulary, get_vocabulary

NAMES = Vocabulary("test_predict", ("dark", "bright", "never seen"))


class Brightness(nn.Module):
    """Scores: how dark, how bright, and nothing for the others, at the size wanted."""

    def __init__(self, label_maps=False):
        super().__init__()
        self.label_maps = label_maps
        self.batches = []

    def forward(self, records):
        self.batches.append([tuple(record["image"].shape) for record in records])
        return [{"sem_seg": self.score(record)} for record in records]

    def score(self, record):
        size = (record["height"], record["width"])
        bright = nn.functional.interpolate(record["image"][None, :1].float() / 255, size)[0]
        count = len(get_vocabulary(record["vocabulary"]))
        scores = torch.cat([1 - bright, bright, bright.new_zeros(count - 2, *size)])
        return scores.argmax(0) if self.label_maps else scores


def predictor(vocabulary=NAMES, **options):
    resize = T.ResizeShortestEdge([32, 32], 64)
    return Predictor(Brightness(**options), LabelMaps(vocabulary), augmentations=[resize])


def half_bright(height=24, width=30):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 250
    return image


@pytest.mark.parametrize("label_maps", [False, True])
def test_a_label_map_has_the_size_of_its_image(label_maps):
    # 24 -> 32 in the model and back: the border of bright and dark lies where it lay.
    first, second = predictor(label_maps=label_maps)([half_bright(), half_bright(48, 30)])
    assert first.shape == (24, 30) and second.shape == (48, 30)
    np.testing.assert_array_equal(first, np.arange(30)[None].repeat(24, 0) >= 15)


def test_the_model_sees_the_configured_size():
    sees = predictor()
    sees([half_bright(24, 30), half_bright(10, 100)])
    assert sees.model.batches == [[(3, 32, 40), (3, 6, 64)]]  # short side 32, long side at most 64


def test_the_model_is_told_where_a_padded_image_lies():
    # 24 x 30 in a square of 60: doubled, 6 rows of border above and below.
    records = []
    sees = Predictor(
        Brightness(), LabelMaps(NAMES), augmentations=[LetterBox(60, [120.0, 110.0, 100.0])]
    )
    sees.model.register_forward_pre_hook(lambda module, given: records.extend(given[0]))
    sees([half_bright(24, 30)])
    assert records[0]["image"].shape == (3, 60, 60)
    assert records[0]["image_box"] == (0, 6, 60, 54)
    assert records[0]["image"][:, 0, 0].tolist() == [120, 110, 100]


def test_a_config_says_how_images_are_brought_to_size(toy_cfg):
    cfg = toy_cfg("INPUT.RESIZE letterbox INPUT.SIZE 40")
    (augmentation,) = Predictor.from_config(cfg, LabelMaps(NAMES)).augmentations.augs
    assert isinstance(augmentation, LetterBox) and augmentation.size == 40


def test_a_model_without_label_maps_is_told_of_prompts():
    with pytest.raises(ValueError, match=r"with \['phrase_masks'\], not .* asked with --prompt"):
        LabelMaps(NAMES).read({"phrase_masks": torch.zeros(1, 2, 2)})


@pytest.fixture
def folder(tmp_path):
    shots = tmp_path / "shots"
    shots.mkdir()
    for name in "abc":
        Image.fromarray(half_bright()).save(shots / f"{name}.png")
    return shots


def test_every_picture_gets_an_overlay_a_label_map_and_json(folder, tmp_path):
    done = segment_files(predictor(), find_media(str(folder)), tmp_path / "out", batch_size=2)
    assert done == {"written": 3, "kept": 0}
    assert len(list((tmp_path / "out").iterdir())) == 9
    report = json.loads((tmp_path / "out" / "b.json").read_text())
    assert report["vocabulary"] == {"name": "test_predict", "digest": NAMES.digest()}
    shares = {entry["name"]: (entry["pixels"], entry["share"]) for entry in report["classes"]}
    assert shares == {"dark": (360, 0.5), "bright": (360, 0.5)}  # 24 x 15 pixels each
    labels = np.asarray(Image.open(tmp_path / "out" / report["label_map"]))
    assert labels.dtype == np.uint8 and labels.shape == (24, 30)
    with Image.open(tmp_path / "out" / report["overlay"]) as overlay:
        assert min(overlay.size) >= 256  # a small image is enlarged so that it can be seen


def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path):
    out = tmp_path / "out"
    segment_files(predictor(), [folder / "a.png"], out, batch_size=2)
    stamp = (out / "a.json").stat().st_mtime_ns
    done = segment_files(predictor(), find_media(str(folder)), out, batch_size=2)
    assert done == {"written": 2, "kept": 1}
    assert (out / "a.json").stat().st_mtime_ns == stamp


def test_results_of_another_vocabulary_are_not_mixed_in(folder, tmp_path):
    files = find_media(str(folder))
    segment_files(predictor(), files, tmp_path / "out", batch_size=2)
    other = predictor(Vocabulary("test_predict_other", ("night", "day")))
    with pytest.raises(ValueError, match="'.*a.json' was written for another vocabulary"):
        segment_files(other, files, tmp_path / "out", batch_size=2)


def test_more_than_256_classes_are_written_with_16_bits(tmp_path):
    many = Vocabulary("test_predict_many", tuple(f"class {i}" for i in range(300)))
    Image.fromarray(half_bright()).save(tmp_path / "a.png")
    segment_files(predictor(many), [tmp_path / "a.png"], tmp_path / "out", batch_size=1)
    labels = np.asarray(Image.open(tmp_path / "out" / "a.labels.png"))
    assert labels.dtype == np.uint16 and set(np.unique(labels)) == {0, 1}
