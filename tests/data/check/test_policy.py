import json
import logging
import pickle

import pytest

from segplugins.data.check import SkipFaults


def mapper(record):
    if record["image_id"] == "bad":
        raise ValueError("the mask\ndoes not fit")
    return record


def test_a_faulty_record_is_left_out_and_written_down(tmp_path):
    skip = SkipFaults(mapper, str(tmp_path / "run"))
    good = {"image_id": "good", "dataset": "pets"}
    assert skip(good) is good
    assert skip({"image_id": "bad", "dataset": "pets", "file_name": "bad.jpg"}) is None
    [line] = (tmp_path / "run" / "faults.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "dataset": "pets",
        "record": "bad",
        "file": "bad.jpg",
        "message": "the mask does not fit",
    }


def test_the_report_counts_what_this_run_has_met_in_all_its_workers(tmp_path, caplog):
    before = SkipFaults(mapper, str(tmp_path))
    before({"image_id": "bad"})
    skip = SkipFaults(mapper, str(tmp_path))  # resumed
    worker = pickle.loads(pickle.dumps(skip))
    skip({"image_id": "bad"})
    worker({"image_id": "bad"})
    assert len(skip.faults()) == 2
    with caplog.at_level(logging.INFO):
        skip.report()
    assert "2 times one of 1 faulty records" in caplog.text
    assert "2 x the mask does not fit" in caplog.text


def test_a_run_without_a_fault_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        SkipFaults(mapper, str(tmp_path)).report()
    assert "no record was left out" in caplog.text


def test_an_error_that_no_data_can_cause_is_not_taken_for_a_fault(tmp_path):
    def broken(record):
        raise MemoryError

    with pytest.raises(MemoryError):
        SkipFaults(broken, str(tmp_path))({"image_id": "a"})
