"""What a curation works on, and how processes share its files."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, List, Sequence

from segplugins.files.jobs import MANIFEST, JobFolder

from .embed import ShardSet

if TYPE_CHECKING:
    from .job import Curation

_PATIENCE = 0.2  # seconds between looks at the files of other processes


@dataclass(frozen=True)
class Work:
    """What is curated, where, and by which model.

    Args:
        shards: the set whose images get concepts.
        embeddings: folder of their embeddings.
        out: folder of the archive.
        embedder: see `load_embedder`.
        weights: see `load_embedder`.
        index: folders of embeddings that neighbours come from; () = `embeddings` itself.
        device: of embedder and search.
        batch: images embedded at a time.
        faults: "strict" or "skip".
    """

    shards: ShardSet
    embeddings: Path
    out: Path
    embedder: str = "ViT-B-16-quickgelu"
    weights: str = "openai"
    index: Sequence[Path] = ()
    device: str = "cpu"
    batch: int = 64
    faults: str = "strict"


class ArchiveStage:
    """A stage that makes a file of the archive for each shard of images.

    Args:
        curation: of the stage.
    """

    pattern: ClassVar[str]  # of the files; "{}" stands for the name of the shard

    def __init__(self, curation: "Curation"):
        self._curation, self.folder = curation, curation.archive
        self._names = {self.pattern.format(name): name for name in curation.names}
        self.files: List[str] = list(self._names)


def complete(job: JobFolder, names: Sequence[str], make: Callable[[str], None]) -> None:
    """Makes the files that are missing; returns when all stand, whoever made them."""
    missing = job.unfinished(names)
    while missing:
        made = False
        for name in missing:
            with job.claim(name) as is_ours:
                if is_ours:
                    make(name)
                    made = True
        missing = job.unfinished(missing)
        if missing and not made:
            time.sleep(_PATIENCE)


def digest(value: Any) -> str:
    """Returns 16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> Dict[str, Any]:
    """Returns the identity of a folder of embeddings.

    Raises:
        FileNotFoundError: it is none.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"'{folder}' is no folder of embeddings: it has no {MANIFEST}; make it by the stage "
            "embed of tools/curate_concepts.py"
        )
    return json.loads(path.read_text(encoding="utf-8"))
