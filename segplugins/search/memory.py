"""Labelled vectors that vote for the classes of vectors like them.

N rows of the memory, D their width, K classes, k neighbours.
"""

import json
from pathlib import Path
from typing import List, Sequence, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segplugins.files.write import remove_stale_of, replacing, write_json

from .exact import ExactIndex

_FACTS, _ROWS, _LABELS = "memory.json", "rows.npy", "labels.npy"
_KEYS = ("model", "classes", "source", "rows", "width")
_NAMED = 3


class RetrievalMemory:
    """Unit vectors with the class of each, in the order of adding.

    Args:
        width: D.
        classes: K different names, which labels are indices of.
        model: fingerprint of the encoder that gave the vectors; those of another mean nothing here.
        source: what the vectors were taken from, for people.

    Raises:
        ValueError: no class, or one that stands twice.

    Example:
        >>> memory = RetrievalMemory(2, ["sky", "sea"], model="a")
        >>> memory.add(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> memory.votes(torch.tensor([[0.0, 1.0]]), neighbours=1, temperature=0.1)
        tensor([[0., 1.]])
    """

    def __init__(self, width: int, classes: Sequence[str], *, model: str, source: str = ""):
        self.classes, self.model, self.source = tuple(classes), model, source
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"a memory needs different classes, got {list(classes)[:20]}")
        self._index = ExactIndex(width, torch.float16)
        self._labels: List[Tensor] = []

    def __len__(self) -> int:
        return len(self._index)

    @property
    def width(self) -> int:
        """D."""
        return self._index.width

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return torch.cat([torch.zeros(0, dtype=torch.int64), *self._labels])

    def add(self, vectors: Tensor, labels: Tensor) -> None:
        """Appends (n, D) vectors of any length but 0, and the (n,) class indices of them.

        Raises:
            ValueError: another shape, a label outside 0..K-1, or a vector without a direction.
        """
        if labels.shape != vectors.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(
                f"labels of shape {tuple(labels.shape)} and {labels.dtype} for vectors of shape "
                f"{tuple(vectors.shape)}; expected one int64 label for each"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise ValueError(
                f"labels {int(labels.min())}..{int(labels.max())}; the memory has "
                f"{len(self.classes)} classes"
            )
        lengths = torch.linalg.vector_norm(vectors.float(), dim=-1)
        if not bool((lengths > 0).all()):
            raise ValueError(f"vector {int(lengths.argmin())} is zero, which has no direction")
        self._index.add(F.normalize(vectors.float(), dim=-1).cpu())
        self._labels.append(labels.cpu())

    def to(self, device: Union[str, torch.device]) -> "RetrievalMemory":
        """Returns a memory whose rows lie on a device, so that queries there move none."""
        moved = RetrievalMemory(self.width, self.classes, model=self.model, source=self.source)
        moved._index = self._index.to(device)
        moved._labels = [self.labels.to(device)]
        return moved

    def votes(self, visual: Tensor, *, neighbours: int, temperature: float) -> Tensor:
        """Returns (..., K) float32: the weights of the nearest rows, added up by class.

        Row i of the `neighbours` nearest has the weight exp(cosine_i / temperature), divided by the
        sum of all, so that the votes of a vector add up to 1; a memory without rows gives 0.

        Args:
            visual: (..., D), of any length.
            neighbours: k, 1 or more.
            temperature: above 0; a low one lets the nearest decide.

        Raises:
            ValueError: another width.
        """
        if visual.shape[-1] != self.width:
            raise ValueError(
                f"embeddings have {visual.shape[-1]} channels, the memory {self.width}: it was "
                "built by another model"
            )
        queries = F.normalize(visual.float(), dim=-1).reshape(-1, self.width)
        votes = queries.new_zeros(len(queries), len(self.classes))
        if not len(self):
            return votes.reshape(*visual.shape[:-1], -1)
        near = self._index.query(queries, min(neighbours, len(self)))
        weights = (near.scores / temperature).softmax(dim=1)
        labels = self.labels.to(visual.device)[near.rows]
        return votes.scatter_add_(1, labels, weights).reshape(*visual.shape[:-1], -1)

    def save(self, folder: Union[str, Path]) -> None:
        """Writes a folder: vectors and labels as .npy files, and memory.json, which says whose.

        Raises:
            ValueError: a memory without rows.
            FileExistsError: the folder holds a memory.
        """
        folder = Path(folder)
        if (folder / _FACTS).exists():
            raise FileExistsError(f"'{folder}' holds a memory; choose another folder or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_ROWS, _LABELS):
            remove_stale_of(folder / name)
        self._index.save(folder / _ROWS)
        with replacing(folder / _LABELS) as temporary, temporary.open("wb") as file:
            np.save(file, self.labels.cpu().numpy())
        facts = (self.model, list(self.classes), self.source, len(self), self.width)
        write_json(folder / _FACTS, dict(zip(_KEYS, facts)))  # last: it tells that all stand

    @classmethod
    def open(cls, folder: Union[str, Path]) -> "RetrievalMemory":
        """Returns the memory of a folder, its vectors memory-mapped.

        Raises:
            FileNotFoundError: it holds none.
            ValueError: a file is damaged, or belongs to another memory.
        """
        folder = Path(folder)
        facts = _read_facts(folder / _FACTS)
        memory = cls(facts["width"], facts["classes"], model=facts["model"], source=facts["source"])
        memory._index = ExactIndex.open(folder / _ROWS, width=facts["width"])
        try:
            labels = np.load(folder / _LABELS, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{folder / _LABELS}: not a whole .npy file ({error})") from None
        is_whole = labels.shape == (facts["rows"],) and labels.dtype == np.int64
        is_whole = is_whole and len(memory) == len(labels)
        if (
            not is_whole
            or len(labels)
            and not 0 <= labels.min() <= labels.max() < len(memory.classes)
        ):
            raise ValueError(
                f"'{folder}' is no whole memory: {len(memory)} vectors and {labels.dtype} labels "
                f"of shape {labels.shape}, where {_FACTS} says {facts['rows']} rows of "
                f"{len(memory.classes)} classes; build it again"
            )
        memory._labels = [torch.from_numpy(labels)]
        return memory

    def order_of(self, classes: Sequence[str]) -> List[int]:
        """Returns the index in this memory of each name.

        Raises:
            ValueError: the names are not those of the memory, in whatever order.
        """
        places = {name: place for place, name in enumerate(self.classes)}
        other = sorted(set(classes) ^ set(self.classes))
        if other:
            more = f" and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
            raise ValueError(
                f"the memory of {self.source or 'a data set'} has {len(self.classes)} classes, "
                f"{len(classes)} are asked for; not in both: "
                f"{', '.join(map(repr, other[:_NAMED]))}{more}. Build one under these names, or "
                "ask without it (MODEL.MEMORY.WEIGHT 0)"
            )
        return [places[name] for name in classes]


def _read_facts(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path.parent}' is no memory: it has no {path.name}; make one by "
            "tools/build_memory.py"
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        kinds = (str, list, str, int, int)
        whole = all(isinstance(facts[key], kind) for key, kind in zip(_KEYS, kinds))
        whole = whole and all(isinstance(name, str) for name in facts["classes"])
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged: expected the keys {list(_KEYS)}; build it again")
    return facts
