"""metrics.json: a line per written iteration, each iteration once, also in a resumed run."""

import json
import logging
from pathlib import Path
from typing import List

from detectron2.engine import HookBase, default_writers
from detectron2.utils.events import EventWriter

from segplugins.files.write import end_whole_lines, write_text

logger = logging.getLogger(__name__)

_NAME = "metrics.json"
_PERIOD = 20  # iterations between two writes
_FINISHED = "model_final.pth"  # detectron2's name of the checkpoint after the last iteration


def cut_metrics(path: Path, start: int, *, keep_last_evaluation: bool = False) -> int:
    """Removes the lines of iterations that a run is about to make again.

    A killed run has written iterations that no checkpoint holds; the resumed run writes them anew.

    Args:
        path: metrics.json; it need not exist.
        start: first iteration of the run; lines of iterations before it stay.
        keep_last_evaluation: the run before `start` was whole. The evaluation after its last step
            stands under the iteration `start` and stays.

    Returns:
        How many lines were removed.
    """
    end_whole_lines(path)
    if not path.is_file():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first_removed = start + keep_last_evaluation
    kept = [line for line in lines if _iteration(line) < first_removed]
    if len(kept) < len(lines):
        write_text(path, "".join(kept))
        logger.info(
            "%d lines of '%s' are removed: this run starts at iteration %d and writes them again",
            len(lines) - len(kept),
            path,
            start,
        )
    return len(lines) - len(kept)


def _iteration(line: str) -> int:
    """Returns the iteration of a line of metrics; -1 for a line that has none."""
    try:
        iteration = json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return -1
    return iteration if isinstance(iteration, int) else -1


class LateWriter(HookBase):
    """detectron2's PeriodicWriter, which opens its files when training starts and not before.

    It writes no iteration twice: detectron2's printer divides by the iterations between two writes.
    """

    def __init__(self, output_dir: str, max_iter: int):
        self._output_dir = output_dir
        self._max_iter = max_iter
        self._writers: List[EventWriter] = []
        self._written = -1

    def before_train(self) -> None:
        """Opens metrics.json and the TensorBoard events in the output folder."""
        start = self.trainer.start_iter
        last = self.trainer.checkpointer.get_checkpoint_file() if start else ""
        finished = Path(last).name == _FINISHED
        cut_metrics(Path(self._output_dir, _NAME), start, keep_last_evaluation=finished)
        self._writers = default_writers(self._output_dir, self._max_iter)

    def after_step(self) -> None:
        """Writes every 20 iterations and after the last one."""
        done = self.trainer.iter + 1
        if done % _PERIOD == 0 or done == self.trainer.max_iter:
            self.write()

    def after_train(self) -> None:
        """Writes what is left and closes the files; there are none if training never began."""
        self.write()
        for writer in self._writers:
            writer.close()

    def write(self) -> None:
        """Writes the values of this iteration, unless that has happened."""
        if self.trainer.iter != self._written:
            self._written = self.trainer.iter
            for writer in self._writers:
                writer.write()
