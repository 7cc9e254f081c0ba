"""FiniteWeights: a model with NaN or infinity in its weights does not answer."""

from typing import Any, Optional, Tuple

from torch import nn

from segplugins.files.tensors import check_finite


class FiniteWeights:
    """A forward pre-hook that refuses to predict with weights that are not finite.

    Scores of such a model are NaN or all alike, and the best class of every pixel would be class 0.
    Weights are looked at again only when they have changed. Training is left alone: it stops at a
    loss that is not finite.

        self.register_forward_pre_hook(FiniteWeights())
    """

    def __init__(self) -> None:
        self._checked: Optional[Tuple[Tuple[int, int], ...]] = None

    def __call__(self, model: nn.Module, inputs: Any) -> None:
        """Raises ValueError, which names the tensors, where a weight is not finite."""
        if model.training:
            return
        state = tuple((p.data_ptr(), p._version) for p in model.parameters())
        if state != self._checked:
            check_finite(dict(model.named_parameters()), source=type(model).__name__)
            check_finite(dict(model.named_buffers()), source=type(model).__name__)
            self._checked = state
