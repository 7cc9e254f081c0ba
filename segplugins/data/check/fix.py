"""A cleaned copy of an annotation file: what is at fault is left out, what can be mended is."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

from segplugins.data.check.load import LoadedSet, Source
from segplugins.data.check.run import Checked
from segplugins.files.faults import Fault
from segplugins.structures.regions import box_of_mask, decode_mask

# Faults of a region; all others of a record concern the whole of it.
_OF_REGION = ("polygon", "rle", "empty-mask", "box", "region", "sentence")


def main_source(loaded: LoadedSet) -> Source:
    """Returns the annotation file that a cleaned copy is made of.

    Raises:
        ValueError: the set is read from folders alone.
    """
    if not loaded.sources:
        raise ValueError(
            f"data set '{loaded.name}' has no annotation file to clean: it is read from folders; "
            "mend or move the files that are named"
        )
    return loaded.sources[-1]


def check_target(out: Path, original: str) -> None:
    """Checks where a cleaned copy is to go.

    Raises:
        ValueError: over the original.
        FileExistsError: there is a file.
        FileNotFoundError: there is no such folder.
    """
    if os.path.realpath(out) == os.path.realpath(original):
        raise ValueError(
            f"--fix {out} is the original; name another file, it is never written over"
        )
    if out.exists():
        raise FileExistsError(f"--fix {out} is there already; remove it or name another file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--fix {out}: no folder {out.parent}")


def write_cleaned(checked: Checked, out: Path) -> Dict[str, int]:
    """Writes the annotation file of a checked data set without its faults.

    Args:
        checked: of `check_dataset`, over all records.
        out: the file; COCO JSON, a JSON list of refs, or JSON lines, as the original is.

    Returns:
        What was left out or mended, by name.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: see `main_source` and `check_target`.
    """
    source = main_source(checked.loaded)
    check_target(out, source.path)
    faults = [fault for fault in checked.faults if fault.position >= 0]
    lines, done = _CLEANERS[source.kind](checked, source, faults)
    partial = out.with_name(out.name + ".part")
    partial.write_text(lines, encoding="utf-8")
    partial.rename(out)
    return {what: number for what, number in done.items() if number}


def _split(faults: Sequence[Fault]) -> Tuple[Set[int], Set[Tuple[int, Any]]]:
    """Returns positions of records to leave out, and (position, entry) of regions."""
    records, regions = set(), set()
    for fault in faults:
        if fault.mend is not None:
            continue
        if fault.kind in _OF_REGION and fault.entry is not None:
            regions.add((fault.position, fault.entry))
        else:
            records.add(fault.position)
    return records, regions


def _instances(checked: Checked, source: Source, faults: Sequence[Fault]) -> Tuple[str, Counter]:
    records, regions = checked.loaded.records, source.content
    out_records, out_regions = _split(f for f in faults if not _is_box_beside_mask(f, checked))
    images_out = {records[position]["image_id"] for position in out_records}
    annotations_out = {entry for _, entry in out_regions}
    boxes_out = {f.entry for f in faults if _is_box_beside_mask(f, checked)}
    images = [image for image in regions["images"] if image["id"] not in images_out]
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    done = Counter({"images left out": len(regions["images"]) - len(images)})
    kept = []
    for annotation in regions["annotations"]:
        if annotation["image_id"] not in sizes:
            continue
        if annotation["id"] in annotations_out:
            done["annotations left out"] += 1
            continue
        if annotation["id"] in boxes_out:
            annotation = {key: value for key, value in annotation.items() if key != "bbox"}
        kept.append(_completed(annotation, sizes[annotation["image_id"]], done))
    done["entries left out or mended when loading"] = _at_loading(checked)
    return _json({**regions, "images": images, "annotations": kept}), done


def _is_box_beside_mask(fault: Fault, checked: Checked) -> bool:
    if fault.kind != "box" or fault.entry is None:
        return False
    annotations = checked.loaded.records[fault.position].get("annotations", ())
    return any(a.get("id") == fault.entry and "segmentation" in a for a in annotations)


def _completed(annotation: Dict[str, Any], size: Tuple[int, int], done: Counter) -> Dict[str, Any]:
    """Makes the box and the area that were at fault from the mask."""
    missing = [key for key in ("bbox", "area") if key not in annotation]
    if not missing or "segmentation" not in annotation:
        return annotation
    bitmap = decode_mask(annotation["segmentation"], *size)
    x0, y0, x1, y1 = box_of_mask(bitmap)
    made = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(bitmap.sum())}
    done["boxes and areas made from masks"] += len(missing)
    return {**annotation, **{key: made[key] for key in missing}}


def _panoptic(checked: Checked, source: Source, faults: Sequence[Fault]) -> Tuple[str, Counter]:
    out_records, _ = _split(faults)
    records = checked.loaded.records
    images_out = {records[position]["image_id"] for position in out_records}
    mended = {
        (records[f.position]["image_id"], f.entry): f.mend[1] for f in faults if f.mend is not None
    }
    content = source.content
    annotations = []
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        if image in images_out:
            continue
        segments = [
            {**s, "area": mended[image, s["id"]]} if (image, s["id"]) in mended else s
            for s in annotation["segments_info"]
        ]
        annotations.append({**annotation, "segments_info": segments})
    images = [image for image in content["images"] if image["id"] not in images_out]
    done = Counter({"images left out": len(images_out), "areas mended": len(mended)})
    done["entries left out or mended when loading"] = _at_loading(checked)
    return _json({**content, "images": images, "annotations": annotations}), done


def _refs(checked: Checked, source: Source, faults: Sequence[Fault]) -> Tuple[str, Counter]:
    out_records, out_regions = _split(faults)
    records = checked.loaded.records
    annotations_out = {entry for _, entry in out_regions}
    refs_out = {records[p]["ref_id"] for p in out_records if "ref_id" in records[p]}
    images_out = {records[p]["image_id"] for p in out_records if "ref_id" not in records[p]}
    kept = []
    for ref in source.content:
        target = ref["ann_id"]
        targets = target if isinstance(target, (list, tuple)) else [target]
        if ref["ref_id"] in refs_out or ref["image_id"] in images_out:
            continue
        if not annotations_out.intersection(targets):
            kept.append(ref)
    done = Counter({"refs left out": len(source.content) - len(kept)})
    done["entries left out or mended when loading"] = _at_loading(checked)
    return _json(kept), done


def _lines(checked: Checked, source: Source, faults: Sequence[Fault]) -> Tuple[str, Counter]:
    out_records, out_regions = _split(faults)
    unread = {f.entry for f in checked.loaded.faults if f.kind == "line"}
    # The reader has left these out, so that the regions behind them have moved up.
    regions_unread = {f.entry for f in checked.loaded.faults if f.kind == "region"}
    done: Counter = Counter()
    kept: List[str] = []
    position = -1
    with open(source.path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or number in unread:
                done["lines left out"] += number in unread
                continue
            record = json.loads(line)
            if "error" not in record:
                position += 1
                if position in out_records:
                    done["lines left out"] += 1
                    continue
                out = {e for p, e in out_regions if p == position}
                regions = [
                    region
                    for i, region in enumerate(record["regions"])
                    if (source.path, number, i) not in regions_unread
                ]
                regions = [region for i, region in enumerate(regions) if i not in out]
                done["regions left out"] += len(record["regions"]) - len(regions)
                record = {**record, "regions": regions}
            kept.append(_json(record))
    return "\n".join(kept) + "\n", done


def _at_loading(checked: Checked) -> int:
    return sum(fault.position < 0 and not fault.remark for fault in checked.loaded.faults)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False, ensure_ascii=False)


_CLEANERS = {"instances": _instances, "panoptic": _panoptic, "refs": _refs, "lines": _lines}
