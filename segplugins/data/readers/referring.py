"""Catalog records of referring expressions: RefCOCO, RefCOCO+, RefCOCOg (one object a phrase) and
gRefCOCO."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, List, Sequence

from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_images import ImageEntry
from segplugins.files.faults import STRICT, FaultPolicy
from segplugins.files.refs import RefEntry, RefFile, read_refs
from segplugins.files.values import Id
from segplugins.structures.regions import Region, Task

SAMPLES = ("object", "image", "expressions")
TEXTS = ("raw", "sent")


def in_split(name: str, split: str) -> bool:
    """Whether a ref of split `name` is in `split`; "testA" also means "testAB", "test" all."""
    if split in ("testA", "testB"):
        return "test" in name and split[-1] in name
    if split == "test":
        return "test" in name
    return name == split


def referring_records(
    refs_file: Path,
    instances_file: Path,
    image_root: Path,
    *,
    split: str,
    sample: str,
    text: str = "raw",
    policy: FaultPolicy = STRICT,
) -> List[dict]:
    """Reads one split.

    Args:
        refs_file: see `read_refs`.
        instances_file: instances.json of the set.
        image_root: folder of COCO train2014, or of train2017 with its shorter names.
        split: "train", "val", "testA", ...
        sample: what a record is. For training "object": a ref, with one of its sentences drawn at
            each visit; or "image": all refs of an image, with a drawn sentence each. For
            evaluation "expressions": a ref with all its sentences as "texts".
        text: "raw", as it was written (stripped), or "sent", cleaned and in lower case.
        policy: receives the faults of the two files.

    Returns:
        Records with "regions", and "ref_id" where a record is a ref. A sentence without target is
        a region without mask; one with several targets is several regions.

    Raises:
        ValueError: an unknown `sample` or `text`, a split without refs, or a fault.
    """
    if sample not in SAMPLES or text not in TEXTS:
        raise ValueError(
            f"sample is '{sample}', expected one of {SAMPLES}; text is '{text}', of {TEXTS}"
        )
    file = read_refs(refs_file, instances_file, policy, image_root=image_root, text=text)
    refs = [ref for ref in file.refs if in_split(ref.split, split)]
    if not refs:
        splits = sorted({ref.split for ref in file.refs})
        raise ValueError(f"{refs_file} has no refs of split '{split}'; its splits are {splits}")
    if sample == "image":
        return _per_image(refs, file, image_root)
    every = sample == "expressions"
    return [
        {
            **_image_record(file.instances.images[ref.image_id], image_root),
            "ref_id": ref.ref_id,
            **_phrases(ref, every=every),
        }
        for ref in refs
    ]


def _phrases(ref: RefEntry, *, every: bool) -> dict:
    if not every:
        return {"regions": _regions(ref.sentences[0], ref, ref.sentences)}
    regions = [region for text in dict.fromkeys(ref.sentences) for region in _regions(text, ref)]
    # Two people may have written the same words: each counts as a sample.
    return {"regions": regions, "texts": list(ref.sentences)}


def _regions(text: str, ref: RefEntry, sentences: Sequence[str] = ()) -> List[Region]:
    extra: Dict[str, Any] = {"sentences": list(sentences)} if sentences else {}
    if not ref.targets:
        return [Region(text=text, extra=extra)]
    objects = [target for target in ref.targets if not target.iscrowd]
    return [_region(text, target, extra) for target in objects or ref.targets]


def _region(text: str, target: InstanceEntry, extra: Dict[str, Any]) -> Region:
    box = None
    if target.bbox is not None:
        x, y, width, height = map(float, target.bbox)
        box = (x, y, x + width, y + height)
    return Region(text=text, box=box, mask=target.segmentation, extra={**extra, "id": target.id})


def _per_image(refs: Sequence[RefEntry], file: RefFile, root: Path) -> List[dict]:
    regions: Dict[Id, List[Region]] = defaultdict(list)
    for ref in refs:
        regions[ref.image_id] += _regions(ref.sentences[0], ref, ref.sentences)
    return [
        {**_image_record(file.instances.images[image_id], root), "regions": of_image}
        for image_id, of_image in regions.items()
    ]


def _image_record(image: ImageEntry, root: Path) -> dict:
    file = image.file_name
    if root.name.endswith("2017"):
        file = file.rpartition("_")[2]  # COCO_train2014_000000581857.jpg before, plain since
    return {
        "file_name": str(root / file),
        "height": image.height,
        "width": image.width,
        "image_id": image.id,
        "task": Task.REFERRING,
        "vocabulary": None,
    }
