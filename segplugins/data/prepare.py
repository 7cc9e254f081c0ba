"""What the scripts datasets/prepare_*.py share: convert in parallel, resume, check the result.

A script hands in jobs (source files, target file) and a function of one job. Sources are only
read. A target is written under another name and then renamed, so that a target that exists is
whole; a second run converts only what is missing.
"""

import argparse
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from segplugins.files.label_maps import read_label_map
from segplugins.processes import be_a_worker

logger = logging.getLogger(__name__)

Job = Tuple[Any, Path]  # what the function needs, and the file it makes


def run(main: Callable[[], None]) -> None:
    """Runs a script; a fault of its input ends it with one line instead of a traceback."""
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")


def require(path: Path, what: str) -> Path:
    """Returns the path.

    Raises:
        FileNotFoundError: it does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(f"no {path}: {what}; see datasets/README.md for the whole tree")
    return path


def sources(folder: Path, suffix: str, what: str) -> List[Path]:
    """Returns the files of a folder that end in `suffix`, sorted.

    Raises:
        FileNotFoundError: there is no such folder, or none in it.
    """
    paths = sorted(p for p in require(folder, what).iterdir() if p.name.endswith(suffix))
    if not paths:
        raise FileNotFoundError(f"no *{suffix} in {folder}: {what}")
    return paths


def convert_all(
    jobs: Sequence[Job], convert: Callable[[Any, Path], None], *, workers: int, title: str
) -> None:
    """Runs convert(source, target) for every job whose target does not exist.

    Args:
        jobs: what to read and which file to make.
        convert: a module-level function; it writes with `save_labels` or `save_image`.
        workers: processes.
        title: shown beside the progress bar.

    Raises:
        ValueError: a source cannot be converted; the others are done first.
    """
    waiting = [job for job in jobs if not job[1].exists()]
    if len(waiting) < len(jobs):
        logger.info("%s: %d of %d stand already", title, len(jobs) - len(waiting), len(jobs))
    for folder in {target.parent for _, target in waiting}:
        folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=len(waiting), desc=title, unit="file", disable=not waiting)
    faults = []
    with bar:
        for fault in _map(waiting, convert, workers):
            bar.update()
            if fault is not None:
                faults.append(fault)
    if faults:
        raise ValueError(f"{title}: {len(faults)} files could not be converted; first: {faults[0]}")


def _map(jobs: Sequence[Job], convert: Callable, workers: int) -> Iterator[Optional[str]]:
    if workers <= 1 or len(jobs) < 2:
        yield from (_attempt(convert, job) for job in jobs)
        return
    with ProcessPoolExecutor(workers, initializer=be_a_worker) as pool:
        chunk = max(1, min(32, len(jobs) // (4 * workers)))
        yield from pool.map(_attempt, [convert] * len(jobs), jobs, chunksize=chunk)


def _attempt(convert: Callable[[Any, Path], None], job: Job) -> Optional[str]:
    """Returns None, or what went wrong: one damaged file must not lose hours of conversion."""
    try:
        convert(*job)
    except Exception as error:
        return f"{job[1].name} from {job[0]!s:.200}: {type(error).__name__}: {error}"
    return None


def save_labels(labels: np.ndarray, target: Path) -> None:
    """Writes a label map (H, W) uint8 or uint16, whole or not at all; the suffix says how.

    Raises:
        ValueError: it has more than one channel: the source holds colours, not numbers.
    """
    if labels.ndim != 2:
        raise ValueError(f"expected one channel of numbers, got shape {labels.shape}")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}{target.suffix}")
    Image.fromarray(labels).save(unfinished)
    os.replace(unfinished, target)


def save_image(rgb: np.ndarray, target: Path) -> None:
    """Writes an image (H, W, 3) uint8 as JPEG of quality 95, whole or not at all."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}{target.suffix}")
    Image.fromarray(rgb).save(unfinished, quality=95)
    os.replace(unfinished, target)


def check_targets(
    jobs: Sequence[Job],
    *,
    num_classes: int,
    ignore: int,
    expected: Optional[Sequence[int]],
    title: str,
) -> Dict[int, int]:
    """Reads every label map that was made and checks it.

    Args:
        jobs: as for `convert_all`.
        num_classes: labels 0 to num_classes - 1 are right, and `ignore`.
        ignore: label of pixels that carry no class.
        expected: how many there should be, one of these; None: not checked.
        title: for messages.

    Returns:
        Class to number of label maps that show it.

    Raises:
        ValueError: another number of maps, or a label that is none.
    """
    made = [target for _, target in jobs if target.exists()]
    if expected is not None and len(made) not in expected:
        raise ValueError(
            f"{title}: {len(made)} label maps, expected {' or '.join(map(str, expected))}; is the "
            "source complete? (--partial takes a part of it)"
        )
    shown: Dict[int, int] = dict.fromkeys(range(num_classes), 0)
    for path in tqdm(made, desc=f"{title}: checking", unit="file"):
        values = np.flatnonzero(np.bincount(read_label_map(path).ravel()))
        wrong = [int(v) for v in values if v >= num_classes and v != ignore]
        if wrong:
            raise ValueError(f"{path} holds the label {wrong[0]}, expected 0 to {num_classes - 1}")
        for value in values[values < num_classes]:
            if value != ignore:
                shown[int(value)] += 1
    absent = [k for k, count in shown.items() if count == 0]
    logger.info(
        "%s: %d maps; %d of %d classes occur",
        title,
        len(made),
        num_classes - len(absent),
        num_classes,
    )
    return shown


def convert_and_check(
    jobs: Sequence[Job],
    convert: Callable[[Any, Path], None],
    arguments: argparse.Namespace,
    *,
    num_classes: int,
    ignore: int,
    expected: Sequence[int],
    title: str,
) -> Dict[int, int]:
    """Converts label maps, then reads what was made: `convert_all` and `check_targets`.

    Args:
        jobs: what to read and which file to make.
        convert: of one job.
        arguments: of `parse_arguments`; with "partial" the number of maps is not checked.
        num_classes: labels 0 to num_classes - 1 are right, and `ignore`.
        ignore: label of pixels that carry no class.
        expected: how many there should be, one of these.
        title: for messages.

    Returns:
        Class to number of label maps that show it.

    Raises:
        ValueError: see the two.
    """
    convert_all(jobs, convert, workers=arguments.workers, title=title)
    return check_targets(
        jobs,
        num_classes=num_classes,
        ignore=ignore,
        expected=None if arguments.partial else expected,
        title=title,
    )


def convert_splits(
    splits: Mapping[str, int],
    convert: Callable[[Any, Path], None],
    arguments: argparse.Namespace,
    *,
    num_classes: int,
    ignore: int,
    what: str,
) -> None:
    """Converts annotations/<split>/*.png to annotations_detectron2/<split>/*.png and checks them.

    Args:
        splits: folder to the number of label maps that the whole source has.
        convert: of one file, (source, target).
        arguments: of `parse_arguments`.
        num_classes: labels 0 to num_classes - 1 are right, and `ignore`.
        ignore: label of pixels that carry no class.
        what: the source, where it is missing.

    Raises:
        FileNotFoundError, ValueError: see `sources` and `convert_and_check`.
    """
    for split, expected in splits.items():
        made = arguments.root / "annotations_detectron2" / split
        paths = sources(arguments.root / "annotations" / split, ".png", what)
        convert_and_check(
            [(source, made / source.name) for source in paths],
            convert,
            arguments,
            num_classes=num_classes,
            ignore=ignore,
            expected=[expected],
            title=split,
        )
