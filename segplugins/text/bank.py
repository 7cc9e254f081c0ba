"""TextBank: embeddings of names under templates, computed once and kept.

G groups of texts (the synonyms of a class, or one text), P templates, D width of the shared space.
A new bank encodes only the groups that no earlier bank holds. In memory the last few banks and the
last groups are kept; with a folder given every bank is kept there too, as a safetensors file that
is memory-mapped, so that 10,000 names x 80 templates never stand in memory.
"""

import hashlib
import json
import logging
import os
import struct
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, Collection, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from segplugins.structures.vocabulary import PLACEHOLDER

from .cache import RowCache
from .encoder import TextEncoder

logger = logging.getLogger(__name__)

Groups = Sequence[Tuple[str, ...]]

_KEPT = 16  # banks in memory
_KEPT_BYTES = 2**30  # of all of them; the last one is kept whatever its size
_GROUP_BYTES = 256 * 2**20  # of single groups in memory
_PROMPTS = 4096  # encoded between two writes; the unit of progress
_MAPPED_BYTES = 512 * 2**20  # above this a bank without a folder stands in a temporary file
_LOG_SECONDS = 10.0
_TENSOR = "embeddings"
_DIGEST = 16  # hex digits that stand for a list, a group or the templates


class TextBank:
    """Embeds groups of texts under templates and remembers the results.

    Each prompt is L2-normalised; the prompts of one group are averaged within each template and
    normalised again; without `keep_templates` these are averaged over the templates and normalised
    once more. With `each_prompt=False` the raw embeddings are averaged and normalised once.

    Args:
        encoder: the text encoder. Its weights are part of every key, so a changed tower never
            gets another's embeddings.
        folder: where banks are kept between runs, "" = nowhere. Processes may share it.
    """

    def __init__(self, encoder: TextEncoder, folder: str = ""):
        self._encoder = encoder
        self._folder = Path(folder).expanduser() if folder else None
        self._kept: OrderedDict[Tuple[str, torch.device], Tensor] = OrderedDict()
        self._groups = RowCache(_GROUP_BYTES)

    def clear(self) -> None:
        """Forgets what is in memory; files stay, since their names tell the weights apart."""
        self._kept.clear()
        self._groups.clear()

    def get(
        self,
        groups: Groups,
        templates: Sequence[str],
        *,
        keep_templates: bool,
        each_prompt: bool = True,
    ) -> Tensor:
        """Returns the bank, encoding only if no copy is at hand. No gradient.

        Args:
            groups: G tuples of texts.
            templates: P prompts with the placeholder "{}".

        Returns:
            (G, P, D) with `keep_templates`, else (G, D), float32, unit length, on the encoder's
            device; but (G, P, D) of a file, or too large for memory, is memory-mapped on the CPU.
        """
        context = _digest([self._encoder.fingerprint(), templates, keep_templates, each_prompt])
        key = f"{context}-{_digest(groups)}"
        device = self._encoder.device
        kept = (key, device)
        if kept in self._kept:
            self._kept.move_to_end(kept)
            return self._kept[kept]
        options = (templates, keep_templates, each_prompt)
        dim = self._encoder.embed_dim
        shape = (len(groups), len(templates), dim) if keep_templates else (len(groups), dim)
        # What is kept serves later calls of every kind: so neither the half precision nor the
        # inference tensors of the call that happens to come first.
        precise = torch.autocast(device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), precise:
            if self._folder:
                bank = self._filed(key, context, groups, shape, options)
            else:
                bank = _collected(shape, self._from_memory(context, groups, options))
            self._kept[kept] = bank if keep_templates else bank.to(device)
        while len(self._kept) > _KEPT or (
            len(self._kept) > 1 and sum(map(_held_bytes, self._kept.values())) > _KEPT_BYTES
        ):
            self._kept.popitem(last=False)
        return self._kept[kept]

    def _from_memory(self, context: str, groups: Groups, options: Tuple[Any, ...]) -> "Blocks":
        """Yields the groups that are remembered, then encodes and remembers the others."""
        place = (context, self._encoder.device)
        rows = [self._groups.get((place, tuple(group))) for group in groups]
        for index, row in enumerate(rows):
            if row is not None:
                yield [index], row[0][None]
        missing = [index for index, row in enumerate(rows) if row is None]
        for chosen, block in self._blocks([groups[i] for i in missing], *options):
            chosen = [missing[i] for i in chosen]
            for index, row in zip(chosen, block):
                self._groups.put((place, tuple(groups[index])), row)
            yield chosen, block

    def _filed(
        self,
        key: str,
        context: str,
        groups: Groups,
        shape: Tuple[int, ...],
        options: Tuple[Any, ...],
    ) -> Tensor:
        path = self._folder / f"text-{key}.safetensors"
        if path.is_file():
            bank = _read(path, key, shape)
            if bank is not None:
                return bank
        digests = [_digest(group) for group in groups]
        blocks = self._from_files(path, context, groups, digests, options)
        _write(path, key, shape, blocks, digests)
        return _read(path, key, shape)

    def _from_files(
        self,
        path: Path,
        context: str,
        groups: Groups,
        digests: Sequence[str],
        options: Tuple[Any, ...],
    ) -> "Blocks":
        """Yields the groups that other files of the folder hold, then encodes the others."""
        missing = {digest: [] for digest in digests}
        for index, digest in enumerate(digests):
            missing[digest].append(index)
        for other in sorted(self._folder.glob(f"text-{context}-*.safetensors")):
            if other == path or not missing:
                continue
            for digest, row in _groups_of(other, missing.keys()):
                indices = missing.pop(digest, [])
                for index in indices:
                    yield [index], row[None]
        rest = [index for indices in missing.values() for index in indices]
        for chosen, block in self._blocks([groups[i] for i in rest], *options):
            yield [rest[i] for i in chosen], block

    def _blocks(
        self, groups: Groups, templates: Sequence[str], keep_templates: bool, each_prompt: bool
    ) -> "Blocks":
        """Yields indices of some groups, and their embeddings."""
        # In sorted order, so that the last bits of an embedding do not depend on where its group
        # stands: a permuted vocabulary gives exactly permuted embeddings.
        order = sorted(range(len(groups)), key=lambda index: groups[index])
        step = max(1, _PROMPTS // len(templates))
        start = last = time.monotonic()
        for first in range(0, len(order), step):
            chosen = order[first : first + step]
            yield (
                chosen,
                embed_groups(
                    self._encoder,
                    [groups[i] for i in chosen],
                    templates,
                    keep_templates=keep_templates,
                    each_prompt=each_prompt,
                ),
            )
            done, now = first + len(chosen), time.monotonic()
            if now - last > _LOG_SECONDS and done < len(order):
                last, left = now, (now - start) * (len(order) - done) / done
                logger.info("text embeddings: %d of %d names, %.0f s left", done, len(order), left)


Blocks = Iterator[Tuple[List[int], Tensor]]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_DIGEST]


def _held_bytes(bank: Tensor) -> int:
    """Returns the memory that a bank takes; one of a file takes none of its own."""
    return bank.nbytes if bank.nbytes <= _MAPPED_BYTES else 0


def embed_groups(
    encoder: TextEncoder,
    groups: Groups,
    templates: Sequence[str],
    *,
    keep_templates: bool,
    each_prompt: bool,
) -> Tensor:
    """Embeds groups of texts under every template at once, with gradient if the tower has one.

    Returns:
        (G, P, D) with `keep_templates`, else (G, D); see `TextBank` for the averages.
    """
    texts = [text for group in groups for text in group]
    prompts = [template.replace(PLACEHOLDER, text) for text in texts for template in templates]
    embedded = encoder.pooled(prompts).float().reshape(len(texts), len(templates), -1)
    between = _unit if each_prompt else torch.nn.Identity()
    embedded = between(embedded)
    if len(texts) > len(groups):
        sizes = torch.tensor([len(group) for group in groups], device=embedded.device)
        total = embedded.new_zeros(len(groups), *embedded.shape[1:])
        owner = torch.repeat_interleave(sizes)
        # Lengths are brought to 1 below, so that sums serve as well as means.
        embedded = between(total.index_add(0, owner, embedded))
    return _unit(embedded if keep_templates else embedded.mean(dim=1))


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1)


def _collected(shape: Tuple[int, ...], blocks: Blocks) -> Tensor:
    bank: Optional[Tensor] = None
    for chosen, block in blocks:
        if bank is None:
            bank = _mapped(shape) if 4 * np.prod(shape) > _MAPPED_BYTES else block.new_empty(shape)
        bank[torch.tensor(chosen, device=bank.device)] = block.to(bank.device)
    return torch.empty(shape) if bank is None else bank


def _mapped(shape: Tuple[int, ...]) -> Tensor:
    with tempfile.TemporaryFile() as file:  # the mapping outlives the name and the handle
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))


def _write(
    path: Path, key: str, shape: Tuple[int, ...], blocks: Blocks, digests: Sequence[str]
) -> None:
    """Writes block by block beside the target, then renames: readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = 4 * int(np.prod(shape))
    tensor = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, length]}
    metadata = {"key": key, "groups": "".join(digests)}
    header = json.dumps({"__metadata__": metadata, _TENSOR: tensor}).encode()
    header += b" " * (-len(header) % 8)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb+") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + length)
            file.flush()
            bank = np.memmap(file, np.float32, "r+", offset=8 + len(header), shape=shape)
            for chosen, block in blocks:
                bank[chosen] = block.cpu().numpy()
            bank.flush()
            del bank
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    logger.info("text embeddings kept in %s (%.0f MiB)", path, length / 2**20)


def _groups_of(path: Path, wanted: Collection[str]) -> Iterator[Tuple[str, Tensor]]:
    """Yields the wanted groups of a bank's file: their digests and embeddings."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text, shape = metadata.get("groups", ""), file.get_slice(_TENSOR).get_shape()
    except (OSError, SafetensorError):
        return  # it is made again when its own list is asked for
    digests = [text[i : i + _DIGEST] for i in range(0, len(text), _DIGEST)]
    if len(digests) != shape[0] or not set(digests) & set(wanted):
        return
    bank = _read(path, metadata["key"], tuple(shape))
    if bank is not None:
        yield from ((d, row) for d, row in zip(digests, bank) if d in wanted)


def _read(path: Path, key: str, shape: Tuple[int, ...]) -> Optional[Tensor]:
    """Returns the memory-mapped bank; None, with a warning, if it is not what it should be."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                raise ValueError("it belongs to other texts or weights")
            bank = file.get_tensor(_TENSOR)
        if tuple(bank.shape) != shape or bank.dtype != torch.float32:
            raise ValueError(f"it holds {bank.dtype} {tuple(bank.shape)}, expected {shape}")
        lengths = bank[[0, len(bank) // 2, -1]].norm(dim=-1)
        if not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3):
            raise ValueError("its embeddings are not of unit length")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        logger.warning(
            "text embeddings in %s cannot be used (%s); encoding them again", path, error
        )
        return None
    return bank
