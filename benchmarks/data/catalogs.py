"""Memory that catalogs of very large sets take: boxes, and the plan of image-text pairs."""

import gc
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Tuple

import numpy as np

from segplugins.data import load_dataset, register_instances
from segplugins.data.pairs.index import PairIndex, build_index
from segplugins.data.pairs.order import shuffled_runs
from segplugins.files.faults import STRICT
from segplugins.structures.regions import Task

from .instance_files import write_instances

BOX_LIMIT, SAMPLE_LIMIT = 200, 50  # bytes


def run(bench: Any) -> None:
    """Bytes per box of a catalog, and per sample of a plan, which are claimed of large sets."""
    of_box, of_sample = (None, None) if bench.quick else (BOX_LIMIT, SAMPLE_LIMIT)
    boxes, samples = (2000, 2000) if bench.quick else (200_000, 1_000_000)
    with TemporaryDirectory() as folder:
        size = bytes_per_box(Path(folder), boxes)
        bench.figure(f"catalog of {boxes:,} boxes", size, "bytes per box", limit=of_box)
        size = bytes_per_sample(Path(folder), samples)
        name = f"plan of {samples:,} image-text pairs, memory and index files"
        bench.figure(name, size, "bytes per sample", limit=of_sample)


def bytes_per_box(folder: Path, boxes: int) -> float:
    """Returns the bytes that the loaded catalog of a box set keeps, by its number of boxes."""
    write_instances(folder / "boxes.json", boxes, outlines=False)
    name = f"data_benchmark_{folder.name}"
    register_instances(
        name,
        json_file=str(folder / "boxes.json"),
        image_root=str(folder),
        task=Task.DETECTION,
    )
    load_dataset(name)  # what is made once, such as imports and metadata, is no part of it
    records, size = _kept(lambda: load_dataset(name))
    assert sum(len(record["annotations"]) for record in records) == boxes
    return size / boxes


def bytes_per_sample(folder: Path, samples: int) -> float:
    """Returns the bytes of index files and of the order of a pass, by the number of samples."""
    shards = []
    for number in range(4):
        shards.append(str(folder / f"{number}.jsonl"))
        Path(shards[-1]).write_text('{"key": 1}\n' * (samples // 4))

    def plan() -> Tuple[PairIndex, Any]:
        index = build_index(shards, folder / "index", STRICT)
        order = shuffled_runs(index.counts, np.random.default_rng(0))
        next(order)
        return index, order

    plan()
    (index, _), size = _kept(plan)
    assert len(index) == samples
    return (size + sum(Path(file).stat().st_size for file in index.files)) / samples


def _kept(make: Callable[[], Any]) -> Tuple[Any, int]:
    """Returns what a call makes, and the bytes that are still allocated after it."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        return made, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
