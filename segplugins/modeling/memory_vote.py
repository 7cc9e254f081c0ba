"""MemoryVote: a memory of labelled embeddings beside the texts, from MODEL.MEMORY.

K classes, D width of the space shared with texts.
"""

from typing import Optional, Sequence

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from segplugins.clip import fingerprint
from segplugins.search import RetrievalMemory


def embedder_fingerprint(encoder: nn.Module) -> str:
    """Returns 16 hex digits that change with any weight of the encoder of the embeddings."""
    return fingerprint(type(encoder).__name__, encoder)


class MemoryVote:
    """Votes of a memory, times a weight, which are added to cosines of texts.

    The memory must be of the encoder's present weights; that is looked at before the first vote
    after a change of them.

    Args:
        memory: of `RetrievalMemory.open`.
        encoder: gives the embeddings that ask.
        weight: factor on votes, which add up to 1 over the classes.
        neighbours: rows that vote.
        temperature: see `RetrievalMemory.votes`.
    """

    def __init__(
        self,
        memory: RetrievalMemory,
        encoder: nn.Module,
        *,
        weight: float,
        neighbours: int,
        temperature: float,
    ):
        self.memory, self.weight = memory, weight
        self._encoder = encoder
        self._neighbours, self._temperature = neighbours, temperature
        self._is_checked = False

    @classmethod
    def from_config(cls, cfg: CfgNode, encoder: nn.Module) -> Optional["MemoryVote"]:
        """Reads MODEL.MEMORY; None where its weight is 0.

        Raises:
            ValueError: a weight without a folder, or a damaged memory.
            FileNotFoundError: the folder holds no memory.
        """
        node = cfg.MODEL.MEMORY
        if not node.WEIGHT:
            return None
        if not node.FOLDER:
            raise ValueError(
                f"MODEL.MEMORY.WEIGHT is {node.WEIGHT}, but MODEL.MEMORY.FOLDER names no memory; "
                "make one by tools/build_memory.py"
            )
        return cls(
            RetrievalMemory.open(node.FOLDER),
            encoder,
            weight=node.WEIGHT,
            neighbours=node.NEIGHBOURS,
            temperature=node.TEMPERATURE,
        )

    def forget_weights(self) -> None:
        """Has the encoder's weights compared again before the next vote."""
        self._is_checked = False

    def __call__(self, visual: Tensor, classes: Sequence[str]) -> Tensor:
        """Returns (..., K) float32, weighted votes of embeddings (..., D) for named classes.

        Raises:
            ValueError: the memory is of other classes or of an encoder with other weights.
        """
        order = self.memory.order_of(classes)
        if not self._is_checked:
            self._check_weights()
            self.memory = self.memory.to(visual.device)
            self._is_checked = True
        votes = self.memory.votes(
            visual, neighbours=self._neighbours, temperature=self._temperature
        )
        return self.weight * votes[..., torch.tensor(order, device=votes.device)]

    def _check_weights(self) -> None:
        own = embedder_fingerprint(self._encoder)
        if own != self.memory.model:
            raise ValueError(
                f"the memory of {self.memory.source or 'a data set'} (MODEL.MEMORY.FOLDER) was "
                f"built by an encoder with the fingerprint {self.memory.model}, that of this model "
                f"is {own}: build it again with this checkpoint (tools/build_memory.py)"
            )
