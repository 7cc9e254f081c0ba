"""A curation as a job: four stages, each file made once by one of any number of processes.

embeddings/  NAME.jsonl, NAME.npy        stage 1, embed.py; other archives can share it
archive/     vocabulary.txt, concepts.npy, index.faiss
             neighbours/NAME.npy         stage 2, neighbours.py
             index/NUMBER.npz, ranked/NAME.jsonl, concepts/NAME.jsonl   stages 3 and 4, stages.py
"""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from segplugins.files.jobs import JobFolder
from segplugins.files.vocabularies import parse_vocabulary
from segplugins.files.write import write_text

from .archives import ConceptTable, read_lines
from .embed import embedding_identity, left_out, save
from .embedders import Embedder, load_embedder
from .index import IndexFiles
from .options import ArchiveOptions
from .stages import STAGES, Stage
from .tables import PROMPT, concept_prototypes, find_concepts, mean_row
from .work import Work, complete, digest, read_manifest

logger = logging.getLogger(__name__)


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
        has_text = self.embedder.has_text
        if options.expansion == "lang" and not has_text:
            raise ValueError("expansion 'lang' compares captions; choose a CLIP as --embedder")
        identity = embedding_identity(
            work.shards, self.embedder.fingerprint, options.expansion == "lang"
        )
        self.embeddings = JobFolder(work.embeddings, identity)
        self.folders = [Path(folder) for folder in work.index] or [work.embeddings]
        self.archive = JobFolder(work.out, self._identity(identity))

    @cached_property
    def embedder(self) -> Embedder:
        """The model of the embeddings."""
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

    def run(self, stages: Sequence[str] = tuple(STAGES)) -> None:
        """Does the stages in their order; waits for what other processes are making."""
        for name in STAGES:
            if name in stages:
                stage = self.stage(name)
                if stage.folder.unfinished(stage.files):
                    stage.prepare()
                complete(stage.folder, stage.files, stage.make)
                if name == "embed":
                    self._tell_left_out()

    def _tell_left_out(self) -> None:
        count = left_out(self.work.embeddings, self.names)
        if count:
            logger.warning("%d samples of %d shards are left out", count, len(self.names))

    def stage(self, name: str) -> Stage:
        """Returns a stage, one of `STAGES`."""
        return STAGES[name](self)

    def files(self, stage: str) -> List[Path]:
        """Returns the files that a stage ends with."""
        made = self.stage(stage)
        return [made.folder.path(file) for file in made.files]

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

    @cached_property
    def table(self) -> ConceptTable:
        """The vocabulary, built and embedded by the first process that asks."""
        path, embedder = self.archive.path, self.embedder

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
