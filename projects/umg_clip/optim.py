"""LAMB and EVA-CLIP's learning-rate schedule, under names that a config can ask for."""

import math

from detectron2.config import CfgNode
from timm.optim import Lamb
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from segplugins.engine.groups import Groups
from segplugins.engine.optim import LR_SCHEDULERS, OPTIMIZERS


def build_lamb(groups: Groups, cfg: CfgNode) -> Optimizer:
    """Returns LAMB over the groups; their gradients are clipped together to a norm of 1 inside."""
    solver = cfg.SOLVER
    return Lamb(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS), eps=solver.EPS)


def warmup_cosine(step: int, *, warmup: int, total: int) -> float:
    """Returns the factor on the learning rate: (step + 1) / warmup, then half a cosine down to 0.

    Args:
        step: from 0.
        warmup: steps that rise; 0 = none.
        total: all steps.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def build_warmup_cosine(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """Returns `warmup_cosine` with SOLVER.WARMUP_ITERS and MAX_ITER, a factor for every group."""
    warmup, total = cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.MAX_ITER
    return LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup=warmup, total=total))


OPTIMIZERS["lamb"] = build_lamb
LR_SCHEDULERS["WarmupFirstStepCosineLR"] = build_warmup_cosine
