"""A config tried before it runs for days: all checks, one step, one batch of evaluation."""

import resource
import time
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn

from segplugins.engine.mapped_pictures import draw_record, title_of
from segplugins.engine.output_folder import check_writable
from segplugins.engine.preflight import (
    check_disk,
    check_evaluation,
    check_names,
    check_training_data,
)
from segplugins.engine.trainer import Trainer
from segplugins.pictures import save_picture, sheet

_STEPS = 3  # the first one warms up; the others are timed
_PICTURES = 8
_UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))  # in seconds, the largest first


def dry_run(cfg: CfgNode) -> Iterator[str]:
    """Tries a config on this process, and yields what a user wants to know of it, line by line.

    Nothing is trained: weights change in memory alone, and OUTPUT_DIR gets only dry_run.png, the
    first pictures as the model gets them.

    Args:
        cfg: frozen, of `setup_cfg`.

    Yields:
        Lines about data, model, parameter groups, the step, memory and evaluation.

    Raises:
        KeyError, ValueError, OSError: what a run would be refused for.
    """
    check_names(cfg, training=True)
    folder = Path(cfg.OUTPUT_DIR)
    check_writable(folder)
    check_training_data(cfg)
    check_evaluation(cfg)
    trainer = Trainer(cfg)
    model = trainer.checkpointer.model
    averaged = cfg.SOLVER.EMA.ENABLED
    check_disk(cfg.OUTPUT_DIR, model, trainer.optimizer, averaged=averaged)
    trainer.resume_or_load(resume=False)
    records = next(iter(trainer.data_loader))
    yield f"training data  {', '.join(cfg.DATASETS.TRAIN)}; the first micro-batch:"
    yield from (f"  {title_of(record)}" for record in records[:_PICTURES])
    path = folder / "dry_run.png"
    shown = records[:_PICTURES]
    pictures, titles = map(draw_record, shown), map(title_of, shown)
    save_picture(path, sheet(list(pictures), columns=2, titles=list(titles)))
    yield f"pictures       {path}, as the model gets them"
    yield from _model_lines(model, trainer.optimizer.param_groups)
    yield from _step_lines(trainer)
    yield from _evaluation_lines(cfg, model)
    yield "nothing was trained or saved; leave --dry-run out to start"


def _model_lines(model: nn.Module, groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    numbers = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for group in groups for p in group["params"])
    device = next(model.parameters()).device
    yield (
        f"model          {type(model).__name__}, {numbers / 1e6:.2f} M parameters, "
        f"{trained / 1e6:.2f} M of them trained, on {device}"
    )
    for group in groups:
        size = sum(p.numel() for p in group["params"])
        yield (
            f"  group        {len(group['params'])} tensors, {size / 1e6:.2f} M, lr "
            f"{group.get('initial_lr', group['lr']):g}, weight decay {group['weight_decay']:g}"
        )


def _step_lines(trainer: Trainer) -> Iterator[str]:
    model, step = trainer.model, trainer._trainer
    model.train()
    seconds: List[float] = []
    losses = {}
    for step.iter in range(_STEPS):
        start = time.perf_counter()
        with EventStorage(step.iter) as storage:
            step.run_step()
            _wait(step.device)
            losses = {name: value for name, (value, _) in storage.latest().items()}
        seconds.append(time.perf_counter() - start)
    step.check_learning([name for name in losses if name.startswith("loss")])
    parts = [f"{name} {value:.4g}" for name, value in losses.items() if "loss" in name]
    yield f"losses         {', '.join(parts)}"
    usual, steps = min(seconds[1:]), trainer.max_iter
    yield (
        f"time           {usual:.3g} s per step ({seconds[0]:.3g} s the first); "
        f"{steps} steps take {duration(usual * steps)} without evaluations"
    )
    yield f"memory         {_memory(step.device)}"


def _evaluation_lines(cfg: CfgNode, model: nn.Module) -> Iterator[str]:
    model.eval()
    for name in cfg.DATASETS.TEST:
        loader = Trainer.build_test_loader(cfg, name)
        evaluator = Trainer.build_evaluator(cfg, name)
        evaluator.reset()
        records = next(iter(loader))
        start = time.perf_counter()
        with torch.no_grad():
            outputs = model(records)
        evaluator.process(records, outputs)
        took = time.perf_counter() - start
        answers = sorted({key for output in outputs for key in output})
        yield (
            f"evaluation     {name}: {len(loader.dataset)} records, the first batch of "
            f"{len(records)} in {took:.2f} s, answered with {', '.join(answers)}"
        )


def duration(seconds: float) -> str:
    """Returns a time in the unit that a person would choose: "45 s", "12 min", "5.2 h", "3.1 days".

    The unit is the largest of which there are two. Two digits are shown below ten of it.
    """
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1.0, "s"))
    number = seconds / size
    return f"{number:.2g} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> str:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    text = f"{host:.2f} GiB of the host at most"
    if device.type == "cuda":
        text = f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of {device}, {text}"
    return text
