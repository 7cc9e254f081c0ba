import numpy as np
import pytest

from segplugins.annotation.adapters.truth import TruthSpec, is_true, meant_regions
from segplugins.annotation.filters import box_iou
from segplugins.annotation.interfaces import ROLES, Image, View
from segplugins.files.pictures import read_picture


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from segplugins.drawn_world import write_drawn_world

    root = tmp_path_factory.mktemp("truth") / "drawn"
    write_drawn_world(
        root, train=0, val=12, val_unseen=0, pairs=0, clips=0, val_clips=0, size=64, seed=1
    )
    return root


@pytest.fixture(scope="module")
def images(world):
    paths = sorted((world / "images" / "val").glob("*.png"))
    return [Image(read_picture(path).pixels, path.name) for path in paths]


def annotator(world, **noise):
    return TruthSpec(lines=str(world / "regions" / "val.jsonl"), **noise).build("cpu")


def things_of(looker, image):
    return [region for region in looker.truth(image).regions if region.is_thing]


def test_without_noise_every_answer_is_true(world, images):
    looker = annotator(world)
    assert all(isinstance(looker, role) for role in ROLES.values())
    names = [[tag.text for tag in tags] for tags in looker.tag(images)]
    found = looker.detect(images, names)
    boxes = [np.array([d.box for d in listed]).reshape(-1, 4) for listed in found]
    masks = looker.segment_boxes(images, boxes)
    captions = looker.caption_boxes(images, boxes, 2)
    count = 0
    for image, listed, answer, words in zip(images, found, masks, captions):
        entry = looker.truth(image)
        assert [d.text for d in listed] == [r.text for r in things_of(looker, image)]
        for detection, mask, phrases in zip(listed, answer.masks, words):
            count += 1
            assert is_true(entry, detection.text, detection.box, None)
            assert is_true(entry, detection.text, detection.box, mask, iou=0.999)
            assert 1 <= len(phrases) <= 2
    assert count > 20


def test_the_same_seed_answers_alike_and_only_noisy_images_are_spoiled(world, images):
    noise = {"noisy_images": 0.5, "wrong_box": 1.0, "wrong_name": 1.0}
    names = [annotator(world).names] * len(images)
    one = annotator(world, **noise).detect(images, names)
    backwards = annotator(world, **noise).detect(images[::-1], names)[::-1]
    assert one == backwards != annotator(world, seed=1, **noise).detect(images, names)
    looker, clean = annotator(world, **noise), annotator(world).detect(images, names)
    for image, spoiled, right in zip(images, one, clean):
        if looker.is_noisy(image.file_name):
            assert all(a.text != b.text and a.box != b.box for a, b in zip(spoiled, right))
        else:
            assert spoiled == right
    noisy = sum(looker.is_noisy(image.file_name) for image in images)
    assert 0 < noisy < len(images)


def test_moved_boxes_stay_in_the_image_and_mostly_miss_their_object(world, images):
    looker, misses = annotator(world, wrong_box=1.0), []
    for image, listed in zip(images, looker.detect(images, [looker.names] * len(images))):
        for detection, region in zip(listed, things_of(looker, image)):
            x0, y0, x1, y1 = detection.box
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
            misses.append(float(box_iou(*np.array([[detection.box], [region.box]]))[0, 0]) < 0.5)
    assert np.mean(misses) > 0.8  # at the border of an image there is no room to move away


def test_torn_masks_differ_from_the_truth_and_from_box_to_box(world, images):
    looker = annotator(world, ragged=1.0)
    image = images[0]
    region = max(things_of(looker, image), key=lambda r: r.bitmap(64, 64).sum())
    boxes = np.array([region.box, np.array(region.box) + 1.0])
    (answer,) = looker.segment_boxes([image], [boxes])
    truth = region.bitmap(64, 64)
    iou = [(m & truth).sum() / (m | truth).sum() for m in answer.masks]
    assert all(0.2 < value < 0.95 for value in iou) and (answer.masks[0] != answer.masks[1]).any()


def test_a_box_of_nothing_gets_an_ellipse(world, images):
    (answer,) = annotator(world).segment_boxes([images[0]], [np.array([[0.0, 0, 6, 4]])])
    assert answer.scores[0] < 0.5 and 14 <= answer.masks[0].sum() <= 24  # pi * 3 * 2 = 18.8
    assert not answer.masks[0][4:].any()


def test_scores_are_the_share_of_what_is_visible(world, images):
    looker = annotator(world)
    image, region = images[0], things_of(looker, images[0])[0]
    meant = looker.meaning(image, region.text)
    whole, faded = View(image, (0, 0, 64, 64)), View(image, (0, 0, 64, 64), meant, 0.5)
    hidden = View(image, (0, 0, 64, 64), ~meant, 1.0)
    text = [region.text]
    share = meant.mean()
    scores = [float(s[0]) for s in looker.score([whole, faded, hidden], [text] * 3)]
    weighed = share / (share + 0.5 * (1 - share))
    assert scores == pytest.approx([0.12 + 0.18 * share, 0.12 + 0.18 * weighed, 0.12])
    noisy = annotator(world, score_noise=0.05)
    errors = [float(noisy.score([whole], [[str(n)]])[0][0]) - 0.12 for n in range(200)]
    assert abs(np.mean(errors)) < 0.015 and 0.04 < np.std(errors) < 0.06


def test_what_a_phrase_means(world, images):
    looker = annotator(world)
    entry = looker.truth(images[0])
    name = things_of(looker, images[0])[0].text
    of_name = [region for region in entry.regions if region.text == name]
    assert meant_regions(entry, name) == meant_regions(entry, f"All {name}") == of_name
    assert of_name[0] in meant_regions(entry, of_name[0].extra["captions"][0])
    assert name in [
        region.text for region in meant_regions(entry, f"a picture with a {name} in it")
    ]
    assert meant_regions(entry, "unicorn") == []
    assert not is_true(entry, "unicorn", (0, 0, 9, 9), None)
    (answer,) = looker.segment_phrases([images[0]], [[name, "unicorn"]])
    np.testing.assert_array_equal(answer.masks[0], looker.meaning(images[0], name))
    assert not answer.masks[1].any() and answer.scores.tolist() == [1, 0]


def test_captions_and_stuff(world, images):
    looker = annotator(world)
    captions = looker.caption(images[:1])[0]
    assert [c.text for c in captions] == looker.truth(images[0]).more["captions"]
    spoiled = annotator(world, wrong_name=1.0).caption(images[:1])[0]
    assert [c.text for c in spoiled][1:] == [c.text for c in captions]
    stuff = looker.segment_stuff(images[:1])[0]
    assert {s.text for s in stuff} == {
        r.text for r in looker.truth(images[0]).regions if not r.is_thing
    }


def test_errors_name_what_is_missing(world, images):
    with pytest.raises(FileNotFoundError, match="no region lines 'none.jsonl' with the truth"):
        TruthSpec(lines="none.jsonl").check()
    with pytest.raises(ValueError, match=r"wrong_box is 1.5, expected 0 to 1"):
        TruthSpec(lines="x", wrong_box=1.5)
    looker = annotator(world)
    with pytest.raises(ValueError, match="has no image 'other.png'"):
        looker.tag([Image(images[0].pixels, "other.png")])
    with pytest.raises(ValueError, match="is of another size"):
        looker.tag([Image(images[0].pixels[:32], images[0].file_name)])
