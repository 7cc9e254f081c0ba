"""Writing of a drawn world, in chunks that workers share and an interrupted run resumes.

Every image depends only on the options and its own number, so neither the number of workers nor an
interruption changes a byte. A chunk leaves its part of the JSON files in `.progress`; when all are
there, the JSON files are put together and `.progress` goes away.
"""

import json
import multiprocessing
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import cv2

from segplugins.processes import be_a_worker

from .clips import FRAMES
from .options import WorldOptions
from .splits import MASK_SPLITS, draw
from .world_file import claim, describe
from .writers.coco import (
    image_entry,
    instance_entries,
    instance_file,
    panoptic_entry,
    panoptic_file,
)
from .writers.files import split_size, write_json, write_lines, write_png
from .writers.labels import LABEL_FOLDERS, part_names, write_labels
from .writers.pairs import write_shard
from .writers.referring import referring_record, write_referring
from .writers.regions import region_record
from .writers.video import FOLDERS, write_clip, write_video_files

_PROGRESS = ".progress"
_CHUNK = 50  # images between two marks of progress


@dataclass(frozen=True)
class Chunk:
    """Images or clips `start` to `stop` - 1 of a split: what one worker does at a time."""

    split: str
    start: int
    stop: int

    @property
    def images(self) -> int:
        """How many pictures that is: a clip has several."""
        return (self.stop - self.start) * (FRAMES if self.split in FOLDERS else 1)

    @property
    def mark(self) -> str:
        """Name of the file that says it is done, and holds its part of the JSON files."""
        return f"{self.split}-{self.start:07d}.json"


def write_drawn_world(
    out: Union[str, Path],
    *,
    size: Union[int, Tuple[int, int]] = 128,
    workers: int = 1,
    force: bool = False,
    progress: Optional[Callable[[int], Any]] = None,
    **options: Any,
) -> Path:
    """Writes a drawn world; what stands there already from an interrupted call is kept.

    Args:
        out: folder to write.
        size: side of every image in pixels, or (height, width).
        workers: processes; the result is the same for any number.
        force: removes what other options have written there before.
        progress: called with a number of images whenever so many are done.
        **options: `train`, `val` and whatever else `WorldOptions` takes.

    Returns:
        `out`.

    Raises:
        ValueError: bad options (`WorldOptions`), or fewer than one worker.
        FileExistsError: the folder holds a world of other options, or something else.
    """
    height, width = split_size(size)
    world_options = WorldOptions(height=height, width=width, **options)
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    root = Path(out)
    report = progress or (lambda count: None)
    if claim(root, world_options, force=force):
        report(total_images(world_options))
        return root
    _make_folders(root)
    _run(root, world_options, workers, report)
    _assemble(root, world_options)
    return root


def chunks(options: WorldOptions) -> Iterator[Chunk]:
    """Yields the work in order."""
    counts = {"train": options.train, "val": options.val, "val_unseen": options.val_unseen}
    for split in MASK_SPLITS:
        yield from _cut(split, counts[split], _CHUNK)
    yield from _cut("pairs", options.pairs, options.shard)
    yield from _cut("clips_train", options.clips, 1)
    yield from _cut("clips_valid", options.val_clips, 1)


def total_images(options: WorldOptions) -> int:
    """Returns how many images there are to draw."""
    return sum(chunk.images for chunk in chunks(options))


def _cut(split: str, count: int, step: int) -> Iterator[Chunk]:
    for start in range(0, count, step):
        yield Chunk(split, start, min(start + step, count))


def _make_folders(root: Path) -> None:
    for split in MASK_SPLITS:
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        for kind in LABEL_FOLDERS:
            (root / "annotations" / kind / split).mkdir(parents=True, exist_ok=True)
    for folder in ("pairs", "regions", "referring", _PROGRESS):
        (root / folder).mkdir(exist_ok=True)
    for folder in FOLDERS.values():
        (root / "videos" / folder).mkdir(parents=True, exist_ok=True)
        (root / "videos" / "meta_expressions" / folder).mkdir(parents=True, exist_ok=True)


def _run(root: Path, options: WorldOptions, workers: int, report: Callable[[int], Any]) -> None:
    todo = []
    for chunk in chunks(options):
        if (root / _PROGRESS / chunk.mark).is_file():
            report(chunk.images)
        else:
            todo.append(chunk)
    work = partial(_write_chunk, root, options)
    if workers == 1 or len(todo) < 2:
        for chunk in todo:
            report(work(chunk))
        return
    # A forked worker is there at once; a fresh interpreter would first import torch, once for each
    # of perhaps a hundred cores. Forking is safe here: workers use no thread that the parent had.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(min(workers, len(todo)), _start_worker) as pool:
        for count in pool.imap_unordered(work, todo):
            report(count)


def _start_worker() -> None:
    be_a_worker()
    cv2.setNumThreads(1)


def _write_chunk(root: Path, options: WorldOptions, chunk: Chunk) -> int:
    """Writes the files of a chunk, then its mark. Returns the number of images."""
    if chunk.split == "pairs":
        number = chunk.start // options.shard
        write_shard(root / "pairs" / f"drawn-{number:05d}.tar", options, chunk.start, chunk.stop)
        records: List[Dict[str, Any]] = []
    elif chunk.split in FOLDERS:
        records = [
            write_clip(root / "videos", options, chunk.split, index)
            for index in range(chunk.start, chunk.stop)
        ]
    else:
        records = [
            _write_image(root, options, chunk.split, index)
            for index in range(chunk.start, chunk.stop)
        ]
    write_json(root / _PROGRESS / chunk.mark, records)
    return chunk.images


def _write_image(root: Path, options: WorldOptions, split: str, index: int) -> Dict[str, Any]:
    classes = options.class_list
    drawing = draw(options, split, index)
    write_png(root / "images" / split / f"{drawing.stem}.png", drawing.picture.image)
    write_labels(root, drawing, classes)
    return {
        "split": split,
        "image": image_entry(drawing),
        "instances": instance_entries(drawing, classes),
        "panoptic": panoptic_entry(drawing, classes),
        "regions": {
            "file_name": f"{drawing.stem}.png",
            "image_id": drawing.image_id,
            **region_record(drawing, options, masks=True),
        },
        "referring": referring_record(drawing, options),
    }


def _assemble(root: Path, options: WorldOptions) -> None:
    """Puts the JSON files together from the chunks' parts, in the order of the images."""
    classes = options.class_list
    records = {split: _records(root, options, split) for split in MASK_SPLITS}
    for split, split_records in records.items():
        folder = root / "annotations"
        write_json(folder / f"instances_{split}.json", instance_file(split_records, classes))
        write_json(folder / f"panoptic_{split}.json", panoptic_file(split_records, classes))
        write_lines(
            root / "regions" / f"{split}.jsonl", (record["regions"] for record in split_records)
        )
    for split in FOLDERS:
        write_video_files(root / "videos", split, _records(root, options, split))
    everything = [record for split_records in records.values() for record in split_records]
    write_referring(root / "referring", everything, classes)
    write_json(root / "annotations" / "parts.json", _part_categories(part_names(classes)))
    describe(root, options, complete=True)
    shutil.rmtree(root / _PROGRESS)


def _records(root: Path, options: WorldOptions, split: str) -> List[Dict[str, Any]]:
    marks = [root / _PROGRESS / chunk.mark for chunk in chunks(options) if chunk.split == split]
    parts = [json.loads(mark.read_text(encoding="utf-8")) for mark in marks]
    return [record for part in parts for record in part]


def _part_categories(names: List[str]) -> Dict[str, Any]:
    return {"categories": [{"id": index, "name": name} for index, name in enumerate(names)]}
