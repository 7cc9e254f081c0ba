"""The four stages of a curation as files: which each makes, of what, and how one is made.

A stage's files are independent of each other, so that any process may make any of them.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Protocol, Sequence

import numpy as np

from segplugins.files.jobs import JobFolder

from .archives import (
    archive_lines,
    clustered,
    concepts_of,
    read_index_concepts,
    read_lines,
    write_index_concepts,
    write_lines,
)
from .embed import embed_shard, fault_policy, read_samples
from .embedders import centred
from .index import rows_of
from .neighbours import RetrieveStage
from .ranking import IndexConcepts, rank_archives
from .work import ArchiveStage, complete

if TYPE_CHECKING:
    from .job import Curation

__all__ = ["STAGES", "Stage"]

_IMAGES = 1024  # ranked at a time


class Stage(Protocol):
    """One stage of a curation.

    Args:
        folder: of its files.
        files: their names.
    """

    folder: JobFolder
    files: List[str]

    def prepare(self) -> None:
        """Makes what all files of the stage need; called where one of them is missing."""

    def make(self, file: str) -> None:
        """Makes one file, which this process has claimed."""


class EmbedStage:
    """Stage 1: embeddings and captions of the images of each shard.

    Args:
        curation: of the stage.
    """

    def __init__(self, curation: "Curation"):
        self._curation, self.folder = curation, curation.embeddings
        shards = curation.work.shards
        self._shards = dict(zip((f"{name}.npy" for name in shards.names), shards.shards))
        self.files = list(self._shards)

    def prepare(self) -> None:
        """Needs nothing."""

    def make(self, file: str) -> None:
        """Embeds one shard."""
        curation = self._curation
        embed_shard(
            self.folder,
            self._shards[file],
            curation.work.shards,
            curation.embedder,
            captions=curation.options.expansion == "lang",
            batch=curation.work.batch,
            policy=fault_policy(curation.work.faults),
        )


class RankStage(ArchiveStage):
    """Stage 3: the concepts of each image's neighbours, by falling score."""

    pattern = "ranked/{}.jsonl"

    @property
    def _index_files(self) -> List[str]:
        return [f"index/{number}.npz" for number in range(len(self._curation.index.shards))]

    def prepare(self) -> None:
        """Finds the concepts of the captions of the index, shard by shard."""
        numbers = {file: number for number, file in enumerate(self._index_files)}
        complete(self.folder, list(numbers), lambda file: self._index_shard(file, numbers[file]))

    def _index_shard(self, file: str, number: int) -> None:
        curation, table = self._curation, self._curation.table
        samples = read_samples(*curation.index.shards[number])
        groups: List[List[str]] = [sample["captions"] for sample in samples]
        if curation.options.expansion == "lang":
            groups = [[caption] for group in groups for caption in group]
        images = centred(np.load(curation.index.paths[number]), table.centre)
        lists = concepts_of(groups, table.names)
        path = self.folder.path(file)
        write_index_concepts(path, lists, images, table, curation.options.substring)

    @cached_property
    def _concepts(self) -> Sequence[Any]:
        """Concepts of the rows of the index, and those that images are counted by."""
        paths: List[Path] = [self.folder.path(file) for file in self._index_files]
        counted: Any = None
        if self._curation.options.substring:
            counted = read_index_concepts(paths, "substring_")
        concepts: IndexConcepts = read_index_concepts(paths)
        return concepts, counted

    def make(self, file: str) -> None:
        """Ranks the concepts of the images of one shard."""
        curation, options = self._curation, self._curation.options
        table, embeddings = curation.table, curation.work.embeddings
        concepts, counted = self._concepts
        samples = read_samples(embeddings, self._names[file])
        images = centred(np.load(embeddings / f"{self._names[file]}.npy"), table.centre)
        neighbours = np.load(self.folder.path(f"neighbours/{self._names[file]}.npy"))
        own = options.add_own or options.expansion == "none"
        lines: List[Dict[str, Any]] = []
        for start in range(0, len(samples), _IMAGES):
            part = slice(start, start + _IMAGES)
            groups = [sample["captions"] for sample in samples[part]]
            ranks = rank_archives(
                images[part],
                neighbours[part],
                concepts,
                table.embeddings,
                norm=options.norm,
                ranking=options.ranking,
                own=concepts_of(groups, table.names) if own else None,
                references=counted,
            )
            lines += archive_lines(samples[part], ranks, table.names, options.top)
        if options.expansion == "lang":
            self._add_captions(lines, neighbours)
        write_lines(self.folder.path(file), lines)

    def _add_captions(self, lines: Sequence[Dict[str, Any]], neighbours: np.ndarray) -> None:
        entries = rows_of(self._curation.index, neighbours.ravel().tolist(), captions=True)
        for line, rows in zip(lines, neighbours.tolist()):
            line["captions"] = [entries[row].text for row in rows if row >= 0]


class ClusterStage(ArchiveStage):
    """Stage 4: clusters of the concepts of each image."""

    pattern = "concepts/{}.jsonl"

    def prepare(self) -> None:
        """Needs nothing but the vocabulary, which stands."""

    def make(self, file: str) -> None:
        """Clusters the concepts of the images of one shard."""
        options, name = self._curation.options, self._names[file]
        lines = read_lines(self.folder.path(f"ranked/{name}.jsonl"))
        table = self._curation.table
        lines = clustered(lines, table, options.clusters, options.seed, name)
        write_lines(self.folder.path(file), lines)


STAGES: Dict[str, Callable[["Curation"], Stage]] = {
    "embed": EmbedStage,
    "retrieve": RetrieveStage,
    "rank": RankStage,
    "cluster": ClusterStage,
}
