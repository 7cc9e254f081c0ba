"""Precision and recall of filters and verifiers, and what the ranking finds, against the truth."""

import tempfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
from tabulate import tabulate

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.adapters.truth import TruthAnnotator, is_true
from segplugins.annotation.inputs import FolderInputs
from segplugins.annotation.pipeline import Annotator
from segplugins.annotation.quality import filter_quality
from segplugins.annotation.ranking import rank_images
from segplugins.annotation.recipe import read_recipe
from segplugins.annotation.sample import Sample
from segplugins.annotation.shard import Stages, read_batches
from segplugins.drawn_world import write_drawn_world

_RECIPE = Path(__file__).resolve().parents[2] / "configs" / "annotation" / "drawn.yaml"
_RIGHT = 0.7  # IoU with the truth


def measure_filters(bench: Any) -> None:
    """Prints a table: each stage of configs/annotation/drawn.yaml with a noisier annotator."""
    count = 10 if bench.quick else 100
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "drawn"
        none = {"train": 0, "val_unseen": 0, "pairs": 0, "clips": 0, "val_clips": 0}
        write_drawn_world(root, val=count, size=96, seed=0, **none)
        changes = [
            f"models.looker.lines={root / 'regions' / 'val.jsonl'}",
            "models.looker.score_noise=0.03",
        ]
        recipe = read_recipe(_RECIPE, KINDS, changes)
        inputs = FolderInputs(root / "images" / "val")
        stages = recipe.build()
        looker = stages[0].model
        batches = [list(each) for each in read_batches(inputs, range(count), Stages([]))]
        rows = [row.row() for row in filter_quality(stages, batches, _rule(looker))]
        for line in tabulate(rows, headers="keys", floatfmt=".1f").splitlines():
            bench.note(line)
        folder = Path(name) / "annotated"
        Annotator(recipe, inputs, folder).run()
        noisy = [looker.is_noisy(doubt.file_name) for doubt in rank_images(folder)]
        tenth = noisy[: max(len(noisy) // 10, 1)]
        bench.figure("noisy images among all", 100 * float(np.mean(noisy)), "%")
        bench.figure("noisy images in the ranking's first tenth", 100 * float(np.mean(tenth)), "%")


def _rule(looker: TruthAnnotator) -> Callable[[Sample, int], bool]:
    def is_right(sample: Sample, index: int) -> bool:
        region = sample.regions[index]
        mask = None if region.mask is None else sample.bitmap(index)
        return is_true(looker.truth(sample.image), region.text, region.box, mask, _RIGHT)

    return is_right
