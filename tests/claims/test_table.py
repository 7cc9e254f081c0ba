"""Mean and spread, and what a table tells beside them."""

import json
import shutil

import pytest
import torch

from segplugins.claims import Stage, State, measure, write_table
from segplugins.claims.table import lines_of


@pytest.fixture
def table(plan_of, finish, state, claim_of):
    """plain 60 and 64; changed 70 and unfinished; small without its second metric."""
    claim = claim_of()
    plan = plan_of(claim)
    values = {("plain", 0): 60.0, ("plain", 1): 64.0, ("changed", 0): 70.0, ("small", 0): 50.0}
    for (row, seed), value in values.items():
        run = plan.cells["mine", row, seed]
        finish(run, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": value}}})
        if row != "small":
            (run.folder / "extra.json").write_text('{"deep": {"value": 0.5}}')
    return measure(claim, plan, state)


def test_mean_and_spread_are_of_finished_runs_and_the_others_are_told(table):
    text = lines_of(table).splitlines()
    # The standard deviation of 60 and 64 with n - 1: sqrt(2 * 2^2) = 2.83.
    assert text[2].split("  ")[0] == "plain" and "62.0 ± 2.8 (2)" in text[2]
    assert "50.0 ± 0.0 (2)" in text[2]  # 0.5 times 100
    assert "70.0 (1 of 2)" in text[3] and "50.0 (1 of 2)" in text[4]
    assert text[5:] == [
        "",
        "mean ± standard deviation over seeds (number of runs)",
        "changed, seed 1: not started",
        "small, seed 0: no 'error' (deep/value in extra.json)",
        "small, seed 1: not started",
    ]
    assert "mIoU ↑" in text[0] and "error ↓" in text[0]


def test_files_hold_every_single_figure(table, tmp_path):
    written = write_table(table, tmp_path / "table")
    content = json.loads(written["results.json"].read_text())
    plain = content["rows"]["plain"]
    assert [run["values"]["mIoU"] for run in plain["runs"]] == [60.0, 64.0]
    assert plain["summary"]["mIoU"] == {"mean": 62.0, "std": pytest.approx(8**0.5), "n": 2}
    assert content["rows"]["changed"]["summary"]["mIoU"] == {"mean": 70.0, "std": None, "n": 1}
    assert content["rows"]["changed"]["runs"][1]["state"] == "not started"
    assert content["metrics"]["error"]["better"] == "lower"
    rows = written["table.csv"].read_text().splitlines()
    assert rows[0] == "row,seed,state,mIoU,error"
    assert rows[2] == "plain,1,finished,64.0,50.0" and rows[4] == "changed,1,not started,,"
    assert written["picture.png"].read_bytes()[1:4] == b"PNG"


def test_the_best_is_marked_only_among_rows_that_are_complete(table, plan_of, state, claim_of):
    assert "**" not in lines_of(table, markdown=True)
    complete = plan_of(claim_of(), rows=["plain", "changed"], seeds=[0])
    both = measure(table.claim, complete, state)
    lines = lines_of(both, markdown=True).splitlines()
    assert lines[0] == "# A title" and "**70.0 (1)**" in lines[7] and "**60" not in lines[6]


def test_a_metric_of_a_set_that_a_row_does_not_evaluate_is_no_fault(
    plan_of, finish, state, texts, claim_of
):
    BODY, ROWS = texts
    rows = ROWS.replace("mIoU: drawn", "PQ: drawn_val_panoptic/panoptic_seg/PQ\n  mIoU: drawn")
    claim = claim_of(BODY + rows)
    plan = plan_of(claim, rows=["plain"], seeds=[0])
    run = plan.runs[0]
    finish(run, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": None}}})
    (figures,) = measure(claim, plan, state).rows["plain"]
    assert figures.values == {"PQ": None, "mIoU": None, "error": None}
    assert "PQ" not in figures.note and "no 'mIoU'" in figures.note and "no 'error'" in figures.note


def test_a_mean_of_several_numbers_is_missing_where_one_of_them_is(
    plan_of, finish, state, texts, claim_of
):
    body, rows = texts
    both = "[drawn_val_sem_seg/sem_seg/IoU-sky, drawn_val_sem_seg/sem_seg/IoU-sea]"
    claim = claim_of(body + rows + f"  wide: {{mean: {both}, scale: 10}}\n")
    plan = plan_of(claim, rows=["plain"])
    for run, sea in zip(plan.runs, (5.0, None)):
        finish(run, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": 1, "IoU-sky": 2.0, "IoU-sea": sea}}})
    first, second = measure(claim, plan, state).rows["plain"]
    assert first.values["wide"] == 35.0  # (2 + 5) / 2 * 10
    assert second.values["wide"] is None and "no 'wide'" in second.note


def test_another_config_is_read_by_a_table_and_told(plan_of, finish, state, claim_of):
    claim = claim_of()
    plan = plan_of(claim, rows=["plain"], seeds=[0])
    finish(plan.runs[0], {"drawn_val_sem_seg": {"sem_seg": {"mIoU": 5.0}}})
    path = plan.runs[0].folder / "config.yaml"
    path.write_text(path.read_text().replace("SEED: 0", "SEED: 3"))
    text = lines_of(measure(claim, plan, state))
    assert "5.00 (1)" in text and "another config: SEED is 0, was 3" in text


def test_weights_that_cannot_be_read_do_not_matter_to_a_table(
    plan_of, finish, state, tmp_path, claim_of
):
    claim = claim_of()
    plan = plan_of(claim, rows=["plain"], seeds=[0])
    finish(plan.runs[0], {"drawn_val_sem_seg": {"sem_seg": {"mIoU": 5.0}}})
    torch.save({}, plan.runs[0].folder / "model_0000001.pth")
    shutil.copytree(plan.runs[0].folder, tmp_path / "copy/mine/plain/seed0")
    moved = plan_of(claim, tmp_path / "copy", rows=["plain"], seeds=[0])
    assert state(moved.runs[0]) == State(Stage.FINISHED)
