"""Classes: what can be drawn, and which part of it a world holds, shows and hides.

The list with all its facts stands in classes.json; the order there is the order of the classes.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Mapping, Optional, Sequence, Tuple

from segplugins.structures import Vocabulary

_FILE = Path(__file__).with_name("classes.json")
GROUND = ("sea", "grass", "sand", "road")


@dataclass(frozen=True)
class ThingClass:
    """Facts about one class of things. Lengths are in units: 1024 = the short side of the image.

    Args:
        name: as captions and label lists write it.
        plural: the same for several.
        place: "ground" (stands, or swims), "air" (before the landscape), "sky" (behind it).
        supports: the stuff it may stand on.
        height: least and greatest, for one that stands at the lower border.
        span: its width in thousandths of its height.
        most: how many one image may hold.
        weight: how often it is chosen.
        variants: how many figures there are of it.
        colours: the colours it comes in; none = it has its own.
        parts: names of its parts.
        salient: how much it catches the eye, 100 = as a house of that size.
        speed: least and greatest in clips, units per frame; (0, 0) = stays.
        moves: the verb for it.
        worn: how the colour is said; "" = before the name.
        lights: when it can be seen.
    """

    name: str
    plural: str
    place: str
    supports: Tuple[str, ...]
    height: Tuple[int, int]
    span: int
    most: int
    weight: int
    variants: int
    colours: Tuple[str, ...]
    parts: Tuple[str, ...]
    salient: int
    speed: Tuple[int, int] = (0, 0)
    moves: str = ""
    worn: str = ""
    lights: Tuple[str, ...] = ("morning", "day", "evening", "night")


@cache
def _data() -> Mapping:
    return json.loads(_FILE.read_text(encoding="utf-8"))


@cache
def all_stuff() -> Tuple[str, ...]:
    """Returns the names of all stuff classes that can be painted."""
    return tuple(_data()["stuff"])


@cache
def all_things() -> Mapping[str, ThingClass]:
    """Returns all thing classes that can be drawn, by name."""
    frozen = (
        {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
        for entry in _data()["things"]
    )
    return {entry["name"]: ThingClass(**entry) for entry in frozen}


@cache
def all_parts() -> Tuple[Tuple[str, str], ...]:
    """Returns (class, part) of every part; its place + 1 is the value on the canvas."""
    return tuple((thing.name, part) for thing in all_things().values() for part in thing.parts)


def default_unseen() -> Tuple[str, ...]:
    """Returns the classes without masks in training, where nothing else is asked."""
    return tuple(_data()["unseen"])


def default_unseen_pairs() -> Tuple[str, ...]:
    """Returns the pairs "colour class" without masks in training, where nothing else is asked."""
    return tuple(_data()["unseen_pairs"])


@dataclass(frozen=True)
class ClassList:
    """The classes of one world.

    Args:
        names: seen ones first, then unseen ones, both in the order of classes.json. Their places
            are the class indices everywhere.
        num_seen: how many are seen.
        unseen_pairs: (colour, class) that no training mask shows.
    """

    names: Tuple[str, ...]
    num_seen: int
    unseen_pairs: Tuple[Tuple[str, str], ...]

    @property
    def seen(self) -> Tuple[str, ...]:
        """Names of the classes that training masks show."""
        return self.names[: self.num_seen]

    @property
    def unseen(self) -> Tuple[str, ...]:
        """Names of the classes that no training mask shows."""
        return self.names[self.num_seen :]

    @property
    def things(self) -> Tuple[str, ...]:
        """Names of the thing classes among them."""
        return tuple(name for name in self.names if name in all_things())

    @property
    def parts(self) -> Tuple[Tuple[str, str], ...]:
        """(class, part) of the parts that this world's label maps tell apart, in their order."""
        return tuple((name, part) for name, part in all_parts() if name in self.names)

    @property
    def looks(self) -> Tuple[Tuple[str, str], ...]:
        """(class, colour) of all that can be told apart by colour too; colour "" = has none.

        In the order of the classes, colours as in classes.json.
        """
        return tuple(
            (name, colour)
            for name in self.names
            for colour in (all_things()[name].colours if self.is_thing(name) else ()) or ("",)
        )

    def is_seen(self, name: str, colour: str) -> bool:
        """Returns whether training masks show the class in this colour."""
        return name in self.seen and (colour, name) not in self.unseen_pairs

    def is_thing(self, name: str) -> bool:
        """Returns whether instances of the class are counted apart."""
        return name in all_things()

    def vocabulary(self, name: str) -> Vocabulary:
        """Returns these classes as a vocabulary of that name."""
        return Vocabulary(
            name=name,
            classes=self.names,
            is_thing=tuple(self.is_thing(each) for each in self.names),
        )


def choose_classes(
    names: Optional[Sequence[str]] = None,
    unseen: Optional[Sequence[str]] = None,
    unseen_pairs: Optional[Sequence[str]] = None,
) -> ClassList:
    """Returns the classes that a user asks for, checked and in order.

    Args:
        names: the classes to draw; None = all that can be drawn.
        unseen: those of them without training masks; None = the usual ones among `names`.
        unseen_pairs: "colour class" entries without training masks; None = the usual ones.

    Raises:
        ValueError: an unknown or repeated class or colour, no sky, no ground, nothing left to
            see in training, or an unseen class that is not among the classes.
    """
    drawable = (*all_stuff(), *all_things())
    chosen = _checked(drawable if names is None else names, drawable, "class")
    hidden = _checked(
        [name for name in default_unseen() if name in chosen] if unseen is None else unseen,
        chosen,
        "unseen class",
    )
    seen = tuple(name for name in drawable if name in chosen and name not in hidden)
    if "sky" not in seen or not set(seen) & set(GROUND):
        raise ValueError(
            f"seen classes are {list(seen)}: 'sky' and at least one of {list(GROUND)} must be "
            "among them, or there is nothing to stand on"
        )
    if not set(seen) & set(all_things()):
        raise ValueError(
            f"seen classes are {list(seen)}: add a thing, one of {list(all_things())}, "
            "or training shows empty landscapes"
        )
    pairs = _pairs(unseen_pairs, chosen, hidden)
    return ClassList(
        names=(*seen, *(name for name in drawable if name in hidden)),
        num_seen=len(seen),
        unseen_pairs=pairs,
    )


def _checked(names: Sequence[str], allowed: Sequence[str], what: str) -> Tuple[str, ...]:
    for name in names:
        if name not in allowed:
            raise ValueError(f"unknown {what} '{name}'; known are {list(allowed)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{what} names repeat in {list(names)}; give each once")
    return tuple(names)


def _pairs(
    asked: Optional[Sequence[str]], chosen: Sequence[str], hidden: Sequence[str]
) -> Tuple[Tuple[str, str], ...]:
    texts = asked
    if texts is None:
        texts = [text for text in default_unseen_pairs() if text.split()[1] in chosen]
        texts = [text for text in texts if text.split()[1] not in hidden]
    pairs = []
    for text in texts:
        colour, _, name = text.partition(" ")
        thing = all_things().get(name) if name in chosen else None
        if thing is None or colour not in thing.colours:
            offered = {n: list(all_things()[n].colours) for n in chosen if n in all_things()}
            raise ValueError(
                f"unseen pair '{text}' is not drawn here; write 'colour class', one of {offered}"
            )
        pairs.append((colour, name))
    for name in {name for _, name in pairs} - set(hidden):
        if {colour for colour, other in pairs if other == name} >= set(all_things()[name].colours):
            raise ValueError(
                f"unseen pairs take every colour of '{name}'; make it an unseen class instead"
            )
    return tuple(pairs)
