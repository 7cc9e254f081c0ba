"""Stage 1: the images of image-text shards to unit vectors, and their captions beside them.

Per shard NAME of a set: NAME.jsonl, first a line of what was left out, then a line per sample
({"key", "at", "size", "captions"}), and NAME.npy, (n, D) float16. For the language-driven baseline
also NAME.captions.npy, a row per caption.
"""

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.catalog import dataset_root
from segplugins.data.pairs import Pair, is_pairs, read_pair
from segplugins.data.shards import Entry, FaultySample, index_shard
from segplugins.data.sources.pairs import shard_files
from segplugins.files.faults import STRICT, Fault, FaultError, FaultPolicy, Skip
from segplugins.files.jobs import JobFolder
from segplugins.files.write import remove_stale_of, replacing, write_text

from .embedders import Embedder

logger = logging.getLogger(__name__)


class ShardSet(NamedTuple):
    """The shards of an image-text set.

    Args:
        shards: files, sorted.
        image_root: folder of the images of JSON lines; None = that of the file.
        captions_only: see `PairSource`.
    """

    shards: List[str]
    image_root: Optional[Path]
    captions_only: bool = False

    @property
    def names(self) -> List[str]:
        """Names of the shards' output files, without ending."""
        return [Path(shard).stem for shard in self.shards]


def find_shards(data: Sequence[str], image_root: Optional[str] = None) -> ShardSet:
    """Returns the shards of a registered image-text set, or of glob patterns.

    Args:
        data: the name of one registered set, or patterns of .tar and .jsonl files relative to
            $DETECTRON2_DATASETS.
        image_root: of patterns: folder of the images of JSON lines; None = that of the file.

    Raises:
        FileNotFoundError: no file fits.
        ValueError: a set of another kind, or two shards of one name.
    """
    name = data[0]
    captions_only = False
    if len(data) > 1 or name not in DatasetCatalog.list():
        name = " ".join(data)
        shards = shard_files(data, f"'{name}', which is no registered set")
    elif is_pairs([name]):
        shards = [record["file_name"] for record in DatasetCatalog.get(name)]
        metadata = MetadataCatalog.get(name)
        image_root, captions_only = metadata.pairs_image_root, metadata.captions_only
    else:
        raise ValueError(f"'{name}' is no set of image-text pairs, which curation works on")
    twice = [stem for stem, n in Counter(Path(shard).stem for shard in shards).items() if n > 1]
    if twice:
        raise ValueError(f"two shards of '{name}' are called '{twice[0]}'; curate them one by one")
    root = None if image_root is None else dataset_root() / image_root
    return ShardSet(shards, root, captions_only)


def embedding_identity(shards: ShardSet, fingerprint: str, captions: bool) -> Dict[str, Any]:
    """Returns what decides the files of this stage."""
    sizes = [[Path(shard).name, Path(shard).stat().st_size] for shard in shards.shards]
    return {
        "embedder": fingerprint,
        "captions": captions,
        "captions_only": shards.captions_only,
        "shards": sizes,
    }


def embed_shard(
    job: JobFolder,
    shard: str,
    shards: ShardSet,
    embedder: Embedder,
    *,
    captions: bool = False,
    batch: int = 64,
    policy: FaultPolicy,
) -> None:
    """Writes the files of one shard; NAME.npy last, so that it tells that all are there.

    Args:
        job: claimed for this shard.
        shard: file.
        shards: the set that it belongs to.
        embedder: of the images.
        captions: embed captions too.
        batch: images at a time.
        policy: receives damaged shards, samples that cannot be read, and keys that come twice.
    """
    name = Path(shard).stem
    for ending in ("jsonl", "captions.npy"):
        remove_stale_of(job.path(f"{name}.{ending}"))
    samples: List[Dict[str, Any]] = []
    rows: List[np.ndarray] = [np.zeros((0, embedder.width), np.float16)]
    faults = _Faults(policy)
    for pairs in _batches(shard, shards, batch, faults):
        rows.append(embedder.images([pair.image for _, pair in pairs]))
        samples += [
            {"key": pair.key, "at": entry.offset, "size": entry.size, "captions": pair.captions}
            for entry, pair in pairs
        ]
    lines = [{"left_out": faults.count, "first": faults.first}, *samples]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_text(job.path(f"{name}.jsonl"), text)
    if captions:
        texts = [caption for sample in samples for caption in sample["captions"]]
        table = embedder.texts(texts) if texts else rows[0]
        save(job.path(f"{name}.captions.npy"), table.astype(np.float16))
    save(job.path(f"{name}.npy"), np.concatenate(rows))
    if faults.count:
        logger.warning("%s: %d samples left out: %s", shard, faults.count, faults.first)


class _Faults:
    """Counts the faults that the policy lets pass."""

    def __init__(self, policy: FaultPolicy):
        self.count, self.first, self._policy = 0, "", policy

    def report(self, kind: str, message: str) -> None:
        try:
            self._policy.report(Fault(kind, message))
        except FaultError as error:
            raise FaultError(
                error.fault, "mend it, or leave such samples out with --faults skip"
            ) from None
        self.count, self.first = self.count + 1, self.first or message


def _batches(
    shard: str, shards: ShardSet, batch: int, faults: _Faults
) -> Iterator[List[Tuple[Entry, Pair]]]:
    """Yields samples that can be used; the next ones are read while these are embedded."""
    entries, damage = index_shard(shard)
    if damage is not None:
        faults.report("shard", damage)
    keys: set = set()
    parts = [entries[start : start + batch] for start in range(0, len(entries), batch)]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(_read, part, shards) for part in parts[:1]]
        for number in range(len(parts)):
            waiting += [pool.submit(_read, part, shards) for part in parts[number + 1 :][:1]]
            pairs = []
            for entry, pair in waiting.pop(0).result():
                if isinstance(pair, FaultySample):
                    faults.report("sample", str(pair))
                elif pair.key in keys:
                    faults.report("key", f"{shard} holds two samples with the key '{pair.key}'")
                else:
                    keys.add(pair.key)
                    pairs.append((entry, pair))
            if pairs:
                yield pairs


def _read(entries: Sequence[Entry], shards: ShardSet) -> List[Tuple[Entry, Any]]:
    pairs: List[Tuple[Entry, Any]] = []
    for entry in entries:
        try:
            only = shards.captions_only
            pairs.append((entry, read_pair(entry, shards.image_root, captions_only=only)))
        except FaultySample as fault:
            pairs.append((entry, fault))
    return pairs


def save(path: Path, array: np.ndarray) -> None:
    """Writes an array, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def read_samples(folder: Path, name: str) -> List[Dict[str, Any]]:
    """Returns the samples of a shard, in the order of the rows of its embeddings."""
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        next(lines)
        return [json.loads(line) for line in lines]


def left_out(folder: Path, names: Sequence[str]) -> int:
    """Returns how many samples of the shards could not be used."""
    total = 0
    for name in names:
        with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
            total += json.loads(next(lines))["left_out"]
    return total


def fault_policy(name: str) -> FaultPolicy:
    """Returns the policy "strict" or "skip"."""
    return STRICT if name == "strict" else Skip()
