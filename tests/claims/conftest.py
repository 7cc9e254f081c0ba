"""A small claim, its config and its finished runs."""

import json
from pathlib import Path

import pytest

from segplugins.claims import plan_runs, read_claim, state_of
from segplugins.claims.configs import config_reader
from segplugins.files.digests import file_digest
from segplugins.projects import load_projects

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


@pytest.fixture(scope="session")
def config_of():
    """Returns the config of a file and options."""
    return config_reader([paper.add_config for paper in load_projects().values()])


@pytest.fixture(scope="session")
def texts():
    """Returns the two halves of the text of the claim."""
    return BODY, ROWS


@pytest.fixture
def claim_of(tmp_path):
    """Writes a claim file and reads it."""
    (tmp_path / "base.yaml").write_text("DATASETS: {TEST: [drawn_val_sem_seg]}\n")

    def write(text=BODY + ROWS, name="mine"):
        (tmp_path / f"{name}.yaml").write_text(text)
        return read_claim(tmp_path / f"{name}.yaml")

    return write


@pytest.fixture
def plan_of(tmp_path):
    """Returns the plan of one claim that needs no other."""

    def call(claim, output=tmp_path / "out", **options):
        return plan_runs([claim], Path(output), lambda name: pytest.fail(name), **options)

    return call


@pytest.fixture
def state(config_of):
    """Returns the state of a run."""
    return lambda run: state_of(run, config_of)


@pytest.fixture
def finish(config_of):
    """Leaves in a folder what a finished run does."""

    def call(run, values):
        run.folder.mkdir(parents=True, exist_ok=True)
        name = "eval_config.yaml" if run.weights else "config.yaml"
        (run.folder / name).write_text(config_of(run.config, run.options).dump())
        measured = run.weights or run.folder / "model_final.pth"
        if not run.weights:
            measured.write_bytes(b"weights")
            (run.folder / "last_checkpoint").write_text("model_final.pth")
        checkpoint = {"checkpoint": {"sha256": file_digest(measured)}}
        content = {"results": values, "protocol": dict.fromkeys(values, checkpoint)}
        (run.folder / "results.json").write_text(json.dumps(content))

    return call
