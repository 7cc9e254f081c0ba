"""Checkpoints: written whole or not at all, read without running code, every misfit named."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from torch import nn

from segplugins.engine.sharding import is_sharded, own_weights, whole_weights
from segplugins.engine.zoo_weights import PREFIX, weights_path
from segplugins.files.checkpoint_file import check_checkpoint, read_checkpoint
from segplugins.files.part_weights import without_tensors
from segplugins.files.plain_files import read_plain_file
from segplugins.files.plain_pickle import read_pickle
from segplugins.files.tensors import check_finite
from segplugins.files.write import is_temporary, replacing, write_text

logger = logging.getLogger(__name__)

_LAST = "last_checkpoint"
# Key of the averaged weights (SOLVER.EMA) beside "model".
AVERAGED = "averaged"
# Key of the names of the classes that the weights were trained on.
TRAINING_NAMES = "training_names"


class Match(NamedTuple):
    """How a checkpoint fits a model: names of entries of the model's state dict.

    Args:
        loaded: number of entries that the checkpoint has given.
        missing: entries that it lacks.
        unexpected: its entries that the model has no place for.
        misshaped: entries that it holds in another shape.
        training_names: names of the classes that the weights were trained on, where it tells.
    """

    loaded: int
    missing: List[str]
    unexpected: List[str]
    misshaped: List[str]
    training_names: Tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every entry of the model came from the checkpoint."""
        return not (self.missing or self.misshaped)

    def report(self) -> str:
        """Returns what does not fit, in one line with numbers and a few names."""
        kinds = {"missing": self.missing, "of another shape": self.misshaped}
        parts = [
            f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for kind, names in kinds.items()
            if names
        ]
        total = self.loaded + len(self.missing) + len(self.misshaped)
        return f"{self.loaded} of {total} entries fit; {', '.join(parts) or 'all of them'}"


def load_weights(model: nn.Module, path: str) -> Match:
    """Loads the weights of a checkpoint into a model; averaged ones (SOLVER.EMA) if it has them.

    Args:
        model: on any device; changed in place.
        path: .pth, .pt or .bin (read with weights_only), .safetensors, .pkl of detectron2's model
            zoo (arrays only), "zoo://NAME" of our zoo (docs/zoo.md), or an address that detectron2
            knows, such as "detectron2://...".
            "" = keep the weights that the model has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not readable without running code from it, or it matches less than half of the
            model's entries.
    """
    if not path:
        logger.info("MODEL.WEIGHTS is empty: the model keeps the weights that it was built with")
        return Match(len(model.state_dict()), [], [], [])
    checkpointer = SafeCheckpointer(model, prefer_averaged=True)
    others = checkpointer.load(path, checkpointables=[])
    return checkpointer.match._replace(training_names=_names(others.get(TRAINING_NAMES)))


class SafeCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer for files of strangers and for runs that are interrupted.

    Args:
        model: bare, wrapped by DDP, or sharded; of a sharded one every process must save.
        save_dir: folder of the checkpoints.
        prefer_averaged: load the averaged weights where a file has them.
        training_names: names of the classes that are trained on; every checkpoint holds them.
        checkpointables: anything with state_dict() and load_state_dict(), by name.
    """

    match: Match

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        prefer_averaged: bool = False,
        training_names: Sequence[str] = (),
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self._prefer_averaged = prefer_averaged
        self._training_names = list(training_names)
        self._path = ""
        self.saved_iteration: Optional[int] = None  # of the checkpoint to resume from

    def save(self, name: str, *, tag: bool = True, **kwargs: Any) -> None:
        """Writes `<name>.pth`, with `kwargs` in it, and with `tag` makes it the one to resume from.

        A run that dies while it writes leaves the last whole checkpoint as it was.
        """
        sharded = is_sharded(self.model)
        if not self.save_dir or not (self.save_to_disk or sharded):
            return
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        weights = whole_weights(self.model) if sharded else self.model.state_dict()
        if self.save_to_disk:
            self._write(name, {"model": weights, **states, **kwargs}, tag=tag)
        if tag:  # of a sharded model the other processes have given their parts
            self.saved_iteration = kwargs.get("iteration")

    def _write(self, name: str, data: Dict[str, Any], *, tag: bool) -> None:
        if self._training_names:
            data[TRAINING_NAMES] = self._training_names
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        with replacing(path) as temporary:
            torch.save(data, temporary)
        if tag:
            self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Makes a file of the folder the one to resume from."""
        write_text(Path(self.save_dir, _LAST), last_filename_basename)

    def has_checkpoint(self) -> bool:
        """Returns whether there is a checkpoint to resume from."""
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """Returns the checkpoint to resume from: the tagged, else the newest whole one, else "".

        Raises:
            ValueError: the folder has checkpoints, but none of them is whole.
        """
        folder = Path(self.save_dir)
        try:
            name = read_plain_file(folder / _LAST).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            name = ""
        # Only a bare name: a path could point to the run of somebody else.
        if name and Path(name).name == name and _is_whole(folder / name):
            return str(folder / name)
        paths = [path for path in folder.glob("model_*.pth") if not is_temporary(path)]
        whole = [path for path in paths if _is_whole(path)]
        if whole:
            newest = max(whole, key=lambda path: (path.stat().st_mtime, path.name))
            logger.warning(
                "'%s' names %s; the newest whole checkpoint, '%s', is used instead",
                folder / _LAST,
                f"'{name}', which is no whole checkpoint of this folder" if name else "nothing",
                newest.name,
            )
            return str(newest)
        if paths:
            raise ValueError(
                f"none of the {len(paths)} checkpoints in '{folder}' is whole, such as "
                f"'{paths[0].name}'; remove them, or choose another OUTPUT_DIR"
            )
        return ""

    def load(self, path: str, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        """As in detectron2, with the errors of `load_weights`."""
        if path.startswith(PREFIX):
            path = str(weights_path(path))
        self._path = path
        if path and "://" not in path:
            check_checkpoint(path.partition("?")[0])
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> Dict[str, Any]:
        if filename.endswith(".safetensors"):
            return {"model": read_checkpoint(filename)}
        if filename.endswith(".pkl"):
            return _load_arrays(filename)
        if filename.endswith(".pyth"):  # detectron2 would leave weights_only to torch's default
            return {"model": self._torch_load(filename)["model"], "matching_heuristics": True}
        loaded = super()._load_file(filename)
        if self._prefer_averaged and AVERAGED in loaded:
            logger.info("Loading the averaged weights (SOLVER.EMA) of '%s'", filename)
            loaded["model"] = {**loaded["model"], **loaded.pop(AVERAGED)["weights"]}
        return loaded

    def _torch_load(self, f: str) -> Any:
        loaded = read_checkpoint(f)
        if not isinstance(loaded, dict):
            raise ValueError(
                f"checkpoint '{f}' holds a {type(loaded).__name__}, not tensors by name"
            )
        # Other libraries call the weights "state_dict" or "model_state"; a bare dict has no name.
        for name in ("model", "state_dict", "model_state"):
            if isinstance(loaded.get(name), dict):
                return {**loaded, "model": loaded[name]}
        return {"model": loaded}

    def _load_model(self, checkpoint: Dict[str, Any]) -> Any:
        weights = {k: v for k, v in checkpoint["model"].items() if hasattr(v, "shape")}
        skipped = sorted(set(checkpoint["model"]) - set(weights))
        if skipped:
            logger.warning("Entries of '%s' that are no tensors: %s", self._path, skipped[:10])
        checkpoint["model"] = weights
        shared = weights.keys() & self.model.state_dict().keys()
        check_finite({k: torch.as_tensor(weights[k]) for k in shared}, source=self._path)
        if is_sharded(self.model):
            checkpoint["model"] = own_weights(self.model, weights)
        incompatible = super()._load_model(checkpoint)
        misshaped = [name for name, _, _ in incompatible.incorrect_shapes]
        missing = [name for name in incompatible.missing_keys if name not in misshaped]
        total = len(self.model.state_dict())
        self.match = Match(
            total - len(missing) - len(misshaped),
            missing,
            list(incompatible.unexpected_keys),
            misshaped,
        )
        if 2 * self.match.loaded < total:
            raise ValueError(
                f"checkpoint '{self._path}' fits {self.match.loaded} of the model's {total} "
                f"entries, less than half: the model has {missing[:3] + misshaped[:3]}, "
                f"the file {self.match.unexpected[:3]}. Is it of another model or config? "
                "tools/convert_checkpoint.py reads the papers' own checkpoints"
            )
        say = logger.info if self.match.is_whole else logger.warning
        say("Loaded '%s': %s", self._path, self.match.report())
        if self.match.unexpected:
            names = self.match.unexpected
            logger.info("%d entries of '%s' are unused: %s", len(names), self._path, names[:3])
        return incompatible


def without_part_weights(cfg: CfgNode) -> CfgNode:
    """Returns a frozen copy of a config whose parts of the model, such as a CLIP, name no files.

    MODEL.WEIGHTS stays.
    """
    cfg = cfg.clone()
    cfg.defrost()
    for node in cfg.MODEL.values():
        if isinstance(node, CfgNode):
            _forget_weights(node)
    cfg.freeze()
    return cfg


def _forget_weights(node: CfgNode) -> None:
    """Empties every WEIGHTS of a node and below it; pixel statistics that come with them stay."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _forget_weights(value)
        elif key == "WEIGHTS":
            node[key] = without_tensors(value)


def _is_whole(path: Path) -> bool:
    """An archive of torch.save has its table of contents at the end: one cut short has none."""
    return path.is_file() and zipfile.is_zipfile(path)


def _names(value: Any) -> Tuple[str, ...]:
    """Returns the texts of a list that a file holds; what else may stand there counts nothing."""
    items = value if isinstance(value, (list, tuple)) else ()
    return tuple(item for item in items if isinstance(item, str))


def _load_arrays(filename: str) -> Dict[str, Any]:
    """A .pkl of detectron2's model zoo, or Caffe2's: the same three forms that detectron2 reads."""
    try:
        data = read_pickle(Path(filename))
    except ValueError as error:
        raise ValueError(
            f"checkpoint '{filename}' cannot be read as plain tensors: {error}"
        ) from error
    if not isinstance(data, dict):
        raise ValueError(
            f"checkpoint '{filename}' holds a {type(data).__name__}, not arrays by name"
        )
    if "model" in data and "__author__" in data:
        return data
    blobs = {k: v for k, v in data.get("blobs", data).items() if not k.endswith("_momentum")}
    return {"model": blobs, "__author__": "Caffe2", "matching_heuristics": True}
