"""Files of annotation programs: read as COCO instance files are, and written.

    content.py   what every reader here returns: the content of a COCO instance file
    labelme.py   labelme: a JSON file beside each picture
    cvat.py      CVAT for images 1.1: one XML file
    yolo.py      YOLO: a data.yaml, and a text file per picture
    coco.py      COCO: instances, and panoptic maps (written only; files/coco.py reads them)
    export.py    what the writers have in common
    outlines.py  masks as polygons along the edges of pixels

`is_foreign` tells such files from COCO JSON by their path, and `read_foreign` reads them.
"""

from pathlib import Path
from typing import Any, Dict, Optional

from segplugins.files.exchange.cvat import read_cvat
from segplugins.files.exchange.labelme import read_labelme
from segplugins.files.exchange.yolo import read_yolo
from segplugins.files.faults import STRICT, FaultPolicy

__all__ = ["is_foreign", "read_foreign"]

_READERS = {".xml": read_cvat, ".yaml": read_yolo, ".yml": read_yolo}


def is_foreign(path: Path) -> bool:
    """Returns whether a path is a file of CVAT or YOLO, or a folder of labelme files."""
    return Path(path).suffix.lower() in _READERS or Path(path).is_dir()


def read_foreign(
    path: Path,
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    box_masks: bool = False,
    split: str = "",
) -> Dict[str, Any]:
    """Returns the content of a COCO instance file: "images", "annotations", "categories".

    Args:
        path: see `is_foreign`.
        policy: receives the faults of files, pictures and shapes, which are left out if it returns.
        image_root: folder that the "file_name" of images is relative to.
        box_masks: whether rectangles are masks of that shape, or boxes without a mask.
        split: of YOLO: "train", "val" or "test".

    Raises:
        FileNotFoundError, ValueError: the file is not there or is none of these; a `FaultError` of
            a strict policy is one too.
    """
    path = Path(path)
    read = read_labelme if path.is_dir() else _READERS[path.suffix.lower()]
    options = {"split": split} if read is read_yolo else {}
    content = read(path, policy, image_root=image_root, box_masks=box_masks, **options)
    return content.as_coco()
