"""J and F, DAVIS matching, submissions: by hand, against plain re-statements, as evaluators."""

import itertools
import math
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from segplugins.evaluation.boundary import (
    bound_radius,
    boundaries,
    count,
    dilate,
    j_and_f,
    pack,
)
from segplugins.evaluation.davis import (
    check_labels,
    davis_scores,
    frame_scores,
    match_proposals,
    same_labels,
    statistics,
)
from segplugins.evaluation.ref_davis import RefDavisEvaluator, merge_phrases
from segplugins.evaluation.submission import davis_palette, frame_path, write_zip
from segplugins.evaluation.video import VideoEvaluator
from segplugins.structures.regions import Region, encode_mask


def boundary_plainly(mask):
    """Pixel by pixel, as DAVIS defines it."""
    height, width = mask.shape
    marked = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        last_row, last_column = y == height - 1, x == width - 1
        right = not last_column and mask[y, x] != mask[y, x + 1]
        below = not last_row and mask[y, x] != mask[y + 1, x]
        if last_row or last_column:
            marked[y, x] = right if last_row else below
        else:
            marked[y, x] = right or below or mask[y, x] != mask[y + 1, x + 1]
    return marked


def within(mask, radius):
    """Pixels at most `radius` from a pixel of the mask."""
    if not mask.any():
        return mask
    return distance_transform_edt(~mask) <= radius + 1e-9


def j_and_f_plainly(prediction, truth, void, bound_th):
    prediction, truth = prediction & ~void, truth & ~void
    inter, union = (prediction & truth).sum(), (prediction | truth).sum()
    radius = bound_th if bound_th >= 1 else math.ceil(bound_th * math.hypot(*truth.shape))
    p, g = boundary_plainly(prediction), boundary_plainly(truth)
    near = [within(m, radius) for m in (p, g)]
    if not p.any() and not g.any():
        precision = recall = 1
    else:
        precision = (p & near[1]).sum() / p.sum() if p.any() else 1
        recall = (g & near[0]).sum() / g.sum() if g.any() else 1
    total = precision + recall
    return inter / union if union else 1, 2 * precision * recall / total if total else 0


def random_mask(generator, size):
    y, x = np.mgrid[: size[0], : size[1]]
    kind = generator.integers(0, 8)
    if kind == 0:
        return np.full(size, generator.random() < 0.5)
    if kind == 1:
        return generator.random(size) < 0.3
    cy, cx = generator.uniform(0, size)
    a, b = generator.uniform(1, 12, 2)
    return ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1


def test_200_random_pairs_equal_the_definitions():
    generator = np.random.default_rng(0)
    for _ in range(200):
        # Widths around the ends of 64-bit words, where a shift could lose or invent pixels.
        size = int(generator.integers(1, 24)), int(generator.choice([1, 7, 62, 63, 64, 65, 100]))
        prediction, truth = random_mask(generator, size), random_mask(generator, size)
        if generator.random() < 0.3:
            prediction = np.roll(truth, 1, axis=1)
        void = random_mask(generator, size) & (generator.random() < 0.5)
        bound_th = float(generator.choice([0.008, 0.05, 1, 3]))
        expected = j_and_f_plainly(prediction, truth, void, bound_th)
        assert j_and_f(prediction, truth, void, bound_th) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("radius", [0, 1, 4, 17, 70])
def test_a_dilation_reaches_as_far_as_the_disk_and_not_into_other_rows(radius):
    # Points in the corners and on both sides of a word's end; a radius beyond image and word.
    mask = np.zeros((2, 40, 130), bool)
    mask[0, [0, 0, 20, 39], [0, 129, 64, 63]] = True
    mask[1, 39, 129] = True
    grown = dilate(pack(mask, spare=max(radius, 1)).words, radius)
    bits = np.unpackbits(grown.view(np.uint8), axis=-1, bitorder="little")[..., :130].astype(bool)
    for frame, expected in zip(bits, mask):
        assert np.array_equal(frame, within(expected, radius))


def test_the_boundary_is_that_of_the_definition_and_the_same_for_the_complement():
    generator = np.random.default_rng(1)
    mask = generator.random((9, 66)) < 0.5
    for of in (mask, ~mask):
        bits = np.unpackbits(boundaries(pack(of)).view(np.uint8), axis=-1, bitorder="little")
        assert np.array_equal(bits[:, :66].astype(bool), boundary_plainly(mask))
        assert not bits[:, 66:].any()


def test_bits_are_counted_on_any_numpy(monkeypatch):
    words = np.random.default_rng(2).integers(0, 2**63, (3, 4, 5), dtype=np.uint64)
    expected = [sum(bin(int(word)).count("1") for word in frame.flat) for frame in words]
    assert count(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)  # numpy 1.26 has none
    assert count(words).tolist() == expected


def test_the_tolerance_is_a_share_of_the_diagonal_or_a_number_of_pixels():
    assert bound_radius((480, 854)) == 8  # 0.008 * 979.7 = 7.8
    assert bound_radius((480, 854), 3) == 3


def test_edge_cases_of_f():
    empty, full = np.zeros((2, 8, 8), bool), np.ones((2, 8, 8), bool)
    some = empty.copy()
    some[:, 2:5, 3:6] = True
    for prediction, truth, expected in [
        (empty, empty, (1, 1)),
        (full, full, (1, 1)),
        (empty, some, (0, 0)),
        (some, empty, (0, 0)),
        (full, some, (9 / 64, 0)),
        (~some, some, (0, 1)),  # F ignores inside and outside
        (some, some, (1, 1)),
    ]:
        j, f = j_and_f(prediction, truth)
        assert (j.tolist(), f.tolist()) == ([expected[0]] * 2, [expected[1]] * 2)
    with pytest.raises(ValueError, match=r"\(2, 8, 8\) and truth \(8, 9\) differ"):
        j_and_f(some, np.zeros((8, 9), bool))


def test_statistics_of_a_sequence():
    # Quarters of 8 frames: edges at 0, 2, 3 (half to even: 4.5 -> 4, minus 1), 5, 7.
    scores = np.array([1, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2])
    mean, recall, decay = statistics(scores)
    assert mean == pytest.approx(4.7 / 8)
    assert recall == 4 / 8  # above 0.5, not at it
    assert decay == pytest.approx((1 + 0.9 + 0.8) / 3 - (0.4 + 0.3 + 0.2) / 3)


def mean_of_known(values):
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def test_200_random_sequences_equal_the_definition_of_their_statistics():
    generator = np.random.default_rng(14)
    for _ in range(200):
        count = int(generator.integers(1, 400))
        scores = generator.random(count)
        scores[generator.random(count) < 0.1] = float("nan")
        # Python rounds halves to even too; the tiny addend is DAVIS's.
        edges = [round(1 + (count - 1) * k / 4 + 1e-10) - 1 for k in range(5)]
        first, last = scores[edges[0] : edges[1] + 1], scores[edges[3] : edges[4] + 1]
        expected = (
            mean_of_known(scores),
            sum(value > 0.5 for value in scores) / count,
            mean_of_known(first) - mean_of_known(last),
        )
        assert statistics(scores) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_statistics_skip_what_was_not_measured_and_hold_for_long_sequences():
    mean, recall, _ = statistics(np.array([1, float("nan"), 0, 1]))
    assert (mean, recall) == (pytest.approx(2 / 3), 0.5)
    # 400 frames: in 8 bits the edges would wrap around.
    falling = np.linspace(1, 0, 400)
    assert statistics(falling)[2] == pytest.approx(falling[:101].mean() - falling[-101:].mean())
    assert all(math.isnan(value) for value in statistics(np.zeros(0)))


def clip(generator, frames=4, objects=3, block=3):
    """Label maps; objects come and go, some pixels are void."""
    shown = generator.integers(0, objects + 1, (frames, 4, 5))
    labels = np.kron(shown, np.ones((1, block, block), np.int64)).astype(np.uint8)
    labels[generator.random(labels.shape) < 0.02] = 255
    return labels


def plain_table(prediction, truth, pairs, void):
    """Mean of J and F over the frames for each (proposal, object)."""
    scores = {}
    for p, o in pairs:
        frames = []
        for guess, true in zip(prediction, truth):
            ignored = (true == 255) & void
            frames.append(j_and_f_plainly(guess == p + 1, true == o + 1, ignored, 0.008))
        scores[p, o] = np.array(frames)
    return scores


def test_200_random_clips_are_matched_as_the_best_of_all_assignments():
    generator = np.random.default_rng(3)
    for _ in range(200):
        truth = clip(generator, frames=2, block=2)
        proposed = int(generator.integers(0, 4))
        prediction = clip(generator, frames=2, objects=proposed, block=2)
        prediction[prediction == 255] = 0
        objects = int(np.where(truth[0] == 255, 0, truth[0]).max())
        proposals = max(int(prediction.max()), objects)
        frames = [frame_scores(p, t, void=True) for p, t in zip(prediction, truth)]
        result = match_proposals(frames, objects)
        pairs = itertools.product(range(proposals), range(objects))
        plain = plain_table(prediction, truth, pairs, void=True)
        values = {pair: scores.mean() for pair, scores in plain.items()}
        best = max(
            sum(values[p, o] for o, p in enumerate(chosen))
            for chosen in itertools.permutations(range(proposals), objects)
        )
        assert sum(result.table[p, o] for p, o in result.matches) == pytest.approx(best, abs=1e-12)
        for row, (p, o) in enumerate(result.matches):
            np.testing.assert_allclose(result.j[row], plain[p, o][:, 0], atol=1e-12)
            np.testing.assert_allclose(result.f[row], plain[p, o][:, 1], atol=1e-12)


def test_semi_supervised_follows_the_numbers_between_first_and_last_frame():
    generator = np.random.default_rng(4)
    truth, prediction = clip(generator, frames=5), clip(generator, frames=5)
    prediction[prediction == 255] = 0
    truth[0, 0, 0] = 3
    frames = [frame_scores(p, t, void=False) for p, t in zip(prediction, truth)]
    check_labels(frames, 3)
    result = same_labels(frames[1:-1], 3)
    plain = plain_table(prediction[1:-1], truth[1:-1], [(k, k) for k in range(3)], void=False)
    for k in range(3):
        np.testing.assert_allclose(result.j[k], plain[k, k][:, 0], atol=1e-12)
    with pytest.raises(ValueError, match="3 predicted labels for 2 objects"):
        check_labels(frames, 2)


def test_the_numbering_of_proposals_does_not_matter():
    generator = np.random.default_rng(5)
    truth = clip(generator)
    truth[0, 0, 0] = 3
    renamed = np.where(truth == 255, 0, np.array([0, 2, 3, 1] + [0] * 252)[truth])
    frames = [frame_scores(p, t, void=True) for p, t in zip(renamed, truth)]
    result = match_proposals(frames, 3)
    assert result.matches.tolist() == [[0, 2], [1, 0], [2, 1]]
    scores = davis_scores([result])
    assert (scores["J&F"], scores["J"], scores["F"], scores["J_recall"]) == (100, 100, 100, 100)
    assert davis_scores([same_labels(frames, 3)])["J"] < 60


def test_a_frame_that_cannot_be_scored_is_refused():
    labels = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"\(4, 4\) and truth \(4, 5\) differ"):
        frame_scores(labels, np.zeros((4, 5), np.uint8), void=True)
    with pytest.raises(ValueError, match="21 proposals in a frame; DAVIS allows 20"):
        frame_scores(labels + 21, labels, void=True)
    assert all(math.isnan(value) for value in davis_scores([]).values())


SIZE = (12, 15)


def video_records(generator, with_truth=True):
    """Two videos of two expressions and three frames, and a true mask of each."""
    records, truths = [], []
    for video, expression, frame in itertools.product("ab", "01", range(3)):
        mask = random_mask(generator, SIZE)
        record = {
            "file_name": f"{video}/{frame}.jpg",
            "video_id": video,
            "expression_id": expression,
            "frame": f"{frame:05}",
            "height": SIZE[0],
            "width": SIZE[1],
            "texts": ["the thing"],
        }
        if with_truth:
            record["regions"] = [Region("the thing", mask=encode_mask(mask))]
        records.append(record)
        truths.append(mask)
    return records, truths


def answers(masks):
    return [{"phrase_masks": torch.from_numpy(mask[None])} for mask in masks]


def run(evaluator, records, outputs):
    evaluator.process(records, outputs)
    return evaluator.evaluate()["video"]


def test_frames_are_averaged_per_expression_and_expressions_alike(catalog):
    generator = np.random.default_rng(6)
    records, truths = video_records(generator)
    records, truths = records[:-2], truths[:-2]  # the last expression has one frame
    guesses = [random_mask(generator, SIZE) for _ in records]
    scores = run(VideoEvaluator(catalog(records)), records, answers(guesses))
    void = np.zeros(SIZE, bool)
    plain = [j_and_f_plainly(p, g, void, 0.008) for p, g in zip(guesses, truths)]
    tracks = [np.mean(plain[start : start + 3], axis=0) for start in (0, 3, 6, 9)]
    j, f = np.mean(tracks, axis=0)
    assert scores["J"] == pytest.approx(100 * j, abs=1e-9)
    assert scores["F"] == pytest.approx(100 * f, abs=1e-9)
    assert scores["J&F"] == pytest.approx(50 * (j + f), abs=1e-9)


def test_order_and_batches_do_not_matter(catalog):
    generator = np.random.default_rng(7)
    records, _ = video_records(generator)
    outputs = answers([random_mask(generator, SIZE) for _ in records])
    evaluator = VideoEvaluator(catalog(records))
    expected = run(evaluator, records, outputs)
    evaluator.reset()
    for batch in ([11, 0, 5], range(1, 5), range(6, 11)):
        evaluator.process([records[i] for i in batch], [outputs[i] for i in batch])
    assert evaluator.evaluate()["video"] == expected
    assert len(evaluator.sample_scores) == 12
    evaluator.reset()
    with pytest.raises(ValueError, match="12 of 12 records"):
        evaluator.evaluate()


def test_a_perfect_answer_is_100(catalog):
    records, truths = video_records(np.random.default_rng(8))
    scores = run(VideoEvaluator(catalog(records)), records, answers(truths))
    assert (scores["J&F"], scores["J"], scores["F"]) == (100, 100, 100)


def test_an_empty_answer_is_0_and_an_empty_set_no_number(catalog):
    records, _ = video_records(np.random.default_rng(9))
    half = np.zeros(SIZE, bool)
    half[:, :7] = True
    for record in records:
        record["regions"] = [Region("the thing", mask=encode_mask(half))]
    nothing = answers([np.zeros(SIZE, bool)] * 12)
    assert run(VideoEvaluator(catalog(records)), records, nothing)["J&F"] == 0
    scores = run(VideoEvaluator(catalog([])), [], [])
    assert all(math.isnan(value) for value in scores.values())


def test_a_test_set_is_written_as_the_server_expects(catalog, tmp_path):
    records, truths = video_records(np.random.default_rng(10), with_truth=False)
    name = catalog(records)
    with pytest.raises(ValueError, match="has no truth to score by: give an output_dir"):
        VideoEvaluator(name)
    stale = tmp_path / "Annotations" / "old" / "0" / "00000.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another run")
    scores = run(VideoEvaluator(name, output_dir=str(tmp_path)), records, answers(truths))
    assert scores == {"frames": 12}
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert set(archive.namelist()) == {
            f"Annotations/{v}/{e}/{f:05}.png" for v, e, f in itertools.product("ab", "01", range(3))
        }
        with archive.open("Annotations/b/1/00002.png") as file, Image.open(file) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), np.where(truths[-1], 255, 0))


def test_truth_for_some_frames_only_is_refused(catalog):
    records, _ = video_records(np.random.default_rng(11))
    del records[4]["regions"]
    with pytest.raises(ValueError, match=r"a/1.jpg \(video_id a.*has no truth, other records have"):
        VideoEvaluator(catalog(records))
    with pytest.raises(ValueError, match="x.jpg has no 'video_id', which this evaluation"):
        VideoEvaluator(catalog([{"file_name": "x.jpg"}]))


@pytest.mark.parametrize("name", ["..", "a/b", "", "a\\b", "/etc"])
def test_a_name_may_not_choose_where_to_write(name):
    with pytest.raises(ValueError, match="not a plain file name"):
        frame_path("Annotations", name, "00000")


def test_a_frame_that_was_not_written_ends_the_archive(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_zip(tmp_path, [frame_path("Annotations", "v", "0")])


def test_the_palette_is_that_of_davis():
    palette = np.frombuffer(davis_palette(), np.uint8).reshape(256, 3)
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[8].tolist() == [64, 0, 0]
    assert len(set(map(tuple, palette.tolist()))) == 256


@pytest.mark.parametrize(
    "mask, message",
    [
        (torch.zeros(1, 3, 3), r"shape \(1, 3, 3\), the truth \(1, 12, 15\)"),
        (torch.full((1, *SIZE), float("nan")), "holds NaN"),
        (torch.zeros(2, *SIZE), r"shape \(2, 12, 15\)"),
    ],
)
def test_a_prediction_that_cannot_be_scored_names_the_frame(catalog, mask, message):
    records, _ = video_records(np.random.default_rng(12))
    evaluator = VideoEvaluator(catalog(records))
    with pytest.raises(ValueError, match=rf"a/0.jpg \(video_id a.*{message}"):
        evaluator.process(records[:1], [{"phrase_masks": mask}])
    with pytest.raises(
        ValueError,
        match=r"asked for 2 phrases.*a truth \['a', 'b'\]",
    ):
        evaluator.process([{**records[0], "texts": ["a", "b"]}], [{"phrase_masks": mask}])


def test_the_highest_score_from_a_half_up_wins_a_pixel():
    scores = torch.tensor([[[0.6, 0.49, 0.5, 0.8]], [[0.7, 0.4, 0.2, 0.8]]])
    assert merge_phrases(scores).tolist() == [[2, 0, 1, 1]]
    assert merge_phrases(torch.zeros(0, 1, 2)).tolist() == [[0, 0]]


@pytest.fixture
def davis(catalog, tmp_path):
    """Two runs, two videos, four frames; in the last run the phrases name each other's object."""
    generator = np.random.default_rng(13)
    records, outputs = [], []
    for video in "ab":
        labels = clip(generator, objects=2)
        labels[0, 0, :2] = 1, 2
        for frame, truth in enumerate(labels):
            path = tmp_path / f"{video}{frame}.png"
            Image.fromarray(truth).save(path)
            for run_name, order in (("first", (1, 2)), ("last", (2, 1))):
                record = {"video_id": video, "expression_id": run_name, "frame": f"{frame:05}"}
                records.append({**record, "label_file_name": str(path), "texts": ["one", "two"]})
                masks = np.stack([(truth == k) * 0.9 for k in order])
                outputs.append({"phrase_masks": torch.from_numpy(masks)})
    return catalog(records), records, outputs


def test_ref_davis_forgives_swapped_phrases_and_the_strict_score_does_not(davis, tmp_path):
    name, records, outputs = davis
    evaluator = RefDavisEvaluator(name, output_dir=str(tmp_path / "out"))
    scores = run(evaluator, records, outputs)
    assert (scores["J&F"], scores["J&F-first"], scores["J&F-last"]) == (100, 100, 100)
    assert 50 < scores["J&F_strict"] < 80  # the first run is right, the last swapped
    with Image.open(tmp_path / "b3.png") as image:
        swapped = np.array([0, 2, 1] + [0] * 253)[np.asarray(image)]
    with Image.open(tmp_path / "out" / "last" / "b" / "00003.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), swapped)


def test_an_empty_answer_to_ref_davis_finds_no_region(davis):
    name, records, outputs = davis
    nothing = [{"phrase_masks": torch.zeros_like(o["phrase_masks"])} for o in outputs]
    scores = run(RefDavisEvaluator(name), records, nothing)
    # An object that is not in a frame is rightly not found there: J and F are 1 in such a frame.
    shown = []
    for video in "ab":
        for frame in range(4):
            of = next(r for r in records if (r["video_id"], r["frame"]) == (video, f"{frame:05}"))
            with Image.open(of["label_file_name"]) as image:
                truth = np.asarray(image)
            shown += [(truth == 1).any(), (truth == 2).any()]
    assert scores["J"] == pytest.approx(100 * (1 - np.mean(shown)))


def test_ref_davis_names_the_frame_of_a_bad_prediction_and_survives_an_empty_set(davis, catalog):
    name, records, _ = davis
    with pytest.raises(
        ValueError, match=r"video_id a.*shape \(1, 12, 15\), the truth \(2, 12, 15\)"
    ):
        RefDavisEvaluator(name).process(records[:1], [{"phrase_masks": torch.zeros(1, 12, 15)}])
    scores = run(RefDavisEvaluator(catalog([])), [], [])
    assert all(math.isnan(value) for value in scores.values())
