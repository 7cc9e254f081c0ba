"""Folders of images and of label maps or masks: one file each, of the same stem."""

import logging
import os
from pathlib import Path
from typing import Dict, List, Tuple

from segplugins.files.faults import STRICT, Fault, FaultPolicy

logger = logging.getLogger(__name__)


def pair_by_stem(
    image_root: Path,
    label_root: Path,
    image_ext: str,
    label_ext: str,
    policy: FaultPolicy = STRICT,
) -> List[Tuple[str, str]]:
    """Pairs images and label files of the same stem.

    Images without a label file are left out and counted in the log: many sources keep the images
    of several sets in one folder. (detectron2's load_sem_seg does so too, but pairs by position
    where both folders hold the same number of files.)

    Returns:
        (image file, label file), sorted by stem.

    Raises:
        FileNotFoundError: there is no label file, or one has no image.
    """
    images, labels = _files(image_root, image_ext), _files(label_root, label_ext)
    if not labels:
        raise FileNotFoundError(f"no *.{label_ext} label file in {label_root}")
    orphans = sorted(set(labels) - set(images))
    for orphan in orphans:
        message = f"no image '{orphan}.{image_ext}' in {image_root}"
        if len(orphans) > 1:
            message += f"; {len(orphans)} label files have none"
        policy.report(Fault("missing", message, labels.pop(orphan)))
    if len(images) > len(labels):
        logger.info("%d images of %s have no label", len(images) - len(labels), image_root)
    return [(images[stem], labels[stem]) for stem in sorted(labels)]


def _files(root: Path, ext: str) -> Dict[str, str]:
    """Returns stem (with its path below root) to file."""
    suffix = "." + ext.lstrip(".").lower()
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.lower().endswith(suffix) and not name.startswith("."):
                path = os.path.join(folder, name)
                found[os.path.relpath(path, root)[: -len(suffix)]] = path
    return found


def listed_pairs(
    pairs: List[Tuple[str, str]], names: List[str], source: str, policy: FaultPolicy = STRICT
) -> List[Tuple[str, str]]:
    """Returns the pairs that a list names, in the order of the list.

    Args:
        pairs: (image file, label file).
        names: file names, with or without folder and ending.
        source: the list, for the message.

    Raises:
        FileNotFoundError: a listed file is not there.
    """
    known = {Path(label).stem: (image, label) for image, label in pairs}
    missing = [name for name in names if Path(name).stem not in known]
    for name in missing:
        policy.report(Fault("missing", f"'{name}' has no image and label file", source))
    return [known[Path(name).stem] for name in names if name not in missing]
