"""Trains and evaluates SED on drawn pictures, from nothing to results, in minutes on a laptop.

    python tools/quickstart.py
    python tools/quickstart.py --fresh

It draws the world, trains a tiny CLIP on names and boxes and SED on masks, evaluates on seen and
unseen classes, and paints the results. Every step is a command that you can run by hand, and it is
printed first. A step whose output is there already is not repeated; --fresh starts again.
The device is the CPU, with two processes. It works in the folder of the checkout, wherever it is
called from.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import json
import multiprocessing
import os
import runpy
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Tuple

from segplugins.engine.command import command_parser, run_command

# What is heavy is imported by the functions that need it: --help takes no second.
if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = Path("output/quickstart")
CLIP, SED, EVAL, DEMO = (OUTPUT / name for name in ("clip", "sed", "eval", "demo"))
SETS = {"seen classes": "drawn_val_sem_seg", "seen and unseen": "drawn_val_unseen_sem_seg"}
SHOWN = 3  # pictures of each set

Command = Tuple[str, ...]


class Step(NamedTuple):
    """Commands that run beside each other, each with the file that it leaves at its end."""

    title: str
    commands: Dict[Path, Command]


def steps(drawn: Path) -> List[Step]:
    """Returns: the steps in order, on the drawn world in the folder `drawn`."""
    weights = ("MODEL.WEIGHTS", str(SED / "model_final.pth"))
    clip = str(CLIP / "model_final.pth")
    config = ("--config-file", "configs/sed/quickstart.yaml")
    # Small batches scale over processes, not over threads.
    train = ("tools/train_net.py", "--resume", "--num-gpus", "0", "--num-processes", "2")
    draw = (
        "tools/make_drawn_world.py", "--out", str(drawn), "--train", "1200", "--val", "120",
        "--pairs", "1600", "--clips", "8", "--val-clips", "4", "--size", "128", "--seed", "0",
    )  # fmt: skip
    train_clip = (
        *train, "--config-file", "configs/umg_clip/drawn_clip.yaml",
        "SOLVER.MAX_ITER", "450", "DATASETS.TEST", "[]", "OUTPUT_DIR", str(CLIP),
    )  # fmt: skip
    train_sed = (
        *train, *config, "MODEL.CLIP.WEIGHTS", clip, "OUTPUT_DIR", str(SED),
        "DATASETS.TEST", f"['{SETS['seen classes']}']", "TEST.EVAL_PERIOD", "300",
    )  # fmt: skip
    answers = {
        EVAL / "results.json": ("tools/eval.py", *config, *weights, "OUTPUT_DIR", str(EVAL)),
    }
    for split, vocabulary in (("val", "drawn_seen"), ("val_unseen", "drawn")):
        answers[DEMO / split / "000009.json"] = (
            "tools/demo.py", *config, "--input", str(drawn / "images" / split / "00000?.png"),
            "--vocabulary", vocabulary, "--output", str(DEMO / split), *weights,
        )  # fmt: skip
    return [
        Step("draw the world", {drawn / "contact_sheet.png": draw}),
        Step("train a tiny CLIP on names and boxes", {CLIP / "model_final.pth": train_clip}),
        Step("train SED on masks of the seen classes", {SED / "model_final.pth": train_sed}),
        Step("evaluate on seen and unseen classes, and segment pictures by your words", answers),
    ]


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument(
        "--fresh", action="store_true", help=f"remove {OUTPUT} first (default: go on with it)"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Runs what is missing and ends with a short table and the paths of what it wrote."""
    if Path.cwd() != ROOT:  # the commands that it prints are to be typed there
        print(f"in {ROOT}:")
        os.chdir(ROOT)
    if args.fresh:
        shutil.rmtree(OUTPUT, ignore_errors=True)
    # Every step starts as a copy of this process: the library is imported once.
    import segplugins.data.datasets  # registers the drawn world
    import segplugins.engine  # noqa: F401
    from segplugins.projects import load_projects

    OUTPUT.mkdir(parents=True, exist_ok=True)
    load_projects()
    # Large pages, where this C library knows the word: the tensors of a step are large and many.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    datasets = Path(os.environ.setdefault("DETECTRON2_DATASETS", "datasets"))
    start = time.perf_counter()
    changed = False
    seconds: Dict[str, float] = {}
    for step in steps(datasets / "drawn"):
        seconds[step.title] = run(step, even_if_it_stands=changed)
        changed = changed or seconds[step.title] > 0
    pictures = paint()
    print(report(seconds, time.perf_counter() - start, pictures))


def run(step: Step, *, even_if_it_stands: bool) -> float:
    """Runs a step unless what it leaves stands and was made by the same command.

    Args:
        step: see `steps`.
        even_if_it_stands: something before it was made anew.

    Returns:
        Seconds it took; 0 if there was nothing to do.

    Raises:
        SystemExit: the command failed; its own message stands above.
    """
    stamp = OUTPUT / "steps" / f"{step.title.replace(' ', '_').replace(',', '')}.txt"
    made_by = stamp.read_text() if stamp.is_file() else None
    stands = made_by == fingerprint(step) and all(leaves.exists() for leaves in step.commands)
    if stands and not even_if_it_stands:
        print(f"- {step.title}: stands in {', '.join(str(path.parent) for path in step.commands)}")
        return 0.0
    print(f"\n- {step.title}")
    for leaves, command in step.commands.items():
        if leaves.exists() and leaves.is_relative_to(OUTPUT):
            shutil.rmtree(leaves.parent)  # of another command: nothing of it goes into this one
        print(f"  $ {shlex.join(('python', *command))}", flush=True)
    start = time.perf_counter()
    threads = max(1, (os.cpu_count() or 1) // len(step.commands))
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=be, args=(one, threads)) for one in step.commands.values()]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        sys.exit(f"'{step.title}' failed; what went wrong stands above")
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(fingerprint(step))
    return time.perf_counter() - start


def be(command: Command, threads: int) -> None:
    """Goes on as `python *command`, with what is imported already."""
    import torch

    torch.set_num_threads(threads)
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")


def fingerprint(step: Step) -> str:
    """Returns: text that changes with the commands or with what a config file of them sets.

    A comment that differs is no reason to train again.
    """
    import yaml

    commands = step.commands.values()
    configs = {word: None for one in commands for word in one if word.endswith(".yaml")}
    settings = [json.dumps(yaml.safe_load(Path(config).read_text())) for config in configs]
    return "\n".join([*map(shlex.join, commands), *settings])


def paint() -> List[Path]:
    """Writes the sheet of results and the curves. Returns: their paths."""
    from segplugins.pictures import curves, save_picture, sheet

    results, history = OUTPUT / "results.jpg", OUTPUT / "curves.png"
    rows = [
        row
        for split, dataset in zip(("val", "val_unseen"), SETS.values())
        for row in result_rows(dataset, DEMO / split)
    ]
    save_picture(results, sheet(rows, columns=1))
    names = {"total": "total_loss", "final logits": "loss_sem_seg_0"}
    parts = {"total": "total_loss", "presence": "loss_presence", "assignment": "loss_assignment"}
    quality = {"seen classes": "sem_seg/mIoU"}
    curves(
        history,
        {
            "loss of CLIP": read_history(CLIP, parts),
            "loss of SED": read_history(SED, names),
            "mIoU of SED, %": read_history(SED, quality),
        },
    )
    return [results, history]


def result_rows(dataset: str, predicted: Path) -> List["np.ndarray"]:
    """Returns: per picture of a set a row of picture, truth, prediction and legend."""
    import numpy as np
    from PIL import Image

    from segplugins.data import load_dataset
    from segplugins.pictures import Style, beside, draw_label_map, enlarged, sheet
    from segplugins.structures import get_vocabulary

    truth = {Path(record["file_name"]).stem: record for record in load_dataset(dataset)}
    rows = []
    for path in sorted(predicted.glob("*.labels.png"))[:SHOWN]:
        record = truth[path.name.removesuffix(".labels.png")]
        names = get_vocabulary(record["vocabulary"])
        image = np.asarray(Image.open(record["file_name"]).convert("RGB"))
        real = np.asarray(Image.open(record["sem_seg_file_name"])).astype(np.int64)
        ours = np.asarray(Image.open(path)).astype(np.int64)
        true_picture = draw_label_map(image, real, names.classes, style=Style(legend=False))
        ours_picture = draw_label_map(image, ours, names.classes)
        pair = [enlarged(image, 256), true_picture]
        left = sheet(pair, columns=2, titles=["picture", "truth"])
        rows.append(beside([left, sheet([ours_picture], columns=1, titles=["SED"])]))
    return rows


def read_history(folder: Path, keys: Dict[str, str]) -> Dict[str, tuple]:
    """Reads what training logged. Returns: {name: (iterations, values)} of {name: key}."""
    lines = (folder / "metrics.json").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    return {
        name: tuple(zip(*((entry["iteration"], entry[key]) for entry in logged if key in entry)))
        for name, key in keys.items()
    }


def report(seconds: Dict[str, float], total: float, pictures: List[Path]) -> str:
    """Returns: the closing table, and where to look."""
    from tabulate import tabulate

    results = json.loads((EVAL / "results.json").read_text())["results"]
    columns = {"mIoU": "mIoU", "mIoU_seen": "seen", "mIoU_unseen": "unseen", "hIoU": "harmonic"}
    body = []
    for title, dataset in SETS.items():
        metrics = results[dataset]["sem_seg"]
        values = [metrics.get(key) for key in columns]
        body.append([title, *("-" if value is None else f"{value:.1f}" for value in values)])
    table = tabulate(
        body,
        ["validation, in %", *columns.values()],
        "simple",
        colalign=("left", *["right"] * 4),
        disable_numparse=True,  # it would write 80.0 as 80
    )
    steps_taken = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items() if took)
    paths = [*pictures, EVAL / "report.html", DEMO, SED / "model_final.pth"]
    return "\n".join(
        [
            "",
            table,
            "",
            f"{total:.0f} s"
            + (f": {steps_taken}" if steps_taken else ", everything stood already"),
            "",
            *(f"  {path}" for path in paths),
        ]
    )


if __name__ == "__main__":
    run_command(main, build_parser(), kept="finished steps stand; the same command goes on")
