"""TextBank: embeddings of names under templates, computed once and kept.

G groups of texts (the synonyms of a class, or one text), P templates, D width of the shared space.
In memory the last few banks are kept; with a folder given every bank is kept there too, as a
safetensors file that is memory-mapped, so that 10,000 names x 80 templates never stand in memory.
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
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from segplugins.structures.vocabulary import PLACEHOLDER

from .encoder import TextEncoder

logger = logging.getLogger(__name__)

Groups = Sequence[Tuple[str, ...]]

_KEPT = 16  # banks in memory
_PROMPTS = 4096  # encoded between two writes; the unit of progress
_MAPPED_BYTES = 512 * 2**20  # above this a bank without a folder stands in a temporary file
_LOG_SECONDS = 10.0
_TENSOR = "embeddings"


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

    def clear(self) -> None:
        """Forgets what is in memory; files stay, since their names tell the weights apart."""
        self._kept.clear()

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
        content = [self._encoder.fingerprint(), groups, templates, keep_templates, each_prompt]
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
        device = self._encoder.device
        kept = (key, device)
        if kept in self._kept:
            self._kept.move_to_end(kept)
            return self._kept[kept]
        blocks = self._blocks(groups, templates, keep_templates, each_prompt)
        dim = self._encoder.embed_dim
        shape = (len(groups), len(templates), dim) if keep_templates else (len(groups), dim)
        # What is kept serves later calls of every kind: so neither the half precision nor the
        # inference tensors of the call that happens to come first.
        precise = torch.autocast(device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), precise:
            bank = self._filed(key, shape, blocks) if self._folder else _collected(shape, blocks)
            self._kept[kept] = bank if keep_templates else bank.to(device)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[kept]

    def _filed(self, key: str, shape: Tuple[int, ...], blocks: "Blocks") -> Tensor:
        path = self._folder / f"text-{key}.safetensors"
        if path.is_file():
            bank = _read(path, key, shape)
            if bank is not None:
                return bank
        _write(path, key, shape, blocks)
        return _read(path, key, shape)

    def _blocks(
        self, groups: Groups, templates: Sequence[str], keep_templates: bool, each_prompt: bool
    ) -> "Blocks":
        """Yields: indices of some groups, and their embeddings."""
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
        embedded = between(total.index_add(0, owner, embedded) / sizes[:, None, None])
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


def _write(path: Path, key: str, shape: Tuple[int, ...], blocks: Blocks) -> None:
    """Writes block by block beside the target, then renames: readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = 4 * int(np.prod(shape))
    tensor = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, length]}
    header = json.dumps({"__metadata__": {"key": key}, _TENSOR: tensor}).encode()
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


def _read(path: Path, key: str, shape: Tuple[int, ...]) -> Optional[Tensor]:
    """Returns: the memory-mapped bank; None, with a warning, if it is not what it should be."""
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
