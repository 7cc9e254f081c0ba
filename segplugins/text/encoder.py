"""TextEncoder: strings to features of CLIP's text tower.

T texts, L tokens of the longest, D width of the shared space, W width of the tower.
"""

import logging
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from segplugins.clip import ClipTowers, fingerprint

from .packing import Packed, pack

logger = logging.getLogger(__name__)

# Nodes of a packed row: enough that the shared beginnings stand in it once for many texts, few
# enough that attention, whose cost grows with the square, stays small beside the linear layers.
_ROW = 128
_WARNINGS = 10


@dataclass
class TextFeatures:
    """What a text tower says of T texts.

    Args:
        pooled: (T, D), projected, NOT normalised: who compares, normalises.
        tokens: (T, L, W), after the last norm, before the projection: what cross-attention reads.
            Zero where there is no token.
        is_token: (T, L) bool, False after the end token, by position and not by id.
    """

    pooled: Tensor
    tokens: Tensor
    is_token: Tensor


class TextEncoder(nn.Module):
    """Encodes each distinct text once, cut to its own length, in chunks of bounded memory.

    The result of a set of texts does not depend on their order. Parameters are named "text.*".

    Args:
        towers: from `load_clip`; only its text tower is kept.
        batch: texts encoded at a time.
        context_length: longest text in tokens, start and end token included; None = the tower's.
    """

    def __init__(
        self, towers: ClipTowers, *, batch: int = 256, context_length: Optional[int] = None
    ):
        super().__init__()
        most = towers.context_length
        context_length = most if context_length is None else context_length
        if not 2 <= context_length <= most:
            raise ValueError(
                f"context_length must lie in 2..{most} for '{towers.name}', got {context_length}"
            )
        if batch < 1:
            raise ValueError(f"batch must be at least 1 text, got {batch}")
        self.text = towers.text
        self.name = towers.name
        self.embed_dim = towers.embed_dim
        self.batch = batch
        self.context_length = context_length
        self._encode = towers.encode
        self._warned = 0
        self._fingerprint: Tuple[object, str] = (None, "")

    @property
    def device(self) -> torch.device:
        """Where the tower stands, and with it every result."""
        return self.text.positional_embedding.device

    def forward(self, texts: Sequence[str]) -> TextFeatures:
        """Encodes texts.

        Args:
            texts: T strings. One longer than the context loses its end but keeps the end token;
                a warning says so.

        Raises:
            ValueError: a single string instead of a list.
        """
        order, distinct = self._distinct(texts)
        pooled, tokens = [], []
        longest = max(map(len, distinct), default=0)
        for hidden, packed in self._walk(distinct):
            pooled.append(self.text.project(_last(hidden, packed)))
            tokens.append(_unpacked(hidden, packed, longest))
        lengths = torch.tensor([len(ids) for ids in distinct], dtype=torch.long)
        is_token = torch.arange(longest) < lengths[:, None]
        return TextFeatures(
            pooled=self._in_order(pooled, order, self.embed_dim),
            tokens=self._in_order(tokens, order, longest, self.text.width),
            is_token=self._in_order([is_token.to(order.device)], order, longest).bool(),
        )

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Returns (T, D), `TextFeatures.pooled` without the memory for the tokens."""
        order, distinct = self._distinct(texts)
        parts = [self.text.project(_last(*part)) for part in self._walk(distinct)]
        return self._in_order(parts, order, self.embed_dim)

    def fingerprint(self) -> str:
        """Returns 16 hex digits that change with the tower's name, weights and context."""
        state = tuple((p.data_ptr(), p._version) for p in self.parameters())
        if self._fingerprint[0] != state:
            name = f"{self.name}/{self.context_length}"
            self._fingerprint = (state, fingerprint(name, self.text))
        return self._fingerprint[1]

    def _distinct(self, texts: Sequence[str]) -> Tuple[Tensor, List[Tuple[int, ...]]]:
        """Returns (T,) int64 index into the second; distinct token ids, sorted."""
        if isinstance(texts, str):
            raise ValueError(f"expected a list of texts, got the single text {texts!r}")
        ids = [self._encode(text) for text in texts]
        self._warn_of_long(texts, ids)
        cut = self.context_length - 1
        ids = [row if len(row) <= cut + 1 else row[:cut] + row[-1:] for row in ids]
        # Sorted, so that neighbours share their beginning and the chunks, and with them the last
        # bits of the result, do not depend on the order of the texts.
        distinct = sorted(set(ids))
        place: Dict[Tuple[int, ...], int] = {row: index for index, row in enumerate(distinct)}
        order = torch.tensor([place[row] for row in ids], dtype=torch.long)
        return order.to(self.device), distinct

    def _walk(self, distinct: Sequence[Tuple[int, ...]]) -> Iterator[Tuple[Tensor, Packed]]:
        """Yields (B, S, W) states and where each text lies in them, chunk by chunk."""
        for start in range(0, len(distinct), self.batch):
            packed = pack(distinct[start : start + self.batch], _ROW)
            packed = Packed(
                *(part.to(self.device, non_blocking=True) for part in vars(packed).values())
            )
            yield self.text.walk(packed.tokens, packed.positions, packed.reach), packed

    def _in_order(self, parts: List[Tensor], order: Tensor, *shape: int) -> Tensor:
        if not len(order):
            return self.text.positional_embedding.new_zeros(0, *shape)
        return torch.cat(parts).index_select(0, order)

    def _warn_of_long(self, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
        long = [(text, len(row)) for text, row in zip(texts, ids) if len(row) > self.context_length]
        if not long or self._warned >= _WARNINGS:
            return
        self._warned += 1
        text, length = max(long, key=lambda pair: pair[1])
        logger.warning(
            "%d of %d texts are longer than %d tokens and lose what stands after; the end token is "
            "kept. The longest has %d: %.120r%s",
            len(long),
            len(texts),
            self.context_length,
            length,
            text,
            "" if self._warned < _WARNINGS else " (this is not said again)",
        )


def _last(hidden: Tensor, packed: Packed) -> Tensor:
    """Returns (T, W), the state of each text's end token."""
    end = (packed.node >= 0).sum(dim=1) - 1
    return hidden[packed.row, packed.node.gather(1, end[:, None])[:, 0]]


def _unpacked(hidden: Tensor, packed: Packed, length: int) -> Tensor:
    """Returns (T, length, W), zero after the end."""
    states = hidden[packed.row[:, None], packed.node.clamp_min(0)]
    states = states * (packed.node >= 0)[..., None]
    return nn.functional.pad(states, (0, 0, 0, length - states.shape[1]))
