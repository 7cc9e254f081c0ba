"""How far a run is, and whether it is the same run."""

import pytest

from segplugins.claims import Run, Stage, State
from segplugins.claims.state import write_record


def test_a_training_is_finished_with_results_of_its_final_weights(plan_of, finish, state, claim_of):
    run = plan_of(claim_of()).runs[1]
    assert state(run) == State(Stage.NEW)
    finish(run, {"drawn_val_sem_seg": {}})
    assert state(run) == State(Stage.FINISHED)
    (run.folder / "last_checkpoint").write_text("model_0000003.pth")  # it goes on
    assert state(run).stage is Stage.STARTED
    finish(run, {"drawn_val_sem_seg": {}})
    (run.folder / "model_final.pth").write_bytes(b"later weights")
    assert state(run).stage is Stage.STARTED
    (run.folder / "model_final.pth").unlink()  # to save room
    assert state(run).stage is Stage.FINISHED
    (run.folder / "results.json").write_text('{"results": ')
    assert state(run).stage is Stage.STARTED


def test_an_evaluation_is_finished_with_results_of_the_weights_of_now(
    plan_of, finish, state, claim_of
):
    trained, _, small = plan_of(claim_of(), seeds=[0]).runs
    finish(trained, {"drawn_val_sem_seg": {}})
    finish(small, {"drawn_val_sem_seg": {}})
    assert state(small).stage is Stage.FINISHED
    (trained.folder / "model_final.pth").write_bytes(b"trained again")
    assert state(small).stage is Stage.STARTED


@pytest.mark.parametrize(
    "change, other",
    [
        ("MAX_ITER: 7", "SOLVER.MAX_ITER is 7, was 8"),
        ("SEED: 0", "SEED is 0, was 8"),
        ("NUM_WORKERS: 4", ""),
        ("CHECKPOINT_PERIOD: 5000", ""),
    ],
)
def test_a_run_of_another_config_is_told_unless_it_changes_no_figure(
    change, other, plan_of, finish, state, claim_of
):
    run = plan_of(claim_of()).runs[1]
    finish(run, {"drawn_val_sem_seg": {}})
    path = run.folder / "config.yaml"
    assert change in path.read_text()
    path.write_text(path.read_text().replace(change, f"{change.split(':')[0]}: 8"))
    assert state(run) == State(Stage.FINISHED, other)


def test_paths_are_compared_as_places(
    monkeypatch, plan_of, finish, state, texts, tmp_path, claim_of
):
    BODY, ROWS = texts
    monkeypatch.chdir(tmp_path)
    rows = ROWS.replace("plain: []", "plain: [MODEL.CLIP.WEIGHTS, out/clip.pth]")
    run = plan_of(claim_of(BODY + rows)).runs[0]
    finish(run, {"drawn_val_sem_seg": {}})
    path, text = run.folder / "config.yaml", (run.folder / "config.yaml").read_text()
    path.write_text(text.replace("out/clip.pth", str(tmp_path / "out/clip.pth")))
    assert state(run).other == ""
    path.write_text(text.replace("out/clip.pth", "in/clip.pth"))
    assert "MODEL.CLIP.WEIGHTS is 'out/clip.pth', was 'in/clip.pth'" in state(run)[1]


def test_a_command_is_finished_when_it_ended_well_and_its_file_stands(state, tmp_path):
    run = Run("a", tmp_path / "step", "make.py", ("--x", "1"), makes=tmp_path / "step/out")
    assert state(run).stage is Stage.NEW
    write_record(run, 3.0, ended=False)
    (tmp_path / "step/out").touch()
    assert state(run) == State(Stage.STARTED, "", 3.0)
    write_record(run, 4.5, ended=True)
    assert state(run) == State(Stage.FINISHED, "", 7.5)
    changed = Run("a", tmp_path / "step", "make.py", ("--x", "2"), makes=tmp_path / "step/out")
    assert state(changed).other == "the command is 'make.py --x 2', was 'make.py --x 1'"
    (tmp_path / "step/out").unlink()
    assert state(run).stage is Stage.STARTED
