"""Meaning: what a phrase asks for, and which things answer to it.

A phrase about a place or a size has a grey zone where people would disagree. So a meaning has two
readings: the strict one (nobody would deny it) and the loose one (somebody might allow it). A
phrase is used only where both readings give the same things.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from .observe import Seen

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


def answers(meaning: Meaning, things: Sequence[Seen], width: int) -> Tuple[List[int], List[int]]:
    """Returns the segments that answer strictly, and those that answer loosely.

    Args:
        meaning: what is asked for.
        things: everything that can be seen, even by one pixel.
        width: of the picture, in pixels.
    """
    fitting = [seen for seen in things if _fits(meaning, seen)]
    strict, loose = list(fitting), list(fitting)
    if meaning.side:
        near, far = SIDES[meaning.side]
        strict = [seen for seen in strict if near[0] <= _centre(seen, width) < near[1]]
        loose = [seen for seen in loose if far[0] <= _centre(seen, width) < far[1]]
    if meaning.size:
        strict = [seen for seen in strict if _stands_out(seen, fitting, meaning.size, _CLEARLY)]
        loose = [
            seen for seen in loose if _stands_out(seen, fitting, meaning.size, 10000 // _CLEARLY)
        ]
    if meaning.relation:
        anchors = [seen for seen in things if _is(seen, *meaning.anchor)]
        if len(anchors) != 1:  # "left of the tree" says nothing where there are two or none
            return [], [seen.segment for seen in loose]
        strict = [seen for seen in strict if _related(seen, anchors[0], meaning.relation, width, 1)]
        loose = [seen for seen in loose if _related(seen, anchors[0], meaning.relation, width, 0)]
    return [seen.segment for seen in strict], [seen.segment for seen in loose]


def _is(seen: Seen, name: str, colour: str) -> bool:
    return seen.name == name and colour in ("", seen.colour)


def _fits(meaning: Meaning, seen: Seen) -> bool:
    heading = "left" if seen.speed < 0 else "right" if seen.speed > 0 else ""
    return (
        _is(seen, meaning.name, meaning.colour)
        and meaning.support in ("", seen.support)
        and meaning.heading in ("", heading)
    )


def _centre(seen: Seen, width: int) -> int:
    return (seen.box[0] + seen.box[2]) * 50 // width


def _stands_out(seen: Seen, fitting: Sequence[Seen], size: str, percent: int) -> bool:
    """Whether it beats every other by `percent`; alone, it beats nobody and is not compared."""
    others = [other.area for other in fitting if other is not seen]
    if not others:
        return False
    if size == "biggest":
        return 100 * seen.area >= percent * max(others)
    return percent * seen.area <= 100 * min(others)


def _related(seen: Seen, anchor: Seen, relation: str, width: int, strictly: int) -> bool:
    if seen is anchor:
        return False
    if relation == "above":
        if strictly:
            beside = seen.box[2] <= anchor.box[0] or anchor.box[2] <= seen.box[0]
            return seen.box[3] <= anchor.box[1] and not beside
        return seen.box[1] + seen.box[3] < anchor.box[1] + anchor.box[3]
    distance = _centre(anchor, width) - _centre(seen, width)
    if relation == "right of":
        distance = -distance
    return distance >= (_APART if strictly else -2)
