"""Registers image-text sets, and tells them from others."""

import glob
from typing import List, Optional, Sequence, Union

from detectron2.data import MetadataCatalog

from segplugins.data.catalog import ROOT_VARIABLE, dataset_root, register
from segplugins.files.faults import FaultPolicy

KIND = "pairs"


def register_pairs(
    name: str,
    shards: Union[str, Sequence[str]],
    *,
    image_root: Optional[str] = None,
    captions_only: bool = False,
    licence: Optional[str] = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers image-text shards as a training set.

    Args:
        name: of the data set.
        shards: glob patterns relative to $DETECTRON2_DATASETS, of .tar or .jsonl files.
        image_root: folder of the images of JSON lines, likewise relative; None = that of the file.
        captions_only: of a tar the .txt alone is read; what .json files say is left aside.
        licence: under which the source gives it out.
        prepare: command that makes the files.
        metadata: further facts about the set.

    Raises:
        FileNotFoundError: on loading: no file fits the patterns.
    """
    patterns = [shards] if isinstance(shards, str) else list(shards)

    def load(policy: FaultPolicy) -> List[dict]:
        files = sorted({f for p in patterns for f in glob.glob(str(dataset_root() / p))})
        if not files:
            step = f", or make them with `{prepare}`" if prepare else ""
            raise FileNotFoundError(
                f"data set '{name}': no file {patterns} in {dataset_root()}; set {ROOT_VARIABLE} "
                f"to the folder that holds them{step}"
            )
        return [{"file_name": file, "dataset": name} for file in files]

    register(
        name,
        load,
        kind=KIND,
        licence=licence,
        pairs_image_root=image_root,
        captions_only=captions_only,
        **metadata,
    )


def is_pairs(names: Sequence[str]) -> bool:
    """Returns whether training sets hold image-text pairs.

    Raises:
        ValueError: some do and some do not; one loop cannot read both.
    """
    kinds = [MetadataCatalog.get(name).get("kind") == KIND for name in names]
    if any(kinds) and not all(kinds):
        raise ValueError(
            f"DATASETS.TRAIN mixes image-text pairs {[n for n, k in zip(names, kinds) if k]} with "
            f"others {[n for n, k in zip(names, kinds) if not k]}; train on one kind at a time"
        )
    return any(kinds)
