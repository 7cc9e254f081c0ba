"""tools/annotate.py, as a user types it."""

import json

import pytest

from segplugins.drawn_world import write_drawn_world
from tests.support.commands import run_process

RECIPE = "configs/annotation/drawn.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotate") / "drawn"
    write_drawn_world(
        root, train=0, val=6, val_unseen=0, pairs=0, clips=0, val_clips=0, size=64, seed=0
    )
    return root


def annotate(*arguments):
    return run_process("tools/annotate.py", *arguments)


def common(world, output, *more):
    lines = world / "regions" / "val.jsonl"
    return (
        "--recipe", RECIPE, "--input", world / "images" / "val", "--output", output,
        "--set", f"models.looker.lines={lines}", "--device", "cpu", *more,
    )  # fmt: skip


def test_a_folder_is_annotated_reported_and_not_computed_again(world, tmp_path):
    (world / "images" / "val" / "broken.png").write_bytes(b"broken")
    done = annotate(*common(world, tmp_path / "tool"))
    (world / "images" / "val" / "broken.png").unlink()
    assert done.returncode == 1, done.stderr[-2000:]  # an image was left out
    assert "6 images annotated in" in done.stdout and "left out: broken.png: " in done.stdout
    for name in ("report.html", "review.jsonl", "summary.json", "data.yaml", "manifest.json"):
        assert (tmp_path / "tool" / name).is_file(), name
    assert json.loads((tmp_path / "tool" / "summary.json").read_text())["left_out"] == 1
    again = annotate(*common(world, tmp_path / "tool"))
    assert again.returncode == 2  # broken.png is gone: another job
    assert again.stderr.strip().splitlines()[-1].startswith("error: '") and (
        "images.count is 6, was 7" in again.stderr
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--set", "models.looker.lines=none.jsonl"], "model 'looker': no region lines 'none"),
        (["--set", "stages.5.filter_area.lw=1"], "unknown key 'lw', the nearest is 'low'"),
        (["--images", "x"], "no folder of images 'x'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(world, tmp_path, changes, message):
    done = annotate(*common(world, tmp_path / "tool", *changes))
    assert done.returncode == 2 and message in done.stderr, done.stderr[-2000:]
    assert done.stderr.strip().count("\n") == 0 and not (tmp_path / "tool").exists()


def test_a_device_that_is_not_there_is_refused(world, tmp_path):
    run = annotate(*common(world, tmp_path / "out", "--device", "gpu"))
    assert run.returncode == 2
    assert "--device gpu: expected one of cpu" in run.stderr
