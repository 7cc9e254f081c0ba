"""Checks a data set: reads every record as training would and tells everything that is wrong.

    python tools/check_dataset.py --dataset drawn_train_instance
    python tools/check_dataset.py --dataset my_set.yaml --pictures seen/ --json report.json
    python tools/check_dataset.py --dataset my_train --fix annotations/train_cleaned.json

Exit status: 0 = no fault, 1 = faults, 2 = it could not be checked. See docs/check_dataset.md.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List

from segplugins.engine.command import command_parser, run_command

# Heavy packages are imported where they are used, so that --help takes no second.
if TYPE_CHECKING:
    from tqdm import tqdm

    from segplugins.data.check import Checked

CLEAN, FAULTY = 0, 1
COLUMNS = 2
PER_SHEET = 8


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument(
        "--dataset", required=True, help="registered name, or a YAML file that describes data sets"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that read (default: %(default)s, one per core); 0 = none besides this one",
    )
    parser.add_argument(
        "--limit", type=int, help="look at so many records, evenly spread (default: all)"
    )
    parser.add_argument(
        "--show",
        type=int,
        default=20,
        help="faults of a kind to show; 0 = all (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, help="file that gets everything that was found")
    parser.add_argument("--fix", type=Path, help="file that gets a cleaned copy of the annotations")
    parser.add_argument("--pictures", type=Path, help="folder that gets sheets of samples")
    parser.add_argument(
        "--num", type=int, default=16, help="samples in the pictures (default: %(default)s)"
    )
    return parser


def check_numbers(args: argparse.Namespace) -> None:
    """Raises ValueError where a number is too small or options exclude each other."""
    for name, least in (("workers", 0), ("show", 0), ("num", 1), ("limit", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}, expected {least} or more")
    if args.fix and args.limit:
        raise ValueError("--fix needs all records, leave --limit out")


def dataset_names(given: str) -> List[str]:
    """Returns the data sets to check: the name itself, or all that a YAML file describes."""
    if Path(given).suffix.lower() not in (".yaml", ".yml"):
        if Path(given).suffix and Path(given).exists():
            raise ValueError(
                f"{given} is no YAML file; describe it in one (datasets/README.md), such as 'kind: "
                f"coco' with 'sets: {{mine: {{images: FOLDER, annotations: {Path(given).name}}}}}'"
            )
        return [given]
    from segplugins.data.register_yaml import register_from_yaml

    return register_from_yaml(given)


def progress(bar: "tqdm") -> Callable[[int, int], None]:
    """Returns what moves a bar."""

    def advance(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return advance


def write_pictures(checked: "Checked", args: argparse.Namespace) -> None:
    """Writes sheets of records that can be read."""
    from segplugins.data.check.samples import samples
    from segplugins.pictures import Style, draw_label_map, enlarged, save_picture, sheet

    chosen = list(samples(checked, args.num))
    style = Style(original=True)
    pictures = [
        draw_label_map(each.image, each.labels, each.names, style=style)
        if each.names
        else enlarged(each.image, 256)  # a picture with captions alone, which the title has
        for each in chosen
    ]
    titles = [each.title for each in chosen]
    for start in range(0, len(pictures), PER_SHEET):
        part = slice(start, start + PER_SHEET)
        path = args.pictures / f"{checked.loaded.name}_{start // PER_SHEET}.png"
        save_picture(path, sheet(pictures[part], columns=COLUMNS, titles=titles[part]))
        print(f"picture {path}")


def check(name: str, args: argparse.Namespace) -> int:
    """Checks one data set. Returns: the exit status."""
    from tqdm import tqdm

    from segplugins.data.check import (
        as_data,
        as_text,
        check_dataset,
        check_report,
        check_target,
        load_with_faults,
        main_source,
        write_cleaned,
    )
    from segplugins.files.write import probe_folder

    if args.fix or args.json:  # told before the long work, not after it
        loaded = load_with_faults(name)
        if args.json:
            check_report(args.json, loaded)
        if args.fix:
            check_target(args.fix, main_source(loaded).path)
    if args.pictures:
        probe_folder(args.pictures)
    with tqdm(desc=name, unit="record", disable=None) as bar:
        checked = check_dataset(name, workers=args.workers, limit=args.limit, advance=progress(bar))
    print(as_text(checked, show=args.show))
    if args.json:
        args.json.write_text(json.dumps(as_data(checked), indent=1), encoding="utf-8")
    if args.pictures:
        write_pictures(checked, args)
    if args.fix:
        done = write_cleaned(checked, args.fix)
        summary = (
            ", ".join(f"{number} {what}" for what, number in done.items()) or "nothing to clean"
        )
        print(f"cleaned copy {args.fix}: {summary}")
    return FAULTY if checked.faults else CLEAN


def main(args: argparse.Namespace) -> int:
    """Checks every data set. Returns the worst exit status."""
    check_numbers(args)
    names = dataset_names(args.dataset)
    if len(names) > 1 and (args.fix or args.json):
        raise ValueError(f"--fix and --json are for one data set; {args.dataset} has {names}")
    return max(check(name, args) for name in names)


if __name__ == "__main__":
    run_command(main, build_parser(), kept="nothing was changed")
