"""Stage 2 of a curation: the rows of the index most like each image, a file per shard."""

import logging
from functools import cached_property

import numpy as np

from segplugins.search import FaissIndex

from .embed import read_samples, save
from .index import Searched, measured_recall, retrieve
from .work import ArchiveStage, complete

logger = logging.getLogger(__name__)

_INDEX = "index.faiss"


class RetrieveStage(ArchiveStage):
    """Stage 2: the neighbours of the images of each shard."""

    pattern = "neighbours/{}.npy"

    @property
    def _has_neighbours(self) -> bool:
        return self._curation.options.expansion != "none"

    def prepare(self) -> None:
        """Builds the index of faiss, if one is asked for."""
        if not self._has_neighbours:
            return
        options, rows = self._curation.options, len(self._curation.index)
        if rows - options.exclude_self < options.neighbours:
            logger.warning(
                "the index has %d rows, fewer than the %d neighbours asked for; every image gets "
                "as many as there are",
                rows,
                options.neighbours,
            )
        if options.index != "exact":
            complete(self.folder, [_INDEX], self._build_index)

    def _build_index(self, name: str) -> None:
        options, files = self._curation.options, self._curation.index
        index = files.approximate(options.index)
        index.save(self.folder.path(name))
        logger.info(
            "index %s of %d rows: finds %.1f %% of the %d exact neighbours",
            options.index,
            len(files),
            100 * measured_recall(index, files, options.neighbours),
            options.neighbours,
        )

    @cached_property
    def _searched(self) -> Searched:
        if self._curation.options.index == "exact":
            return self._curation.index.exact()
        return FaissIndex.open(self.folder.path(_INDEX))

    def make(self, file: str) -> None:
        """Finds the neighbours of the images of one shard; none where captions are their own."""
        curation, name = self._curation, self._names[file]
        queries = np.load(curation.work.embeddings / f"{name}.npy")
        if not self._has_neighbours:
            save(self.folder.path(file), np.full((len(queries), 1), -1, np.int64))
            return
        own, count = self._own_rows(name, len(queries)), curation.options.neighbours
        rows = retrieve(self._searched, queries, count, own, curation.work.device)
        save(self.folder.path(file), rows)

    def _own_rows(self, name: str, count: int) -> np.ndarray:
        """Returns (n, S) rows of the index that are the image itself or its captions."""
        curation = self._curation
        first = curation.index.first_row(curation.work.embeddings, name)
        if not curation.options.exclude_self or first < 0:
            return np.zeros((count, 0), np.int64)
        if curation.options.expansion != "lang":
            return first + np.arange(count)[:, None]
        counts = [len(s["captions"]) for s in read_samples(curation.work.embeddings, name)]
        own = np.full((count, max(counts, default=0)), -1)
        for row, start, number in zip(own, np.cumsum(counts) - counts, counts):
            row[:number] = first + start + np.arange(number)
        return own
