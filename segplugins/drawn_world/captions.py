"""Captions: what people would write under a picture, and what is really in it."""

from typing import Dict, List, Sequence

from .classes import all_things
from .dice import Dice
from .observe import VisibleRegion
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


def short_caption(
    dice: Dice, things: Sequence[VisibleRegion], stuff: Sequence[VisibleRegion], light: Light
) -> str:
    """Returns a caption that names one to three salient concepts and leaves out all else.

    So do captions on the web, and that is what concept curation starts from.
    """
    worded = [region for region in things if region.worded]
    ranked = groups(
        [region for region in worded if all_things()[region.name].place != "sky"]
    ) or groups(worded)
    if not ranked:
        return dice.pick(_FRAMES).format(f"{_scenery(stuff[:2])} {light.phrase}")
    best = max(region.salience for region in worded if _key(region) == ranked[0][0])
    named = [counted(ranked[0][1], ranked[0][0][0], ranked[0][0][1])]
    for key, number in ranked[1:2]:
        rival = max(region.salience for region in worded if _key(region) == key)
        if 2 * rival >= best:
            named.append(counted(number, key[0], key[1]))
    text = joined(named)
    if len(named) == 1 and dice.chance(60):
        text = f"{text} {place_of(ranked[0][0][2])}"
    if dice.chance(25):
        text = f"{text} {light.phrase}"
    return dice.pick(_FRAMES).format(text)


def full_caption(
    things: Sequence[VisibleRegion], stuff: Sequence[VisibleRegion], light: Light
) -> str:
    """Returns a caption that names everything big enough to be talked about."""
    scenery = _scenery(worth_naming(stuff))
    named = [
        counted(number, name, colour)
        for (name, colour, _), number in groups([region for region in things if region.worded])
    ]
    return f"{joined([*named, scenery])} {light.phrase}"


def worth_naming(stuff: Sequence[VisibleRegion]) -> List[VisibleRegion]:
    """Returns the stuff that covers enough of the picture to be named."""
    total = sum(region.rle["size"][0] * region.rle["size"][1] for region in stuff[:1])
    return [region for region in stuff if region.area * 1000 >= _STUFF_WORTH * total]


def tags(things: Sequence[VisibleRegion], stuff: Sequence[VisibleRegion]) -> List[str]:
    """Returns the names of the classes that can be seen, things by salience, then stuff."""
    names = [name for (name, _, _), _ in groups([region for region in things if region.worded])]
    return list(dict.fromkeys(names + [region.name for region in worth_naming(stuff)]))


def region_captions(region: VisibleRegion, width: int, light: Light) -> List[str]:
    """Returns what can be said of one region: class, colour, ground, side."""
    if not region.support:
        return [_SCENERY[region.name], f"{_SCENERY[region.name]} {light.phrase}"]
    words = noun(region.name, region.colour)
    said = [with_article(words), f"{with_article(words)} {place_of(region.support)}"]
    side = side_of(region, width)
    if side:
        said.append(f"{with_article(words)} {'in' if side == 'middle' else 'on'} the {side}")
    return said


def picture_words(
    dice: Dice, things: Sequence[VisibleRegion], stuff: Sequence[VisibleRegion], light: Light
) -> Dict[str, object]:
    """Returns {"caption", "full_caption", "tags"} of a picture."""
    return {
        "caption": short_caption(dice, things, stuff, light),
        "full_caption": full_caption(things, stuff, light),
        "tags": tags(things, stuff),
    }


def _scenery(stuff: Sequence[VisibleRegion]) -> str:
    return joined([_SCENERY[region.name] for region in stuff])


def _key(region: VisibleRegion) -> "tuple[str, str, str]":
    return region.name, region.colour, region.support
