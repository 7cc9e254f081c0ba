"""Exponential moving average of the trained weights."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Keeps w_ema <- decay * w_ema + (1 - decay) * w; the first update sets w_ema = w.

    Only trained parameters are averaged: torch's AveragedModel copies the whole model, and most of
    ours carry a frozen text tower. Buffers are those of the model.

    Args:
        model: bare or wrapped by DDP.
        decay: 0 to 1; about 1 / (1 - decay) steps are remembered.

    Raises:
        ValueError: decay is outside 0 to 1.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay <= 1:
            raise ValueError(f"SOLVER.EMA.DECAY must be between 0 and 1, got {decay}")
        model = getattr(model, "module", model)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names: List[str] = list(trained)
        self._weights: List[nn.Parameter] = list(trained.values())
        self._averages: List[Tensor] = []
        self._update = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights in as they are now, after a step."""
        if self._averages:
            self._update(self._averages, [w.detach() for w in self._weights], None)
        else:
            self._averages = [w.detach().clone() for w in self._weights]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model holds the averages, if there are any yet."""
        if not self._averages:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._averages):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> Dict[str, Any]:
        """Returns {"weights": parameter name to average}; no weights before the first update."""
        return {"weights": dict(zip(self._names, self._averages))}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continues from a state; an empty one starts anew.

        Raises:
            KeyError: other parameters were averaged than are trained now.
        """
        weights = state["weights"]
        if weights and set(weights) != set(self._names):
            differing = sorted(set(weights) ^ set(self._names))
            raise KeyError(
                f"the averaged weights of the checkpoint are of other parameters, such as "
                f"'{differing[0]}'; MODEL.FREEZE must be as it was"
            )
        self._averages = [
            weights[name].to(w.device, copy=True)
            for name, w in zip(self._names, self._weights)
            if weights
        ]
