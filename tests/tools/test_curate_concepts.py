"""tools/curate_concepts.py as a user types it: two processes, the same again, and its errors."""

import pytest

from segplugins.drawn_world import write_drawn_world
from tests.support.commands import run_process


@pytest.fixture(scope="module")
def curate(tmp_path_factory):
    work = tmp_path_factory.mktemp("curate")
    write_drawn_world(
        work / "datasets" / "drawn",
        train=1, val=1, pairs=12, shard=4, clips=1, val_clips=1, size=64, seed=0,
    )  # fmt: skip

    def run(*options):
        return run_process(
            "tools/curate_concepts.py", "--data", "drawn_captions",
            "--out", work / "out", "--embedder", "convnext_drawn", "--weights", "",
            "--vocabulary", "drawn", *options,
            env={"DETECTRON2_DATASETS": str(work / "datasets")},
        )  # fmt: skip

    return run, work / "out"


def test_two_processes_curate_and_a_changed_option_is_one_line(curate):
    run, out = curate
    done = run("--workers", "2", "--page", "2", "--truth")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "images 12, left out 0," in done.stdout and "DATASETS.SIDECARS" in done.stdout
    assert "of what captions omit" in done.stdout and (out / "page.html").is_file()
    names = sorted(path.name for path in (out / "archive" / "concepts").iterdir())
    assert names == [f"drawn-0000{number}.jsonl" for number in range(3)]
    refused = run("--neighbours", "3")
    assert refused.returncode == 2 and "neighbours is 3, was 8" in refused.stderr
    assert "Traceback" not in refused.stderr
