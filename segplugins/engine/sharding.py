"""Fully sharded training (torch's FSDP2): of weights, gradients and optimizer state a part each.

Every process holds 1 / W of every tensor. Blocks of the image tower are gathered for their own
time alone, the rest of the model for the whole step. Checkpoints hold whole tensors under the same
names as those of unsharded training, so that either goes on from the other.

W processes.
"""

from itertools import chain
from typing import Any, Dict, FrozenSet, List, Optional

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn
from torch.optim import Optimizer

SHARDINGS = ("none", "full")
# The method of a block that gathers its weights, where the block is not called itself.
RUN = "run"
_SCALARS = "sharded_scalars"
_OLDEST_TORCH = "2.6"


def check_sharding(cfg: CfgNode, model: type) -> None:
    """Raises an error if SOLVER.SHARDING is "full" and something else of the run does not fit.

    Args:
        cfg: reads SOLVER, DATASETS.TEST and the name of the model.
        model: class of MODEL.META_ARCHITECTURE.

    Raises:
        ValueError: what does not fit, in one line.
    """
    solver = cfg.SOLVER
    if solver.SHARDING == "none":
        return
    name = "SOLVER.SHARDING 'full'"
    if torch.__version__ < _OLDEST_TORCH:
        raise ValueError(f"{name} needs torch {_OLDEST_TORCH}, this is {torch.__version__}")
    if not hasattr(model, "sharded_units"):
        raise ValueError(
            f"{name}: {model.__name__} does not say which of its parts are gathered alone "
            "(sharded_units); set SOLVER.SHARDING none"
        )
    if cfg.DATASETS.TEST:
        raise ValueError(
            f"{name} trains without evaluations, DATASETS.TEST is {tuple(cfg.DATASETS.TEST)}; set "
            "DATASETS.TEST () and evaluate the checkpoints with tools/eval.py"
        )
    if solver.EMA.ENABLED:
        raise ValueError(f"{name} keeps no averaged weights; set SOLVER.EMA.ENABLED False")
    if solver.FIND_UNUSED_PARAMETERS:
        raise ValueError(
            f"{name} needs a gradient of every parameter in every step; set "
            "SOLVER.FIND_UNUSED_PARAMETERS False, or SOLVER.SHARDING none"
        )
    if solver.AMP.ENABLED and solver.AMP.DTYPE != "bfloat16":
        raise ValueError(
            f"{name} does not scale losses, SOLVER.AMP.DTYPE is '{solver.AMP.DTYPE}'; set it to "
            "bfloat16"
        )


def shard(model: nn.Module, precision: Optional[torch.dtype] = None) -> None:
    """Replaces every parameter by the part of this process, in place, after all hold rank 0's.

    Build the optimizer afterwards. Scalars become vectors of one number (FSDP2 shards no scalars);
    checkpoints keep them as scalars.

    Args:
        model: has `sharded_units()`: parts that every process runs equally often in a step, each
            through its forward or its method `run`. It stands whole on the device of this process.
        precision: what the units are gathered and computed in; gradients are summed in float32. The
            rest of the model, such as norms and temperature, stays as it is. None = everything.
    """
    from torch.distributed.fsdp import (
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    device = next(model.parameters()).device.type
    mesh = dist.init_device_mesh(device, (comm.get_world_size(),))
    with torch.no_grad():
        for tensor in chain(model.parameters(), model.buffers()):
            dist.broadcast(tensor, src=0)
    scalars = frozenset(name for name, p in model.named_parameters() if p.dim() == 0)
    for name in scalars:
        owner, _, last = name.rpartition(".")
        scalar = model.get_parameter(name)
        vector = nn.Parameter(scalar.detach().reshape(1), requires_grad=scalar.requires_grad)
        setattr(model.get_submodule(owner), last, vector)
    policy = MixedPrecisionPolicy(
        param_dtype=precision, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for unit in model.sharded_units():
        fully_shard(unit, mesh=mesh, mp_policy=policy)
        if hasattr(unit, RUN):
            register_fsdp_forward_method(unit, RUN)
    fully_shard(model, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
    if dist.get_backend() == "gloo":  # which sums, but takes no means
        for module in model.modules():
            if hasattr(module, "set_force_sum_reduction_for_comms"):
                module.set_force_sum_reduction_for_comms(True)
    setattr(model, _SCALARS, scalars)


def is_sharded(model: nn.Module) -> bool:
    """Returns whether `shard` has been here."""
    return hasattr(model, _SCALARS)


def whole_weights(model: nn.Module) -> Dict[str, Tensor]:
    """Returns the state dict with whole tensors, on the CPU; {} but on the main process.

    Every process must call it.
    """
    scalars: FrozenSet[str] = getattr(model, _SCALARS)
    whole = {}
    for name, value in model.state_dict().items():
        tensor = _whole(value)
        if tensor is not None:
            whole[name] = tensor.reshape(()) if name in scalars else tensor
    return whole


def own_weights(model: nn.Module, weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Returns whole tensors by name as the model holds them: the parts of this process.

    Those of unknown names or other shapes stay as they are, for whoever reports them.
    """
    scalars: FrozenSet[str] = getattr(model, _SCALARS)
    own = dict(weights)
    for name, held in model.state_dict().items():
        if name not in weights:
            continue
        value = torch.as_tensor(weights[name])
        value = value.reshape(1) if name in scalars and value.dim() == 0 else value
        own[name] = _part(value, held) if value.shape == held.shape else value
    return own


def whole_optimizer_state(model: nn.Module, optimizer: Optimizer) -> Dict[str, Any]:
    """Returns the optimizer's state dict with whole tensors; without them but on the main process.

    Every process must call it.
    """
    state = optimizer.state_dict()
    scalars = _scalar_numbers(model, optimizer)
    for number, entries in state["state"].items():
        whole = {}
        for key, value in entries.items():
            tensor = _whole(value) if isinstance(value, Tensor) else value
            if isinstance(tensor, Tensor) and number in scalars:
                tensor = tensor.reshape(())
            whole[key] = tensor
        state["state"][number] = whole
    return state


def own_optimizer_state(optimizer: Optimizer, state: Dict[str, Any]) -> Dict[str, Any]:
    """Returns a state dict of whole tensors with the parts of this process in their place."""
    parameters = _numbered(optimizer)
    if set(state["state"]) - set(range(len(parameters))):
        return state  # of other parameters: the optimizer says so
    own = {
        number: {
            key: _part(value.reshape(parameters[number].shape), parameters[number])
            # As in torch, "step" is a number of its own, of no parameter's shape.
            if isinstance(value, Tensor)
            and key != "step"
            and value.numel() == parameters[number].numel()
            else value
            for key, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": own}


def whole_tensor(tensor: Tensor) -> Tensor:
    """Returns a sharded tensor whole, another one as it is; every process must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _numbered(optimizer: Optimizer) -> List[Tensor]:
    """Parameters in the order in which a state dict numbers them."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _scalar_numbers(model: nn.Module, optimizer: Optimizer) -> FrozenSet[int]:
    scalars = {id(model.get_parameter(name)) for name in getattr(model, _SCALARS)}
    return frozenset(i for i, p in enumerate(_numbered(optimizer)) if id(p) in scalars)


def _whole(value: Tensor) -> Optional[Tensor]:
    """The whole tensor on the CPU of the main process, None on the others."""
    tensor = whole_tensor(value)
    return tensor.detach().cpu() if comm.is_main_process() else None


def _part(value: Tensor, held: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds; every process has read all of it."""
    if not hasattr(held, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(held.dtype)
    return distribute_tensor(value, held.device_mesh, held.placements, src_data_rank=None)
