"""Keeps the weights of the best evaluation of a run."""

import json
import logging
import math
from pathlib import Path
from typing import Optional

from detectron2.engine import HookBase

from segplugins.engine.checkpoint import SafeCheckpointer
from segplugins.files.write import write_json

logger = logging.getLogger(__name__)

NAME = "model_best"


class KeepBest(HookBase):
    """Writes model_best.pth whenever an evaluation gives a higher value than all before.

    The value stands in model_best.json beside it, so that a resumed run does not replace it by a
    worse one. A resumed run with another metric begins anew: its values cannot be compared. Runs
    after detectron2's EvalHook of the same period.

    Args:
        period: iterations between evaluations; there is one after the last iteration in any case.
        checkpointer: writes the file.
        metric: as the evaluation logs it, such as "sem_seg/mIoU".
    """

    def __init__(self, period: int, checkpointer: SafeCheckpointer, metric: str):
        self._period = period
        self._checkpointer = checkpointer
        self._metric = metric
        self._note = Path(checkpointer.save_dir) / f"{NAME}.json"
        self.best: Optional[float] = None

    def before_train(self) -> None:
        """Reads what the run had reached before it was interrupted."""
        if self.trainer.start_iter > 0 and self._note.is_file():
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["metric"] == self._metric:
                self.best = note["value"]
            else:
                logger.warning(
                    "%s.pth was kept by %s; the next evaluation replaces it by %s",
                    NAME,
                    note["metric"],
                    self._metric,
                )

    def after_step(self) -> None:
        """Compares after a periodic evaluation."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._compare()

    def after_train(self) -> None:
        """Compares after the last evaluation; a run that failed has had none."""
        if self.trainer.iter >= self.trainer.max_iter:
            self._compare()

    def _compare(self) -> None:
        known = self.trainer.storage.latest()
        if self._metric not in known:
            metrics = sorted(name for name in known if "/" in name)
            raise ValueError(
                f"TEST.BEST_METRIC: the evaluation gave no '{self._metric}'; it gave {metrics}"
            )
        value, iteration = known[self._metric]
        if math.isnan(value) or (self.best is not None and value <= self.best):
            return
        self.best = value
        self._checkpointer.save(NAME, tag=False, iteration=iteration)
        note = {"metric": self._metric, "value": value, "iteration": iteration}
        write_json(self._note, note)
        logger.info("Best %s so far: %.3f, kept as %s.pth", self._metric, value, NAME)
