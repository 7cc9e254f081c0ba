"""One record of a data set, read as training reads it, with all that is wrong with it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Iterator, List, Mapping, Optional, Tuple

from segplugins.data.check.images import image_faults, record_id
from segplugins.data.check.load import error_text
from segplugins.data.check.maps import MapCheck, text_faults
from segplugins.data.check.regions import RegionFault, region_faults
from segplugins.data.pairs.decode import read_record
from segplugins.data.read_regions import read_regions, target_form
from segplugins.data.shards import FaultySample
from segplugins.files.faults import Fault
from segplugins.structures.regions import Region


@dataclass
class Findings:
    """What one record, or many, hold.

    Args:
        faults: in the order of the records.
        sizes: images per (H, W).
        images: per class the images that show it.
        regions: per class its regions; -1 = of free text. Of maps: segments, if they have some.
        pixels: per class its pixels, where there is a map.
        labels: pixels by their value in the files, of maps of classes.
        kinds: regions by what they have: "mask", "box", "no target", "crowd".
        phrases: number of phrases, repeated ones included.
    """

    faults: List[Fault] = field(default_factory=list)
    sizes: Counter = field(default_factory=Counter)
    images: Counter = field(default_factory=Counter)
    regions: Counter = field(default_factory=Counter)
    pixels: Counter = field(default_factory=Counter)
    labels: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    phrases: int = 0

    def add(self, other: "Findings") -> None:
        """Joins what other records hold."""
        self.faults += other.faults
        self.phrases += other.phrases
        for name in ("sizes", "images", "regions", "pixels", "labels", "kinds"):
            getattr(self, name).update(getattr(other, name))


def check_record(
    record: Mapping[str, Any], metadata: Any, position: int = -1, annotation_file: str = ""
) -> Findings:
    """Reads image and targets of one catalog record.

    Args:
        record: of the catalog.
        metadata: of its data set.
        position: of the record in the set.
        annotation_file: that its regions stand in, for messages.

    Returns:
        What it holds and all its faults; an error of a reader is a fault like any other.
    """
    findings = Findings()
    where = {"record": record_id(record), "position": position}
    for where_in, message in text_faults(record):
        findings.faults.append(Fault("sentence", message, annotation_file, field=where_in, **where))
    try:
        if "entry" in record:
            _check_pair(findings, record, where)
            return findings
        image, faults = image_faults(record, position)
        findings.faults += faults
        # Regions are compared with the size that they were made for, so that one fault of the image
        # is not told again for each of them.
        size = (record.get("height"), record.get("width"))
        if image is not None:
            findings.sizes[image.shape[:2]] += 1
            size = image.shape[:2]
        if target_form(record) in ("regions", "annotations"):
            if all(isinstance(side, int) for side in size):
                _check_regions(findings, record, metadata, size, annotation_file, where)
        elif image is not None:
            _check_map(findings, record, metadata, size, position)
    except Exception as error:  # what no check has foreseen would stop training all the same
        message = f"reading it ends with {error_text(error)}"
        findings.faults.append(Fault("unexpected", message, record.get("file_name", ""), **where))
    return findings


def _check_pair(findings: Findings, record: Mapping[str, Any], where: Mapping[str, Any]) -> None:
    try:
        pair = read_record(record)
    except FaultySample as error:
        message = str(error).replace(f"{record['entry']}: ", "").replace(f"{record['entry']} ", "")
        findings.faults.append(Fault("sample", message, record["file_name"], **where))
        return
    size = pair.image.shape[:2]
    findings.sizes[size] += 1
    findings.phrases += len(pair.captions) + len(pair.tags)
    for number, region in enumerate(pair.regions):
        place = {"field": f"regions[{number}]", "entry": number, **where}
        findings.kinds[_kind(region)] += 1
        findings.faults += [
            Fault(fault.kind, fault.message, record["file_name"], remark=fault.remark, **place)
            for fault in _pair_faults(region, size)
        ]


def _pair_faults(region: Region, size: Tuple[int, int]) -> Iterator[RegionFault]:
    """Finds what is wrong with a region that may have captions in place of a name."""
    for fault in region_faults(region, *size):
        if fault.field != "text":
            yield fault
        elif not region.extra.get("captions"):
            message = "it has neither name nor caption; training leaves it out"
            yield RegionFault("sentence", "text", message, remark=True)


def _check_map(
    findings: Findings,
    record: Mapping[str, Any],
    metadata: Any,
    size: Tuple[int, int],
    position: int,
) -> None:
    check = MapCheck(record, metadata, position, size)
    form = target_form(record)
    texts = record.get("sentences") or record.get("texts") or ()
    findings.phrases += len(texts)
    if form == "sem_seg_file_name":
        findings.pixels.update(check.classes())
        findings.labels.update(check.labels)
        findings.images.update(findings.pixels.keys())
    elif form == "pan_seg_file_name":
        pixels, segments = check.segments()
        findings.pixels.update(pixels)
        findings.regions.update(segments)
        findings.images.update(segments.keys())
        findings.kinds["mask"] += sum(segments.values())
    elif form == "mask_file_name":
        findings.kinds["mask" if check.mask() else "no target"] += 1
    elif "label_file_name" in record:
        check.objects(texts)
    findings.faults += check.faults


def _check_regions(
    findings: Findings,
    record: Mapping[str, Any],
    metadata: Any,
    size: Tuple[int, int],
    annotation_file: str,
    where: Mapping[str, Any],
) -> None:
    shown = set()
    masks = boxes = 0
    for entry, name, region, error in _regions(record, metadata):
        place = {"file": annotation_file or record["file_name"], "entry": entry, **where}
        if region is None:
            findings.faults.append(Fault("region", error, field=name, **place))
            continue
        for fault in region_faults(region, *size):
            findings.faults.append(
                Fault(
                    fault.kind,
                    fault.message,
                    field=f"{name}, {fault.field}",
                    remark=fault.remark,
                    **place,
                )
            )
        kind = _kind(region)
        findings.kinds[kind] += 1
        masks, boxes = masks + (kind == "mask"), boxes + (kind == "box")
        if kind != "crowd":
            findings.regions[region.class_index] += 1
            shown.add(region.class_index)
        if region.class_index < 0:
            findings.phrases += len(region.extra.get("sentences") or [region.text])
    findings.images.update(index for index in shown if index >= 0)
    if masks and boxes:
        message = f"{boxes} regions have a box and no mask, {masks} have masks: give all one kind"
        findings.faults.append(
            Fault("mixed", message, annotation_file or record["file_name"], **where)
        )


def _kind(region: Region) -> str:
    if region.extra.get("iscrowd"):
        return "crowd"
    if region.mask is not None:
        return "mask"
    return "box" if region.box is not None else "no target"


def _regions(
    record: Mapping[str, Any], metadata: Any
) -> Iterator[Tuple[Any, str, Optional[Region], str]]:
    """Yields per region its entry, how messages call it, the region or None, and the reason."""
    form = target_form(record)
    for position, entry in enumerate(record[form]):
        if form == "annotations":
            number = entry.get("id", position)
            name = f"annotation {number}"
        else:
            number = position
            annotation_id = entry.extra.get("id") if isinstance(entry, Region) else None
            name = (
                f"regions[{position}]" if annotation_id is None else f"annotation {annotation_id}"
            )
            number = position if annotation_id is None else annotation_id
        try:
            [region] = read_regions({**record, form: [entry]}, metadata)
            yield number, name, region, ""
        except Exception as error:  # readers take what a file holds for what it should hold
            yield number, name, None, error_text(error)
