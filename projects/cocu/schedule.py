"""GroupViT's learning rate: a linear warm-up, then a cosine counted from the first step."""

import math

from detectron2.config import CfgNode
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

NAME = "GroupViTCosine"


def learning_rate_factor(step: int, *, steps: int, warmup: int, first: float, last: float) -> float:
    """Returns the learning rate of a step as a share of the base rate.

    The first step takes the warm-up's first rate, and so does the second: GroupViT sets the rate
    after a step by the number of that step. The cosine counts the warm-up's steps too, so that the
    rate falls a little where it takes over.

    Args:
        step: from 0.
        steps: of the whole training.
        warmup: steps of the warm-up, of `steps`.
        first: share at the first step.
        last: share that the cosine ends at.
    """
    done = max(step - 1, 0)
    if done < warmup:
        return first + (1.0 - first) * done / warmup
    return last + 0.5 * (1.0 - last) * (1.0 + math.cos(math.pi * min(done / steps, 1.0)))


def build_schedule(cfg: CfgNode, optimizer: Optimizer) -> LambdaLR:
    """Returns the schedule of SOLVER.MAX_ITER, WARMUP_ITERS, WARMUP_FACTOR and BASE_LR_END."""
    solver = cfg.SOLVER
    steps, warmup, first = solver.MAX_ITER, solver.WARMUP_ITERS, solver.WARMUP_FACTOR
    last = solver.BASE_LR_END / solver.BASE_LR

    def factor(step: int) -> float:
        return learning_rate_factor(step, steps=steps, warmup=warmup, first=first, last=last)

    return LambdaLR(optimizer, factor)
