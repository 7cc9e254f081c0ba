"""Phrases: referring expressions that are true, and true of nothing else."""

from collections import Counter
from dataclasses import dataclass
from typing import Collection, Iterator, List, Optional, Sequence, Tuple

from .classes import all_things
from .dice import Dice
from .meaning import SIDES, Meaning, matching_segments
from .observe import VisibleRegion
from .words import counted, noun, place_of


@dataclass(frozen=True)
class Phrase:
    """A text, what it means, and the things it means.

    Args:
        text: in lower case, as people write.
        meanings: what it asks for; several = the union of all.
        segments: of the things that answer, ascending.
    """

    text: str
    meanings: Tuple[Meaning, ...]
    segments: Tuple[int, ...]


def phrase_text(meaning: Meaning) -> str:
    """Returns the text of a meaning: "the biggest red car on the left"."""
    words = noun(meaning.name, meaning.colour)
    if meaning.size:
        words = f"{meaning.size} {words}"
    text = f"the {words}"
    if meaning.heading:
        text = f"{text} {all_things()[meaning.name].moves} to the {meaning.heading}"
    if meaning.support:
        text = f"{text} {place_of(meaning.support)}"
    if meaning.side:
        text = f"{text} {'in' if meaning.side == 'middle' else 'on'} the {meaning.side}"
    if meaning.relation:
        text = f"{text} {meaning.relation} the {noun(*meaning.anchor)}"
    return text


def candidate_meanings(
    target: VisibleRegion, things: Sequence[VisibleRegion]
) -> Iterator[List[Meaning]]:
    """Yields meanings that may single out a thing; whether they do is not checked.

    Three lists: by what it is, by where or how big it is, and by what is near it.
    """
    kinds = [Meaning(target.name)]
    if target.colour:
        kinds.append(Meaning(target.name, target.colour))
    plain = list(kinds)
    if target.support != "sky":
        plain += [kind._replace(support=target.support) for kind in kinds]
    yield plain
    yield [
        kind._replace(**{field: value})
        for kind in kinds
        for field, values in (("side", tuple(SIDES)), ("size", ("biggest", "smallest")))
        for value in values
    ]
    yield [
        kind._replace(relation=relation, anchor=anchor)
        for anchor in _anchors(target, things)
        for relation in ("left of", "right of", "above")
        for kind in kinds
    ]


def _anchors(target: VisibleRegion, things: Sequence[VisibleRegion]) -> List[Tuple[str, str]]:
    """(class, colour) of the other things that have no equal, as short as each can be said."""
    by_name = Counter(region.name for region in things)
    by_colour = Counter((region.name, region.colour) for region in things)
    anchors = []
    for region in things:
        if region is not target and region.worded:
            if by_name[region.name] == 1:
                anchors.append((region.name, ""))
            elif by_colour[region.name, region.colour] == 1:
                anchors.append((region.name, region.colour))
    return anchors


def unique_phrases(
    dice: Dice, target: VisibleRegion, things: Sequence[VisibleRegion], width: int
) -> List[Phrase]:
    """Returns up to three phrases, one of each kind, that mean this thing and nothing else.

    Args:
        dice: chooses among those that do.
        target: one of `things`.
        things: everything that can be seen.
        width: of the picture, in pixels.
    """
    phrases = []
    for candidates in candidate_meanings(target, things):
        for meaning in dice.shuffled(candidates):
            strict, loose = matching_segments(meaning, things, width)
            if strict == loose == [target.segment]:
                phrases.append(Phrase(phrase_text(meaning), (meaning,), (target.segment,)))
                break
    return phrases


def group_phrase(dice: Dice, things: Sequence[VisibleRegion], width: int) -> Optional[Phrase]:
    """Returns a phrase that means several things, or None where no such phrase is clear."""
    kinds = {
        (region.name, colour)
        for region in things
        if region.worded
        for colour in ("", region.colour)
    }
    sided = [(kind, side) for kind in sorted(kinds) for side in ("", "left", "right")]
    for (name, colour), side in dice.shuffled(sided):
        meaning = Meaning(name, colour, side=side)
        strict, loose = matching_segments(meaning, things, width)
        if strict == loose and len(strict) > 1:
            words = noun(name, colour, plural=True)
            some = counted(len(strict), name, colour)
            text = dice.pick((f"all {words}", f"the {words}", f"the {some}"))
            text = f"{text} on the {side}" if side else text
            return Phrase(text, (meaning,), tuple(sorted(strict)))
    return None


def joint_phrase(dice: Dice, single: Sequence[Phrase]) -> Optional[Phrase]:
    """Returns a phrase that means two things of different kinds: "the house and the red car".

    Args:
        dice: its choices.
        single: phrases with one target each, to be put together.
    """
    short = [phrase for phrase in single if not phrase.meanings[0].relation]
    for first in dice.shuffled(short):
        for second in dice.shuffled(short):
            if second.meanings[0].name != first.meanings[0].name:
                return Phrase(
                    f"{first.text} and {second.text}",
                    first.meanings + second.meanings,
                    tuple(sorted(first.segments + second.segments)),
                )
    return None


def absent_phrase(
    dice: Dice,
    things: Sequence[VisibleRegion],
    names: Sequence[str],
    banned: Collection[Tuple[str, str]],
    width: int,
) -> Optional[Phrase]:
    """Returns a phrase that means nothing in the picture.

    Half of the time a class that is there in a colour that is not, which is the harder case.

    Args:
        dice: its choices.
        things: everything that can be seen.
        names: thing classes that may be talked about.
        banned: (colour, class) that may not: what training has never shown it must not deny.
        width: of the picture, in pixels.
    """
    present = sorted({region.name for region in things if region.worded})
    recoloured = [
        (name, colour)
        for name in present
        for colour in all_things()[name].colours
        if (colour, name) not in banned
    ]
    others = [(name, "") for name in names if name not in present]
    first, second = (recoloured, others) if dice.chance(50) else (others, recoloured)
    for name, colour in dice.shuffled(first) + dice.shuffled(second):
        meaning = Meaning(name, colour)
        if not any(matching_segments(meaning, things, width)):
            return Phrase(phrase_text(meaning), (meaning,), ())
    return None
