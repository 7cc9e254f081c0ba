"""Captions: what people would write under a picture, and what is really in it."""

from typing import Dict, List, Sequence

from .classes import all_things
from .dice import Dice
from .observe import Seen
from .palette import Light
from .words import counted, groups, joined, noun, place_of, side_of, with_article

_FRAMES = ("{}", "{}", "{}", "a picture of {}", "a drawing of {}", "here is {}")
_SCENERY = {
    "sky": "the sky",
    "sea": "the sea",
    "grass": "grass",
    "sand": "sand",
    "road": "a road",
    "hill": "hills",
}
_STUFF_WORTH = 12  # thousandths of the picture


def short_caption(dice: Dice, things: Sequence[Seen], stuff: Sequence[Seen], light: Light) -> str:
    """Returns a caption that names one to three salient concepts and leaves out all else.

    So do captions on the web, and that is what concept curation starts from.
    """
    worded = [seen for seen in things if seen.worded]
    ranked = groups([seen for seen in worded if all_things()[seen.name].place != "sky"]) or groups(
        worded
    )
    if not ranked:
        return dice.pick(_FRAMES).format(f"{_scenery(stuff[:2])} {light.phrase}")
    best = max(seen.salience for seen in worded if _key(seen) == ranked[0][0])
    named = [counted(ranked[0][1], ranked[0][0][0], ranked[0][0][1])]
    for key, number in ranked[1:2]:
        rival = max(seen.salience for seen in worded if _key(seen) == key)
        if 2 * rival >= best:
            named.append(counted(number, key[0], key[1]))
    text = joined(named)
    if len(named) == 1 and dice.chance(60):
        text = f"{text} {place_of(ranked[0][0][2])}"
    if dice.chance(25):
        text = f"{text} {light.phrase}"
    return dice.pick(_FRAMES).format(text)


def full_caption(things: Sequence[Seen], stuff: Sequence[Seen], light: Light) -> str:
    """Returns a caption that names everything big enough to be talked about."""
    scenery = _scenery(worth_naming(stuff))
    named = [
        counted(number, name, colour)
        for (name, colour, _), number in groups([seen for seen in things if seen.worded])
    ]
    return f"{joined([*named, scenery])} {light.phrase}"


def worth_naming(stuff: Sequence[Seen]) -> List[Seen]:
    """Returns the stuff that covers enough of the picture to be named."""
    total = sum(seen.rle["size"][0] * seen.rle["size"][1] for seen in stuff[:1])
    return [seen for seen in stuff if seen.area * 1000 >= _STUFF_WORTH * total]


def tags(things: Sequence[Seen], stuff: Sequence[Seen]) -> List[str]:
    """Returns the names of the classes that can be seen, things by salience, then stuff."""
    names = [name for (name, _, _), _ in groups([seen for seen in things if seen.worded])]
    return list(dict.fromkeys(names + [seen.name for seen in worth_naming(stuff)]))


def region_captions(seen: Seen, width: int, light: Light) -> List[str]:
    """Returns what can be said of one region: class, colour, ground, side."""
    if not seen.support:
        return [_SCENERY[seen.name], f"{_SCENERY[seen.name]} {light.phrase}"]
    words = noun(seen.name, seen.colour)
    said = [with_article(words), f"{with_article(words)} {place_of(seen.support)}"]
    side = side_of(seen, width)
    if side:
        said.append(f"{with_article(words)} {'in' if side == 'middle' else 'on'} the {side}")
    return said


def words_of(
    dice: Dice, things: Sequence[Seen], stuff: Sequence[Seen], light: Light
) -> Dict[str, object]:
    """Returns {"caption", "full_caption", "tags"} of a picture."""
    return {
        "caption": short_caption(dice, things, stuff, light),
        "full_caption": full_caption(things, stuff, light),
        "tags": tags(things, stuff),
    }


def _scenery(stuff: Sequence[Seen]) -> str:
    return joined([_SCENERY[seen.name] for seen in stuff])


def _key(seen: Seen) -> "tuple[str, str, str]":
    return seen.name, seen.colour, seen.support
