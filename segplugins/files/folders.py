"""Folders of files: listing, and pairing images with the label files of the same stem.

Hidden files and folders (names with a dot in front, __MACOSX) are passed over. Names are compared
in composed Unicode: macOS stores "é" as two characters, other systems as one.
"""

import logging
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.raster import ENDINGS

__all__ = ["LABEL_ENDINGS", "FileFolder", "listed_pairs", "pair_files"]

logger = logging.getLogger(__name__)

# Label files if no ending is named: formats that keep numbers.
LABEL_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm")
_HIDDEN = "__MACOSX"
_NAMED = 3

Pair = Tuple[str, str]


@dataclass(frozen=True)
class FileFolder:
    """A folder, and how the names in it are made: <prefix><stem><suffix><ending>.

    Args:
        root: the folder; folders in it are part of the stem.
        endings: one or several, such as "jpg" or ".jpg", in any case; empty: `default`.
        prefix: in front of the stem.
        suffix: between stem and ending.
        default: endings that are accepted if none is named.
    """

    root: Path
    endings: Union[str, Sequence[str]] = ()
    prefix: str = ""
    suffix: str = ""
    default: Sequence[str] = ENDINGS

    @property
    def accepted(self) -> Tuple[str, ...]:
        """Endings in lower case with a dot, longest first."""
        named = (self.endings,) if isinstance(self.endings, str) else tuple(self.endings)
        dotted = {"." + ending.lstrip(".").lower() for ending in named or self.default}
        return tuple(sorted(dotted, key=lambda ending: (-len(ending), ending)))

    def pattern(self, stem: str = "<stem>") -> str:
        """Returns how a file of a stem is called, for messages."""
        folder, _, name = stem.rpartition("/")
        ending = "|".join(sorted(self.accepted)) if len(self.accepted) <= _NAMED else ".<ending>"
        return f"{folder + '/' if folder else ''}{self.prefix}{name}{self.suffix}{ending}"

    def stem_of(self, path: str) -> Optional[str]:
        """Returns the stem of a path below the root; None if its name is made in another way."""
        folder, name = os.path.split(unicodedata.normalize("NFC", path))
        ending = next((e for e in self.accepted if name.lower().endswith(e)), None)
        if ending is None or not name.startswith(self.prefix):
            return None
        stem = name[len(self.prefix) : -len(ending)]
        if not stem.endswith(self.suffix):
            return None
        stem = stem[: len(stem) - len(self.suffix)]
        return "/".join(part for part in (*folder.split(os.sep), stem) if part) if stem else None

    def files(self) -> Dict[str, List[str]]:
        """Returns the files by stem, sorted by stem."""
        found: Dict[str, List[str]] = {}
        for path in _walk(str(self.root)):
            stem = self.stem_of(os.path.relpath(path, self.root))
            if stem is not None:
                found.setdefault(stem, []).append(path)
        return {stem: sorted(found[stem]) for stem in sorted(found)}


def _walk(root: str) -> Iterator[str]:
    """Yields the files below a folder, through links; each folder once, also if links loop."""
    seen = set()
    for folder, inside, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        inside[:] = sorted(n for n in inside if not n.startswith(".") and n != _HIDDEN)
        yield from (os.path.join(folder, name) for name in names if not name.startswith("."))


def pair_files(
    images: FileFolder, labels: FileFolder, policy: FaultPolicy = STRICT
) -> Dict[str, Pair]:
    """Pairs images and label files of the same stem.

    A label file may also have the whole name of its image as stem: a.jpg and a.jpg.png.

    Images without a label file are left out and counted in the log: many sources keep the images
    of several sets in one folder. (detectron2's load_sem_seg does so too, but pairs by position
    if both folders hold the same number of files.)

    Args:
        images: where images are.
        labels: where label files are.
        policy: gets a fault "missing" for a label file without an image, and "ambiguous" if a stem
            has two images or two label files.

    Returns:
        (image file, label file) by stem, sorted by stem.

    Raises:
        FileNotFoundError: there is no label file.
    """
    image_files, label_files = images.files(), labels.files()
    if not label_files:
        raise FileNotFoundError(_no_files(labels))
    pairs: Dict[str, Pair] = {}
    orphans = label_files.keys() - image_files.keys()
    by_name = _by_name(images, image_files) if orphans else {}
    orphans -= by_name.keys()
    for stem, found in label_files.items():
        # Images and label files may stand in one folder.
        candidates = [p for p in image_files.get(stem, by_name.get(stem, ())) if p not in found]
        if not candidates:
            message = f"no image {images.pattern(stem)} in {images.root}"
            if len(orphans) > 1:
                message += f"; {len(orphans)} label files have none"
            if len(orphans) == len(label_files):
                message += "; if names differ by what is added, say label_suffix or image_suffix"
            if found == image_files.get(stem):
                message += "; it would be its own label file: name image_ext and label_ext"
            policy.report(Fault("missing", message, found[0]))
        elif len(candidates) > 1 or len(found) > 1:
            what, several = (
                ("images", candidates) if len(candidates) > 1 else ("label files", found)
            )
            key = "image_ext" if len(candidates) > 1 else "label_ext"
            names = ", ".join(map(os.path.basename, several))
            message = f"{len(several)} {what} have the stem '{stem}': {names}; say which by {key}"
            policy.report(Fault("ambiguous", message, several[0]))
        else:
            pairs[stem] = (candidates[0], found[0])
    if len(image_files) > len(label_files):
        labelled = {image for image, _ in pairs.values()}
        without = sum(labelled.isdisjoint(paths) for paths in image_files.values())
        logger.info("%d images of %s have no label", without, images.root)
    return pairs


def _by_name(folder: FileFolder, files: Dict[str, List[str]]) -> Dict[str, List[str]]:
    """Returns the files by their path below the folder, with ending."""
    paths = (path for several in files.values() for path in several)
    return {
        unicodedata.normalize("NFC", Path(path).relative_to(folder.root).as_posix()): [path]
        for path in paths
    }


def _no_files(folder: FileFolder) -> str:
    """Returns what a folder without the files holds instead, in one line."""
    message = f"no label file {folder.pattern()} in {folder.root}"
    names = [os.path.basename(path) for path in _walk(str(folder.root))]
    if not names:
        return f"{message}; it holds no file"
    endings = sorted({os.path.splitext(name)[1].lower() or name for name in names})
    named = ", ".join(endings[:_NAMED])
    step = "name label_ext, label_prefix or label_suffix"
    if set(endings) <= {".jpg", ".jpeg"}:
        step = "JPEG alters values, so it cannot hold labels: convert from the source to PNG"
    return f"{message}; it holds {len(names)} files that end in {named}, such as {names[0]}; {step}"


def listed_pairs(
    pairs: Dict[str, Pair],
    names: Sequence[str],
    folders: Sequence[FileFolder],
    source: str,
    policy: FaultPolicy = STRICT,
) -> Dict[str, Pair]:
    """Returns the pairs that a list names, in the order of the list.

    Args:
        pairs: of `pair_files`.
        names: stems, or names of image or label files, with or without their folder.
        folders: of the images and of the label files, which say how names are made.
        source: the list, for messages.
        policy: gets a fault "missing" for a name without files, "ambiguous" for one of several,
            and "id" for one that is listed twice.
    """
    by_name: Dict[str, List[str]] = {}
    for stem in pairs:
        by_name.setdefault(stem.rpartition("/")[2], []).append(stem)
    chosen: Dict[str, Pair] = {}
    for name in names:
        stems = _stems_of(name, pairs, by_name, folders)
        if len(stems) != 1:
            kind, found = "missing", "no image and label file"
            if stems:
                kind, found = "ambiguous", f"{len(stems)} files, such as {stems[0]} and {stems[1]}"
            policy.report(Fault(kind, f"'{name}' has {found}", source))
        elif stems[0] in chosen:
            policy.report(Fault("id", f"'{name}' stands twice", source))
        else:
            chosen[stems[0]] = pairs[stems[0]]
    return chosen


def _stems_of(
    name: str,
    pairs: Dict[str, Pair],
    by_name: Dict[str, List[str]],
    folders: Sequence[FileFolder],
) -> List[str]:
    """Returns the stems that a listed name can mean; the closest reading wins."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).lstrip("/")
    readings = [name, *(folder.stem_of(name) for folder in folders)]
    for reading in filter(None, readings):
        if reading in pairs:
            return [reading]
    for reading in filter(None, readings):
        found = by_name.get(reading.rpartition("/")[2], [])
        if found:
            return found
    return []
