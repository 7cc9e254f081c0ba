"""Panoptic quality: by hand, against a plain re-statement, and as an evaluator."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.evaluation.panoptic import PanopticEvaluator, categories_of
from segplugins.evaluation.panoptic_quality import (
    panoptic_counts,
    panoptic_quality,
    summed,
)
from segplugins.files.panoptic_ids import read_segment_ids
from segplugins.structures import Vocabulary, register_vocabulary


def segments_of(ids, categories, generator=None):
    """One entry per id of a map but 0; with a generator, some are crowds."""
    found = [int(i) for i in np.unique(ids) if i]
    return [
        {
            "id": i,
            "category_id": int(categories[n]),
            "area": int((ids == i).sum()),
            "iscrowd": int(generator is not None and generator.random() < 0.2),
        }
        for n, i in enumerate(found)
    ]


def counts_plainly(prediction, predicted, truth, true, num_categories):
    """panopticapi's rules with a mask per segment."""
    iou, tp, fp, fn = np.zeros((4, num_categories))
    done_p, done_g = set(), set()
    for g in true:
        for p in predicted:
            if g["iscrowd"] or g["category_id"] != p["category_id"]:
                continue
            a, b = prediction == p["id"], truth == g["id"]
            union = a.sum() + g["area"] - (a & b).sum() - (a & (truth == 0)).sum()
            if (a & b).sum() / union > 0.5:
                iou[p["category_id"]] += (a & b).sum() / union
                tp[p["category_id"]] += 1
                done_p.add(p["id"])
                done_g.add(g["id"])
    for g in true:
        fn[g["category_id"]] += not g["iscrowd"] and g["id"] not in done_g
    for p in predicted:
        if p["id"] in done_p:
            continue
        excuse = truth == 0
        crowds = [g for g in true if g["iscrowd"] and g["category_id"] == p["category_id"]]
        if crowds:
            excuse = excuse | (truth == crowds[-1]["id"])
        a = prediction == p["id"]
        fp[p["category_id"]] += (a & excuse).sum() / a.sum() <= 0.5
    return np.stack([iou, tp, fp, fn], axis=1)


def random_image(generator, categories):
    """Blocky maps, so that segments overlap by more and by less than half."""
    blocks = generator.integers(0, 5, (2, 3, 4))
    truth, prediction = (np.kron(b, np.ones((4, 3), np.int64)) for b in blocks)
    if generator.random() < 0.5:
        prediction = truth.copy()
    noise = generator.random(truth.shape) < generator.choice([0, 0.1, 0.4])
    prediction = np.where(noise, generator.integers(0, 5, truth.shape), prediction)
    truth = np.where(truth > 0, truth + 70000, 0)  # ids of three bytes
    kinds = generator.integers(0, categories, 5)
    other = np.where(generator.random(5) < 0.8, kinds, generator.integers(0, categories, 5))
    # Truth and prediction agree on most categories: id k of either is of kind k.
    true = segments_of(truth, kinds[np.unique(truth[truth > 0]) - 70000], generator)
    predicted = segments_of(prediction, other[np.unique(prediction[prediction > 0])])
    return prediction, predicted, truth, true


def test_300_random_images_equal_the_definitions():
    generator = np.random.default_rng(0)
    matched = crowds = 0
    for _ in range(300):
        image = random_image(generator, 3)
        expected = counts_plainly(*image, 3)
        row = panoptic_counts(*image, 3)
        np.testing.assert_allclose(summed([row], 3), expected, rtol=0, atol=1e-12)
        assert set(row[:, 0]) == set(np.flatnonzero(expected[:, 1:].any(axis=1)))
        matched += expected[:, 1].sum()
        crowds += sum(segment["iscrowd"] for segment in image[3])
    assert matched > 100 and crowds > 100  # the cases are there


def test_200_random_counts_become_the_means_of_the_definition():
    generator = np.random.default_rng(6)
    for _ in range(200):
        counts = generator.integers(0, 3, (5, 4)).astype(float)
        counts[:, 0] = counts[:, 1] * generator.uniform(0.5, 1, 5)  # an IoU for each match
        among = generator.random(5) < 0.7
        rows = []
        for iou, tp, fp, fn in counts[among]:
            if tp + fp + fn:
                sq, rq = iou / tp if tp else 0, tp / (tp + fp / 2 + fn / 2)
                rows.append((sq * rq, sq, rq))
        expected = 100 * np.mean(rows, axis=0) if rows else [float("nan")] * 3
        scores = panoptic_quality(counts, among)
        np.testing.assert_allclose([scores[k] for k in ("PQ", "SQ", "RQ")], expected, atol=1e-9)


def test_quality_is_segmentation_times_recognition():
    # One category: two matches of 0.8 and 0.6, one false positive, two misses.
    # SQ = 1.4 / 2, RQ = 2 / (2 + 1/2 + 2/2), PQ = SQ * RQ.
    scores = panoptic_quality(np.array([[1.4, 2, 1, 2]]))
    assert scores["SQ"] == pytest.approx(70)
    assert scores["RQ"] == pytest.approx(100 * 2 / 3.5)
    assert scores["PQ"] == pytest.approx(70 * 2 / 3.5)


def test_categories_that_never_occur_are_left_out_and_none_at_all_is_no_number():
    counts = np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    assert panoptic_quality(counts)["PQ"] == 50
    assert math.isnan(panoptic_quality(counts, np.array([False, True, False]))["PQ"])


def test_half_an_overlap_is_no_match():
    truth = np.array([[1, 1, 2, 2]])
    prediction = np.array([[1, 0, 2, 2]])  # IoU 1/2 and 1
    segments = [{"id": i, "category_id": 0, "area": 2, "iscrowd": 0} for i in (1, 2)]
    counts = summed([panoptic_counts(prediction, segments, truth, segments, 1)], 1)
    assert counts.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("area", [0, 1, 5, -3, float("nan"), None, "many"])
def test_the_area_comes_from_the_map_whatever_the_list_says(area):
    truth = np.array([[1, 1, 1, 1, 0]])
    guess = np.array([[1, 1, 1, 1, 1]])  # the pixel on void does not count
    segments = [{"id": 1, "category_id": 0}]
    true = [{**segments[0], "area": area, "iscrowd": 0}]
    counts = summed([panoptic_counts(guess, segments, truth, true, 1)], 1)
    assert counts.tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("owner", ["predicted", "true"])
@pytest.mark.parametrize(
    "ids, segments, message",
    [
        ([0, 1, 2], [(1, 0)], r"OWNER map.*ids \[2\] are in the map alone, ids \[\] in the list"),
        ([1], [(1, 0), (5, 0)], r"OWNER map.*ids \[\] are in the map alone, ids \[5\] in the list"),
        ([1], [(1, 0), (1, 1)], r"each id but 0 once, got the OWNER ids \[1, 1\]"),
        ([0], [(0, 0)], r"each id but 0 once, got the OWNER ids \[0\]"),
        ([1], [(1, 2)], r"OWNER segment 1 has category_id 2, expected 0..1"),
        ([1], [(1, -1)], r"OWNER segment 1 has category_id -1, expected 0..1"),
        ([1], [(1.5, 0)], r"a OWNER segment needs a whole number as 'id', got {'id': 1.5"),
        ([1], [(float("nan"), 0)], r"a OWNER segment needs a whole number as 'id'"),
        ([1], [(True, 0)], r"a OWNER segment needs a whole number as 'id'"),
        ([1], [("1", 0)], r"a OWNER segment needs a whole number as 'id'"),
        ([1], [(1, 0.5)], r"a OWNER segment needs a whole number as 'category_id'"),
        ([1], [(1, None)], r"a OWNER segment needs a whole number as 'category_id'"),
    ],
)
def test_a_map_and_a_list_that_differ_are_refused(owner, ids, segments, message):
    listed = [{"id": i, "category_id": c} for i, c in segments]
    right = [{"id": int(i), "category_id": 0} for i in ids if i]
    both = {"predicted": right, "true": right, owner: listed}
    label_map = np.array([ids])
    with pytest.raises(ValueError, match=message.replace("OWNER", owner)):
        panoptic_counts(label_map, both["predicted"], label_map, both["true"], 2)


@pytest.mark.parametrize("crowd", ["0", "1", 2, 0.5, None, float("nan")])
def test_a_crowd_is_0_or_1(crowd):
    ids, guess = np.array([[1]]), [{"id": 1, "category_id": 0}]
    with pytest.raises(ValueError, match="iscrowd"):
        panoptic_counts(ids, guess, ids, [{**guess[0], "iscrowd": crowd}], 1)


def test_whole_floats_are_ids():
    ids, segments = np.array([[7, 7, 0]]), [{"id": 7.0, "category_id": np.float64(0)}]
    assert summed([panoptic_counts(ids, segments, ids, segments, 1)], 1).tolist() == [[1, 1, 0, 0]]


def test_ids_are_read_as_three_bytes(tmp_path):
    ids = np.array([[0, 255, 256], [65535, 65536, 2**24 - 1]])
    write(tmp_path / "ids.png", ids)
    assert np.array_equal(read_segment_ids(str(tmp_path / "ids.png")), ids)
    Image.new("L", (2, 2)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="grey.png: .* pixels of kind L, expected RGB"):
        read_segment_ids(str(tmp_path / "grey.png"))
    write(tmp_path / "noise.png", np.random.default_rng(0).integers(0, 2**24, (32, 32)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "noise.png").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut.png: the panoptic map cannot be read"):
        read_segment_ids(str(tmp_path / "cut.png"))
    with pytest.raises(FileNotFoundError):
        read_segment_ids(str(tmp_path / "none.png"))


def write(path, ids):
    channels = [ids % 256, ids // 256 % 256, ids // 65536]
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(path)


@pytest.fixture
def world(catalog, tmp_path):
    """Four random images on disk and a prediction of each."""
    register_vocabulary(Vocabulary("panoptic_test", ("car", "cat", "sky"), is_thing=(1, 1, 0)))
    generator = np.random.default_rng(3)
    records, outputs, images = [], [], []
    for i in range(4):
        image = random_image(generator, 3)
        write(tmp_path / f"{i}.png", image[2])
        records.append(
            {
                "file_name": f"{i}.jpg",
                "image_id": i,
                "pan_seg_file_name": str(tmp_path / f"{i}.png"),
                "segments_info": image[3],
            }
        )
        outputs.append({"panoptic_seg": (torch.from_numpy(image[0]).int(), image[1])})
        images.append(image)
    return catalog(records, vocabulary="panoptic_test"), records, outputs, images


def run(name, records, outputs, **options):
    evaluator = PanopticEvaluator(name, **options)
    evaluator.process(records, outputs)
    return evaluator.evaluate()["panoptic_seg"]


def test_things_and_stuff_are_averaged_apart(world):
    name, records, outputs, images = world
    scores = run(name, records, outputs)
    counts = sum(counts_plainly(*image, 3) for image in images)
    iou, tp, fp, fn = counts.T
    with np.errstate(invalid="ignore"):
        pq = 100 * iou / (tp + fp / 2 + fn / 2)
    assert [scores[f"PQ-{c}"] for c in ("car", "cat", "sky")] == pytest.approx(pq, nan_ok=True)
    assert scores["PQ"] == pytest.approx(np.nanmean(pq))
    assert scores["PQ_th"] == pytest.approx(np.nanmean(pq[:2]))
    assert scores["PQ_st"] == pytest.approx(pq[2])


def test_class_agnostic_quality_ignores_categories(world):
    name, records, outputs, images = world
    one = lambda segments: [{**s, "category_id": 0} for s in segments]  # noqa: E731
    counts = sum(counts_plainly(p, one(ps), t, one(ts), 1) for p, ps, t, ts in images)
    scores = run(name, records, outputs, class_agnostic=True)
    assert scores["PQ_agnostic"] == pytest.approx(panoptic_quality(counts)["PQ"])
    relabelled = [
        {"panoptic_seg": (ids, [{**s, "category_id": 2} for s in segments])}
        for ids, segments in (output["panoptic_seg"] for output in outputs)
    ]
    # A crowd excuses predictions of its own category; as one category all are excused alike.
    again = run(name, records, relabelled, class_agnostic=True)
    assert again["PQ_agnostic"] == pytest.approx(scores["PQ_agnostic"])
    assert again["PQ"] != pytest.approx(scores["PQ"])


def test_a_perfect_answer_is_100_and_an_empty_one_0(world):
    name, records, outputs, images = world
    for record in records:
        for segment in record["segments_info"]:
            segment["iscrowd"] = 0
    perfect = [{"panoptic_seg": (image[2], image[3])} for image in images]
    assert {v for v in run(name, records, perfect).values() if not math.isnan(v)} == {100.0}
    empty = [{"panoptic_seg": (np.zeros_like(image[2]), [])} for image in images]
    assert {v for v in run(name, records, empty).values() if not math.isnan(v)} == {0.0}


def test_order_batches_and_the_numbering_of_segments_do_not_matter(world):
    name, records, outputs, _ = world
    expected = run(name, records, outputs)
    evaluator = PanopticEvaluator(name)
    for batch in ([3], [1, 0, 2]):
        renamed = []
        for ids, segments in (outputs[i]["panoptic_seg"] for i in batch):
            ids = torch.where(ids > 0, 9 - ids, 0)
            renamed.append({"panoptic_seg": (ids, [{**s, "id": 9 - s["id"]} for s in segments])})
        evaluator.process([records[i] for i in batch], renamed)
    assert evaluator.evaluate()["panoptic_seg"] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert len(evaluator.sample_scores) == 4
    evaluator.reset()
    with pytest.raises(ValueError, match="4 of 4 records"):
        evaluator.evaluate()


def test_an_empty_data_set_gives_no_number_and_no_error(catalog, world):
    scores = run(catalog([], vocabulary="panoptic_test"), [], [])
    assert all(math.isnan(value) for value in scores.values())


@pytest.mark.parametrize(
    "answer, message",
    [
        ((torch.zeros(2, 2).int(), []), r"has shape \(2, 2\), the truth \(12, 12\)"),
        ((torch.ones(12, 12).int(), []), r"ids \[1\] are in the map alone"),
        ((torch.zeros(12, 12).int(), None), "has no segments_info"),
        ((torch.zeros(12, 12), []), "must be integers, got float32"),
    ],
)
def test_a_prediction_that_cannot_be_scored_names_the_image(world, answer, message):
    name, records, _, _ = world
    with pytest.raises(ValueError, match=rf"0.jpg \(image_id 0\).*{message}"):
        run(name, records[:1], [{"panoptic_seg": answer}])


def test_a_true_category_outside_the_vocabulary_names_the_image(world):
    name, records, outputs, _ = world
    records[0]["segments_info"][0]["category_id"] = 3
    with pytest.raises(ValueError, match="0.jpg.*true segment 7000.*category_id 3, expected 0..2"):
        run(name, records[:1], outputs[:1])


def test_detectron2s_maps_name_the_categories(catalog):
    things, stuff = {7: 0, 9: 1}, {7: 0, 9: 1, 20: 2}
    name = catalog(
        [],
        thing_dataset_id_to_contiguous_id=things,
        stuff_dataset_id_to_contiguous_id=stuff,
        thing_classes=["car", "cat", "sky"],
        stuff_classes=["car", "cat", "sky"],
    )
    assert categories_of(name) == (("car", "cat", "sky"), (True, True, False))


def test_things_and_stuff_under_the_same_indices_are_refused(catalog):
    separated = {
        "thing_dataset_id_to_contiguous_id": {1: 0, 2: 1, 3: 2},
        "stuff_dataset_id_to_contiguous_id": {90: 1, 91: 2},
    }
    with pytest.raises(ValueError, match="numbers things and stuff apart: both have 1"):
        categories_of(catalog([], **separated))
    with pytest.raises(ValueError, match="has no 'vocabulary' in its metadata"):
        categories_of(catalog([]))
