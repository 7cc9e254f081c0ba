"""What can be refused before the first step: data that do not fit the model, truth, disk."""

import logging
import os
from typing import Any, Iterable, List, Mapping, Type

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from torch import nn
from torch.optim import Optimizer

from segplugins.data.catalog import check_present, dataset_metadata, load_dataset
from segplugins.data.check.load import check_usable
from segplugins.data.pairs import is_pairs
from segplugins.data.read_regions import has_label_map
from segplugins.engine.loaders import check_datasets, micro_batch_size
from segplugins.engine.optim import check_solver
from segplugins.evaluation.build import build_evaluator
from segplugins.files.checkpoint_file import check_checkpoint, is_checkpoint_path
from segplugins.files.write import free_bytes

logger = logging.getLogger(__name__)

_CALLED = {
    "pairs": "image-text pairs",
    "sem_seg": "label maps (sem_seg)",
    "instances": "regions (instances)",
}
# Kinds of data sets whose records hold a map, so that none needs to be loaded to see it.
_WITH_MAPS = {"sem_seg", "panoptic", "coco_panoptic_seg", "ade20k_panoptic_seg"}
_CHECKPOINTS = 2  # that must fit on the disk: the one of before and the one that replaces it


def check_training_data(cfg: CfgNode) -> None:
    """Compares what the paper learns from with what the training sets give.

    Args:
        cfg: reads MODEL.META_ARCHITECTURE, DATASETS.TRAIN and INPUT.TARGETS, and for models of one
            vocabulary per batch also DATALOADER.ONE_SET_PER_BATCH and the size of a batch.

    Raises:
        KeyError: an unknown data set.
        ValueError: the model learns from nothing that a set gives, or batches would mix
            vocabularies that it cannot mix; both are named.
    """
    names = check_datasets(cfg.DATASETS.TRAIN, key="DATASETS.TRAIN")
    model = architecture(cfg)
    learns_from = getattr(model, "learns_from", None)
    if learns_from is None:  # a model of another library
        return
    given = {"pairs"} if is_pairs(names) else set(cfg.INPUT.TARGETS)
    used = learns_from & given
    if not used:
        needed, got = _listed(learns_from), _listed(given)
        step = "train on other sets"
        if "pairs" not in given | learns_from:
            step = f"set INPUT.TARGETS to {tuple(sorted(learns_from))}"
        raise ValueError(
            f"{model.__name__} learns from {needed}, but DATASETS.TRAIN {names} gives {got}; {step}"
        )
    if used == {"sem_seg"}:
        _check_maps(names, model)
    if getattr(model, "one_vocabulary", False):
        _check_one_vocabulary(cfg, names, model)


def _check_one_vocabulary(cfg: CfgNode, names: List[str], model: Type[nn.Module]) -> None:
    solver = cfg.SOLVER
    images = micro_batch_size(solver.IMS_PER_BATCH, solver.ACCUMULATE, comm.get_world_size())
    vocabularies = sorted({dataset_metadata(name).vocabulary for name in names})
    if images > 1 and len(vocabularies) > 1 and not cfg.DATALOADER.ONE_SET_PER_BATCH:
        raise ValueError(
            f"DATASETS.TRAIN {names} has the vocabularies {vocabularies}, but {model.__name__} "
            "decodes the classes of a batch together: set DATALOADER.ONE_SET_PER_BATCH True"
        )


def _check_maps(names: List[str], model: Type[nn.Module]) -> None:
    for name in names:
        kinds = dataset_metadata(name).get("evaluator_type") or ()
        if _WITH_MAPS & set([kinds] if isinstance(kinds, str) else kinds):
            continue
        records = load_dataset(name)
        if records and not has_label_map(records[0]):
            raise ValueError(
                f"{model.__name__} learns from {_CALLED['sem_seg']}, but the records of data set "
                f"'{name}' in DATASETS.TRAIN have none; register it with label maps, or train a "
                "model that learns from regions"
            )


def check_evaluation(cfg: CfgNode) -> None:
    """Builds every evaluator of DATASETS.TEST, looks for all files of the truth and reads one.

    Raises:
        KeyError: an unknown data set.
        FileNotFoundError: files of a data set are missing.
        ValueError: a set without a record or without one target, such as all crowds; a truth that
            cannot be scored, or one that the model does not answer.
    """
    if not cfg.DATASETS.TEST:
        return
    model = architecture(cfg)
    answers = getattr(model, "answers", None)
    for name in check_datasets(cfg.DATASETS.TEST, key="DATASETS.TEST"):
        records = load_dataset(name)
        check_usable(name, records)
        evaluator = build_evaluator(cfg, name)
        missing = evaluator.reads - answers if answers is not None else ()
        if missing:
            raise ValueError(
                f"data set '{name}' of DATASETS.TEST is scored by {sorted(missing)}, but "
                f"{model.__name__} answers with {sorted(answers)}; leave the set out of "
                "DATASETS.TEST, or evaluate a model that answers it"
            )
        _check_files(name, records)
        evaluator.check_truth()


def _check_files(name: str, records: Iterable[Mapping[str, Any]]) -> None:
    absent = [path for record in records for path in _files(record) if not os.path.isfile(path)]
    if absent:
        raise FileNotFoundError(
            f"data set '{name}': {len(absent)} of its files are missing, first '{absent[0]}'"
        )


def _files(record: Mapping[str, Any]) -> List[str]:
    named = (value for key, value in record.items() if key.endswith("file_name"))
    return [value for value in named if isinstance(value, str)]


def check_names(cfg: CfgNode, *, training: bool, random_weights: bool = False) -> None:
    """Looks at what a run names, in no time: model, data sets and weights; makes no folder.

    Args:
        cfg: reads MODEL.META_ARCHITECTURE, all keys WEIGHTS of MODEL, DATASETS.TRAIN and
            DATASETS.TEST.
        training: the run trains; else it evaluates, which takes weights.
        random_weights: an evaluation may go without weights.

    Raises:
        KeyError: an unknown data set.
        FileNotFoundError: no such checkpoint, or no such folder or file of a data set.
        ValueError: no such model, optimizer or schedule, no data set, no weights, weights that
            are damaged, or a memory that the model does not ask.
    """
    check_memory(cfg)
    names = []
    if training:
        check_solver(cfg)
        names += check_datasets(cfg.DATASETS.TRAIN, key="DATASETS.TRAIN")
        _check_parts(cfg.MODEL, "MODEL")
    if cfg.DATASETS.TEST or not training:
        names += check_datasets(cfg.DATASETS.TEST, key="DATASETS.TEST")
    check_weights(cfg.MODEL.WEIGHTS)
    if not (training or cfg.MODEL.WEIGHTS or random_weights):
        raise ValueError(
            "MODEL.WEIGHTS is empty: this model has learned nothing; name its weights, or evaluate "
            "it all the same with --random-weights (random_weights=True)"
        )
    for name in names:
        check_present(name)


def check_memory(cfg: CfgNode) -> None:
    """Raises ValueError if MODEL.MEMORY.WEIGHT asks a memory and the model has no place for it."""
    model = architecture(cfg)
    if cfg.MODEL.MEMORY.WEIGHT and not hasattr(model, "embedder_fingerprint"):
        able = sorted(n for n, each in META_ARCH_REGISTRY if hasattr(each, "embedder_fingerprint"))
        raise ValueError(
            f"MODEL.MEMORY.WEIGHT is {cfg.MODEL.MEMORY.WEIGHT}, but {model.__name__} asks no "
            f"memory; {able} do. Set it to 0"
        )


def check_weights(path: str) -> None:
    """Raises an error if MODEL.WEIGHTS names a local file that is missing or plainly damaged.

    Raises:
        FileNotFoundError, ValueError: see `segplugins.files.checkpoint_file.check_checkpoint`.
    """
    if path and "://" not in path:
        try:
            check_checkpoint(path.partition("?")[0])
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"MODEL.WEIGHTS: {error}") from error


def _check_parts(node: CfgNode, where: str) -> None:
    """Looks at the files that parts of the model start from: a CLIP, a backbone."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _check_parts(value, f"{where}.{key}")
        elif key == "WEIGHTS" and where != "MODEL" and is_checkpoint_path(value):
            try:
                check_checkpoint(value)
            except (FileNotFoundError, ValueError) as error:
                raise type(error)(
                    f"{where}.WEIGHTS: {error}; name another, or make it as the first lines of "
                    "the config say"
                ) from error


def check_disk(folder: str, model: nn.Module, optimizer: Optimizer, *, averaged: bool) -> None:
    """Compares the free space of the output folder with the size of two checkpoints.

    Args:
        folder: OUTPUT_DIR.
        model: its state is saved.
        optimizer: AdamW keeps two numbers per trained parameter, SGD one.
        averaged: whether averaged weights are saved too (SOLVER.EMA).

    Raises:
        ValueError: there is too little space.
    """
    trained = sum(p.nbytes for group in optimizer.param_groups for p in group["params"])
    per_weight = (2 if "betas" in optimizer.defaults else 1) + averaged
    size = sum(tensor.nbytes for tensor in model.state_dict().values()) + per_weight * trained
    free = free_bytes(folder)
    if free < _CHECKPOINTS * size:
        raise ValueError(
            f"OUTPUT_DIR '{folder}' has {free / 1e9:.2f} GB free; {_CHECKPOINTS} checkpoints of "
            f"{size / 1e9:.2f} GB must fit: free some space or choose another OUTPUT_DIR"
        )


def architecture(cfg: CfgNode) -> Type[nn.Module]:
    """Returns the class of MODEL.META_ARCHITECTURE.

    Raises:
        ValueError: no such class is registered; those that are, are named.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY:
        known = sorted(known for known, _ in META_ARCH_REGISTRY)
        raise ValueError(f"MODEL.META_ARCHITECTURE: no model '{name}'; registered are {known}")
    return META_ARCH_REGISTRY.get(name)


def _listed(kinds: Iterable[str]) -> str:
    return " or ".join(_CALLED.get(kind, kind) for kind in sorted(kinds))
