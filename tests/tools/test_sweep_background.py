"""tools/sweep_background.py on parts of a drawn world, whose vocabulary has a class of nothing."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from segplugins.drawn_world import write_drawn_world
from segplugins.engine import setup_cfg
from segplugins.engine.command import run_command
from segplugins.projects.cocu import add_config

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "configs" / "cocu" / "tiny.yaml")
_spec = importlib.util.spec_from_file_location("sweep", ROOT / "tools" / "sweep_background.py")
sweep = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sweep)


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_drawn_world(tmp_path / "drawn", train=1, val=2, clips=1, val_clips=1, size=64, seed=0)
    cfg = setup_cfg(Namespace(config_file=TINY, opts=["MODEL.DEVICE", "cpu"]), [add_config])
    torch.save(build_model(cfg).state_dict(), tmp_path / "weights.pth")

    def run(*options, test="drawn_val_parts"):
        with pytest.raises(SystemExit) as end:
            run_command(
                sweep.main,
                sweep.build_parser(),
                argv=["--config-file", TINY, *options, "MODEL.WEIGHTS",
                      str(tmp_path / "weights.pth"), "DATASETS.TEST", f"['{test}']",
                      "OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE", "cpu"],
            )  # fmt: skip
        return end.value.code, tmp_path / "out"

    return run


def test_each_threshold_has_a_row_and_is_evaluated_once(call, capsys):
    status, out = call("--thresholds", "1,0")
    told = capsys.readouterr()
    rows = [line.split() for line in told.out.splitlines()[-2:]]
    assert status == 0, told.err
    assert [row[0] for row in rows] == ["0", "1"]
    kept = json.loads((out / "threshold_0" / "sweep.json").read_text())
    assert round(kept["drawn_val_parts"]["mIoU_union"], 2) == float(rows[0][1])
    kept["drawn_val_parts"] |= {"mIoU_union": 77.0, "mIoU": 66.128, "pACC": None}
    (out / "threshold_0" / "sweep.json").write_text(json.dumps(kept))
    for options, expected in (((), "77"), (("--metric", "mIoU"), "66.13")):
        assert call("--thresholds", "0", *options)[0] == 0
        assert capsys.readouterr().out.splitlines()[-1].split() == ["0", expected]
    assert call("--thresholds", "0", "--metric", "pACC")[0] == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["0", "-"]
    assert call("--thresholds", "0", "--metric", "mIOU")[0] == 2
    error = capsys.readouterr().err
    assert "--metric 'mIOU' is not measured on 'drawn_val_parts'; known are [" in error
    assert "'mIoU'" in error and "IoU-" not in error


def test_kept_values_of_other_weights_are_refused_and_not_shown(call, tmp_path, capsys):
    assert call("--thresholds", "0.5")[0] == 0
    weights = torch.load(tmp_path / "weights.pth")
    torch.save({name: value + 1 for name, value in weights.items()}, tmp_path / "weights.pth")
    capsys.readouterr()
    status, out = call("--thresholds", "0.5")
    told = capsys.readouterr()
    assert status == 2 and "threshold" not in told.out.splitlines()[-1:]
    assert str(out / "threshold_0.5") in told.err and "weights" in told.err


def test_sets_without_background_and_thresholds_outside_are_one_line(call, capsys):
    for wrong in ("1.5", "0.5,a", "nan"):
        assert call("--thresholds", wrong)[0] == 2
        assert f"got '{wrong}', expected numbers from 0 to 1" in capsys.readouterr().err
    assert call(test="drawn_val_sem_seg")[0] == 2
    assert "has no background class, so there is no threshold" in capsys.readouterr().err
