import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segplugins.engine import folder_lock, output_folder
from segplugins.engine.folder_lock import FolderInUse
from segplugins.engine.output_folder import claim_output, undone_on_failure


@pytest.fixture(autouse=True)
def a_process_of_its_own(monkeypatch):
    """What this process has claimed in another test does not count."""
    monkeypatch.setattr(folder_lock, "_HELD", {})
    monkeypatch.setattr(output_folder, "_STARTS", {})
    yield
    for file in folder_lock._HELD.values():
        file.close()


def weights(folder, name="model_final.pth"):
    torch.save({"model": {}}, Path(folder) / name)


def test_a_fresh_folder_gets_config_and_code_version(toy_cfg):
    cfg = toy_cfg("SOLVER.MAX_ITER 5")
    claim_output(cfg, resume=False)
    folder = Path(cfg.OUTPUT_DIR)
    assert "MAX_ITER: 5" in (folder / "config.yaml").read_text()
    run = json.loads((folder / "run.json").read_text())
    assert run["segplugins"] and run["torch"] == torch.__version__ and "commit" in run
    claim_output(cfg, resume=False)  # nothing is finished there: started again


def test_a_finished_run_is_only_resumed(toy_cfg):
    cfg = toy_cfg()
    claim_output(cfg, resume=False)
    weights(cfg.OUTPUT_DIR)
    with pytest.raises(FolderInUse, match=r"holds a run already \(model_final.pth\).*--resume, or"):
        claim_output(cfg, resume=False)
    claim_output(cfg, resume=True)


@pytest.mark.parametrize(
    "options, message",
    [
        ("SOLVER.BASE_LR 0.5", "another config: SOLVER.BASE_LR is 0.5, was 0.01; resume it"),
        ("SEED 8 MODEL.TOY.DROPOUT 0.1", "MODEL.TOY.DROPOUT is 0.1, was 0.0, SEED is 8, was 7"),
        ("DATASETS.TRAIN ('toy_val',)", r"DATASETS.TRAIN is \['toy_val'\], was \['toy_train'\]"),
        ("MODEL.WEIGHTS other.pth", "MODEL.WEIGHTS is 'other.pth', was ''"),
        ("SOLVER.MAX_ITER 9 DATALOADER.NUM_WORKERS 1 TEST.EVAL_PERIOD 2", None),
    ],
)
def test_another_config_is_refused_unless_the_weights_stay_the_same(toy_cfg, options, message):
    claim_output(toy_cfg(), resume=False)
    weights(toy_cfg().OUTPUT_DIR)
    if message is None:
        claim_output(toy_cfg(options), resume=True)
    else:
        with pytest.raises(FolderInUse, match=message):
            claim_output(toy_cfg(options), resume=True)


def test_other_weights_under_the_same_name_are_refused(toy_cfg, tmp_path):
    start = tmp_path / "start.pth"
    start.write_bytes(b"one")
    cfg = toy_cfg(f"MODEL.WEIGHTS {start}")
    claim_output(cfg, resume=False)
    weights(cfg.OUTPUT_DIR)
    claim_output(cfg, resume=True)
    start.write_bytes(b"two")
    with pytest.raises(FolderInUse, match="started from other weights than '.*start.pth' has now"):
        claim_output(cfg, resume=True)


def test_results_are_not_overwritten_by_another_evaluation(toy_cfg):
    cfg = toy_cfg("MODEL.WEIGHTS a.pth")
    claim_output(cfg, resume=False, evaluation=True)
    (Path(cfg.OUTPUT_DIR) / "results.json").write_text("{}")
    with pytest.raises(FolderInUse, match="holds results already .*choose another OUTPUT_DIR, or"):
        claim_output(cfg, resume=False, evaluation=True)
    claim_output(cfg, resume=True, evaluation=True)
    with pytest.raises(FolderInUse, match="MODEL.WEIGHTS is 'b.pth', was 'a.pth'"):
        claim_output(toy_cfg("MODEL.WEIGHTS b.pth"), resume=True, evaluation=True)


def test_an_evaluation_leaves_the_config_of_the_training_beside_it(toy_cfg):
    claim_output(toy_cfg("SOLVER.MAX_ITER 5"), resume=False)
    claim_output(toy_cfg("SOLVER.MAX_ITER 6"), resume=False, evaluation=True)
    folder = Path(toy_cfg().OUTPUT_DIR)
    assert "MAX_ITER: 5" in (folder / "config.yaml").read_text()
    assert "MAX_ITER: 6" in (folder / "eval_config.yaml").read_text()


def test_stale_temporary_files_are_removed(toy_cfg):
    folder = Path(toy_cfg().OUTPUT_DIR)
    folder.mkdir(parents=True)
    (folder / ".model_0000001.7-0.part.pth").write_bytes(b"half")
    claim_output(toy_cfg(), resume=True)
    assert not list(folder.glob("*.part*"))


HOLDER = """
import sys, time
from pathlib import Path
from segplugins.engine.folder_lock import lock_folder
lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def test_two_runs_at_once_are_refused_and_a_killed_one_leaves_no_lock(toy_cfg):
    cfg = toy_cfg()
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True)
    other = subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"locked\n"
    with pytest.raises(FolderInUse, match=rf"in use by another run \(process {other.pid} on .*"):
        claim_output(cfg, resume=True)
    other.kill()
    other.communicate()
    claim_output(cfg, resume=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told_before_anything_is_computed(toy_cfg, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="OUTPUT_DIR cannot be written"):
        claim_output(toy_cfg(), resume=False)


def test_a_file_in_the_way_is_told(toy_cfg, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OSError, match="OUTPUT_DIR cannot be written .*/run'"):
        claim_output(toy_cfg(), resume=False)


def failing(cfg, *, writes=()):
    """Takes the folder, writes as a start does and fails."""
    claim_output(cfg, resume=False)
    with pytest.raises(RuntimeError, match="no"), undone_on_failure(cfg.OUTPUT_DIR):
        for name in writes:
            path = Path(cfg.OUTPUT_DIR, name)
            path.parent.mkdir(exist_ok=True)
            path.touch()
        raise RuntimeError("no")


def test_a_start_that_fails_leaves_nothing_behind(toy_cfg, tmp_path):
    failing(toy_cfg(output="a/b/run"), writes=("log.txt", "log.txt.rank1", "pairs_index/x.npy"))
    assert list(tmp_path.iterdir()) == []
    failing(toy_cfg(output="a/b/run"))  # the lock was given back, and can be taken again
    claim_output(toy_cfg(output="a/b/run"), resume=False)


def test_a_start_that_fails_leaves_what_stood_there_before_and_what_others_write(toy_cfg):
    folder = Path(toy_cfg().OUTPUT_DIR)
    folder.mkdir()
    (folder / "log.txt").write_text("of before")
    failing(toy_cfg(), writes=("notes.txt",))
    assert sorted(path.name for path in folder.iterdir()) == ["log.txt", "notes.txt"]


def test_only_the_process_that_took_a_folder_cleans_it(toy_cfg):
    folder = Path(toy_cfg().OUTPUT_DIR)
    folder.mkdir()
    (folder / "config.yaml").touch()
    with pytest.raises(KeyboardInterrupt), undone_on_failure(folder):
        raise KeyboardInterrupt
    assert (folder / "config.yaml").exists()
