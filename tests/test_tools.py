"""The commands, as a user types them."""

import json
import re
import shlex
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.drawn_world import write_drawn_world
from segplugins.engine import Trainer, setup_cfg
from segplugins.engine.checkpoint import load_weights
from segplugins.projects import load_projects
from segplugins.structures import get_vocabulary
from tests.support.commands import run_process

ROOT = Path(__file__).resolve().parents[1]
TINY = "configs/sed/tiny.yaml"
# Three vocabularies: classes, classes with their colours, parts.
SETS = ("drawn_val_sem_seg", "drawn_val_attributes", "drawn_val_parts")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a drawn world in datasets/."""
    work = tmp_path_factory.mktemp("work")
    write_drawn_world(
        work / "datasets" / "drawn", train=4, val=3, clips=1, val_clips=1, size=64, seed=0
    )
    return work


def run(work, *command, **options):
    environment = {"DETECTRON2_DATASETS": str(work / "datasets")}
    return run_process(*command, env=environment, **options)


@pytest.fixture(scope="module")
def trained(work):
    """Output folder of train_net.py after three steps."""
    out = work / "trained"
    done = run(
        work, "tools/train_net.py", "--config-file", TINY, "--num-gpus", "0",
        "SOLVER.MAX_ITER", "3", "MODEL.SED.RESOLUTION", "[64,64]", "OUTPUT_DIR", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out, done.stdout


def test_training_leaves_weights_results_and_a_readable_log(trained):
    out, log = trained
    assert torch.load(out / "model_final.pth")["iteration"] == 2
    for name in ("config.yaml", "metrics.json", "results.json", "log.txt"):
        assert (out / name).is_file(), name
    assert "total_loss" in log and "mIoU" in log


def test_one_checkpoint_on_three_vocabularies_gives_one_table_from_any_number_of_processes(
    work, trained, monkeypatch
):
    out, _ = trained
    options = ["MODEL.SED.RESOLUTION", "[64,64]", "MODEL.WEIGHTS", str(out / "model_final.pth")]
    options += ["DATASETS.TEST", str(SETS), "OUTPUT_DIR", str(work / "evaluated")]
    done = run(
        work, "tools/eval.py", "--config-file", TINY, "--num-gpus", "0", "--num-processes", "2",
        *options,
        forked=False,  # the two processes start as they do for a user
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = done.stdout.rpartition("Results\n")[2]
    assert [name for name in SETS if name in table] == list(SETS)
    two = json.loads((work / "evaluated" / "results.json").read_text())["results"]

    monkeypatch.setenv("DETECTRON2_DATASETS", str(work / "datasets"))
    args = Namespace(config_file=str(ROOT / TINY), opts=options, num_gpus=0)
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    model = Trainer.build_model(cfg)
    load_weights(model, cfg.MODEL.WEIGHTS)
    one = Trainer.test_each(cfg, model)
    names = [get_vocabulary(name) for name in ("drawn", "drawn_attributes", "drawn_parts")]
    assert len({len(vocabulary) for vocabulary in names}) == 3
    for name in SETS:
        for metric, value in one[name]["sem_seg"].items():
            expected = None if value != value else pytest.approx(value, abs=1e-9)
            assert two[name]["sem_seg"][metric] == expected, (name, metric)


def test_a_users_folder_becomes_a_trained_and_evaluated_model_as_the_readme_says(work):
    readme = (ROOT / "README.md").read_text()
    described = re.search(r"```yaml\n(# streets.yaml.*?)```", readme, re.DOTALL).group(1)
    streets = work / "streets"
    streets.mkdir()
    (streets / "streets.yaml").write_text(described)
    for split in ("train", "val"):
        for kind in ("images", "annotations"):
            (streets / kind / split).mkdir(parents=True)
        for number in range(3):
            labels = np.full((48, 64), number, np.uint8)
            labels[:2] = 255
            Image.fromarray(labels).save(streets / f"annotations/{split}/{number}.png")
            colours = np.stack([40 * labels] * 3, axis=-1)
            Image.fromarray(colours).save(streets / f"images/{split}/{number}.jpg")
    section = readme.partition("## A data set of your own")[2].replace("\\\n", " ")
    check, train, *_ = re.findall(r"^    (python tools/\S+ .*streets.*)$", section, re.MULTILINE)
    check, train = (
        shlex.split(line.replace("streets.yaml", str(streets / "streets.yaml")))[1:]
        for line in (check, train)
    )
    done = run(work, *check, "--workers", "0")
    assert done.returncode == 0 and done.stdout.count("no faults") == 2, done.stdout + done.stderr
    # The smallest config: the one of the README starts from a package's weights.
    train[train.index("configs/querymeldnet/streets_own.yaml")] = TINY
    out = work / "own"
    done = run(
        work, *train, "SOLVER.MAX_ITER", "2", "MODEL.SED.RESOLUTION", "[64,64]", "OUTPUT_DIR", out
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    measured = json.loads((out / "results.json").read_text())["results"]["streets_val"]["sem_seg"]
    assert 0 <= measured["mIoU"] <= 100 and measured["IoU-sky"] is not None
    assert measured["IoU-car"] is None  # shown by no picture
    assert (out / "model_final.pth").is_file() and (out / "report.html").is_file()


def test_an_unknown_key_ends_in_one_line(work):
    done = run(work, "tools/eval.py", "--config-file", TINY, "MODEL.SED.RESOLUTON", "[64,64]")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip() == (
        "error: command line: unknown config key 'MODEL.SED.RESOLUTON'; "
        "the nearest known key is 'MODEL.SED.RESOLUTION'"
    )
