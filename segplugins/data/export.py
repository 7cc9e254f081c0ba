"""A registered data set, whatever its kind, in the files of annotation programs."""

import os
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence

from segplugins.data.catalog import dataset_metadata, load_dataset
from segplugins.data.read_regions import read_regions
from segplugins.files.coco_images import picture_size
from segplugins.files.exchange.coco import write_coco, write_panoptic
from segplugins.files.exchange.cvat import write_cvat
from segplugins.files.exchange.export import AnnotatedImage
from segplugins.files.exchange.labelme import write_labelme
from segplugins.files.exchange.yolo import SPLITS, write_yolo
from segplugins.files.write import absent_folders, probe_folder, remove_empty
from segplugins.structures.vocabulary import get_vocabulary

FORMS = ("coco", "cvat", "labelme", "panoptic", "yolo")


def export_dataset(
    name: str,
    form: str,
    out: Path,
    *,
    split: str = "train",
    copy_images: bool = False,
    cover: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Counter:
    """Writes a registered data set.

    Args:
        name: of the data set.
        form: one of `FORMS`.
        out: folder that does not exist yet or is empty; of YOLO also one with other splits.
        split: of YOLO.
        copy_images: put the pictures there too; YOLO's always are.
        cover: of panoptic files, see `write_panoptic`.
        advance: called with (records done, records in all).

    Returns:
        What was written, and what the format cannot hold, by name.

    Raises:
        ValueError: an unknown form or split; something that the format cannot hold.
        KeyError: no data set has that name.
        FileExistsError: the folder is in use.
    """
    if form not in FORMS:
        raise ValueError(f"form is '{form}', expected one of {', '.join(FORMS)}")
    if split not in SPLITS:
        raise ValueError(f"split is '{split}', expected one of {', '.join(SPLITS)}")
    _check_free(out, form, split)
    records = load_dataset(name)
    metadata = dataset_metadata(name)
    if metadata.get("kind") == "pairs":
        raise ValueError(
            f"'{name}' holds image-text pairs, for which these formats have no place; export a set "
            "with classes or regions"
        )
    names = _names(records, metadata)
    images = _images(records, metadata, list(names), advance)
    with _new_folder(out):
        if form == "yolo":
            return write_yolo(images, out, list(names), split)
        if form == "labelme":
            return write_labelme(images, out, copy_images=copy_images)
        if form == "cvat":
            return write_cvat(images, out, names, copy_images=copy_images)
        if form == "coco":
            return write_coco(images, out, names, copy_images=copy_images)
        return write_panoptic(images, out, names, copy_images=copy_images, cover=cover)


@contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """Makes a folder; what was written there goes again if not all can be written."""
    is_new = not out.exists() or not any(out.iterdir())
    absent = absent_folders(out)
    probe_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(out)
            remove_empty(absent)
        raise


def _check_free(out: Path, form: str, split: str) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    places = [out]
    if form == "yolo" and (out / "data.yaml").is_file():
        places = [out / folder / split for folder in ("labels", "images")]
    for place in places:
        if place.exists():
            raise FileExistsError(f"{place} is there already; remove it or name another folder")


def _names(records: Sequence[Mapping[str, Any]], metadata: Any) -> Dict[str, bool]:
    """Returns the classes, and whether their instances are counted apart."""
    if getattr(metadata, "vocabulary", None):
        words = get_vocabulary(metadata.vocabulary)
        return dict(zip(words.classes, words.is_thing))
    regions = (region for record in records for region in read_regions(record, metadata))
    things = {region.text: region.is_thing for region in regions}
    return {name: things[name] for name in sorted(things)}


def _images(
    records: Sequence[Mapping[str, Any]],
    metadata: Any,
    names: Sequence[str],
    advance: Callable[[int, int], None],
) -> Iterator[AnnotatedImage]:
    paths: List[str] = [os.path.abspath(record["file_name"]) for record in records]
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    given = getattr(metadata, "image_root", None)
    if given and all(path.startswith(os.path.abspath(given) + os.sep) for path in paths):
        root = os.path.abspath(given)
    written = set()
    for number, (record, path) in enumerate(zip(records, paths)):
        advance(number, len(records))
        stem = os.path.splitext(path)[0]
        if stem in written:
            raise ValueError(
                f"{path} has several records, or a picture of the same name with another ending; "
                "a file per picture holds one of them"
            )
        written.add(stem)
        height, width = record.get("height"), record.get("width")
        if height is None or width is None:
            height, width = picture_size(Path(path))
        regions = read_regions(record, metadata)
        name = Path(os.path.relpath(path, root)).as_posix()
        partly = [names[k] for k in record.get("not_exhaustive_classes", ())]
        # Of free texts those alone have a class that objects of some picture have.
        partly += [text for text in record.get("not_exhaustive", ()) if text in names]
        yield AnnotatedImage(Path(path), name, height, width, regions, partly)
    advance(len(records), len(records))
