"""Words for things: "a red car", "two orange trees", "a person in blue"."""

from typing import List, Sequence, Tuple

from .classes import all_things
from .observe import VisibleRegion

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ON = {
    "sea": "on the sea",
    "grass": "on the grass",
    "sand": "on the sand",
    "road": "on the road",
    "hill": "on the hill",
    "sky": "in the sky",
}


def noun(name: str, colour: str, *, plural: bool = False) -> str:
    """Returns class and colour without an article: "red car", "people in blue"."""
    kind = all_things()[name]
    word = kind.plural if plural else kind.name
    if not colour:
        return word
    return f"{word} {kind.worn.format(colour)}" if kind.worn else f"{colour} {word}"


def with_article(words: str) -> str:
    """Returns "a ..." or "an ..."."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def counted(number: int, name: str, colour: str) -> str:
    """Returns "a red car" or "three red cars"; sun and moon take "the"."""
    if number > 1:
        count = _NUMBERS[number] if number < len(_NUMBERS) else "many"
        return f"{count} {noun(name, colour, plural=True)}"
    if name in ("sun", "moon"):
        return f"the {name}"
    return with_article(noun(name, colour))


def place_of(support: str) -> str:
    """Returns where it is: "on the road", "in the sky"."""
    return _ON[support]


def side_of(region: VisibleRegion, width: int) -> str:
    """Returns "left", "right" or "middle" by the box's centre; "" near the limits between them.

    Between the sides there is a strip, a twentieth of the width, where people would disagree.
    """
    centre = (region.box[0] + region.box[2]) * 100 // (2 * width)
    for side, low, high in (("left", -100, 34), ("middle", 40, 60), ("right", 66, 200)):
        if low <= centre < high:
            return side
    return ""


def groups(things: Sequence[VisibleRegion]) -> List[Tuple[Tuple[str, str, str], int]]:
    """Returns ((class, colour, support), how many), the most salient first."""
    order = {}
    for region in sorted(things, key=lambda one: (-one.salience, one.segment)):
        key = (region.name, region.colour, region.support)
        order[key] = order.get(key, 0) + 1
    return list(order.items())


def joined(items: Sequence[str]) -> str:
    """Returns "a", "a and b" or "a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
