"""A check as text that people read, and as JSON that programs read."""

from collections import Counter
from typing import Any, Dict, Iterator, List, Sequence

from segplugins.data.check.run import Checked
from segplugins.files.faults import Fault

_BAR = 30
_CLASSES = 40


def as_text(checked: Checked, *, show: int = 20) -> str:
    """Returns counts, sizes, classes and faults, many lines.

    Args:
        checked: of `check_dataset`.
        show: faults per kind that are told one by one; 0 = all.
    """
    lines = [f"data set '{checked.loaded.name}'", *_counts(checked), *_sizes(checked)]
    lines += _classes(checked)
    for title, faults in (("faults", checked.faults), ("remarks", checked.remarks)):
        lines += ["", f"{title}: {len(faults)}" if faults else f"no {title}"]
        lines += _listed(faults, show)
    return "\n".join(lines)


def as_data(checked: Checked) -> Dict[str, Any]:
    """Returns everything that was found, ready for JSON."""
    found = checked.findings
    names = dict(enumerate(checked.classes))
    return {
        "dataset": checked.loaded.name,
        "records": len(checked.loaded.records),
        "phrases": found.phrases,
        "regions": dict(found.kinds),
        "sizes": [[*size, count] for size, count in sorted(found.sizes.items())],
        "classes": [
            {
                "name": name,
                "images": found.images[index],
                "regions": found.regions[index],
                "pixels": found.pixels[index],
            }
            for index, name in names.items()
        ],
        "faults": [_fault_data(fault) for fault in found.faults],
    }


def _fault_data(fault: Fault) -> Dict[str, Any]:
    keys = ("kind", "file", "record", "field", "message", "remark")
    return {key: getattr(fault, key) for key in keys}


def _counts(checked: Checked) -> Iterator[str]:
    found = checked.findings
    readable = sum(found.sizes.values())
    yield f"  records   {len(checked.loaded.records)}, {readable} images read"
    if found.kinds:
        yield "  regions   " + ", ".join(f"{n} {kind}" for kind, n in sorted(found.kinds.items()))
    if found.phrases:
        yield f"  phrases   {found.phrases}"


def _sizes(checked: Checked) -> Iterator[str]:
    sizes = checked.findings.sizes
    if not sizes:
        return
    (commonest, count), total = sizes.most_common(1)[0], sum(sizes.values())
    for name, axis in (("height", 0), ("width", 1)):
        sides = Counter()
        for size, number in sizes.items():
            sides[size[axis]] += number
        middle = sorted(sides.elements())[total // 2]
        yield f"  {name:9} {min(sides)} to {max(sides)}, median {middle}"
    yield f"  commonest {commonest[0]}x{commonest[1]} (height x width), {count} images"


def _classes(checked: Checked) -> Iterator[str]:
    found, names = checked.findings, checked.classes
    if not names:
        return
    measure, unit = (found.pixels, "pixels") if found.pixels else (found.regions, "regions")
    absent = [name for index, name in enumerate(names) if not found.images[index]]
    yield f"  classes   {len(names)}, {len(names) - len(absent)} of them shown"
    order = sorted((i for i in range(len(names)) if found.images[i]), key=lambda i: -measure[i])
    total = sum(measure[i] for i in order) or 1
    top = measure[order[0]] if order else 1
    width = max((len(names[i]) for i in order[:_CLASSES]), default=0)
    for i in order[:_CLASSES]:
        bar = "#" * max(1, round(_BAR * measure[i] / max(top, 1)))
        share = f"{100 * measure[i] / total:5.1f} % of {unit}"
        yield f"    {names[i]:{width}}  {found.images[i]:7} images {share}  {bar}"
    if len(order) > _CLASSES:
        yield f"    and {len(order) - _CLASSES} rarer ones"
    if absent:
        more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
        yield f"    never shown: {', '.join(absent[:10])}{more}"


def _listed(faults: Sequence[Fault], show: int) -> List[str]:
    lines = []
    for kind, number in Counter(fault.kind for fault in faults).most_common():
        of_kind = [fault for fault in faults if fault.kind == kind]
        lines.append(f"  {kind}: {number}")
        shown = of_kind if show == 0 else of_kind[:show]
        lines += [f"    {fault}" for fault in shown]
        if len(shown) < number:
            lines.append(f"    and {number - len(shown)} more; --show 0 or --json tells them")
    return lines
