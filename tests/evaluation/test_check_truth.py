"""The truth of phrases is looked at before a model is asked for anything."""

import numpy as np
import pytest
from PIL import Image

from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.salient import SalientEvaluator
from segplugins.evaluation.video import VideoEvaluator
from segplugins.structures.regions import Region, encode_mask

EVALUATORS = [ReferringEvaluator, SalientEvaluator, VideoEvaluator]
HEIGHT, WIDTH = 4, 6


def record(number, *regions, **more):
    base = {"file_name": f"{number}.jpg", "image_id": number, "height": HEIGHT, "width": WIDTH}
    base |= {"video_id": "v", "expression_id": "0", "frame": str(number)}
    return {**base, "regions": list(regions), **more}


def region(text="the cat", shape=(HEIGHT, WIDTH)):
    return Region(text, mask=encode_mask(np.ones(shape, bool)))


def check(catalog, kind, *records):
    kind(catalog(list(records)), distributed=False).check_truth()


@pytest.fixture
def catalog(catalog):
    return lambda records: catalog(records)


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_right_truth_and_an_empty_set_pass(catalog, kind):
    check(catalog, kind, record(0, region()), record(1, region("a dog")))
    if kind is not VideoEvaluator:
        check(catalog, kind)


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_mask_of_another_size_in_the_first_record_is_named(catalog, kind):
    with pytest.raises(ValueError, match="0.jpg.*'the cat'"):
        check(catalog, kind, record(0, region(shape=(WIDTH, HEIGHT))), record(1, region()))


@pytest.mark.parametrize("kind", EVALUATORS)
def test_texts_without_a_truth_are_found_in_the_last_record_too(catalog, kind):
    wrong = record(2, region(), texts=["the cat", "a dog"])
    with pytest.raises(ValueError, match="2.jpg.*lists 2 phrases for the 1 .*'a dog'"):
        check(catalog, kind, record(0, region()), record(1, region()), wrong)


def test_only_referring_sets_may_ask_for_several_phrases(catalog):
    two = record(1, region(), region("a dog"))
    check(catalog, ReferringEvaluator, record(0, region()), two)
    for kind in (SalientEvaluator, VideoEvaluator):
        with pytest.raises(ValueError, match="1.jpg.*: 2 phrases, expected one a record"):
            check(catalog, kind, record(0, region()), two)


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_mask_file_is_read_and_needs_the_size_of_its_picture(catalog, tmp_path, kind):
    path = tmp_path / "mask.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)
    first = {key: value for key, value in record(0).items() if key != "regions"}
    first["mask_file_name"] = str(path)
    check(catalog, kind, first)
    with pytest.raises(ValueError, match="0.jpg.*mask.png"):
        check(catalog, kind, {**first, "height": WIDTH, "width": HEIGHT})
    unsized = {key: value for key, value in first.items() if key not in ("height", "width")}
    check(catalog, kind, unsized)
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="mask.png"):
        check(catalog, kind, unsized)


def test_regions_without_a_size_wait_for_the_picture(catalog):
    unsized = record(0, region(shape=(1, 1)))
    del unsized["height"]
    check(catalog, ReferringEvaluator, unsized)


def test_a_video_set_without_truth_is_written_and_not_checked(catalog, tmp_path):
    unknown = record(0, texts=["a cat"])
    del unknown["regions"]
    VideoEvaluator(catalog([unknown]), output_dir=str(tmp_path), distributed=False).check_truth()
