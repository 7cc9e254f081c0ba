"""What the page shows of each task: the best and the worst samples, their truth and the answer."""

import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.evaluation.details import read_details, write_details
from segplugins.evaluation.gallery import Gallery, mask_label_map, sample_title, thinned_masks
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.ref_davis import RefDavisEvaluator
from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.salient import SalientEvaluator
from segplugins.evaluation.video import VideoEvaluator
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Region, encode_mask

# Object 1 is the left half, object 2 the lower right quarter.
LABELS = np.array([[1, 1, 0, 0], [1, 1, 2, 2]], np.uint8)


def offered(gallery, sample, score, step=None):
    def thinned(by):
        if step is not None:
            step.append(by)
        return np.zeros((1, 1), int), np.zeros((1, 1), int)

    record = {"file_name": f"folder/{sample}.jpg"}
    gallery.offer(sample, record, score, "IoU {}", ("it",), (1000, 700), thinned)


def test_a_picture_is_thinned_to_320_pixels_and_only_when_it_is_kept():
    gallery, steps = Gallery(keep=1), []
    for sample, score in (("a", 10.0), ("b", 90.0), ("c", 50.0), ("d", float("nan"))):
        offered(gallery, sample, score, steps)
    assert steps == [4, 4]  # 1000 / 4 = 250 pixels; c and d were never asked for
    assert [p.caption for p in gallery.worst()] == ["a.jpg: IoU 10.0"]
    assert [p.caption for p in gallery.best()] == ["b.jpg: IoU 90.0"]


def test_joined_galleries_hold_each_sample_once():
    first, second = Gallery(keep=1), Gallery(keep=1)
    for gallery, samples in ((first, (("a", 1), ("b", 2))), (second, (("b", 2), ("c", 3)))):
        for sample, score in samples:
            offered(gallery, sample, score)
    first.join([first.pictures, second.pictures])
    assert [picture.sample for picture in first.pictures] == ["a", "c"]


def test_small_masks_lie_on_large_ones():
    masks = np.array([[[1, 0, 0, 0]], [[1, 1, 1, 0]]], bool)
    assert mask_label_map(masks).tolist() == [[0, 1, 1, 2]]
    prediction, truth = thinned_masks(torch.from_numpy(masks), masks[[1, 0]])(2)
    assert prediction.tolist() == [[0, 1]] and truth.tolist() == [[1, 0]]


def test_a_caption_tells_the_phrases_of_a_sample():
    regions = [Region("cat"), {"text": "dog"}, Region("cat")]
    assert sample_title({"file_name": "a/b.jpg"}) == "b.jpg"
    assert sample_title({"file_name": "b.jpg", "regions": regions}) == "b.jpg, “cat”, “dog”"
    assert (
        sample_title({"file_name": "b.jpg", "regions": regions, "texts": ["it"]}) == "b.jpg, “it”"
    )


@pytest.fixture
def dataset(catalog, tmp_path):
    """One image in which all evaluators find their truth; returns the set's name and the record."""
    Image.new("RGB", (4, 2)).save(tmp_path / "image.png")
    Image.fromarray(LABELS).save(tmp_path / "labels.png")
    channels = np.stack([LABELS, 0 * LABELS, 0 * LABELS], axis=-1)
    Image.fromarray(channels).save(tmp_path / "panoptic.png")
    regions = [Region(f"object {k}", mask=encode_mask(np.equal(LABELS, k))) for k in (1, 2)]
    record = {
        "file_name": str(tmp_path / "image.png"),
        "image_id": 1,
        "video_id": "v",
        "expression_id": "0",
        "frame": "00000",
        "height": 2,
        "width": 4,
        "regions": regions,
        "label_file_name": str(tmp_path / "labels.png"),
        "pan_seg_file_name": str(tmp_path / "panoptic.png"),
        "segments_info": [
            {"id": 1, "category_id": 1, "area": 4, "iscrowd": 0},
            {"id": 2, "category_id": 0, "area": 2, "iscrowd": 0},
        ],
    }
    vocabulary = Vocabulary("gallery_test", ("stone", "cat"), is_thing=(0, 1))
    register_vocabulary(vocabulary)
    return lambda **more: (catalog([{**record, **more}], vocabulary=vocabulary.name), record)


def shown(evaluator, record, output, folder):
    """Returns the caption and the label maps of the one picture, and what the page gets of it."""
    evaluator.process([record], [output])
    evaluator.evaluate()
    (picture,) = evaluator.gallery.pictures
    write_details(str(folder), [evaluator])
    (told,) = read_details(folder)["best"]
    assert told["caption"] == picture.caption
    assert len(told["images"]) == 3
    return picture.caption, picture.truth.tolist(), picture.prediction.tolist(), told["legend"]


def test_phrases_are_painted_in_colours_of_their_own(dataset, tmp_path):
    name, record = dataset()
    masks = torch.zeros(2, 2, 4)
    masks[0, :, :1] = 0.9  # half of object 1: IoU 1/2; object 2 is missed
    evaluator = ReferringEvaluator(name, gallery=Gallery())
    caption, truth, prediction, legend = shown(evaluator, record, {"phrase_masks": masks}, tmp_path)
    assert caption == "image.png, “object 1”, “object 2”: IoU 25.0"
    assert truth == [[0, 0, 2, 2], [0, 0, 1, 1]]
    assert prediction == [[0, 2, 2, 2], [0, 2, 2, 2]]
    assert [entry["class"] for entry in legend] == ["object 1", "object 2"]


def test_a_saliency_map_is_shown_where_it_is_above_one_half(dataset, tmp_path):
    regions = [Region("thing", mask=encode_mask(np.equal(LABELS, 1)))]
    name, record = dataset(regions=regions)
    grey = torch.tensor([[[255, 255, 0, 0], [128, 127, 0, 0]]], dtype=torch.uint8)
    evaluator = SalientEvaluator(name, gallery=Gallery())
    output = {"phrase_masks": grey}
    caption, truth, prediction, _ = shown(
        evaluator, {**record, "regions": regions}, output, tmp_path
    )
    # MAE: (127 + 128) / 255 over 8 pixels.
    assert caption == "image.png, “thing”: 100 (1 - MAE) = 87.5"
    assert truth == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert prediction == [[0, 0, 1, 1], [0, 1, 1, 1]]


def test_a_frame_of_a_video_shows_its_phrase(dataset, tmp_path):
    regions = [Region("thing", mask=encode_mask(np.equal(LABELS, 1)))]
    name, record = dataset(regions=regions)
    evaluator = VideoEvaluator(name, gallery=Gallery())
    output = {"phrase_masks": torch.from_numpy(np.equal(LABELS, 1))[None]}
    caption, truth, prediction, _ = shown(
        evaluator, {**record, "regions": regions}, output, tmp_path
    )
    assert caption == "image.png, “thing”: J&F 100.0"
    assert truth == prediction == [[0, 0, 1, 1], [0, 0, 1, 1]]


def test_a_frame_of_ref_davis_shows_all_its_objects_under_their_own_phrases(dataset, tmp_path):
    name, record = dataset(texts=["object 1", "object 2"])
    swapped = torch.from_numpy(np.stack([np.equal(LABELS, 2), np.equal(LABELS, 1)])).double()
    evaluator = RefDavisEvaluator(name, gallery=Gallery())
    output = {"phrase_masks": swapped}
    caption, truth, prediction, _ = shown(evaluator, record, output, tmp_path)
    # Ref-DAVIS17 forgives the swap, the picture does not: J is 0 for both.
    assert caption.startswith("image.png, “object 1”, “object 2”: J&F ")
    assert truth == [[0, 0, 2, 2], [0, 0, 1, 1]]
    assert prediction == [[1, 1, 2, 2], [1, 1, 0, 0]]


def test_a_frame_without_an_object_is_no_picture(dataset):
    name, record = dataset(texts=["object 1"])
    Image.fromarray(0 * LABELS).save(record["label_file_name"])
    evaluator = RefDavisEvaluator(name, gallery=Gallery())
    evaluator.process([record], [{"phrase_masks": torch.zeros(1, 2, 4)}])
    assert evaluator.gallery.pictures == []


def test_segments_are_shown_by_their_categories(dataset, tmp_path):
    name, record = dataset()
    segments = [{"id": 7, "category_id": 1}]
    ids = torch.where(torch.from_numpy(LABELS) == 1, 7, 0)
    evaluator = PanopticEvaluator(name, gallery=Gallery())
    output = {"panoptic_seg": (ids, segments)}
    caption, truth, prediction, legend = shown(evaluator, record, output, tmp_path)
    # The cat is found, the stone missed: PQ 100 and 0.
    assert caption == "image.png, “object 1”, “object 2”: PQ 50.0"
    assert truth == [[1, 1, 2, 2], [1, 1, 0, 0]] and prediction == [[1, 1, 2, 2]] * 2
    assert [entry["class"] for entry in legend] == ["cat", "stone"]


def test_reset_forgets_the_pictures(dataset):
    name, record = dataset()
    evaluator = ReferringEvaluator(name, gallery=Gallery())
    evaluator.process([record], [{"phrase_masks": torch.zeros(2, 2, 4)}])
    assert len(evaluator.gallery.pictures) == 1
    evaluator.reset()
    assert evaluator.gallery.pictures == []
