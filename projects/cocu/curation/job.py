"""A curation as a job: four stages, each file made once by one of any number of processes.

embeddings/  NAME.jsonl, NAME.npy        stage 1, embed.py; other archives can share it
archive/     vocabulary.txt, concepts.npy, index.faiss
             neighbours/NAME.npy         stage 2, index.py
             index/NUMBER.npz, ranked/NAME.jsonl, concepts/NAME.jsonl   stages 3 and 4
"""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from segplugins.files.jobs import JobFolder
from segplugins.files.vocabularies import parse_vocabulary
from segplugins.files.write import write_text
from segplugins.search import FaissIndex

from .archives import (
    ConceptTable,
    archive_lines,
    clustered,
    concepts_of,
    read_index_concepts,
    read_lines,
    write_index_concepts,
    write_lines,
)
from .embed import embed_shard, embedding_identity, fault_policy, left_out, read_samples, save
from .embedders import Embedder, centred, load_embedder
from .index import IndexFiles, measured_recall, retrieve, rows_of
from .options import ArchiveOptions
from .ranking import rank_archives
from .tables import PROMPT, concept_prototypes, find_concepts, mean_row
from .work import Work, complete, digest, read_manifest

logger = logging.getLogger(__name__)

STAGES = ("embed", "retrieve", "rank", "cluster")
_IMAGES = 1024  # ranked at a time


class Curation:
    """The stages of one archive. Processes that run the same one share its files.

    Args:
        work: what and where.
        options: how.

    Raises:
        OtherJob: a folder was begun with other data, another model or other options.
        ValueError: an option that the embedder cannot follow.
    """

    def __init__(self, work: Work, options: ArchiveOptions):
        self.work, self.options = work, options
        self.names = work.shards.names
        has_text = self._embedder.has_text
        if options.expansion == "lang" and not has_text:
            raise ValueError("expansion 'lang' compares captions; choose a CLIP as --embedder")
        identity = embedding_identity(
            work.shards, self._embedder.fingerprint, options.expansion == "lang"
        )
        self.embeddings = JobFolder(work.embeddings, identity)
        self.folders = [Path(folder) for folder in work.index] or [work.embeddings]
        self.archive = JobFolder(work.out, self._identity(identity))

    @cached_property
    def _embedder(self) -> Embedder:
        return load_embedder(self.work.embedder, self.work.weights, self.work.device)

    def _identity(self, own: Dict[str, Any]) -> Dict[str, Any]:
        options = self.options.identity()
        if self.options.vocabulary:
            names = sorted(parse_vocabulary(self.options.vocabulary).classes)
            options["vocabulary"] = digest(names)
        index = []
        for folder in self.work.index:
            manifest = read_manifest(folder)
            if manifest["embedder"] != own["embedder"]:
                raise ValueError(
                    f"the index '{folder}' was embedded by model {manifest['embedder']}, these "
                    f"images by {own['embedder']}; embed both with one"
                )
            index.append(digest(manifest))
        return {"embeddings": digest(own), "embedder": own["embedder"], "index": index, **options}

    def run(self, stages: Sequence[str] = STAGES) -> None:
        """Does the stages in their order; waits for what other processes are making."""
        for stage in STAGES:
            if stage in stages:
                getattr(self, stage)()

    def files(self, stage: str) -> List[Path]:
        """Returns the files that a stage ends with."""
        if stage == "embed":
            return [self.embeddings.path(f"{name}.npy") for name in self.names]
        folder, ending = {
            "retrieve": ("neighbours", "npy"),
            "rank": ("ranked", "jsonl"),
            "cluster": ("concepts", "jsonl"),
        }[stage]
        return [self.archive.path(f"{folder}/{name}.{ending}") for name in self.names]

    def embed(self) -> None:
        """Stage 1: embeddings and captions of the images."""
        shards = dict(zip((f"{name}.npy" for name in self.names), self.work.shards.shards))

        def make(name: str) -> None:
            embed_shard(
                self.embeddings,
                shards[name],
                self.work.shards,
                self._embedder,
                captions=self.options.expansion == "lang",
                batch=self.work.batch,
                policy=fault_policy(self.work.faults),
            )

        complete(self.embeddings, list(shards), make)
        count = left_out(self.work.embeddings, self.names)
        if count:
            logger.warning("%d samples of %d shards are left out", count, len(self.names))

    @cached_property
    def index(self) -> IndexFiles:
        """The rows that neighbours come from."""
        names = [
            [Path(shard).stem for shard, _ in read_manifest(f)["shards"]] for f in self.folders
        ]
        ending = ".captions.npy" if self.options.expansion == "lang" else ".npy"
        for folder, part in zip(self.folders, names):
            missing = [name for name in part if not (folder / f"{name}{ending}").exists()]
            if missing:
                raise FileNotFoundError(
                    f"the index '{folder}' lacks {missing[0]}{ending}, {len(missing)} files in "
                    "all; run the stage embed for it first"
                )
        files = IndexFiles(self.folders, names, ending)
        if not len(files):
            raise ValueError(f"the index {[str(f) for f in self.folders]} holds no sample")
        return files

    def retrieve(self) -> None:
        """Stage 2: the rows of the index most like each image."""
        names = {f"neighbours/{name}.npy": name for name in self.names}
        if self.options.expansion == "none" or not self.archive.unfinished(list(names)):
            complete(self.archive, list(names), lambda file: self._no_neighbours(names[file]))
            return
        count = self.options.neighbours
        if len(self.index) - self.options.exclude_self < count:
            logger.warning(
                "the index has %d rows, fewer than the %d neighbours asked for; every image gets "
                "as many as there are",
                len(self.index),
                count,
            )
        if self.options.index == "exact":
            searched: Any = self.index.exact()
        else:
            complete(self.archive, ["index.faiss"], self._build_index)
            searched = FaissIndex.open(self.archive.path("index.faiss"))

        def make(file: str) -> None:
            queries = np.load(self.work.embeddings / f"{names[file]}.npy")
            own = self._own_rows(names[file], len(queries))
            save(
                self.archive.path(file),
                retrieve(searched, queries, count, own, self.work.device),
            )

        complete(self.archive, list(names), make)

    def _no_neighbours(self, name: str) -> None:
        rows = len(np.load(self.work.embeddings / f"{name}.npy", mmap_mode="r"))
        save(self.archive.path(f"neighbours/{name}.npy"), np.full((rows, 1), -1, np.int64))

    def _build_index(self, name: str) -> None:
        index = self.index.approximate(self.options.index)
        index.save(self.archive.path(name))
        share = measured_recall(index, self.index, self.options.neighbours)
        logger.info(
            "index %s of %d rows: finds %.1f %% of the %d exact neighbours",
            self.options.index,
            len(self.index),
            100 * share,
            self.options.neighbours,
        )

    def _own_rows(self, name: str, count: int) -> np.ndarray:
        """Returns (n, S) rows of the index that are the image itself or its captions."""
        first = self.index.first_row(self.work.embeddings, name)
        if not self.options.exclude_self or first < 0:
            return np.zeros((count, 0), np.int64)
        if self.options.expansion != "lang":
            return first + np.arange(count)[:, None]
        counts = [len(s["captions"]) for s in read_samples(self.work.embeddings, name)]
        own = np.full((count, max(counts, default=0)), -1)
        for row, start, number in zip(own, np.cumsum(counts) - counts, counts):
            row[:number] = first + start + np.arange(number)
        return own

    @cached_property
    def table(self) -> ConceptTable:
        """The vocabulary, built and embedded by the first process that asks."""
        path, embedder = self.archive.path, self._embedder

        def write_names(name: str) -> None:
            words = find_concepts(self.options, self.index)
            write_text(path(name), "".join(f"{word}\n" for word in words))

        complete(self.archive, ["vocabulary.txt"], write_names)
        names = sorted(path("vocabulary.txt").read_text("utf-8").splitlines())
        centre = None
        if not embedder.has_text:
            complete(
                self.archive, ["centre.npy"], lambda name: save(path(name), mean_row(self.index))
            )
            centre = np.load(path("centre.npy"))

        def write_table(name: str) -> None:
            if embedder.has_text:
                table = embedder.texts([PROMPT.format(word) for word in names])
            else:
                table = concept_prototypes(self.index, names, centre)
            save(path(name), table)

        complete(self.archive, ["concepts.npy"], write_table)
        return ConceptTable(names, np.load(path("concepts.npy")), centre)

    def rank(self) -> None:
        """Stage 3: the concepts of each image's neighbours, by falling score."""
        files = {f"ranked/{name}.jsonl": name for name in self.names}
        if not self.archive.unfinished(list(files)):
            return
        table = self.table
        shards = {f"index/{number}.npz": number for number in range(len(self.index.shards))}
        complete(self.archive, list(shards), lambda file: self._index_shard(file, shards[file]))
        paths = [self.archive.path(file) for file in shards]
        known = read_index_concepts(paths)
        counted = read_index_concepts(paths, "substring_") if self.options.substring else None

        def make(file: str) -> None:
            name = files[file]
            samples = read_samples(self.work.embeddings, name)
            images = centred(np.load(self.work.embeddings / f"{name}.npy"), table.centre)
            neighbours = np.load(self.archive.path(f"neighbours/{name}.npy"))
            own = self.options.add_own or self.options.expansion == "none"
            lines: List[Dict[str, Any]] = []
            for start in range(0, len(samples), _IMAGES):
                part = slice(start, start + _IMAGES)
                groups = [sample["captions"] for sample in samples[part]]
                ranks = rank_archives(
                    images[part],
                    neighbours[part],
                    known,
                    table.embeddings,
                    norm=self.options.norm,
                    ranking=self.options.ranking,
                    own=concepts_of(groups, table.names) if own else None,
                    references=counted,
                )
                lines += archive_lines(samples[part], ranks, table.names, self.options.top)
            if self.options.expansion == "lang":
                self._add_captions(lines, neighbours)
            write_lines(self.archive.path(file), lines)

        complete(self.archive, list(files), make)

    def _index_shard(self, file: str, number: int) -> None:
        samples = read_samples(*self.index.shards[number])
        groups: List[List[str]] = [sample["captions"] for sample in samples]
        if self.options.expansion == "lang":
            groups = [[caption] for group in groups for caption in group]
        images = centred(np.load(self.index.paths[number]), self.table.centre)
        lists = concepts_of(groups, self.table.names)
        path = self.archive.path(file)
        write_index_concepts(path, lists, images, self.table, self.options.substring)

    def _add_captions(self, lines: Sequence[Dict[str, Any]], neighbours: np.ndarray) -> None:
        entries = rows_of(self.index, neighbours.ravel().tolist(), captions=True)
        for line, rows in zip(lines, neighbours.tolist()):
            line["captions"] = [entries[row].text for row in rows if row >= 0]

    def cluster(self) -> None:
        """Stage 4: clusters of the concepts of each image."""
        files = {f"concepts/{name}.jsonl": name for name in self.names}
        if not self.archive.unfinished(list(files)):
            return
        table = self.table

        def make(file: str) -> None:
            lines = read_lines(self.archive.path(f"ranked/{files[file]}.jsonl"))
            lines = clustered(lines, table, self.options.clusters, self.options.seed, files[file])
            write_lines(self.archive.path(file), lines)

        complete(self.archive, list(files), make)

    def summary(self) -> Dict[str, Any]:
        """Returns numbers of the finished archive: images, empty archives, concepts of an image."""
        counts: List[int] = []
        for path in self.files("cluster"):
            counts += [len(line["concepts"]) for line in read_lines(path)]
        return {
            "images": len(counts),
            "left_out": left_out(self.work.embeddings, self.names),
            "without_concepts": counts.count(0),
            "concepts_per_image": round(float(np.mean(counts)), 2) if counts else 0.0,
            "vocabulary": len(self.table.names),
        }
