"""One optimizer step: micro-batches, mixed precision, gradient clip, and none on a bad loss."""

import logging
import math
import random
import time
from contextlib import nullcontext
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from segplugins.engine.sharding import (
    is_sharded,
    own_optimizer_state,
    whole_optimizer_state,
)
from segplugins.structures.memory import is_out_of_memory

logger = logging.getLogger(__name__)

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, precision: Optional[torch.dtype]) -> ContextManager:
    """Returns a context that runs what can be run in `precision`; None = everything as it is."""
    if precision is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


_IDLE_STEPS = 10  # of a start without any loss, after which nothing is to be expected


class NothingLearned(ValueError):
    """The losses are 0 whatever the data."""


class OutOfMemory(ValueError):
    """A step did not fit into the memory of its device."""


class StepTrainer(SimpleTrainer):
    """detectron2's simple trainer with what large models need.

    Args:
        model: records -> {loss name: scalar, already weighted}; bare, wrapped by DDP, or sharded.
        data_loader: endless, gives micro-batches (lists of records).
        optimizer: over the model's parameters.
        accumulate: micro-batches per step. Their losses are averaged, so that a loss that is a mean
            over images is that of the large batch.
        precision: of autocast, or None. With float16 the losses are scaled against underflow.
        clip: changes gradients in place before the step; what it returns is logged as grad_norm.
        seed: of the draws inside the model, by torch, numpy or random. Each micro-batch has its own
            seed made of it, so that a resumed run draws what the uninterrupted one draws. None =
            leave the generators alone.
        max_bad_steps: steps of the whole run that may be left out because a loss or the gradient is
            not finite.
        stop_requested: asked once per step; if any process says yes, `stop_agreed` is true on all.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[List[dict]],
        optimizer: Optimizer,
        *,
        accumulate: int = 1,
        precision: Optional[torch.dtype] = None,
        clip: Optional[Callable[[Iterable[Tensor]], Optional[Tensor]]] = None,
        seed: Optional[int] = None,
        max_bad_steps: int = 0,
        stop_requested: Callable[[], bool] = lambda: False,
    ):
        super().__init__(model, data_loader, optimizer)
        self.max_bad_steps = max_bad_steps
        self.bad_steps = 0
        self.stop_agreed = False
        self._idle_steps: Optional[int] = 0  # from the start on; None once there was a loss
        self._stop_requested = stop_requested
        self.device = next(model.parameters()).device
        self.accumulate = accumulate
        self.precision = precision
        self.clip = clip
        self.seed = seed
        # Off, it hands everything through.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)

    def run_step(self) -> None:
        """Reads the micro-batches of one step and updates the weights.

        Raises:
            FloatingPointError: a loss or the gradient is not finite once more than `max_bad_steps`;
                the weights are those of before the step, and the images are named.
            NothingLearned: all losses of the first ten steps were 0 on all processes.
            OutOfMemory: the step does not fit into memory; the sizes of the batch are named.
        """
        self.optimizer.zero_grad()
        totals: Dict[str, Tensor] = {}
        parts: List[Tuple[List[str], Tensor]] = []
        data_time = 0.0
        for part in range(self.accumulate):
            start = time.perf_counter()
            records = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            with self._gradients_stay_here(part < self.accumulate - 1):
                self._seed_draws(part)
                losses = self._backward(records)
            parts.append(([_name(record) for record in records], sum(losses.values())))
            for name, loss in losses.items():
                totals[name] = totals[name] + loss if name in totals else loss
        self.after_backward()
        self.scaler.unscale_(self.optimizer)
        norm = self.clip(self._parameters()) if self.clip else None
        losses, norm, is_finite = self._on_host(totals, norm)
        if is_finite:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self._leave_out(losses, norm, parts)
        self._write(losses, data_time, norm)
        if self._idle_steps == _IDLE_STEPS:
            self.check_learning(losses)

    def check_learning(self, losses: Iterable[str]) -> None:
        """Raises NothingLearned where no step so far has had a loss.

        Args:
            losses: their names, for the message.
        """
        if self._idle_steps:
            raise NothingLearned(
                f"all losses are 0 ({', '.join(losses)}), so nothing is learned: what "
                "DATASETS.TRAIN gives is not what the losses that are switched on learn from, such "
                "as captions where a model learns from tags and boxes; change the weights of the "
                "losses, INPUT.TARGETS or the data (--dry-run shows the first pictures)"
            )

    def _seed_draws(self, part: int) -> None:
        """Seeds all generators just before the model, since a loader may draw when it starts."""
        if self.seed is not None:
            place = [self.seed, self.iter, part, comm.get_rank()]
            seed = int(np.random.SeedSequence(place).generate_state(1)[0])
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)

    def _backward(self, records: List[dict]) -> Dict[str, Tensor]:
        """Adds the gradients of one micro-batch and returns its share of the losses."""
        try:
            with autocast(self.device, self.precision):
                losses = self.model(records)
            losses = {name: loss / self.accumulate for name, loss in losses.items()}
            self.scaler.scale(sum(losses.values())).backward()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"out of memory on {self.device} at iteration {self.iter} with "
                f"{len(records)} images at once: {', '.join(map(_sizes, records))}. Raise "
                "SOLVER.ACCUMULATE, lower SOLVER.IMS_PER_BATCH or the sizes of INPUT, or switch "
                "SOLVER.AMP.ENABLED on"
            ) from error
        return {name: loss.detach() for name, loss in losses.items()}

    def _gradients_stay_here(self, wait: bool) -> ContextManager:
        """DDP exchanges gradients once per step, not once per micro-batch."""
        if wait and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def _on_host(
        self, totals: Mapping[str, Tensor], norm: Optional[Tensor]
    ) -> Tuple[Dict[str, float], Optional[float], bool]:
        """Brings losses and gradient norm to the host in one transfer, and agrees with all ranks.

        A norm that is not finite is what loss scaling waits for, but without it no step is taken.

        Returns:
            The losses, the norm, and whether all of them are finite on every process.
        """
        values = list(totals.values()) + ([] if norm is None else [norm])
        values = torch.stack([value.float() for value in values])
        watched = values[: len(totals)] if self.scaler.is_enabled() else values
        flags = torch.stack(
            [
                (values[: len(totals)] != 0).sum().float(),
                (~watched.isfinite()).sum().float(),
                values.new_tensor(float(self._stop_requested())),
            ]
        )
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(flags)
        *numbers, losses_anywhere, bad_anywhere, stop_anywhere = torch.cat([values, flags]).tolist()
        if losses_anywhere > 0:
            self._idle_steps = None
        elif self._idle_steps is not None:
            self._idle_steps += 1
        self.stop_agreed = stop_anywhere > 0
        losses = dict(zip(totals, numbers))
        return losses, None if norm is None else numbers[-1], bad_anywhere == 0

    def _leave_out(
        self,
        losses: Mapping[str, float],
        norm: Optional[float],
        parts: Sequence[Tuple[List[str], Tensor]],
    ) -> None:
        """Takes no step; every process comes here, because they have agreed."""
        self.bad_steps += 1
        self.optimizer.zero_grad()
        self.scaler.update()  # it waits for one after unscale_
        here = [name for names, total in parts if not total.isfinite() for name in names]
        if not here and norm is not None and not math.isfinite(norm):
            here = [name for names, _ in parts for name in names]
        images = [name for names in comm.all_gather(here) for name in names]
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        text = (
            f"not finite at iteration {self.iter}: {bad or 'no loss of this process'}; losses "
            f"{dict(losses)}, gradient norm {norm}; images {', '.join(images[:8])}"
            f"{f' and {len(images) - 8} more' if len(images) > 8 else ''}"
        )
        if self.bad_steps > self.max_bad_steps:
            raise FloatingPointError(
                f"{text}. The weights are still those of before this step. A lower SOLVER.BASE_LR "
                "or a gradient clip may help; SOLVER.MAX_BAD_STEPS leaves such steps out"
            )
        logger.warning(
            "%s. This step is left out, %d of at most %d (SOLVER.MAX_BAD_STEPS)",
            text,
            self.bad_steps,
            self.max_bad_steps,
        )

    def _parameters(self) -> List[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _write(self, losses: Dict[str, float], data_time: float, norm: Optional[float]) -> None:
        """Puts the means over the ranks into detectron2's event storage.

        Ranks may have losses of different tasks: each name is averaged where it occurs.
        """
        everywhere = comm.gather({"losses": losses, "data_time": data_time})
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        # The step is over when the slowest rank has its data.
        storage.put_scalar("data_time", max(other["data_time"] for other in everywhere))
        by_name: Dict[str, List[float]] = {}
        for other in everywhere:
            for name, value in other["losses"].items():
                by_name.setdefault(name, []).append(value)
        total = sum(sum(other["losses"].values()) for other in everywhere) / len(everywhere)
        storage.put_scalar("total_loss", total)
        if set(by_name) != {"total_loss"}:
            storage.put_scalars(**{name: sum(v) / len(v) for name, v in by_name.items()})
        if norm is not None:
            storage.put_scalar("grad_norm", norm)

    def state_dict(self) -> Dict[str, Any]:
        """Returns what `load_state_dict` needs to go on as if nothing had happened."""
        own = {"grad_scaler": self.scaler.state_dict(), "seed": self.seed}
        state = {**super().state_dict(), **own, "bad_steps": self.bad_steps}
        if is_sharded(self.model):
            state["optimizer"] = whole_optimizer_state(self.model, self.optimizer)
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Goes on from a state.

        Raises:
            ValueError: the optimizer's groups are not those of the state.
        """
        if is_sharded(self.model):
            own = own_optimizer_state(self.optimizer, state_dict["optimizer"])
            state_dict = {**state_dict, "optimizer": own}
        try:
            super().load_state_dict(state_dict)
        except ValueError as error:
            raise ValueError(
                f"the optimizer of the checkpoint is another one ({error}). Resume with the config "
                "of that run, or start a new run from its weights with MODEL.WEIGHTS"
            ) from error
        if self.scaler.is_enabled() and state_dict["grad_scaler"]:
            self.scaler.load_state_dict(state_dict["grad_scaler"])
        self.seed = state_dict["seed"]
        self.bad_steps = state_dict.get("bad_steps", 0)  # older checkpoints have none


def _name(record: Any) -> str:
    named = record if isinstance(record, Mapping) else {}
    return str(named.get("file_name") or named.get("key") or "an image without a name")


def _sizes(record: Any) -> str:
    """What decides the memory of a record: pixels, targets, texts."""
    if not isinstance(record, Mapping) or "image" not in record:
        return _name(record)
    height, width = record["image"].shape[-2:]
    parts = [f"{width} x {height}"]
    if "instances" in record:
        parts.append(f"{len(record['instances'])} regions")
    if record.get("texts") is not None:
        parts.append(f"{len(record['texts'])} texts")
    return f"{_name(record)} ({', '.join(parts)})"
