"""Claims: their files, the plan of runs, what stands in folders, runs one by one, tables."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segplugins.claims import (
    Run,
    Stage,
    State,
    find_claims,
    measure,
    plan_runs,
    read_claim,
    run_all,
    state_of,
    write_table,
)
from segplugins.claims.configs import check_metrics, config_reader
from segplugins.claims.execute import ChildProcess, wait_for
from segplugins.claims.state import read_record, write_record
from segplugins.claims.table import lines_of
from segplugins.engine.command import Stopped
from segplugins.engine.stopping import StopRequests
from segplugins.files.digests import file_digest
from segplugins.projects import load_projects

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "configs" / "claims"
BODY = """
title: A title
paper: sed
says: What is said.
config: base.yaml
seeds: [0, 1]
"""
ROWS = """
rows:
  plain: []
  changed: [SOLVER.MAX_ITER, 7, DATASETS.TEST, [drawn_val_sem_seg]]
evaluate:
  small: {of: plain, options: [INPUT.MIN_SIZE_TEST, 64]}
metrics:
  mIoU: drawn_val_sem_seg/sem_seg/mIoU
  error: {path: deep/value, file: extra.json, better: lower, scale: 100}
"""
BASE = "DATASETS: {TEST: [drawn_val_sem_seg]}\n"


@pytest.fixture(scope="module")
def config_of():
    return config_reader([paper.add_config for paper in load_projects().values()])


@pytest.fixture
def claim_of(tmp_path):
    """Writes a claim file and reads it."""
    (tmp_path / "base.yaml").write_text(BASE)

    def write(text=BODY + ROWS, name="mine"):
        (tmp_path / f"{name}.yaml").write_text(text)
        return read_claim(tmp_path / f"{name}.yaml")

    return write


def plan_of(claim, output, **options):
    return plan_runs([claim], Path(output), lambda name: pytest.fail(name), **options)


def finish(run, config_of, values, weights=b"weights"):
    """Leaves in a folder what a finished run does."""
    run.folder.mkdir(parents=True, exist_ok=True)
    cfg = config_of(run.config, run.options)
    name = "eval_config.yaml" if run.weights else "config.yaml"
    (run.folder / name).write_text(cfg.dump())
    measured = run.weights or run.folder / "model_final.pth"
    if not run.weights:
        measured.write_bytes(weights)
        (run.folder / "last_checkpoint").write_text("model_final.pth")
    content = {
        "results": values,
        "protocol": {name: {"checkpoint": {"sha256": file_digest(measured)}} for name in values},
    }
    (run.folder / "results.json").write_text(json.dumps(content))


# ---- files


@pytest.mark.parametrize("path", sorted(CLAIMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_claim_merges_into_real_configs_and_measures_what_they_evaluate(path, config_of):
    claim = read_claim(path)
    plan = plan_runs(
        [claim], Path("out"), lambda name: read_claim(CLAIMS / f"{name}.yaml"), seeds=[0]
    )
    check_metrics([claim], plan, config_of)
    assert len(plan.cells) == len(claim.shown) >= 2
    assert (ROOT / "projects" / claim.paper / "__init__.py").is_file()
    assert claim.seeds == (0, 1, 2)
    for run in plan.runs:
        assert run.tool == "-m" or (ROOT / "tools" / run.tool).is_file()


def test_a_paper_stands_for_its_claims_and_a_word_for_nothing_names_the_nearest(claim_of, tmp_path):
    names = [claim.name for claim in find_claims(["sed"], CLAIMS)]
    assert names == ["sed_classes", "sed_rejection", "sed_skip"]
    # The paper's name is that of one of its claims: it stands for this one.
    assert [claim.name for claim in find_claims(["querymeldnet"], CLAIMS)] == ["querymeldnet"]
    claim_of()
    own = find_claims([str(tmp_path / "mine.yaml"), "sed_skip", "sed_skip"], CLAIMS)
    assert [claim.name for claim in own] == ["mine", "sed_skip"]
    with pytest.raises(ValueError, match="no claim or paper 'sed_skp'; the nearest is 'sed_skip'"):
        find_claims(["sed_skp"], CLAIMS)


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("title:", "titel:", "the file: unknown key 'titel', the nearest is 'title'"),
        ("says: What is said.\n", "", "the file has no 'says'"),
        ("[0, 1]", "[0, 0]", r"seeds is \[0, 0\], expected different whole numbers"),
        ("[0, 1]", "[]", "seeds is .*expected different whole numbers"),
        ("[0, 1]", "[0, -1]", "seeds is .*expected different whole numbers"),
        ("[INPUT.MIN_SIZE_TEST, 64]", "[INPUT.MIN_SIZE_TEST]", "evaluate.small.options is .*pairs"),
        ("of: plain", "of: plane", "evaluate.small.of: no row 'plane', the nearest is 'plain'"),
        ("small:", "plain:", "'plain' stands in rows and in evaluate"),
        ("better: lower", "better: less", "metrics.error.better is 'less', expected higher or"),
        ("scale: 100", "scale: 0", "metrics.error.scale is 0, expected a number above 0"),
        ("config: base", "config: bass", "rows.plain.config: no config file '.*bass.yaml'"),
        ("config: base.yaml\n", "", "rows.plain has no config, and the file names none"),
        ("  plain: []", "  a/b: []", "rows.a/b: a row is named like its folder"),
        ("  plain: []", "  plain: {same: sed}", "rows.plain: same is 'claim/row'"),
        ("evaluate:", "shown: [plane]\nevaluate:", "shown: no row 'plane', the nearest is"),
        ("rows:", "needs: {a: {row: x, command: []}}\nrows:", "needs.a: expected one of config"),
        ("rows:", "needs: {a: {command: [x.py]}}\nrows:", "needs.a has no 'makes'"),
        ("rows:", "needs: {seed: {row: plain}}\nrows:", "needs.seed: a step is named by a word"),
    ],
)
def test_a_mistake_in_a_claim_file_is_one_line(claim_of, before, after, message):
    with pytest.raises(ValueError, match=f"claim file .*mine.yaml: {message}"):
        claim_of((BODY + ROWS).replace(before, after, 1))


# ---- plans


def test_seeds_are_the_outer_loop_and_an_evaluation_follows_its_training(claim_of, tmp_path):
    plan = plan_of(claim_of(), tmp_path / "out")
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
    alone = plan_of(claim_of(), tmp_path / "out", rows=["small"], seeds=[1])
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


def test_steps_come_first_once_or_each_seed_and_rows_of_other_claims_stay_there(claim_of, tmp_path):
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


def test_a_placeholder_without_step_and_rows_that_need_themselves_are_told(claim_of, tmp_path):
    lost = claim_of(BODY + STEPS.replace("{data}/x", "{date}/x"))
    with pytest.raises(ValueError, match=r"'\{date\}' stands for no step of needs; they are \['b"):
        plan_runs([lost], tmp_path, lambda name: lost, rows=["plain"])
    wrong = claim_of(BODY + STEPS.replace("other/row", "mine/plane"))
    with pytest.raises(ValueError, match="has no row 'plane', the nearest is 'plain'"):
        plan_runs([wrong], tmp_path, lambda name: wrong, rows=["again"])
    circle = claim_of(BODY + STEPS.replace("other/row", "mine/again"))
    with pytest.raises(ValueError, match="'again' needs itself in the end"):
        plan_runs([circle], tmp_path, lambda name: circle, rows=["again"])


def test_options_and_metrics_are_looked_at_before_any_run(claim_of, tmp_path, config_of):
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


def test_options_of_the_command_line_win_in_every_training_and_evaluation(claim_of, tmp_path):
    claim = claim_of(BODY + STEPS.replace("  again: {same: other/row}\n", ""))
    plan = plan_of(claim, tmp_path, seeds=[0], options=["SOLVER.MAX_ITER", "2"])
    base, data, kept, plain = plan.runs
    assert base.options[:4] == ("SOLVER.MAX_ITER", "3", "SOLVER.MAX_ITER", "2")
    assert plain.options[4:8] == ("SOLVER.MAX_ITER", "2", "SEED", "0")
    assert data.options == kept.options == ()


# ---- states


def test_a_training_is_finished_with_results_of_its_final_weights(claim_of, tmp_path, config_of):
    run = plan_of(claim_of(), tmp_path / "out").runs[1]
    assert state_of(run, config_of) == State(Stage.NEW)
    finish(run, config_of, {"drawn_val_sem_seg": {}})
    assert state_of(run, config_of) == State(Stage.FINISHED)
    (run.folder / "last_checkpoint").write_text("model_0000003.pth")  # it goes on
    assert state_of(run, config_of).stage is Stage.STARTED
    finish(run, config_of, {"drawn_val_sem_seg": {}})
    (run.folder / "model_final.pth").write_bytes(b"later weights")
    assert state_of(run, config_of).stage is Stage.STARTED
    (run.folder / "model_final.pth").unlink()  # to save room
    assert state_of(run, config_of).stage is Stage.FINISHED
    (run.folder / "results.json").write_text('{"results": ')
    assert state_of(run, config_of).stage is Stage.STARTED


def test_an_evaluation_is_finished_with_results_of_the_weights_of_now(
    claim_of, tmp_path, config_of
):
    trained, _, small = plan_of(claim_of(), tmp_path / "out", seeds=[0]).runs
    finish(trained, config_of, {"drawn_val_sem_seg": {}})
    finish(small, config_of, {"drawn_val_sem_seg": {}})
    assert state_of(small, config_of).stage is Stage.FINISHED
    (trained.folder / "model_final.pth").write_bytes(b"trained again")
    assert state_of(small, config_of).stage is Stage.STARTED


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
    claim_of, tmp_path, config_of, change, other
):
    run = plan_of(claim_of(), tmp_path / "out").runs[1]
    finish(run, config_of, {"drawn_val_sem_seg": {}})
    path = run.folder / "config.yaml"
    assert change in path.read_text()
    path.write_text(path.read_text().replace(change, f"{change.split(':')[0]}: 8"))
    assert state_of(run, config_of) == State(Stage.FINISHED, other)


def test_paths_are_compared_as_places(claim_of, tmp_path, config_of, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ROWS.replace("plain: []", "plain: [MODEL.CLIP.WEIGHTS, out/clip.pth]")
    run = plan_of(claim_of(BODY + rows), tmp_path / "out").runs[0]
    finish(run, config_of, {"drawn_val_sem_seg": {}})
    path, text = run.folder / "config.yaml", (run.folder / "config.yaml").read_text()
    path.write_text(text.replace("out/clip.pth", str(tmp_path / "out/clip.pth")))
    assert state_of(run, config_of).other == ""
    path.write_text(text.replace("out/clip.pth", "in/clip.pth"))
    assert "MODEL.CLIP.WEIGHTS is 'out/clip.pth', was 'in/clip.pth'" in state_of(run, config_of)[1]


def test_a_command_is_finished_when_it_ended_well_and_its_file_stands(tmp_path, config_of):
    run = Run("a", tmp_path / "step", "make.py", ("--x", "1"), makes=tmp_path / "step/out")
    assert state_of(run, config_of).stage is Stage.NEW
    write_record(run, 3.0, ended=False)
    (tmp_path / "step/out").touch()
    assert state_of(run, config_of) == State(Stage.STARTED, "", 3.0)
    write_record(run, 4.5, ended=True)
    assert state_of(run, config_of) == State(Stage.FINISHED, "", 7.5)
    changed = Run("a", tmp_path / "step", "make.py", ("--x", "2"), makes=tmp_path / "step/out")
    assert (
        state_of(changed, config_of).other == "the command is 'make.py --x 2', was 'make.py --x 1'"
    )
    (tmp_path / "step/out").unlink()
    assert state_of(run, config_of).stage is Stage.STARTED


# ---- runs


class Fakes:
    """Runs that finish at once, and what was told of them."""

    def __init__(self, finished=(), others=(), failing=(), stopping=()):
        self.finished, self.others = set(finished), set(others)
        self.failing, self.stopping = failing, stopping
        self.started, self.told = [], []

    def state(self, run):
        stage = Stage.FINISHED if run.title in self.finished else Stage.NEW
        return State(stage, "SEED is 1, was 2" if run.title in self.others else "", 60.0)

    def start(self, run):
        self.started.append(run.title)
        if run.title in self.stopping:
            raise Stopped(number=signal.SIGTERM)
        if run.title in self.failing:
            (run.folder / "claim_console.txt").write_text("a\nerror: no data\n\n")
            return 2
        self.finished.add(run.title)
        return 0

    def run(self, runs):
        return run_all(runs, self.state, self.start, tell=self.told.append, again="python x")


@pytest.fixture
def three(tmp_path):
    """A training, its evaluation, and another training."""

    def run(title, **rest):
        (tmp_path / title).mkdir()
        return Run(title, tmp_path / title, "train_net.py", (), **rest)

    first = run("first")
    return [first, run("second", requires=(first,), weights=Path("w")), run("third")]


def test_what_is_finished_is_skipped_and_progress_says_how_much_is_left(three):
    fakes = Fakes(finished=["first", "second"])
    assert fakes.run(three).failed == {}
    assert fakes.started == ["third"]
    assert fakes.told == [
        "2 of 3 runs are finished already", "run 1 of 1: third, about 1 min left",
    ]  # fmt: skip
    assert fakes.run(three).failed == {} and fakes.started == ["third"]


def test_an_evaluation_of_weights_that_change_is_done_again(three):
    fakes = Fakes(finished=["second", "third"])
    fakes.run(three)
    assert fakes.started == ["first", "second"]


def test_a_failure_is_told_costs_what_needs_it_and_the_others_go_on(three):
    fakes = Fakes(failing=["first"])
    failed = fakes.run(three).failed
    assert fakes.started == ["first", "third"]
    assert failed["first"].startswith("exit status 2: error: no data (")
    assert failed["second"] == "needs 'first', which did not end well"


def test_a_run_without_results_has_failed_whatever_its_exit_status(three):
    fakes = Fakes()
    fakes.start = lambda run: 0
    assert "it ended without its results" in fakes.run(three).failed["third"]


def test_a_folder_of_another_run_is_refused_before_any_starts(three):
    fakes = Fakes(others=["third"])
    with pytest.raises(ValueError, match="third' holds another run than third: SEED is 1, was 2"):
        fakes.run(three)
    assert fakes.started == []


def test_a_stop_says_which_run_goes_on_and_how(three):
    fakes = Fakes(stopping=["second"])
    with pytest.raises(Stopped, match="second; finished runs are kept .*: python x") as stop:
        fakes.run(three)
    assert stop.value.number == signal.SIGTERM and fakes.started == ["first", "second"]
    assert read_record(three[1].folder)["ended"] is False
    assert read_record(three[0].folder)["ended"] is True


def test_a_child_writes_its_lines_and_gets_the_options_of_the_machine(tmp_path):
    (tmp_path / "echo.py").write_text("import sys; print(*sys.argv[1:]); sys.exit(3)")
    start = ChildProcess(tmp_path, ["--num-gpus", "0"])
    config = Run("a", tmp_path / "out", "echo.py", ("--resume",), Path("c.yaml"), ("KEY", "1"))
    assert start(config) == 3
    text = (tmp_path / "out/claim_console.txt").read_text()
    assert text == "--num-gpus 0 --resume KEY 1\n"
    command = start.command(Run("a", tmp_path, "-m", ("json.tool", "x")))
    assert command == [sys.executable, "-m", "json.tool", "x"]


def test_a_stop_is_handed_on_once_and_the_child_may_save(tmp_path):
    saving = (
        "import os, signal, sys, time\n"
        "signal.signal(15, lambda *a: (time.sleep(0.3), print('saved', flush=True), sys.exit(9)))\n"
        "os.kill(os.getppid(), 15); os.kill(os.getppid(), 15); time.sleep(60)"  # twice is once
    )
    (tmp_path / "save.py").write_text(saving)
    with pytest.raises(Stopped) as stop:
        ChildProcess(tmp_path)(Run("a", tmp_path / "out", "save.py", ()))
    assert stop.value.number == signal.SIGTERM
    assert (tmp_path / "out/claim_console.txt").read_text() == "saved\n"


def test_a_child_that_does_not_end_when_asked_is_ended():
    deaf = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    child.stdout.readline()
    stop = StopRequests()
    stop.number = signal.SIGINT
    assert wait_for(child, stop, seconds=0.1) == -signal.SIGKILL
    child.stdout.close()


# ---- tables


@pytest.fixture
def table(claim_of, tmp_path, config_of):
    """plain 60 and 64; changed 70 and unfinished; small without its second metric."""
    claim = claim_of()
    plan = plan_of(claim, tmp_path / "out")
    values = {("plain", 0): 60.0, ("plain", 1): 64.0, ("changed", 0): 70.0, ("small", 0): 50.0}
    for (row, seed), value in values.items():
        run = plan.cells["mine", row, seed]
        finish(run, config_of, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": value}}})
        if row != "small":
            (run.folder / "extra.json").write_text('{"deep": {"value": 0.5}}')
    return measure(claim, plan, lambda run: state_of(run, config_of))


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


def test_the_best_is_marked_only_among_rows_that_are_complete(table, claim_of, tmp_path, config_of):
    assert "**" not in write_table(table, tmp_path / "a")["table.md"].read_text()
    complete = plan_of(claim_of(), tmp_path / "out", rows=["plain", "changed"], seeds=[0])
    both = measure(table.claim, complete, lambda run: state_of(run, config_of))
    lines = write_table(both, tmp_path / "b")["table.md"].read_text().splitlines()
    assert lines[0] == "# A title" and "**70.0 (1)**" in lines[7] and "**60" not in lines[6]


def test_a_metric_of_a_set_that_a_row_does_not_evaluate_is_no_fault(claim_of, tmp_path, config_of):
    rows = ROWS.replace("mIoU: drawn", "PQ: drawn_val_panoptic/panoptic_seg/PQ\n  mIoU: drawn")
    claim = claim_of(BODY + rows)
    plan = plan_of(claim, tmp_path / "out", rows=["plain"], seeds=[0])
    run = plan.runs[0]
    finish(run, config_of, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": None}}})
    (figures,) = measure(claim, plan, lambda run: state_of(run, config_of)).rows["plain"]
    assert figures.values == {"PQ": None, "mIoU": None, "error": None}
    assert "PQ" not in figures.note and "no 'mIoU'" in figures.note and "no 'error'" in figures.note


def test_another_config_is_read_by_a_table_and_told(claim_of, tmp_path, config_of):
    claim = claim_of()
    plan = plan_of(claim, tmp_path / "out", rows=["plain"], seeds=[0])
    finish(plan.runs[0], config_of, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": 5.0}}})
    path = plan.runs[0].folder / "config.yaml"
    path.write_text(path.read_text().replace("SEED: 0", "SEED: 3"))
    text = lines_of(measure(claim, plan, lambda run: state_of(run, config_of)))
    assert "5.00 (1)" in text and "another config: SEED is 0, was 3" in text


def test_weights_that_cannot_be_read_do_not_matter_to_a_table(tmp_path, claim_of, config_of):
    claim = claim_of()
    plan = plan_of(claim, tmp_path / "out", rows=["plain"], seeds=[0])
    finish(plan.runs[0], config_of, {"drawn_val_sem_seg": {"sem_seg": {"mIoU": 5.0}}})
    torch.save({}, plan.runs[0].folder / "model_0000001.pth")
    shutil.copytree(plan.runs[0].folder, tmp_path / "copy/mine/plain/seed0")
    moved = plan_of(claim, tmp_path / "copy", rows=["plain"], seeds=[0])
    assert state_of(moved.runs[0], config_of) == State(Stage.FINISHED)
