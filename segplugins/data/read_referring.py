"""Referring expressions: RefCOCO, RefCOCO+, RefCOCOg (one object a phrase) and gRefCOCO.

A set is a list of refs (an object, or several, with the sentences that mean it) and COCO's
instances.json, which holds the masks.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from segplugins.data.faults import sift
from segplugins.data.plain_pickle import read_pickle
from segplugins.data.read_coco import read_json
from segplugins.data.read_regions import box_corners
from segplugins.files.faults import STRICT, FaultPolicy
from segplugins.structures.regions import Region, Task

SAMPLES = ("object", "image", "expressions")
TEXTS = ("raw", "sent")
_NO_TARGET = [-1]


def read_refs(path: Path) -> List[dict]:
    """Reads refs(<split by>).p, without running code from it, or grefs(<split by>).json.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no list of refs.
    """
    if path.suffix == ".json":
        import json

        refs = json.loads(path.read_text(encoding="utf-8"))
    else:
        refs = read_pickle(path)
    if not isinstance(refs, list) or not all("sentences" in ref for ref in refs):
        raise ValueError(f"{path} holds no list of refs with sentences")
    return refs


def in_split(ref: Mapping[str, Any], split: str) -> bool:
    """Whether a ref is of a split; "testA" also means "testAB", "test" all of them."""
    if split in ("testA", "testB"):
        return "test" in ref["split"] and split[-1] in ref["split"]
    if split == "test":
        return "test" in ref["split"]
    return ref["split"] == split


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

    Returns:
        Records with "regions", and "ref_id" where a record is a ref. A sentence without target is
        a region without mask; one with several targets is several regions.

    Raises:
        ValueError: an unknown `sample` or `text`, a split without refs, or a ref whose annotation
            is not in the file.
    """
    if sample not in SAMPLES or text not in TEXTS:
        raise ValueError(
            f"sample is '{sample}', expected one of {SAMPLES}; text is '{text}', of {TEXTS}"
        )
    refs = read_refs(refs_file)
    content = sift(
        policy,
        "instances",
        read_json(instances_file, "images", "annotations"),
        instances_file,
        image_root=image_root,
        with_categories=False,
    )
    targets = {annotation["id"]: annotation for annotation in content["annotations"]}
    images = {image["id"]: image for image in content["images"]}
    refs = sift(policy, "refs", refs, refs_file, images=images, annotations=targets, text=text)
    refs = [ref for ref in refs if in_split(ref, split)]
    if not refs:
        raise ValueError(f"{refs_file} has no refs of split '{split}'")
    found = [(ref, _sentences(ref, text), _targets(ref, targets, refs_file)) for ref in refs]
    if sample == "image":
        return _per_image(found, images, image_root)
    return [
        {
            **_image_record(images[ref["image_id"]], image_root),
            "ref_id": ref["ref_id"],
            **_phrases(sentences, of, every=sample == "expressions"),
        }
        for ref, sentences, of in found
    ]


def _sentences(ref: Mapping[str, Any], text: str) -> List[str]:
    sentences = [sentence[text].strip() for sentence in ref["sentences"]]
    empty = [s["sent_id"] for s, words in zip(ref["sentences"], sentences) if not words]
    if empty or not sentences:
        raise ValueError(f"ref {ref['ref_id']}: sentences {empty or 'all'} are empty")
    return sentences


def _targets(ref: Mapping[str, Any], known: Mapping[int, Mapping], path: Path) -> List[Mapping]:
    ids = ref["ann_id"] if isinstance(ref["ann_id"], (list, tuple)) else [ref["ann_id"]]
    if list(ids) == _NO_TARGET:
        return []
    missing = [number for number in ids if number not in known]
    if missing:
        raise ValueError(f"{path}: ref {ref['ref_id']} means annotation {missing[0]}, which is not")
    targets = [known[number] for number in ids if not known[number].get("iscrowd")]
    return targets or [known[number] for number in ids]


def _regions(text: str, targets: Sequence[Mapping], sentences: Iterable[str] = ()) -> List[Region]:
    extra: Dict[str, Any] = {"sentences": list(sentences)} if sentences else {}
    if not targets:
        return [Region(text=text, extra=extra)]
    return [
        Region(
            text=text,
            box=box_corners(t["bbox"]),
            mask=t["segmentation"],
            extra={**extra, "id": t["id"]},
        )
        for t in targets
    ]


def _phrases(sentences: Sequence[str], targets: Sequence[Mapping], *, every: bool) -> dict:
    if not every:
        return {"regions": _regions(sentences[0], targets, sentences)}
    regions = [region for text in dict.fromkeys(sentences) for region in _regions(text, targets)]
    # Two people may have written the same words: each counts as a sample.
    return {"regions": regions, "texts": list(sentences)}


def _per_image(
    found: Sequence[Tuple[Mapping, List[str], List[Mapping]]],
    images: Mapping[int, Mapping],
    root: Path,
) -> List[dict]:
    regions: Dict[int, List[Region]] = defaultdict(list)
    for ref, sentences, targets in found:
        regions[ref["image_id"]] += _regions(sentences[0], targets, sentences)
    return [
        {**_image_record(images[image_id], root), "regions": of_image}
        for image_id, of_image in regions.items()
    ]


def _image_record(image: Mapping[str, Any], root: Path) -> dict:
    file = image["file_name"]
    if root.name.endswith("2017"):
        file = file.rpartition("_")[2]  # COCO_train2014_000000581857.jpg before, plain since
    return {
        "file_name": str(root / file),
        "height": int(image["height"]),
        "width": int(image["width"]),
        "image_id": image["id"],
        "task": Task.REFERRING,
        "vocabulary": None,
    }
