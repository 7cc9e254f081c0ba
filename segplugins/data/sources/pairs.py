"""Sources of image-text pairs."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Dict, List, Optional, Sequence

from segplugins.data.catalog import ROOT_VARIABLE, check_count, dataset_root
from segplugins.data.shards import ENDINGS, sample_folders
from segplugins.data.sources import values
from segplugins.data.sources.description import Source, key
from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Task

KIND = "pairs"


@dataclass(frozen=True, kw_only=True, eq=False)
class PairSource(Source):
    """Image-text shards, which models of captions and regions are trained on.

    Args:
        shards: paths or glob patterns relative to $DETECTRON2_DATASETS: .tar, .jsonl, .csv, .tsv
            files, or folders.
        image_root: folder of the images of lines and lists, likewise relative; None = that of the
            file.
        captions_only: captions alone are read; what .json files and lines say besides is left
            aside.
    """

    task: ClassVar[Optional[Task]] = None

    shards: Sequence[str] = key("shards", values.patterns, is_path=True)
    image_root: Optional[str] = key("images", values.path, default=None, is_path=True)
    captions_only: bool = key("captions_only", values.boolean, default=False)

    def check_paths(self) -> None:
        """Raises FileNotFoundError where no file fits, or the folder of images is not there."""
        shard_files(self.shards, f"data set '{self.name}'", self.prepare)
        if self.image_root and not (dataset_root() / self.image_root).is_dir():
            raise FileNotFoundError(
                f"data set '{self.name}': no folder {dataset_root() / self.image_root}"
            )

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per shard; `load_pairs` finds the samples in them."""
        self.check_paths()
        files = shard_files(self.shards, f"data set '{self.name}'", self.prepare)
        check_count(self.name, len(files), self.expected, self.prepare, policy)
        return [{"file_name": file, "dataset": self.name} for file in files]

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {
            "kind": KIND,
            "vocabulary": None,
            "pairs_image_root": self.image_root,
            "captions_only": self.captions_only,
        }


def shard_files(patterns: Sequence[str], where: str, prepare: Optional[str] = None) -> List[str]:
    """Returns the shards that paths or patterns stand for, sorted.

    Args:
        patterns: relative to $DETECTRON2_DATASETS.
        where: names the data set, for messages.
        prepare: command that makes the files, for messages.

    Raises:
        FileNotFoundError: nothing fits.
        ValueError: a file is no shard.
    """
    root = glob.escape(str(dataset_root()))
    given = {path for each in patterns for path in glob.glob(os.path.join(root, each))}
    files = {shard for path in given for shard in _shards_of(path, where)}
    if files:
        return sorted(files)
    step = f", or make them with `{prepare}`" if prepare else ""
    if given:
        raise FileNotFoundError(
            f"{where}: {sorted(given)[0]} holds neither shards ({', '.join(ENDINGS)}) nor pictures"
        )
    listed = list(patterns)
    if all(map(os.path.isabs, listed)):
        raise FileNotFoundError(f"{where}: no file {listed}; correct the path{step}")
    raise FileNotFoundError(
        f"{where}: no file {listed} in {dataset_root()}; set {ROOT_VARIABLE} to the folder that "
        f"holds them{step}"
    )


def _shards_of(path: str, where: str) -> List[str]:
    if os.path.isdir(path):
        return sample_folders(Path(path))
    if not path.lower().endswith(ENDINGS):
        packed = path.lower().endswith((".gz", ".tgz", ".zip", ".bz2", ".xz"))
        step = "unpack it" if packed else "narrow the pattern"
        raise ValueError(
            f"{where}: {path} is no shard; expected {', '.join(ENDINGS)} or a folder; {step}"
        )
    return [path]
