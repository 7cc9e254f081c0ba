"""From claims to runs: order, options, steps and rows of other claims."""

import pytest

from segplugins.claims import plan_runs
from segplugins.claims.configs import check_metrics


def test_seeds_are_the_outer_loop_and_an_evaluation_follows_its_training(
    plan_of, tmp_path, claim_of
):
    plan = plan_of(claim_of())
    folders = [str(run.folder.relative_to(tmp_path / "out/mine")) for run in plan.runs]
    assert folders == [
        f"{row}/seed{seed}" for seed in (0, 1) for row in ("plain", "changed", "small")
    ]
    changed, small = plan.runs[1], plan.runs[2]
    assert changed.tool == "train_net.py" and small.tool == "eval.py"
    assert changed.options == (
        "SOLVER.MAX_ITER", "7", "DATASETS.TEST", "['drawn_val_sem_seg']",
        "SEED", "0", "OUTPUT_DIR", str(changed.folder),
    )  # fmt: skip
    assert small.options[:2] == ("INPUT.MIN_SIZE_TEST", "64")
    assert small.options[2:4] == ("MODEL.WEIGHTS", str(plan.runs[0].folder / "model_final.pth"))
    assert small.requires == (plan.runs[0],)
    # An evaluation alone still needs its training, which the table then leaves out.
    alone = plan_of(claim_of(), rows=["small"], seeds=[1])
    assert [run.title for run in alone.runs] == ["mine: plain, seed 1", "mine: small, seed 1"]
    assert list(alone.cells) == [("mine", "small", 1)]
    with pytest.raises(ValueError, match="--rows: no row 'smal', the nearest is 'small'"):
        plan_of(claim_of(), tmp_path, rows=["smal"])


STEPS = """
needs:
  base: {config: base.yaml, options: [SOLVER.MAX_ITER, 3]}
  data: {command: [make.py, --clip, "{base}/model_final.pth", --out, "{out}"], makes: a/b}
  kept: {command: [make.py, "{seed}"], makes: c, each_seed: true}
rows:
  plain: [MODEL.WEIGHTS, "{data}/x.pth", DATASETS.TRAIN, ["{kept}", "{}"]]
  again: {same: other/row}
metrics: {mIoU: drawn_val_sem_seg/sem_seg/mIoU}
"""


def test_steps_come_first_once_or_each_seed_and_rows_of_other_claims_stay_there(
    texts, tmp_path, claim_of
):
    BODY, ROWS = texts
    claim = claim_of(BODY + STEPS)
    other = claim_of(BODY + ROWS.replace("  plain: []", "  plain: []\n  row: []"), "other")
    out = tmp_path / "out"
    plan = plan_runs([claim], out, {"other": other}.__getitem__)
    assert [str(run.folder.relative_to(out)) for run in plan.runs] == [
        "mine/needs/base", "mine/needs/data", "mine/needs/kept/seed0", "mine/plain/seed0",
        "other/row/seed0", "mine/needs/kept/seed1", "mine/plain/seed1", "other/row/seed1",
    ]  # fmt: skip
    base, data, kept, plain = plan.runs[:4]
    assert base.options == ("SOLVER.MAX_ITER", "3", "OUTPUT_DIR", str(base.folder))
    assert data.arguments == (
        "--clip", f"{base.folder}/model_final.pth", "--out", str(data.folder),
    )  # fmt: skip
    assert data.makes == data.folder / "a/b" and kept.arguments == ("0",)
    assert plain.options[1] == f"{data.folder}/x.pth" and set(plain.requires) == {data, kept}
    assert plain.options[3] == repr([str(kept.folder), "{}"])  # "{}" is a prompt's placeholder
    assert plan.cells["mine", "again", 1] is plan.runs[-1]


def test_a_placeholder_without_step_and_rows_that_need_themselves_are_told(
    texts, tmp_path, claim_of
):
    BODY, ROWS = texts
    lost = claim_of(BODY + STEPS.replace("{data}/x", "{date}/x"))
    with pytest.raises(ValueError, match=r"'\{date\}' stands for no step of needs; they are \['b"):
        plan_runs([lost], tmp_path, lambda name: lost, rows=["plain"])
    wrong = claim_of(BODY + STEPS.replace("other/row", "mine/plane"))
    with pytest.raises(ValueError, match="has no row 'plane', the nearest is 'plain'"):
        plan_runs([wrong], tmp_path, lambda name: wrong, rows=["again"])
    circle = claim_of(BODY + STEPS.replace("other/row", "mine/again"))
    with pytest.raises(ValueError, match="'again' needs itself in the end"):
        plan_runs([circle], tmp_path, lambda name: circle, rows=["again"])


def test_options_and_metrics_are_looked_at_before_any_run(
    plan_of, texts, config_of, tmp_path, claim_of
):
    BODY, ROWS = texts
    for before, after, message in (
        ("SOLVER.MAX_ITER, 7", "SOLVER.MAXITER, 7", "the nearest known key is 'SOLVER.MAX_ITER'"),
        ("mIoU: drawn_val_", "mIoU: drawn_vall_", "is of 'drawn_vall_sem_seg', which no row eval"),
        (
            "DATASETS.TEST, [drawn_val_sem_seg]",
            "DATASETS.TEST, [drawn_val_panoptic]",
            r"row 'changed' evaluates \['drawn_val_panoptic'\], of which no metric is",
        ),
    ):
        claim = claim_of(BODY + ROWS.replace(before, after))
        with pytest.raises(ValueError, match=message):
            check_metrics([claim], plan_of(claim, tmp_path), config_of)


def test_options_of_the_command_line_win_in_every_training_and_evaluation(
    plan_of, texts, tmp_path, claim_of
):
    BODY, ROWS = texts
    claim = claim_of(BODY + STEPS.replace("  again: {same: other/row}\n", ""))
    plan = plan_of(claim, tmp_path, seeds=[0], options=["SOLVER.MAX_ITER", "2"])
    base, data, kept, plain = plan.runs
    assert base.options[:4] == ("SOLVER.MAX_ITER", "3", "SOLVER.MAX_ITER", "2")
    assert plain.options[4:8] == ("SOLVER.MAX_ITER", "2", "SEED", "0")
    assert data.options == kept.options == ()
