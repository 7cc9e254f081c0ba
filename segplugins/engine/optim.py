"""Optimizers, learning-rate schedules and the gradient clip that a config asks for."""

from typing import Callable, Dict, Iterable, Optional

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segplugins.engine.groups import Groups, log_groups, parameter_groups
from segplugins.engine.sharding import whole_tensor


def _adamw(groups: Groups, cfg: CfgNode) -> Optimizer:
    solver = cfg.SOLVER
    # Fused: one pass over each parameter, five times as fast on a CPU.
    return torch.optim.AdamW(
        groups, lr=solver.BASE_LR, betas=solver.BETAS, eps=solver.EPS, fused=True
    )


def _sgd(groups: Groups, cfg: CfgNode) -> Optimizer:
    solver = cfg.SOLVER
    return torch.optim.SGD(
        groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
    )


# Doors for what a single paper needs: it adds its own under a new name when it is imported.
OPTIMIZERS: Dict[str, Callable[[Groups, CfgNode], Optimizer]] = {"adamw": _adamw, "sgd": _sgd}
LR_SCHEDULERS: Dict[str, Callable[[CfgNode, Optimizer], LRScheduler]] = {}


_DETECTRON2_SCHEDULERS = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")


def check_solver(cfg: CfgNode) -> None:
    """Raises ValueError where SOLVER names an optimizer or a schedule that there is not."""
    choices = {
        "OPTIMIZER": sorted(OPTIMIZERS),
        "LR_SCHEDULER_NAME": sorted([*LR_SCHEDULERS, *_DETECTRON2_SCHEDULERS]),
    }
    for key, names in choices.items():
        if cfg.SOLVER[key] not in names:
            raise ValueError(f"SOLVER.{key}: unknown '{cfg.SOLVER[key]}'; known are {names}")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Builds SOLVER.OPTIMIZER over the parameters that need a gradient.

    Raises:
        ValueError: an unknown optimizer, or a rule that fits no parameter.
    """
    check_solver(cfg)
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        lr=solver.BASE_LR,
        lr_multipliers=solver.LR_MULTIPLIERS,
        layer_decay=solver.LAYER_DECAY,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
        weight_decay_1d=solver.WEIGHT_DECAY_1D,
        no_weight_decay=solver.NO_WEIGHT_DECAY,
    )
    prefixes = {prefix for prefix, _ in (*solver.LR_MULTIPLIERS, *solver.LAYER_DECAY)}
    log_groups(model, groups, prefixes.union(cfg.MODEL.FREEZE))
    return OPTIMIZERS[solver.OPTIMIZER](groups, cfg)


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """Builds SOLVER.LR_SCHEDULER_NAME: one of ours, else one of detectron2's."""
    build = LR_SCHEDULERS.get(cfg.SOLVER.LR_SCHEDULER_NAME, build_detectron2_lr_scheduler)
    return build(cfg, optimizer)


def clip_gradients(
    parameters: Iterable[Tensor], *, kind: str, value: float, norm_type: float = 2.0
) -> Optional[Tensor]:
    """Limits gradients in place.

    Args:
        parameters: those with a gradient count.
        kind: "full_model" scales all gradients together to a norm of at most `value`, "norm" those
            of each parameter by itself, "value" cuts every element at -value and value.
        value: the limit.
        norm_type: p of the p-norm.

    Returns:
        The norm of all gradients before, for "full_model", else None.

    Raises:
        ValueError: an unknown kind.
    """
    parameters = [p for p in parameters if p.grad is not None]
    if kind == "full_model":
        return whole_tensor(nn.utils.clip_grad_norm_(parameters, value, norm_type))
    if kind == "value":
        nn.utils.clip_grad_value_(parameters, value)
    elif kind == "norm":
        for parameter in parameters:
            nn.utils.clip_grad_norm_(parameter, value, norm_type)
    else:
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE: unknown '{kind}'; known are full_model, norm, value"
        )
    return None
