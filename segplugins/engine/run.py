"""From a command line to a run: config, set-up, training, evaluation."""

import argparse
import logging
import os
from typing import Callable, Sequence

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from segplugins.config import add_shared_config
from segplugins.data.register_yaml import register_from_yaml
from segplugins.engine.checkpoint import load_weights
from segplugins.engine.read_config import (
    ConfigError,
    apply_settings,
    option_settings,
    read_settings,
)
from segplugins.engine.trainer import Results, Trainer
from segplugins.evaluation.protocol import describe_protocol
from segplugins.evaluation.results import write_results
from segplugins.structures import parse_vocabulary

logger = logging.getLogger(__name__)

MATMUL_PRECISIONS = ("highest", "high", "medium")


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
        ConfigError: see `read_settings`, `option_settings`, `apply_settings`; or values that do
            not fit each other or this machine.
    """
    cfg = get_cfg()
    add_shared_config(cfg)
    for add_config in add_configs:
        add_config(cfg)
    settings = read_settings(args.config_file) if args.config_file else []
    apply_settings(cfg, settings + option_settings(args.opts or []))
    if getattr(args, "num_gpus", None) == 0:
        cfg.MODEL.DEVICE = "cpu"
    if getattr(args, "vocabulary", None):
        cfg.TEST.VOCABULARY = args.vocabulary
    _check(cfg)
    for path in cfg.DATASETS.REGISTER:
        register_from_yaml(path)
    cfg.freeze()
    return cfg


def _check(cfg: CfgNode) -> None:
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', but no CUDA device is visible; "
            "run on the CPU with --num-gpus 0"
        )
    if cfg.MATMUL_PRECISION not in MATMUL_PRECISIONS:
        raise ConfigError(
            f"MATMUL_PRECISION: unknown '{cfg.MATMUL_PRECISION}'; known are {MATMUL_PRECISIONS}"
        )
    if cfg.TEST.VOCABULARY:
        try:
            parse_vocabulary(cfg.TEST.VOCABULARY)
        except (ValueError, OSError) as error:
            raise ConfigError(f"TEST.VOCABULARY: {error}") from error


def default_setup(cfg: CfgNode) -> None:
    """Logging, OUTPUT_DIR with the config in it, seed and precision of this process."""
    rank = comm.get_rank()
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    for name in ("fvcore", "detectron2", "segplugins"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name)
    if comm.is_main_process():
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(cfg.dump())
        logger.info(
            "torch %s on %s, %d process(es); the config of this run stands in %s",
            torch.__version__,
            cfg.MODEL.DEVICE,
            comm.get_world_size(),
            path,
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
        What the last evaluation gave, as `Trainer.test`; empty without DATASETS.TEST and but on the
        main process. It is written to OUTPUT_DIR, see `segplugins.evaluation.results`.
    """
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    if trainer.start_iter >= trainer.max_iter:
        logger.info("Iteration %d of %d is done already", trainer.start_iter, trainer.max_iter)
        results = trainer.evaluate() if cfg.DATASETS.TEST else {}
    else:
        trainer.train()
        results = trainer.last_results
    if cfg.DATASETS.TEST:
        _write(cfg, results, trainer.checkpointer.get_checkpoint_file())
    return results


def evaluate(cfg: CfgNode) -> Results:
    """Evaluates MODEL.WEIGHTS on every data set of DATASETS.TEST.

    Returns:
        {data set: {task: {metric: value}}}; empty but on the main process. One table is logged, and
        results and protocol are written to OUTPUT_DIR, see `segplugins.evaluation.results`.

    Raises:
        SystemExit: TEST.EXPECTED_RESULTS are not met, as in detectron2.
    """
    model = Trainer.build_model(cfg)
    load_weights(model, cfg.MODEL.WEIGHTS)
    results = Trainer.test_each(cfg, model)
    _write(cfg, results, cfg.MODEL.WEIGHTS)
    if comm.is_main_process() and cfg.TEST.EXPECTED_RESULTS:
        verify_results(cfg, next(iter(results.values())) if len(results) == 1 else results)
    return results


def _write(cfg: CfgNode, results: Results, weights: str) -> None:
    if comm.is_main_process():
        path = write_results(cfg.OUTPUT_DIR, results, describe_protocol(cfg, weights=weights))
        logger.info("Results and protocol stand in %s", path)
