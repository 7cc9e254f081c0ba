"""Which parameters are trained, how fast, and with how much weight decay: rules by name prefix."""

import logging
import re
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from detectron2.solver.build import get_default_optimizer_params, reduce_param_groups
from torch import nn

logger = logging.getLogger(__name__)

Groups = List[Dict[str, Any]]
Factors = Sequence[Tuple[str, float]]

# What stands in front of the first block of a transformer, and how its blocks are called.
_EMBEDDINGS = {
    "patch_embed",
    "pos_embed",
    "cls_token",
    "conv1",
    "class_embedding",
    "positional_embedding",
    "token_embedding",
}
_BLOCK = re.compile(r"(?:^|\.)(?:blocks|resblocks|layers)\.(\d+)\.")


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Takes the parameters whose names start with one of the prefixes out of training.

    Only gradients stop: dropout and running statistics follow train() as everywhere.

    Raises:
        ValueError: a prefix that fits no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    _check_prefixes(prefixes, names, setting="MODEL.FREEZE")
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(prefixes)):
            parameter.requires_grad_(False)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    lr_multipliers: Factors = (),
    layer_decay: Factors = (),
    bias_lr_factor: float = 1.0,
    weight_decay_bias: Optional[float] = None,
    weight_decay_norm: float = 0.0,
    weight_decay_embed: float = 0.0,
    weight_decay_1d: Optional[float] = None,
    no_weight_decay: Sequence[str] = (),
) -> Groups:
    """Sorts the trainable parameters by learning rate and weight decay.

    Of the rules for weight decay the later one wins: all, torch's norm modules, biases, 1-D,
    nn.Embedding, no_weight_decay. A class of another library that only behaves like a norm is none.

    Args:
        model: its parameter names are what the prefixes are compared with.
        lr: learning rate where no factor applies.
        weight_decay: of everything without a rule of its own.
        lr_multipliers: (prefix of names, factor on lr); the longest prefix that fits decides.
        layer_decay: (prefix, decay): see `layer_factors`. Multiplied with the above.
        bias_lr_factor: factor on lr of parameters called "bias".
        weight_decay_norm, weight_decay_embed: of norm modules and of nn.Embedding.
        weight_decay_bias, weight_decay_1d: None = no rule of their own.
        no_weight_decay: last parts of names that get none, such as "logit_scale".

    Returns:
        Groups for an optimizer: {"params": [...], "lr": ..., "weight_decay": ...}, as few as there
        are different values.

    Raises:
        ValueError: a prefix that fits no parameter or stands twice, a name that no trained
            parameter has, or nothing to train.
    """
    names = [name for name, _ in model.named_parameters()]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("no parameter is left to train; see MODEL.FREEZE")
    factors = _prefix_factors(names, lr_multipliers)
    _check_once([prefix for prefix, _ in layer_decay], setting="SOLVER.LAYER_DECAY")
    for prefix, decay in layer_decay:
        for name, factor in layer_factors(names, prefix, decay).items():
            factors[name] *= factor
    groups = get_default_optimizer_params(
        model,
        base_lr=lr,
        weight_decay=weight_decay,
        weight_decay_norm=weight_decay_norm,
        bias_lr_factor=bias_lr_factor,
        weight_decay_bias=weight_decay_bias,
        # A parameter of the model itself comes here as ".name".
        lr_factor_func=lambda name: factors[name.removeprefix(".")],
    )
    if weight_decay_1d is not None:
        groups.append(_decay([p for p in trained.values() if p.dim() <= 1], weight_decay_1d))
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    groups.append(_decay([p for p in trained.values() if id(p) in tables], weight_decay_embed))
    for last in no_weight_decay:
        named = [p for name, p in trained.items() if name.rpartition(".")[2] == last]
        if not named:
            raise ValueError(f"SOLVER.NO_WEIGHT_DECAY: no trained parameter is called '{last}'")
        groups.append(_decay(named, 0.0))
    return reduce_param_groups(groups)


def layer_factors(names: Sequence[str], prefix: str, decay: float) -> Dict[str, float]:
    """Learning-rate factors that fall towards the input of a transformer (layer-wise decay).

        factor = decay^(L + 1 - layer)

    Layer 0 is what stands in front of the blocks (patches, tokens, positions), layer i + 1 is block
    i of L, layer L + 1 all the rest: norms and heads. Blocks are "blocks.i.", "resblocks.i." or
    "layers.i.", whichever comes first in the name below the prefix.

    Returns:
        Name to factor, for the names below the prefix.

    Raises:
        ValueError: there is no block below the prefix.
    """
    below = {name: name[len(prefix) :] for name in names if name.startswith(prefix)}
    blocks = {name: _BLOCK.search(rest) for name, rest in below.items()}
    depth = 1 + max((int(found[1]) for found in blocks.values() if found), default=-1)
    if depth == 0:
        raise ValueError(
            f"SOLVER.LAYER_DECAY: no parameter below '{prefix}' belongs to a block "
            f"(blocks.i., resblocks.i., layers.i.); there {_some(names)}"
        )
    layers = {}
    for name, rest in below.items():
        if blocks[name]:
            layers[name] = int(blocks[name][1]) + 1
        else:
            layers[name] = 0 if _EMBEDDINGS & set(rest.split(".")) else depth + 1
    return {name: decay ** (depth + 1 - layer) for name, layer in layers.items()}


def _decay(parameters: List[nn.Parameter], weight_decay: float) -> Dict[str, Any]:
    return {"params": parameters, "weight_decay": weight_decay}


def _prefix_factors(names: Sequence[str], multipliers: Factors) -> Dict[str, float]:
    factors = {str(prefix): float(factor) for prefix, factor in multipliers}
    _check_prefixes([prefix for prefix, _ in multipliers], names, setting="SOLVER.LR_MULTIPLIERS")
    owners = _owners(names, factors)
    return {name: factors.get(owners[name], 1.0) for name in names}


def _owners(names: Sequence[str], prefixes: Iterable[str]) -> Dict[str, str]:
    """Each name's longest prefix; "" where none fits."""
    by_length = sorted(prefixes, key=len, reverse=True)
    return {name: next((p for p in by_length if name.startswith(p)), "") for name in names}


def _check_prefixes(prefixes: Sequence[str], names: Sequence[str], *, setting: str) -> None:
    _check_once(prefixes, setting=setting)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(
                f"{setting}: no parameter starts with '{prefix}'; there {_some(names)}"
            )


def _check_once(prefixes: Sequence[str], *, setting: str) -> None:
    for prefix in prefixes:
        if list(prefixes).count(prefix) > 1:
            raise ValueError(f"{setting}: the prefix '{prefix}' stands twice")


def _some(names: Sequence[str]) -> str:
    tops = sorted({name.partition(".")[0] for name in names})
    return f"are {', '.join(tops[:8])}{' ...' if len(tops) > 8 else ''}"


def log_groups(model: nn.Module, groups: Groups, prefixes: Iterable[str]) -> None:
    """Logs one line per prefix: how many parameters, learning rates, weight decays, or frozen."""
    group_of = {id(p): group for group in groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    lines: Dict[Tuple[str, bool], List[str]] = {}
    for name, owner in _owners(list(parameters), prefixes).items():
        lines.setdefault((owner, id(parameters[name]) in group_of), []).append(name)
    for (owner, trained), names in sorted(lines.items()):
        millions = sum(parameters[name].numel() for name in names) / 1e6
        what = "frozen"
        if trained:
            own = [group_of[id(parameters[name])] for name in names]
            what = f"lr {_span(own, 'lr')}, weight decay {_span(own, 'weight_decay')}"
        logger.info("parameters %s: %d (%.2f M), %s", owner or "(rest)", len(names), millions, what)


def _span(groups: Groups, key: str) -> str:
    values = sorted({group[key] for group in groups})
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
