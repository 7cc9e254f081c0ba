"""Curation on a cluster of Ray instead of local processes: the same files, by a pool of actors.

Files, claims and contents are those of local processes, so both may work on one folder, which every
machine must see, as it must see data and weights.
"""

from typing import Dict, List, Sequence

import numpy as np

from segplugins.annotation.ray_backend import map_on_ray

from .job import Curation
from .options import ArchiveOptions
from .stages import STAGES
from .work import Work, complete


class FileMaker:
    """An actor: builds the curation once and makes the files that it is handed.

    Args:
        work: of the curation.
        options: of the curation.
    """

    def __init__(self, work: Work, options: ArchiveOptions):
        curation = Curation(work, options)
        self._stages = {name: curation.stage(name) for name in STAGES}

    def __call__(self, batch: Dict[str, np.ndarray]) -> Dict[str, List[str]]:
        """Makes the files of a batch; returns those that no other process was making."""
        made = []
        for name, file in zip(batch["stage"].tolist(), batch["file"].tolist()):
            stage = self._stages[name]
            with stage.folder.claim(file) as is_ours:
                if is_ours:
                    stage.make(file)
                    made.append(file)
        return {"file": made}


def run_on_ray(
    curation: Curation, *, workers: int, stages: Sequence[str] = tuple(STAGES)
) -> List[str]:
    """Does the stages in their order on a cluster of Ray.

    Args:
        curation: its folders must be seen by all machines.
        workers: actors; each has a CPU, and a GPU where the device of the work is "cuda".
        stages: which of them.

    Returns:
        The files that were made, in the order of their ends.

    Raises:
        ImportError: ray is not installed.
        ValueError: workers is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected 1 or more")
    made: List[str] = []
    for name in [name for name in STAGES if name in stages]:
        stage = curation.stage(name)
        todo = stage.folder.unfinished(stage.files)
        if not todo:
            continue
        stage.prepare()
        items = [{"stage": name, "file": file} for file in todo]
        arguments = (curation.work, curation.options)
        device = curation.work.device
        rows = map_on_ray(FileMaker, arguments, items, workers=workers, device=device)
        made += [row["file"] for row in rows]
        complete(stage.folder, stage.files, stage.make)  # waits for what others are making
    return made
