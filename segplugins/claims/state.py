"""How far the run in a folder is, and whether it is the run that a claim asks for."""

import json
import shlex
from enum import Enum
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence

from detectron2.config import CfgNode

from segplugins.claims.plan import WEIGHTS, Run
from segplugins.engine.output_folder import changes_text, config_changes
from segplugins.files.digests import file_digest
from segplugins.files.write import write_json

RECORD = "claim_run.json"
# Keys that change no figure, or no more than another machine does.
_FREE = ("OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "MODEL.DEVICE", "VIS_PERIOD")
_FREE += ("SOLVER.CHECKPOINT_PERIOD", "SOLVER.ACCUMULATE", "VERSION", "TEST.EVAL_PERIOD")
_FREE += ("TEST.IMS_PER_BATCH",)
# What an evaluation does not read.
_FREE_AT_TEST = (*_FREE, "DATALOADER", "SOLVER", "DATASETS.TRAIN", "DATASETS.SIDECARS", "SEED")


class Stage(Enum):
    """How far a run is."""

    NEW = "not started"
    STARTED = "not finished"
    FINISHED = "finished"


class State(NamedTuple):
    """What stands in the folder of a run.

    Args:
        stage: how far it is.
        other: why it is another run than the claim's, "" = it is the same.
        seconds: that it has taken, where that is known.
    """

    stage: Stage
    other: str = ""
    seconds: Optional[float] = None


def state_of(run: Run, config_of: Callable[[Path, Sequence[str]], CfgNode]) -> State:
    """Returns the state of a run.

    A training is finished where its last checkpoint is the final one and its results are of these
    weights, under the evaluation that is asked for; an evaluation where its results are of the
    weights that stand there now; a command where it has ended well and what it makes stands.

    Args:
        run: of a plan.
        config_of: config file and options to the config.
    """
    record = read_record(run.folder)
    seconds = record.get("seconds")
    if run.config is None:
        return _of_command(run, record, seconds)
    name = "eval_config.yaml" if run.weights else "config.yaml"
    if not (run.folder / name).is_file():
        return State(Stage.NEW)
    cfg = config_of(run.config, run.options)
    free = _FREE_AT_TEST if run.weights else _FREE
    changes = {
        key: values
        for key, values in config_changes(cfg, run.folder / name).items()
        if not any(key == each or key.startswith(f"{each}.") for each in free)
        and not _is_same_path(*values)
    }
    finished = _evaluated(run) if run.weights else _trained(run.folder, bool(cfg.DATASETS.TEST))
    if finished and not run.weights and _are_of_evaluation(changes):
        # The weights are right: the run goes on with its evaluation.
        return State(Stage.STARTED, "", seconds)
    other = changes_text(changes) if changes else ""
    return State(Stage.FINISHED if finished else Stage.STARTED, other, seconds)


def _are_of_evaluation(changes: Mapping[str, Any]) -> bool:
    return bool(changes) and all(
        key == "DATASETS.TEST" or key.startswith("TEST.") for key in changes
    )


def read_record(folder: Path) -> Dict[str, Any]:
    """Returns what an earlier call wrote of the run in a folder; empty where there is nothing."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(run: Run, seconds: float, *, ended: bool) -> None:
    """Writes command and time of a run into its folder; times of resumed parts are added up."""
    before = read_record(run.folder).get("seconds")
    record = {
        "command": shlex.join([run.tool, *run.arguments, *run.options]),
        "seconds": round(seconds + (before if isinstance(before, (int, float)) else 0.0), 1),
        "ended": ended,
    }
    write_json(run.folder / RECORD, record)


def _of_command(run: Run, record: Dict[str, Any], seconds: Optional[float]) -> State:
    if not record:
        return State(Stage.NEW)
    command = shlex.join([run.tool, *run.arguments])
    other = ""
    if record.get("command") != command:
        other = f"the command is '{command}', was '{record.get('command')}'"
    ended = bool(record.get("ended")) and run.makes is not None and run.makes.exists()
    return State(Stage.FINISHED if ended else Stage.STARTED, other, seconds)


def _is_same_path(now: Any, before: Any) -> bool:
    """Whether two texts name one file, from the root or from this folder."""
    texts = isinstance(now, str) and isinstance(before, str) and bool(now) and bool(before)
    return texts and "/" in f"{now}{before}" and Path(now).absolute() == Path(before).absolute()


def _trained(folder: Path, is_evaluated: bool) -> bool:
    try:
        last = (folder / "last_checkpoint").read_text(encoding="utf-8").strip()
    except OSError:
        return False
    if Path(last).name != WEIGHTS:
        return False
    if not is_evaluated:
        return (folder / WEIGHTS).is_file()
    # Weights may have been removed to save room: the figures stay.
    weights = folder / WEIGHTS
    return _results_are_of(folder, file_digest(weights) if weights.is_file() else None)


def _evaluated(run: Run) -> bool:
    weights = run.weights
    present = weights is not None and weights.is_file()
    return _results_are_of(run.folder, file_digest(weights) if present and weights else None)


def _results_are_of(folder: Path, digest: Optional[str]) -> bool:
    """Whether results stand in a folder and are of weights with this digest, if it is known."""
    try:
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        measured = {each["checkpoint"]["sha256"] for each in content["protocol"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return digest is None or measured == {digest}
