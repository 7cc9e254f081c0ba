"""From a command line to a run: config, set-up, training, evaluation."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Callable, Dict, Sequence, Union

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from torch import nn

from segplugins.config import RANGES as SHARED_RANGES
from segplugins.config import add_shared_config
from segplugins.data.register_yaml import register_from_yaml
from segplugins.engine.checkpoint import load_weights, without_part_weights
from segplugins.engine.cost import write_size
from segplugins.engine.output_folder import claim_output, undone_on_failure
from segplugins.engine.preflight import (
    check_disk,
    check_evaluation,
    check_names,
    check_training_data,
    check_weights,
)
from segplugins.engine.ranges import Range, check_ranges
from segplugins.engine.read_config import (
    ConfigError,
    apply_settings,
    option_settings,
    read_settings,
)
from segplugins.engine.trainer import Results, Trainer
from segplugins.evaluation.protocol import describe_protocol
from segplugins.evaluation.results import write_results
from segplugins.files.vocabularies import parse_vocabulary

logger = logging.getLogger(__name__)


def setup_cfg(
    args: argparse.Namespace, add_configs: Sequence[Callable[[CfgNode], None]] = ()
) -> CfgNode:
    """Builds the config of a run: defaults, then the file after its bases, then the options.

    Args:
        args: `config_file` and `opts`; and, where a tool has them, `num_gpus` and `vocabulary`.
        add_configs: what adds the papers' nodes.

    Returns:
        The config, frozen.

    Raises:
        ConfigError: see `read_settings`, `option_settings`, `apply_settings`, `check_ranges`; or
            values that do not fit each other or this machine.
    """
    cfg = merged_cfg(args.config_file, args.opts or [], add_configs)
    if getattr(args, "num_gpus", None) == 0:
        cfg.MODEL.DEVICE = "cpu"
    if getattr(args, "vocabulary", None):
        cfg.TEST.VOCABULARY = args.vocabulary
    _check(cfg)
    for path in cfg.DATASETS.REGISTER:
        register_from_yaml(path)
    cfg.freeze()
    return cfg


def merged_cfg(
    config_file: Union[str, Path],
    options: Sequence[str],
    add_configs: Sequence[Callable[[CfgNode], None]] = (),
) -> CfgNode:
    """Returns the config that a file and options make, whatever this machine has; not frozen.

    Args:
        config_file: "" = defaults alone.
        options: KEY VALUE pairs.
        add_configs: what adds the papers' nodes.

    Raises:
        ConfigError: see `read_settings`, `option_settings`, `apply_settings`, `check_ranges`.
    """
    cfg = get_cfg()
    add_shared_config(cfg)
    for add_config in add_configs:
        add_config(cfg)
    defaults = cfg.clone()
    settings = read_settings(config_file) if config_file else []
    apply_settings(cfg, settings + option_settings(options))
    check_ranges(cfg, _ranges(add_configs), defaults)
    return cfg


def _check(cfg: CfgNode) -> None:
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', but no CUDA device is visible; "
            "run on the CPU with MODEL.DEVICE cpu (or --num-gpus 0, where a tool has it)"
        )
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ConfigError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', expected cpu, cuda or cuda:<number>"
        ) from error
    if not cfg.OUTPUT_DIR.strip():
        raise ConfigError("OUTPUT_DIR is empty; name the folder that the run may write")
    if cfg.INPUT.JITTER[0] > cfg.INPUT.JITTER[1]:
        raise ConfigError(f"INPUT.JITTER is {cfg.INPUT.JITTER}, expected the smaller scale first")
    if cfg.TEST.VOCABULARY:
        try:
            parse_vocabulary(cfg.TEST.VOCABULARY)
        except (ValueError, OSError) as error:
            raise ConfigError(f"TEST.VOCABULARY: {error}") from error


def _ranges(add_configs: Sequence[Callable[[CfgNode], None]]) -> Dict[str, Range]:
    """The shared table and those that stand beside the papers' add_config."""
    ranges: Dict[str, Range] = dict(SHARED_RANGES)
    for add_config in add_configs:
        ranges.update(getattr(sys.modules[add_config.__module__], "RANGES", {}))
    return ranges


def default_setup(cfg: CfgNode, *, resume: bool = False, evaluation: bool = False) -> None:
    """Takes OUTPUT_DIR for this run, and sets logging, seed and precision of this process.

    Args:
        cfg: of the run.
        resume: go on with the run in OUTPUT_DIR if there is one.
        evaluation: the run only evaluates.

    Raises:
        FolderInUse, OSError: see `claim_output`.
    """
    rank = comm.get_rank()
    if comm.is_main_process():
        claim_output(cfg, resume=resume, evaluation=evaluation)
    comm.synchronize()  # the other processes find the folder
    for name in ("fvcore", "detectron2", "segplugins"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name)
    if comm.is_main_process():
        logger.info(
            "torch %s on %s, %d process(es); config and code version are in %s",
            torch.__version__,
            cfg.MODEL.DEVICE,
            comm.get_world_size(),
            cfg.OUTPUT_DIR,
        )
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    torch.set_float32_matmul_precision(cfg.MATMUL_PRECISION)


def train(cfg: CfgNode, resume: bool = False) -> Results:
    """Trains, with evaluations and checkpoints in OUTPUT_DIR on the way.

    Args:
        cfg: frozen, of `setup_cfg`.
        resume: go on from the last checkpoint in OUTPUT_DIR if there is one.

    Returns:
        The results of the last evaluation, as `Trainer.test`; empty if DATASETS.TEST is empty, and
        on all processes but the main one. They are written to OUTPUT_DIR, see
        `segplugins.evaluation.results`.

    Raises:
        KeyError, ValueError, FileNotFoundError: what cannot be trained or evaluated, before the
            first step; see `segplugins.engine.preflight`.
        Stopped: SIGINT or SIGTERM; the weights are saved.
    """
    with undone_on_failure(cfg.OUTPUT_DIR):
        check_training_data(cfg)
        if not resume:
            check_weights(cfg.MODEL.WEIGHTS)
        if comm.is_main_process():  # the others wait for it at the first step
            check_evaluation(cfg)
        trainer = Trainer(cfg)
        if comm.is_main_process():
            check_disk(
                cfg.OUTPUT_DIR,
                trainer.checkpointer.model,
                trainer.optimizer,
                averaged=cfg.SOLVER.EMA.ENABLED,
            )
        trainer.resume_or_load(resume=resume)
    if comm.is_main_process():
        write_size(cfg.OUTPUT_DIR, trainer.checkpointer.model)
    if trainer.start_iter >= trainer.max_iter:
        logger.info("Iteration %d of %d is done already", trainer.start_iter, trainer.max_iter)
        results = trainer.evaluate() if cfg.DATASETS.TEST else {}
    else:
        trainer.train()
        results = trainer.last_results
    if cfg.DATASETS.TEST:
        _write(cfg, results, trainer.checkpointer.get_checkpoint_file())
    return results


def evaluate(cfg: CfgNode, *, random_weights: bool = False) -> Results:
    """Evaluates MODEL.WEIGHTS on every data set of DATASETS.TEST.

    Args:
        cfg: frozen, of `setup_cfg`.
        random_weights: allow a model whose weights are missing, or fit it only in part.

    Returns:
        {data set: {task: {metric: value}}}; empty but on the main process. One table is logged, and
        results and protocol are written to OUTPUT_DIR, see `segplugins.evaluation.results`.

    Raises:
        KeyError, ValueError, FileNotFoundError: see `check_evaluation` and `load_weights`; or
            weights that are missing or fit only in part, without `random_weights`.
        SystemExit: TEST.EXPECTED_RESULTS are not met, as in detectron2.
    """
    with undone_on_failure(cfg.OUTPUT_DIR):
        check_names(cfg, training=False, random_weights=random_weights)
        if comm.is_main_process():
            check_evaluation(cfg)
        model = _model_of(cfg, random_weights)
    if comm.is_main_process():
        write_size(cfg.OUTPUT_DIR, model)
    results = Trainer.test_each(cfg, model)
    _write(cfg, results, cfg.MODEL.WEIGHTS)
    if comm.is_main_process() and cfg.TEST.EXPECTED_RESULTS:
        verify_results(cfg, next(iter(results.values())) if len(results) == 1 else results)
    return results


def _model_of(cfg: CfgNode, random_weights: bool) -> nn.Module:
    """Returns the model with MODEL.WEIGHTS in it."""
    # Whole weights replace what parts of the model would begin with, so that is not looked for.
    model = Trainer.build_model(cfg if random_weights else without_part_weights(cfg))
    match = load_weights(model, cfg.MODEL.WEIGHTS)
    if not (match.is_whole or random_weights):
        raise ValueError(
            f"MODEL.WEIGHTS '{cfg.MODEL.WEIGHTS}' fit the model only in part: {match.report()}; is "
            "it the config of these weights? --random-weights (random_weights=True) evaluates it "
            "all the same"
        )
    return model


def _write(cfg: CfgNode, results: Results, weights: str) -> None:
    if comm.is_main_process():
        path = write_results(cfg.OUTPUT_DIR, results, describe_protocol(cfg, weights=weights))
        logger.info("Results and protocol are in %s", path)
