"""Meaning: what a phrase asks for, and which things answer to it.

A phrase about a place or a size has a grey zone where people would disagree. So a meaning has two
readings: the strict one (nobody would deny it) and the loose one (somebody might allow it). A
phrase is used only where both readings give the same things.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from .observe import VisibleRegion

SIDES = {
    # side: strict and loose range of the box's centre, in percent of the width
    "left": ((-100, 34), (-100, 46)),
    "middle": ((42, 58), (30, 70)),
    "right": ((66, 200), (54, 200)),
}
_CLEARLY = 140  # percent: how much bigger the biggest must be than the next
_APART = 8  # percent of the width between centres: clearly left or right of


class Meaning(NamedTuple):
    """What one noun phrase asks for; an empty field asks for nothing.

    Args:
        name: class.
        colour: name of the colour.
        support: the stuff it stands on.
        side: "left", "middle" or "right" of the picture.
        size: "biggest" or "smallest" of those that fit name, colour and support.
        relation: "left of", "right of" or "above", of `anchor`.
        anchor: (class, colour) of another thing; colour "" = whatever. It must be the only one.
        heading: "left" or "right": where it moves to.
    """

    name: str
    colour: str = ""
    support: str = ""
    side: str = ""
    size: str = ""
    relation: str = ""
    anchor: Tuple[str, str] = ("", "")
    heading: str = ""

    def as_data(self) -> Dict[str, Any]:
        """Returns the fields that ask for something, as JSON data."""
        return {key: value for key, value in self._asdict().items() if value and value != ("", "")}


def matching_segments(
    meaning: Meaning, things: Sequence[VisibleRegion], width: int
) -> Tuple[List[int], List[int]]:
    """Returns the segments that answer strictly, and those that answer loosely.

    Args:
        meaning: what is asked for.
        things: everything that can be seen, even by one pixel.
        width: of the picture, in pixels.
    """
    fitting = [region for region in things if _fits(meaning, region)]
    strict, loose = list(fitting), list(fitting)
    if meaning.side:
        near, far = SIDES[meaning.side]
        strict = [region for region in strict if near[0] <= _centre(region, width) < near[1]]
        loose = [region for region in loose if far[0] <= _centre(region, width) < far[1]]
    if meaning.size:
        strict = [
            region for region in strict if _stands_out(region, fitting, meaning.size, _CLEARLY)
        ]
        loose = [
            region
            for region in loose
            if _stands_out(region, fitting, meaning.size, 10000 // _CLEARLY)
        ]
    if meaning.relation:
        anchors = [region for region in things if _is(region, *meaning.anchor)]
        if len(anchors) != 1:  # "left of the tree" says nothing where there are two or none
            return [], [region.segment for region in loose]
        strict = [
            region
            for region in strict
            if _related(region, anchors[0], meaning.relation, width, True)
        ]
        loose = [
            region
            for region in loose
            if _related(region, anchors[0], meaning.relation, width, False)
        ]
    return [region.segment for region in strict], [region.segment for region in loose]


def _is(region: VisibleRegion, name: str, colour: str) -> bool:
    return region.name == name and colour in ("", region.colour)


def _fits(meaning: Meaning, region: VisibleRegion) -> bool:
    heading = "left" if region.speed < 0 else "right" if region.speed > 0 else ""
    return (
        _is(region, meaning.name, meaning.colour)
        and meaning.support in ("", region.support)
        and meaning.heading in ("", heading)
    )


def _centre(region: VisibleRegion, width: int) -> int:
    return (region.box[0] + region.box[2]) * 50 // width


def _stands_out(
    region: VisibleRegion, fitting: Sequence[VisibleRegion], size: str, percent: int
) -> bool:
    """Whether it beats every other by `percent`; alone, it beats nobody and is not compared."""
    others = [other.area for other in fitting if other is not region]
    if not others:
        return False
    if size == "biggest":
        return 100 * region.area >= percent * max(others)
    return percent * region.area <= 100 * min(others)


def _related(
    region: VisibleRegion, anchor: VisibleRegion, relation: str, width: int, strictly: bool
) -> bool:
    if region is anchor:
        return False
    if relation == "above":
        if strictly:
            beside = region.box[2] <= anchor.box[0] or anchor.box[2] <= region.box[0]
            return region.box[3] <= anchor.box[1] and not beside
        return region.box[1] + region.box[3] < anchor.box[1] + anchor.box[3]
    distance = _centre(anchor, width) - _centre(region, width)
    if relation == "right of":
        distance = -distance
    return distance >= (_APART if strictly else -2)
