"""What is wrong with a set as a whole: no record, or nothing to learn from."""

from typing import Any, Collection, Iterator, List, Mapping, Tuple

from segplugins.data.read_regions import target_form
from segplugins.data.readers.boxes import BoxColumns
from segplugins.files.faults import Fault
from segplugins.structures.regions import Region, Task

_IN_FILES = ("sem_seg_file_name", "mask_file_name")


def set_faults(name: str, records: List[dict]) -> List[Fault]:
    """Returns the faults of a loaded data set as a whole.

    Args:
        name: of the data set.
        records: of the catalog; the search ends at the first usable target.
    """
    return [*_usable_targets(name, records), *_vocabulary(name, records)]


def count_targets(records: List[dict]) -> int:
    """Returns the number of annotations, segments and regions of records; a map counts as one."""
    return sum(sum(_counts(record)) for record in records)


def usable_targets(record: Mapping[str, Any], left_out: Collection[Any] = ()) -> int:
    """Returns how many targets of a record can be learned from; a map counts as one.

    Args:
        record: of the catalog.
        left_out: ids of annotations, or else positions of regions, that do not count.
    """
    form = target_form(record)
    if not left_out or form not in ("annotations", "regions"):
        return _counts(record)[0]
    kept = [t for p, t in enumerate(record[form]) if _number(t, p) not in left_out]
    return _counts({**record, form: kept})[0]


def _number(target: Any, position: int) -> Any:
    extra = target.extra if isinstance(target, Region) else target
    return extra.get("id", position)


def _vocabulary(name: str, records: List[dict]) -> List[Fault]:
    """Regions of free text have no classes that average precision could be of."""
    free = [r for r in records[:1] if "regions" in r and r.get("vocabulary") is None]
    if not free or Task(free[0].get("task", Task.REFERRING)) not in (Task.INSTANCE, Task.DETECTION):
        return []
    message = (
        f"data set '{name}': task {free[0]['task']} needs a vocabulary to be scored; without the "
        "key 'vocabulary' it can be trained on, but not be in DATASETS.TEST"
    )
    return [Fault("vocabulary", message, remark=True)]


def _usable_targets(name: str, records: List[dict]) -> List[Fault]:
    if not records:
        return [Fault("empty-set", f"data set '{name}' has no record")]
    crowds = without_target = 0
    for usable, crowd, empty in map(_counts, records):
        if usable:
            return []
        crowds, without_target = crowds + crowd, without_target + empty
    if crowds:
        what = f"all {crowds} annotations are crowds, which are neither trained on nor scored"
    elif without_target:
        what = f"not one of its {without_target} phrases has a target"
    else:
        what = f"not one of its {len(records)} images has an annotation"
    return [Fault("empty-set", f"data set '{name}' has no usable target: {what}")]


def _counts(record: Mapping[str, Any]) -> Tuple[int, int, int]:
    """Returns the numbers of usable targets, crowds, and phrases without target of a record."""
    form = target_form(record)
    if form is None or form in _IN_FILES:
        return 1, 0, 0  # only the file tells
    if form == "annotations" and isinstance(record[form], BoxColumns):
        crowds = record[form].crowds
        return len(record[form]) - crowds, crowds, 0
    kinds = list(_kinds(record, form))
    return kinds.count("usable"), kinds.count("crowd"), kinds.count("empty")


def _kinds(record: Mapping[str, Any], form: str) -> Iterator[str]:
    if form == "regions":
        for region in record[form]:
            region = region if isinstance(region, Region) else Region(**region)
            if not region.has_target:
                yield "empty"
            else:
                yield "crowd" if region.extra.get("iscrowd") else "usable"
        return
    for target in record["segments_info" if form == "pan_seg_file_name" else form]:
        yield "crowd" if target.get("iscrowd") else "usable"
