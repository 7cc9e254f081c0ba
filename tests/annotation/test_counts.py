"""Counts, quality, doubt and the page of small output folders that are written by hand."""

import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image as PILImage

from segplugins.annotation.filters import FilterArea, FilterScore, GateMasks
from segplugins.annotation.quality import FilterQuality, filter_quality
from segplugins.annotation.ranking import Doubt, rank_images, review_lines, to_review, write_review
from segplugins.annotation.report import report_page, write_report
from segplugins.annotation.sample import with_mask
from segplugins.annotation.statistics import StageCounts, stage_counts, statistics

SQUARE = {"size": [40, 60], "counts": [0, 900, 1500]}


def write(folder, records=(), decisions=()):
    for name, entries in (("regions", records), ("audit", decisions)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(each) + "\n" for each in entries)
        (folder / name / "part-00000.jsonl").write_text(text)
    return folder


def record(name, *regions, **more):
    return {"image_id": f"{name}-0", "file_name": f"{name}.png", "source": "set", "height": 40,
            "width": 60, "tags": [], "captions": [], "regions": list(regions), **more}  # fmt: skip


def decision(stage, value, threshold=0.5, image="a", region=0, **more):
    return {"image_id": f"{image}-0", "file_name": f"{image}.png", "stage": stage, "text": "x",
            "region_id": region, "kept": value is None or value >= threshold, "value": value,
            "threshold": threshold, **more}  # fmt: skip


# Statistics


def test_every_count_of_a_folder(tmp_path):
    box = {"text": "Dog", "box": [0, 0, 10, 10]}
    records = [
        record("a", box, {"text": "a brown dog", "mask": SQUARE, "extra": {"label": "dog",
               "captions": [{"text": "a brown dog", "annotator": "blip"}, "one two"]}},
               captions=[{"text": "a b c d", "annotator": "blip"}, "x y"]),
        record("b", {"text": "cow"}, {**box, "text": "cat", "box": [0, 0, 200, 200]},
               set_aside=[box, box]),
        {"file_name": "c.png", "source": "other", "error": "broken"},
    ]  # fmt: skip
    counts = statistics(write(tmp_path, records))
    stages = counts.pop("stages")
    assert stages == {} and counts == {
        "images": 2, "left_out": 1, "regions": 3, "masks": 1, "negatives": 1, "set_aside": 2,
        "categories": 2, "names": {"Dog": 2, "cat": 1}, "sources": {"set": 2, "other": 1},
        "sizes": {"tiny": 33.33, "small": 33.33, "medium": 0.0, "large": 0.0, "huge": 33.33},
        "captions": {
            "image": {"number": 2, "mean_words": 3.0},
            "image, blip": {"number": 1, "mean_words": 4.0},
            "image, source": {"number": 1, "mean_words": 2.0},
            "region": {"number": 2, "mean_words": 2.5},
            "region, blip": {"number": 1, "mean_words": 3.0},
            "region, source": {"number": 1, "mean_words": 2.0},
        },
    }  # fmt: skip


def test_stages_are_in_the_order_of_the_recipe_and_the_gate_is_three(tmp_path):
    decisions = [
        decision("10 filter_clip", 0.5), decision("10 filter_clip", 0.25),
        decision("2 gate_masks", 0.75, note="fit"), decision("2 gate_masks", 0.25, note="area"),
        decision("1 caption_image", None, None),
    ]  # fmt: skip
    counts = stage_counts(write(tmp_path, decisions=decisions))
    assert list(counts) == ["1 caption_image", "2 gate_masks: fit", "2 gate_masks: area",
                            "10 filter_clip"]  # fmt: skip
    assert counts["1 caption_image"] == {"judged": 1, "dropped": 0, "threshold": None}
    assert (counts["10 filter_clip"]["judged"], counts["10 filter_clip"]["dropped"]) == (2, 1)


def test_quantiles_and_the_histogram_by_hand():
    counts = StageCounts()
    for value in range(11):
        counts.add({"kept": value > 2, "value": float(value), "threshold": 3})
    assert counts.as_data() == {
        "judged": 11, "dropped": 3, "threshold": 3, "quantiles": [1.0, 5.0, 9.0],
        "histogram": [1, 0] * 9 + [1, 1], "range": [0.0, 10.0],
    }  # fmt: skip


def test_decisions_without_a_number_do_not_thin_the_sample(monkeypatch):
    from segplugins.annotation import statistics as module

    monkeypatch.setattr(module, "_SAMPLES", 200)
    counts = StageCounts()
    for _ in range(4000):
        counts.add({"kept": True, "value": None, "threshold": None})
    for number in range(1000):
        counts.add({"kept": True, "value": number / 1000, "threshold": 0.5})
    # Drawn evenly the mean is 0.5, with a deviation of 0.29 / sqrt(200) = 0.02. Counting the
    # decisions without a number as well, the first 200 values would mostly stay.
    assert counts.judged == 5000 and abs(np.mean(counts.values) - 0.5) < 0.08


# Quality


def test_a_region_that_fails_one_of_three_checks_is_rejected_once(sample, add, make):
    for name, quality in (("right", 0.9), ("wrong", 0.9), ("wrong", 0.1)):
        add(name, (10, 10, 30, 30))
        mask = make["rectangle"](10, 10, 30, 30)
        sample.regions[-1] = with_mask(sample.regions[-1], mask, quality=quality)
    is_right = lambda s, i: s.regions[i].text == "right"  # noqa: E731
    stages = [GateMasks(title="1 gate"), FilterArea(low=0.5, drop=False, title="2 area")]
    gate, area, left = filter_quality(stages, [[sample], []], is_right)
    assert gate == FilterQuality("1 gate", 3, 2, 1, 1)
    assert area == FilterQuality("2 area", 2, 1, 2, 1)  # all fail, none is dropped
    assert left == FilterQuality("what is left", 2, 1, 1, 1)


def test_several_stages_add_up_and_are_judged_by_what_reaches_them(sample, add):
    for name, score, side in (("right", 0.1, 20), ("wrong", 0.1, 20), ("wrong", 0.9, 2)):
        add(name, (0, 0, side, side), score=score)
    is_right = lambda s, i: s.regions[i].text == "right"  # noqa: E731
    stages = [FilterScore(threshold=0.5, title="1"), FilterArea(low=0.01, title="2")]
    first, second, left = filter_quality(stages, [[sample]], is_right)
    assert first == FilterQuality("1", 3, 2, 2, 1) and second == FilterQuality("2", 1, 1, 1, 1)
    assert left == FilterQuality("what is left", 0, 0, 3, 2)


def test_shares_of_a_row():
    row = FilterQuality("x", judged=8, wrong=4, dropped=2, dropped_wrong=1)
    assert (row.precision, row.recall) == (0.5, 0.25)
    assert row.row() == {"stage": "x", "judged": 8, "wrong %": 50.0, "dropped": 2,
                         "precision %": 50.0, "recall %": 25.0}  # fmt: skip
    empty = FilterQuality("x").row()
    assert empty["wrong %"] == 0 and np.isnan([empty["precision %"], empty["recall %"]]).all()


# Doubt


def test_doubt_is_that_of_the_mean_probability_and_of_the_mean_region(tmp_path):
    # Of filter_clip the distances are 0.3, 0.3 and -0.3: their deviation is 0.2 sqrt(2).
    decisions = [
        decision("1 filter_clip", 0.8, image="a", region=0),
        decision("1 filter_clip", 0.8, image="a", region=1),
        decision("1 filter_clip", 0.2, image="b"),
        decision("2 filter_score", 0.7, image="b"),  # the only one: its deviation counts as 1
    ]
    first, second = rank_images(write(tmp_path, decisions=decisions))
    p, q = (1 / (1 + np.exp(-x)) for x in (0.3 / (0.2 * np.sqrt(2)), 0.2))
    assert (first.file_name, first.regions) == ("b.png", 1)
    assert first.value == pytest.approx(1 - abs(2 * (1 - p + q) / 2 - 1))
    assert (second.image_id, second.regions) == ("a-0", 2)
    assert second.value == pytest.approx(2 * (1 - p))


def test_what_says_nothing_about_a_region_is_no_verdict(tmp_path):
    decisions = [
        decision("1 filter_area", 0.1), decision("1 decide", 1.0), decision("1 detect", 0.9),
        decision("1 filter_clip", 0.1, region=None), decision("1 filter_clip", None),
    ]  # fmt: skip
    assert rank_images(write(tmp_path, decisions=decisions)) == []


def test_checks_of_the_gate_have_a_scale_each_and_equal_doubts_are_in_the_order_of_names(tmp_path):
    decisions = [
        decision("1 gate_masks", value, image=image, note=note)
        for image, sign in (("c", 1), ("b", -1))
        for note, value in (("fit", 0.5 + 0.4 * sign), ("share", 0.5 + 0.004 * sign))
    ]
    ranked = rank_images(write(tmp_path, decisions=decisions))
    # In deviations of their own both checks are 1 from the threshold.
    doubt = 2 * (1 - 1 / (1 + np.exp(-1)))
    assert [d.file_name for d in ranked] == ["b.png", "c.png"]
    assert [d.value for d in ranked] == pytest.approx([doubt, doubt])


def test_the_review_is_in_the_order_of_ranks_and_no_longer_than_asked(tmp_path):
    records = [record("a"), {"file_name": "e.png", "error": "x"}, record("b"), record("c")]
    ranked = [Doubt(f"{n}-0", f"{n}.png", v, 1) for n, v in (("c", 0.91234567), ("a", 0.5))]
    path, chosen = write_review(write(tmp_path, records), ranked, 5)
    found = [(r["file_name"], r["rank"], r["doubt"]) for r in review_lines(tmp_path)]
    assert found == [("c.png", 1, 0.91235), ("a.png", 2, 0.5)] and chosen == ranked
    assert path == tmp_path / "review.jsonl"
    _, chosen = write_review(tmp_path, ranked, 1)
    assert [r["file_name"] for r in review_lines(tmp_path)] == ["c.png"] and chosen == ranked[:1]


def test_the_review_has_what_was_dropped_of_the_kind_of_the_line():
    mask, box = {"text": "m", "mask": SQUARE}, {"text": "b", "box": [1, 1, 9, 9]}
    absent = {"text": "a"}
    joined = to_review({"regions": [absent], "set_aside": [mask, box]})["regions"]
    rectangle = {**box, "mask": [[1, 1, 9, 1, 9, 9, 1, 9]]}
    assert joined == [absent, mask, rectangle]
    assert to_review({"regions": [box], "set_aside": [box]})["regions"] == [box, box]
    assert to_review({"regions": [], "n": 1, "not_exhaustive": ["b"]}) == {"regions": [], "n": 1}


# The page


def page_of(counts=(), ranked=(), drawn=(), **manifest):
    base = {"images": 1234, "left_out": 5, "regions": 0, "masks": 0, "negatives": 0,
            "set_aside": 0, "categories": 0, "names": {}, "sizes": {}, "captions": {},
            "stages": {}}  # fmt: skip
    described = {"recipe": {"models": {}}, "images": {"source": "val"}, **manifest}
    return report_page("t", described, {**base, **dict(counts)}, ranked, dict(drawn))


def test_a_row_of_the_table_has_the_numbers_of_its_stage():
    stage = {"judged": 2000, "dropped": 500, "threshold": 0.25, "quantiles": [0.1, 0.5, 0.98765],
             "histogram": [0, 5, 10], "range": [-0.5, 43210.0]}  # fmt: skip
    page = page_of({"stages": {"1 <x>": stage, "2 y": {"judged": 0, "dropped": 0,
                    "threshold": None}}})  # fmt: skip
    first, second = re.findall(r"<tr>(<td>\d .*?)</tr>", page)
    cells = re.findall(r"<td>(.*?)</td>", first)
    assert cells[:3] == ["1 &lt;x&gt;", "2,000", "500"] and "--value:25.0%" in cells[3]
    assert cells[4:8] == ["0.25", "0.1", "0.5", "0.988"]
    bars = [float(h) for h in re.findall(r'height="([\d.]+)"', cells[8])]
    tops = [float(y) for y in re.findall(r' y="([\d.]+)"', cells[8])]
    assert bars == [0, 12, 24] and tops == [24, 12, 0]
    assert "<title>values from -0.5 to 43,210</title>" in cells[8]
    cells = re.findall(r"<td>(.*?)</td>", second)
    assert "--value:0.0%" in cells[3] and cells[4:] == ["–"] * 4 + [""]


def test_names_are_measured_by_the_most_frequent_and_the_rest_is_counted():
    names = {f"n{n}": 40 - n for n in range(32)}
    page = page_of({"names": names, "sizes": {"tiny": 12.5}})
    assert ">n29<" in page and ">n30<" not in page and "and 2 more names" in page
    meters = re.findall(
        r'class="name">(\w+)</td><td>.*?--value:([\d.]+)%" title=.*?<td>([\w. %]+)<', page
    )
    assert meters[0] == ("n0", "100.0", "40") and meters[20] == ("n20", "50.0", "20")
    assert meters[-1] == ("tiny", "12.5", "12.5 %")
    assert "more names" not in page_of({"names": {f"n{n}": 1 for n in range(30)}})


def test_facts_and_ranks_are_told():
    models = {"m": {"kind": "clip", "digest": "abc"}, "n": {"kind": "<toy>"}}
    counts = {"regions": 7000, "masks": 6, "categories": 3, "negatives": 2, "set_aside": 1}
    page = page_of(counts, [Doubt("a", "<a>", 0.12345, 3)], recipe={"models": models})
    for text in ("1,234 of val; 5 left out", "7,000, 6 of them with a mask; 3 names",
                 "2 texts that", "1 regions that a stage dropped", "m: clip abc; n: &lt;toy&gt;",
                 "<td>&lt;a&gt;</td><td>0.123</td><td>3</td>"):  # fmt: skip
        assert text in page, text
    assert "no image is more doubtful than another" in page_of()
    assert "no image is more" not in page and "Captions</h3>" not in page_of()


def test_a_page_of_nothing_says_so():
    page = page_of()
    assert "No stage of the recipe decided about anything" in page and "No region is left" in page
    counts = {"names": {"a": 1}, "stages": {"1 x": {"judged": 1, "dropped": 0, "threshold": None}}}
    page = page_of(counts)
    assert "decided about anything" not in page and "No region is left" not in page


def test_a_picture_tells_what_was_kept_and_what_is_not_there(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in "ab":
        PILImage.new("RGB", (60, 40)).save(images / f"{name}.png")
    captions = [{"text": "lost", "kept": False}, {"text": "best", "kept": True}, {"text": "last"}]
    records = [
        record("a", {"text": "dog", "mask": SQUARE}, {"text": "cow"}, captions=captions),
        record("b", {"text": "cat", "box": [1, 1, 9, 9]}, set_aside=[
            {"text": "hen", "box": [20, 9, 50, 30], "extra": {"dropped_by": "1 filter_clip"}}]),
    ]  # fmt: skip
    folder = write(tmp_path / "out", records, [decision("1 filter_clip", 0.5, image="b")])
    manifest = {"recipe": {"models": {}, "task": "referring"}, "images": {"source": "val"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    files = write_report(folder, images, pictures=2, review=1)
    page = files["report"].read_text()
    words = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert sorted(words[:2]) == ["a.png · best · not there: cow", "b.png"]
    assert words[2:] == ["b.png · doubt 1.00 · 1 filter_clip dropped 1"]  # at its threshold
    # What was dropped is drawn among the most doubtful alone.
    shown = re.findall(r'base64,([^"]+)" alt="b.png', page)
    assert len(shown) == 2 and shown[0] != shown[1]
    described = yaml.safe_load((folder / "review.yaml").read_text())
    assert described == {"kind": "regions", "sets": {"review_out": {
        "images": str(images), "lines": "review.jsonl", "task": "referring"}}}  # fmt: skip
    assert json.loads(files["summary"].read_text())["negatives"] == 1
    assert [r["rank"] for r in review_lines(folder)] == [1]
