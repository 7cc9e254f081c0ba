import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image as PILImage

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.adapters.truth import is_true
from segplugins.annotation.inputs import FolderInputs
from segplugins.annotation.pipeline import Annotator, records_of
from segplugins.annotation.quality import FilterQuality, filter_quality
from segplugins.annotation.ranking import rank_images, review_lines, write_review
from segplugins.annotation.recipe import recipe_of
from segplugins.annotation.report import report_page, write_report
from segplugins.annotation.shard import Stages, read_batches
from segplugins.annotation.statistics import StageCounts, region_area, size_of, statistics
from segplugins.data import load_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.drawn_world import write_drawn_world

NOISE = {"noisy_images": 0.25, "wrong_box": 0.5, "wrong_name": 0.5, "ragged": 0.5}
NAMES = ["boat", "car", "cloud", "flower", "house", "lamp", "moon", "person", "bird", "sun", "tree"]
JUDGES = [
    {"filter_clip": {"model": "looker", "drop": False}},
    {"filter_jitter": {"model": "looker", "drop": False}},
    {"verify_mask": {"model": "looker", "threshold": 0.05, "drop": False}},
    {"decide": {"failures": 0}},
    {"verify_existence": {"model": "looker", "threshold": 0.3, "negative_below": 0.01}},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotated") / "drawn"
    write_drawn_world(
        root, train=0, val=60, val_unseen=0, pairs=0, clips=0, val_clips=0, size=64, seed=3
    )
    return root


def recipe(world, judges=JUDGES, **noise):
    looker = {"kind": "truth", "lines": str(world / "regions" / "val.jsonl"), **NOISE, **noise}
    stages = [
        {"detect": {"model": "looker", "names": "vocabulary"}},
        {"segment_boxes": {"model": "looker"}},
        *judges,
    ]
    return recipe_of({"vocabulary": NAMES, "models": {"looker": looker}, "stages": stages}, KINDS)


@pytest.fixture(scope="module")
def annotated(world, tmp_path_factory):
    """An output folder that is complete, and the annotator that knows the truth."""
    folder = tmp_path_factory.mktemp("annotated") / "reported"
    made = recipe(world, score_noise=0.01)
    (world / "images" / "val" / "broken <b>.png").write_bytes(b"broken")
    annotator = Annotator(made, FolderInputs(world / "images" / "val"), folder, shard_size=25)
    assert annotator.run().images == 61
    return folder, made.models["looker"].build("cpu")


def right_of(looker, iou=0.7):
    def is_right(sample, index):
        region = sample.regions[index]
        mask = None if region.mask is None else sample.bitmap(index)
        return is_true(looker.truth(sample.image), region.text, region.box, mask, iou)

    return is_right


def test_noisy_images_are_ranked_first_far_more_often_than_chance(annotated):
    folder, looker = annotated
    ranked = rank_images(folder)
    assert len(ranked) >= 55 and [d.value for d in ranked] == sorted(
        (d.value for d in ranked), reverse=True
    )
    noisy = [looker.is_noisy(doubt.file_name) for doubt in ranked]
    tenth = noisy[: len(noisy) // 10]
    assert np.mean(tenth) >= 2 * np.mean(noisy) and 0.1 < np.mean(noisy) < 0.5
    assert all(0 <= doubt.value <= 1 and doubt.regions > 0 for doubt in ranked)


def decision(number, stage, value, image="a", region=0):
    return {"image_id": image, "file_name": f"{image}.png", "stage": f"{number} {stage}",
            "region_id": region, "text": "x", "kept": value >= 0.5, "value": value,
            "threshold": 0.5}  # fmt: skip


def test_doubt_is_largest_where_verdicts_cancel_out(tmp_path):
    audit = tmp_path / "audit" / "part-00000.jsonl"
    audit.parent.mkdir()
    lines = [
        *(decision(n, s, 0.9, "sure") for n, s in enumerate(["filter_clip", "verify_mask"])),
        decision(0, "filter_clip", 0.9, "torn"), decision(1, "verify_mask", 0.1, "torn"),
        *(decision(n, s, 0.1, "bad") for n, s in enumerate(["filter_clip", "verify_mask"])),
        decision(2, "filter_area", 0.1, "elsewhere"),  # says nothing about being right
    ]  # fmt: skip
    audit.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ranked = {doubt.file_name: doubt.value for doubt in rank_images(tmp_path)}
    assert list(ranked) == ["torn.png", "bad.png", "sure.png"]
    # Distances from the threshold: of filter_clip 0.4, 0.4, -0.4, of verify_mask the opposite.
    deviation = 0.4 * np.sqrt(1 - 1 / 9)
    p = 1 / (1 + np.exp(-0.4 / deviation))
    assert ranked["torn.png"] == pytest.approx(1.0)
    assert ranked["sure.png"] == ranked["bad.png"] == pytest.approx(1 - abs(2 * p - 1))


def test_review_lines_are_a_data_set_in_the_order_of_doubt(annotated, world, tmp_path):
    folder, _ = annotated
    ranked = rank_images(folder)
    path, chosen = write_review(folder, ranked, 5)
    records = list(review_lines(folder))
    assert [r["image_id"] for r in records] == [d.image_id for d in chosen] and len(records) == 5
    assert [r["rank"] for r in records] == [1, 2, 3, 4, 5]
    assert records[0]["doubt"] == round(ranked[0].value, 5)
    described = {"kind": "regions", "images": str(world / "images" / "val"), "lines": str(path)}
    (tmp_path / "review.yaml").write_text(json.dumps({**described, "sets": {"to_review": {}}}))
    assert register_from_yaml(tmp_path / "review.yaml") == ["to_review"]
    assert len(load_dataset("to_review")) == 5


def test_filters_and_verifiers_are_measured_against_the_truth(world, annotated):
    made = recipe(world, noisy_images=1.0, wrong_box=0.3, wrong_name=0.3, ragged=0.3)
    looker = made.models["looker"].build("cpu")
    inputs = FolderInputs(world / "images" / "val")
    batches = [
        [each for each in batch if hasattr(each, "image")]
        for batch in read_batches(inputs, range(30), Stages([], batch_size=8))
    ]
    rows = {row.stage: row for row in filter_quality(made.build(), batches, right_of(looker))}
    assert list(rows)[-1] == "what is left"
    # A wrong name or box is what the clip score is for, a moved box what jitter is for.
    assert rows["3 filter_clip"].precision > 0.8 and rows["3 filter_clip"].recall > 0.8
    assert rows["4 filter_jitter"].precision > 0.8 and rows["5 verify_mask"].recall > 0.8
    assert rows["3 filter_clip"].wrong > 0.4 * rows["3 filter_clip"].judged
    left = rows["what is left"]
    assert left.wrong < 0.05 * left.judged and left.judged > 30


def test_precision_and_recall_by_hand(sample, add, make):
    for name in ("right kept", "right dropped", "wrong kept", "wrong dropped", "wrong dropped 2"):
        add(name, (0, 0, 9, 9), score=0.1 if "dropped" in name else 0.9)
    from segplugins.annotation.filters import FilterScore

    is_right = lambda s, i: s.regions[i].text.startswith("right")  # noqa: E731
    row, left = filter_quality([FilterScore(threshold=0.5)], [[sample]], is_right)
    assert (row.judged, row.wrong, row.dropped, row.dropped_wrong) == (5, 3, 3, 2)
    assert row.precision == pytest.approx(2 / 3) and row.recall == pytest.approx(2 / 3)
    assert (left.judged, left.wrong, left.dropped) == (2, 1, 3)
    assert row.row()["wrong %"] == 60 and np.isnan(FilterQuality("none").precision)


def test_counts_are_those_of_the_records(annotated):
    folder, _ = annotated
    counts = statistics(folder)
    records = [record for record in records_of(folder) if "error" not in record]
    regions = [r for record in records for r in record["regions"] if "box" in r]
    assert (counts["images"], counts["left_out"]) == (60, 1)
    assert counts["regions"] == counts["masks"] == len(regions)
    assert counts["names"] == dict(Counter(r["text"] for r in regions).most_common())
    assert sum(counts["sizes"].values()) == pytest.approx(100, abs=0.05)
    stages = counts["stages"]
    assert list(stages) == ["1 detect", "2 segment_boxes", "3 filter_clip", "4 filter_jitter",
                            "5 verify_mask", "6 decide", "7 verify_existence"]  # fmt: skip
    assert (
        stages["6 decide"]["judged"] - stages["6 decide"]["dropped"]
        == (stages["7 verify_existence"]["judged"])
    )
    assert sum(stages["3 filter_clip"]["histogram"]) == stages["3 filter_clip"]["judged"]


def test_sizes_and_areas():
    assert [size_of(a) for a in (0, 399, 400, 1599, 1600, 9999, 10000, 39999, 40000)] == [
        "tiny", "tiny", "small", "small", "medium", "medium", "large", "large", "huge",
    ]  # fmt: skip
    assert region_area({"mask": {"size": [4, 6], "counts": [0, 4, 10, 3, 7]}}) == 7
    assert region_area({"box": [1, 2, 4, 6]}) == 12
    assert region_area({"mask": [[0, 0, 4, 0, 4, 5]]}) == 20


def test_values_of_a_stage_are_a_bounded_even_sample(monkeypatch):
    from segplugins.annotation import statistics as module

    monkeypatch.setattr(module, "_SAMPLES", 500)
    counts = StageCounts()
    for number in range(5000):
        counts.add({"kept": number % 4 > 0, "value": number / 5000, "threshold": 0.25})
    data = counts.as_data()
    assert (data["judged"], data["dropped"]) == (5000, 1250) and len(counts.values) == 500
    np.testing.assert_allclose(data["quantiles"], [0.1, 0.5, 0.9], atol=0.07)


def test_the_page_holds_everything_and_escapes_what_it_shows(annotated, world):
    folder, _ = annotated
    files = write_report(folder, world / "images" / "val", pictures=3, review=4)
    page = files["report"].read_text()
    assert page.count("<img") == 6 and page.count("data:image/jpeg") == 6
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    assert "3 filter_clip" in page and "60 of val; 1 left out" in page
    assert json.loads(files["summary"].read_text())["images"] == 60
    assert len(list(review_lines(folder))) == 4
    counts = {**statistics(folder), "names": {"<script>": 1}}
    manifest = json.loads((folder / "manifest.json").read_text())
    hostile = report_page("<b>", manifest, counts, [], {"Pictures": [("<i>", "data:,")]})
    assert "<script>" not in hostile and "<b>" not in hostile and "<i>" not in hostile
    before = files["report"].read_bytes()
    write_report(folder, world / "images" / "val", pictures=3, review=4)
    assert files["report"].read_bytes() == before


def test_a_page_of_nothing_and_images_that_are_gone(world, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    PILImage.new("RGB", (64, 64)).save(images / "000000.png")
    made = recipe(world, judges=[{"filter_score": {"threshold": 1.0}}])
    Annotator(made, FolderInputs(images), tmp_path / "out").run()
    (images / "000000.png").unlink()
    page = write_report(tmp_path / "out", images)["report"].read_text()
    assert (
        "the image is no longer there · no region is left" in page
        and "0, 0 of them with a mask" in page
    )
