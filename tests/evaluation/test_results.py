"""The files and the table that a run ends with."""

import csv
import json

import numpy as np
import pytest

from segplugins.evaluation.details import write_details
from segplugins.evaluation.groups import over_sets
from segplugins.evaluation.results import results_table, write_results

RESULTS = {
    "first": {
        "sem_seg": {
            "mIoU": 50.0,
            "mIoU_seen": 75.0,
            "mIoU_unseen": 25.0,
            "hIoU": 37.5,
            "IoU-cat": 75.0,
            "IoU-a-b": 25.0,
            "IoU-none": float("nan"),
            "ACC-cat": 80.0,
        }
    },
    "second": {
        "sem_seg": {"mIoU": float("nan")},
        "panoptic_seg": {"PQ": 1.0, "PQ_th": 2.0, "PQ_st": 0.5},
    },
}
PROTOCOL = {"first": {"seen": ["cat"]}, "second": {}}


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_result_file_holds_numbers_and_protocol_and_no_nan(tmp_path):
    path = write_results(tmp_path / "new", RESULTS, PROTOCOL)
    written = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert written["protocol"] == PROTOCOL
    assert written["results"]["first"]["sem_seg"]["mIoU"] == 50.0
    assert written["results"]["second"]["sem_seg"]["mIoU"] is None


def test_a_row_per_class(tmp_path):
    write_results(tmp_path, RESULTS, PROTOCOL)
    rows = rows_of(tmp_path / "per_class.csv")
    assert [(row["class"], row["group"], row["IoU"], row["ACC"]) for row in rows] == [
        ("cat", "seen", "75.0", "80.0"),
        ("a-b", "unseen", "25.0", ""),
        ("none", "unseen", "", ""),
    ]


def test_a_row_per_group_and_metric(tmp_path):
    write_results(tmp_path, RESULTS, PROTOCOL)
    rows = [tuple(row.values()) for row in rows_of(tmp_path / "per_group.csv")]
    assert ("first", "sem_seg", "seen", "mIoU", "75.0") in rows
    assert ("first", "sem_seg", "unseen", "mIoU", "25.0") in rows
    assert ("first", "sem_seg", "harmonic mean of seen and unseen", "mIoU", "37.5") in rows
    assert ("second", "panoptic_seg", "things", "PQ", "2.0") in rows
    assert ("second", "panoptic_seg", "stuff", "PQ", "0.5") in rows
    assert ("second", "sem_seg", "all", "mIoU", "") in rows
    assert len(rows) == 8


def test_one_data_set_may_come_without_its_name(tmp_path):
    path = write_results(tmp_path, RESULTS["first"], {"first": {}})
    assert list(json.loads(path.read_text())["results"]) == ["first"]


def test_results_of_other_data_sets_than_the_protocol_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"results of \['first', 'second'\], but protocols of"):
        write_results(tmp_path, RESULTS, {"first": {}, "third": {}})


def test_one_table_shows_one_checkpoint_on_many_data_sets():
    results = {
        "a_set": {"sem_seg": {"mIoU": 12.3456, "IoU-x": 1.0}},
        "another": {"sem_seg": {"pACC": 7.0}},
    }
    lines = results_table(results).splitlines()
    assert lines[0].split() == ["sem_seg", "mIoU", "pACC"]
    assert lines[2].split() == ["a_set", "12.35", "-"]
    assert lines[3].split() == ["another", "-", "7.00"]
    assert len(lines) == 4


def test_a_table_for_each_task():
    tables = results_table(RESULTS).split("\n\n")
    assert [table.split()[0] for table in tables] == ["sem_seg", "panoptic_seg"]
    assert "IoU-cat" not in tables[0]


def test_details_of_what_keeps_none_are_empty(tmp_path):
    write_details(str(tmp_path / "set"), [object()])
    assert json.loads((tmp_path / "set" / "details.json").read_text()) == {
        "confused": [],
        "best": [],
        "worst": [],
    }


SEGINW = {
    "a": {"segm": {"AP": 10.0, "AP-hand": 10.0}, "bbox": {"AP": 1.0}},
    "b": {"segm": {"AP": 20.0, "AP50": 3.0}, "bbox": {"AP": float("nan")}},
    "other": {"segm": {"AP": 99.0}},
    "c": {"segm": {"AP": 60.0}, "bbox": {"AP": 1.0}},
}
IN_SEGINW = {"a": "seginw", "b": "seginw", "c": "seginw", "other": None}


def test_a_benchmark_of_many_sets_is_their_mean_and_median():
    summed = over_sets(SEGINW, IN_SEGINW)
    assert list(summed) == ["seginw, mean of 3 sets", "seginw, median of 3 sets"]
    mean, median = summed.values()
    assert mean["segm"]["AP"] == 30 and median["segm"]["AP"] == 20
    assert "AP-hand" not in mean["segm"]
    # One set without a number leaves the benchmark without one.
    assert all(np.isnan(of["bbox"]["AP"]) and np.isnan(of["segm"]["AP50"]) for of in (mean, median))
    assert over_sets(SEGINW, {}) == {}


def test_the_mean_of_a_benchmark_stands_in_file_table_and_page(tmp_path):
    protocol = {name: {"group": group} for name, group in IN_SEGINW.items()}
    written = json.loads(write_results(tmp_path, SEGINW, protocol).read_text())
    assert written["groups"]["seginw, mean of 3 sets"] == {
        "segm": {"AP": 30.0, "AP50": None},
        "bbox": {"AP": None},
    }
    assert set(written["results"]) == set(SEGINW)
    rows = [tuple(row.values()) for row in rows_of(tmp_path / "per_group.csv")]
    assert ("seginw, median of 3 sets", "segm", "all", "AP", "20.0") in rows
    assert "seginw, mean of 3 sets" in (tmp_path / "report.html").read_text()
    assert "seginw, mean of 3 sets    30.00" in results_table(SEGINW, IN_SEGINW)
    assert "seginw" not in results_table(SEGINW)
