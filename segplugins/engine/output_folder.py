"""OUTPUT_DIR: writable, one run at a time, and never a second run over a finished one."""

import json
import logging
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

import torch
import yaml
from detectron2.config import CfgNode

from segplugins.engine.folder_lock import FolderInUse, lock_folder, unlock_folder
from segplugins.evaluation.protocol import file_hash
from segplugins.files.write import (
    absent_folders,
    is_temporary,
    probe_folder,
    remove_empty,
    remove_stale,
    write_json,
    write_text,
)

logger = logging.getLogger(__name__)

# A resumed run may change them: they do not change what the weights become, or only how far
# training goes.
_FREE = (
    "OUTPUT_DIR",
    "DATASETS.TEST",
    "DATALOADER.NUM_WORKERS",
    "MODEL.DEVICE",
    "SOLVER.ACCUMULATE",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.MAX_BAD_STEPS",
    "SOLVER.MAX_ITER",
    "TEST",
    "VIS_PERIOD",
)
# The same for an evaluation that is done again.
_FREE_AT_TEST = ("OUTPUT_DIR", "DATALOADER", "MODEL.DEVICE", "SOLVER", "DATASETS.TRAIN", "VERSION")


# What a start writes before its first step; a start that fails removes it again.
_OF_THE_START = (
    "config.yaml",
    "run.json",
    "eval_config.yaml",
    "eval_run.json",
    "log.txt*",
    "pairs_index/*",
    "run.lock",
)


class _Start(NamedTuple):
    """What there was before a run took its folder."""

    absent: List[Path]  # folders that were made for it, the innermost first
    before: FrozenSet[Path]  # files that stood in it


_STARTS: Dict[Path, _Start] = {}


def claim_output(cfg: CfgNode, *, resume: bool, evaluation: bool = False) -> None:
    """Takes OUTPUT_DIR for this run, until the process ends, and writes config and code version.

    A training writes config.yaml and run.json, an evaluation eval_config.yaml and eval_run.json, so
    that each stays readable beside the other.

    Args:
        cfg: of the run.
        resume: go on with the run that is in the folder, if there is one.
        evaluation: the run only evaluates.

    Raises:
        FolderInUse: another process works in the folder; or it holds a finished run and `resume` is
            off; or `resume` is on and the run there has another config or other weights.
        OSError: the folder cannot be made or written.
    """
    folder = Path(cfg.OUTPUT_DIR)
    check_writable(folder)
    start = _Start(absent_folders(folder), frozenset(_start_files(folder)))
    folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder)
    _STARTS.setdefault(folder.resolve(), start)
    for path in remove_stale(folder):
        logger.info("Removed '%s', which a killed process had left", path)
    prefix = "eval_" if evaluation else ""
    finished = folder / "results.json" if evaluation else _last_weights(folder)
    if finished is not None and finished.exists():
        if not resume:
            raise FolderInUse(_used(folder, finished, evaluation))
        free = _FREE_AT_TEST if evaluation else _FREE
        _check_same(cfg, folder, f"{prefix}config.yaml", f"{prefix}run.json", free)
    write_text(folder / f"{prefix}config.yaml", cfg.dump())
    write_json(folder / f"{prefix}run.json", _description(cfg))


@contextmanager
def undone_on_failure(folder: Union[str, Path]) -> Iterator[None]:
    """Removes what the start of a run has written to its folder if the block fails.

    Args:
        folder: OUTPUT_DIR, which this process has taken by `claim_output`; of another process
            nothing is removed. Files that stood there before stay.
    """
    try:
        yield
    except BaseException:
        folder = Path(folder).resolve()
        start = _STARTS.pop(folder, None)
        if start is not None:
            for path in set(_start_files(folder)) - start.before:
                path.unlink(missing_ok=True)
            unlock_folder(folder)
            remove_empty([folder / "pairs_index", *start.absent])
        raise


def _start_files(folder: Path) -> List[Path]:
    return [path for pattern in _OF_THE_START for path in folder.glob(pattern)]


def check_writable(folder: Path) -> None:
    """Raises OSError, which names the folder, where nothing can be written into it."""
    try:
        probe_folder(folder)
    except OSError as error:
        raise type(error)(
            error.errno, f"OUTPUT_DIR cannot be written ({error.strerror})", str(folder)
        ) from error


def _last_weights(folder: Path) -> Optional[Path]:
    """Returns a checkpoint of the run in a folder, or None where there is none."""
    named = [path for path in folder.glob("model_*.pth") if not is_temporary(path)]
    return max(named, key=lambda path: path.stat().st_mtime, default=None)


def _used(folder: Path, finished: Path, evaluation: bool) -> str:
    if evaluation:
        return (
            f"OUTPUT_DIR '{folder}' holds results already ({finished.name}); choose another "
            "OUTPUT_DIR, or evaluate the same weights again with --resume"
        )
    return (
        f"OUTPUT_DIR '{folder}' holds a run already ({finished.name}); go on with it by --resume, "
        "or choose another OUTPUT_DIR"
    )


def _check_same(cfg: CfgNode, folder: Path, config: str, run: str, free: tuple) -> None:
    if not (folder / config).is_file():
        return
    differing = config_changes(cfg, folder / config)
    fixed = {key: values for key, values in differing.items() if not _is_below(key, free)}
    if fixed:
        raise FolderInUse(
            f"OUTPUT_DIR '{folder}' holds a run of another config: {changes_text(fixed)}; resume "
            "it with that config, or choose another OUTPUT_DIR"
        )
    for key, (now, before) in differing.items():
        if key != "OUTPUT_DIR":
            logger.info("Resuming with %s %r, which was %r", key, now, before)
    _check_same_weights(cfg, folder, run)


def config_changes(cfg: CfgNode, path: Path) -> Dict[str, Tuple[Any, Any]]:
    """Returns key to (value now, value before) of the keys in which a config differs from a file.

    Args:
        cfg: as it is now.
        path: config.yaml or eval_config.yaml of a run. Keys that it does not have are passed over.
    """
    before = _flat(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    now = _flat(yaml.safe_load(cfg.dump()))
    return {
        key: (now[key], before[key]) for key in now if key in before and now[key] != before[key]
    }


def changes_text(changes: Mapping[str, Tuple[Any, Any]]) -> str:
    """Returns "KEY is 2, was 1" of at most three keys, and how many more there are."""
    told = [f"{key} is {now!r}, was {before!r}" for key, (now, before) in changes.items()][:3]
    more = f" and {len(changes) - 3} more keys" if len(changes) > 3 else ""
    return ", ".join(told) + more


def _check_same_weights(cfg: CfgNode, folder: Path, run: str) -> None:
    try:
        before = json.loads((folder / run).read_text(encoding="utf-8"))["weights_sha256"]
    except (OSError, ValueError, KeyError):
        return
    now = file_hash(cfg.MODEL.WEIGHTS)
    if before and now and before != now:
        raise FolderInUse(
            f"OUTPUT_DIR '{folder}' holds a run that started from other weights than "
            f"'{cfg.MODEL.WEIGHTS}' has now; choose another OUTPUT_DIR"
        )


def _is_below(key: str, sections: tuple) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _flat(node: Dict[str, Any], prefix: str = "") -> Dict[str, Any]:
    flat: Dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _description(cfg: CfgNode) -> Dict[str, Any]:
    return {
        "command": sys.argv,
        "started": _now(),
        "machine": platform.node(),
        "segplugins": sys.modules["segplugins"].__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "weights": cfg.MODEL.WEIGHTS,
        "weights_sha256": file_hash(cfg.MODEL.WEIGHTS),
    }


def _commit() -> Optional[str]:
    """Returns the commit of the checkout that the code runs from, "+" if files differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git: List[str] = ["git", "-C", str(root)]
    try:
        commit, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, timeout=10, check=True)
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z")
