"""The page of a run: complete, self-contained, and safe with any class name."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from PIL import Image

from segplugins.evaluation.details import confused_pairs, read_details, write_details
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.report import report_page
from segplugins.evaluation.results import write_results
from segplugins.evaluation.run_facts import RunFacts
from segplugins.evaluation.semantic import SemanticEvaluator

VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects texts, images and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.attributes = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def page_of(results, protocol=None, details=None):
    return Page(report_page(results, protocol or {name: {} for name in results}, details or {}))


def rows_of(page_text, identity):
    """Returns the texts of the cells of a table's rows."""
    body = page_text.split(f'id="{identity}"')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<td.*?</td>", row) for row in body.split("</tr>")[:-1]]
    return [[re.sub(r"<.*?>", "", cell) for cell in row] for row in rows]


def test_the_page_shows_every_metric_and_class():
    values = {"mIoU": 50.0, "IoU-cat": 24.75, "IoU-dog": 75.25, "IoU-emu": float("nan")}
    values |= {"ACC-cat": 30.0, "ACC-dog": 80.0, "ACC-emu": float("nan")}
    text = report_page({"some_set": {"sem_seg": values}}, {"some_set": {}}, {})
    texts = Page(text).texts
    for shown in ("some_set", "sem_seg", "mIoU", "50.00"):
        assert shown in texts, shown
    assert "3 classes, 1 of them without a value" in texts
    # Best first; without a value last.
    assert rows_of(text, "set-0-0") == [
        ["dog", "75.25", "80.00"],
        ["cat", "24.75", "30.00"],
        ["emu", "–", "–"],
    ]


def test_seen_and_unseen_classes_are_told_apart():
    values = {"mIoU": 50.0, "IoU-cat": 24.75, "IoU-dog": 75.25}
    text = report_page({"a": {"sem_seg": values}}, {"a": {"seen": ["cat"]}}, {})
    assert rows_of(text, "set-0-0") == [["dog", "unseen", "75.25"], ["cat", "seen", "24.75"]]
    assert 'class="meter unseen" style="--value:75.2%"' in text


def test_several_data_sets_are_summed_up_first_and_linked():
    results = {name: {"sem_seg": {"mIoU": value}} for name, value in (("one", 1.0), ("two", 2.0))}
    page = page_of(results)
    assert page.texts.index("Summary") < page.texts.index("1.00") < page.texts.index("2.00")
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links == ["#set-0", "#set-1"]
    single = page_of({"one": results["one"]})
    assert "Summary" not in single.texts and "a" not in [tag for tag, *_ in single.attributes]


def test_many_classes_all_have_a_row_and_a_column_in_the_strip():
    values = {f"IoU-name {i:03}": i / 10 for i in range(847)}
    text = report_page({"set": {"sem_seg": values}}, {"set": {}}, {})
    names = [row[0] for row in rows_of(text, "set-0-0")]
    assert names == [f"name {i:03}" for i in range(846, -1, -1)]
    strip = [each for each in Page(text).texts if re.fullmatch(r"name \d+: [\d.]+", each)]
    assert len(strip) == 847


def test_tables_sort_numbers_as_numbers():
    page = page_of({"set": {"sem_seg": {"mIoU": 50.0, "IoU-cat": 9.5, "IoU-dog": float("nan")}}})
    heads = [tag for tag, name, _ in page.attributes if name == "data-number"]
    assert heads == ["th", "th"]  # the metrics' values, the classes' IoU
    values = [value for _, name, value in page.attributes if name == "data-value"]
    assert values == ["50.0", "9.5", "nan"]
    assert page.texts.count("IoU") == 1 and ("button", "type", "button") in page.attributes


def test_the_only_script_is_ours_and_the_browser_is_told_its_hash():
    evil = "</script><script>alert(1)</script>"
    results = {evil: {evil: {evil: 1.0, f"IoU-{evil}": 2.0}}}
    text = report_page(
        results,
        {evil: {"checkpoint": {"file": evil}, "model": {"architecture": evil}}},
        {},
        run=RunFacts(evil, evil, evil, {evil: {evil: ([1], [2.0])}}),
    )
    page = Page(text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [v for t, n, v in page.attributes if n == "content" and "script-src" in v]
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy
    handlers = [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not handlers and "http" not in text.replace("http-equiv", "")


def test_the_facts_of_a_run_stand_on_the_page():
    run = RunFacts("2026-01-31 14:05 UTC", "python train.py 'a b'", "A:\n  B: 1\n", {})
    page = Page(report_page({"set": {"sem_seg": {"mIoU": 1.0}}}, {"set": {}}, {}, run=run))
    for text in (run.date, run.command, run.config):
        assert text in page.texts


def test_intervals_stand_beside_their_metrics():
    intervals = {"set": {"sem_seg": {"mIoU": (40.125, 60.5)}}}
    results = {"set": {"sem_seg": {"mIoU": 50.0, "pACC": 3.0}}}
    page = Page(report_page(results, {"set": {}}, {}, intervals=intervals))
    assert page.texts.index("40.12 to 60.50") < page.texts.index("pACC")


def test_a_class_name_is_text_not_markup():
    evil = '<script>alert("x")</script>'
    details = {
        "set": {
            "confused": [{"truth": evil, "prediction": "a&b", "pixels": 5, "share": 0.5}],
            "worst": [
                {
                    "caption": evil,
                    "images": ["data:,"],
                    "legend": [{"class": evil, "colour": "#123456"}],
                }
            ],
        }
    }
    protocol = {"set": {"vocabulary": {"name": evil, "names": 1, "digest": evil}, "x": evil}}
    page = page_of({"set": {"sem_seg": {"mIoU": 1.0, f"IoU-{evil}": 1.0}}}, protocol, details)
    assert page.open == [] and "script" not in [tag for tag, *_ in page.attributes]
    assert page.texts.count(evil) >= 2
    alternatives = [value for tag, name, value in page.attributes if name == "alt"]
    assert alternatives == [f"Image: {evil}"]


@pytest.fixture
def evaluated(tmp_path):
    """A run over three pictures, evaluated and written; returns its folder."""
    records = []
    for index in range(3):
        image, labels = tmp_path / f"picture_{index}.jpg", tmp_path / f"{index}.png"
        Image.fromarray(np.full((700, 40, 3), 60 * index, np.uint8)).save(image)
        Image.fromarray(np.zeros((700, 40), np.uint8)).save(labels)
        records.append({"file_name": str(image), "sem_seg_file_name": str(labels)})
    DatasetCatalog.register("report_test", lambda: records)
    evaluator = SemanticEvaluator("report_test", ("road", "sky"), gallery=Gallery(1))
    for index, record in enumerate(records):
        guess = torch.zeros(700, 40, dtype=torch.int64)
        guess[: 100 * index] = 1
        evaluator.process([record], [{"sem_seg": guess}])
    results = {"report_test": evaluator.evaluate()}
    write_details(str(tmp_path / "run" / "inference" / "report_test"), [evaluator])
    write_results(tmp_path / "run", results, {"report_test": {"model": {"architecture": "Toy"}}})
    yield tmp_path / "run"
    DatasetCatalog.remove("report_test")


def test_a_run_becomes_one_page_that_needs_no_other_file(evaluated):
    text = (evaluated / "report.html").read_text()
    page = Page(text)
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text
    sources = [value for tag, name, value in page.attributes if name in ("src", "href")]
    alternatives = [value for tag, name, value in page.attributes if name == "alt"]
    assert [text.split(":")[0] for text in alternatives[:3]] == ["Image", "Truth", "Prediction"]
    assert all("of the pixels right" in text for text in alternatives)
    assert len(sources) == 6 and all(s.startswith("data:image/jpeg;base64,") for s in sources)
    assert "Toy" in page.texts
    captions = [text for text in page.texts if "of the pixels right" in text]
    # Worst first: 200 of 700 rows were called sky.
    assert captions[0].startswith("picture_2.jpg: 71.4 %")
    assert captions[1].startswith("picture_0.jpg: 100.0 %")


def test_kept_pictures_are_small(evaluated):
    details = read_details(evaluated / "inference" / "report_test")
    assert len(json.dumps(details)) < 60_000
    assert [p["caption"].split(":")[0] for p in details["best"]] == ["picture_0.jpg"]
    assert details["best"][0]["legend"][0]["class"] == "road"


def test_confused_pairs_are_the_largest_cells_off_the_diagonal():
    #            truth: a   b  c  ignored
    confusion = np.array([[5, 2, 0, 9], [0, 5, 7, 9], [0, 0, 0, 9], [3, 0, 0, 9]])
    assert confused_pairs(confusion, ("a", "b", "c")) == [
        {"truth": "c", "prediction": "b", "pixels": 7, "share": 1.0},
        {"truth": "a", "prediction": "(another name)", "pixels": 3, "share": 3 / 8},
        {"truth": "b", "prediction": "a", "pixels": 2, "share": 2 / 7},
    ]
    assert len(confused_pairs(confusion, ("a", "b", "c"), most=1)) == 1


class Scored:
    """An evaluator that keeps a score for each record."""

    def __init__(self, scores, records):
        self.sample_scores = scores
        self._samples = type("Samples", (), {"records": records})


def test_other_tasks_show_the_images_of_the_best_and_worst_samples(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (900, 300)).save(path)
    texts = ("red car", "tree", "sky", "sea")
    records = [
        {"file_name": str(path), "image_id": i, "texts": [text]} for i, text in enumerate(texts)
    ]
    part = Scored([40.0, 90.0, float("nan"), 5.0], records)
    write_details(str(tmp_path), [part])
    details = read_details(tmp_path)
    assert [p["caption"] for p in details["worst"]] == ["picture.png, “sea”: 5.0"]
    captions = [p["caption"] for p in details["best"]]
    assert captions == ["picture.png, “tree”: 90.0", "picture.png, “red car”: 40.0"]
    page = page_of({"set": {"referring": {"oIoU": 45.0}}}, details={"set": details})
    assert "picture.png, “sea”: 5.0" in page.texts
