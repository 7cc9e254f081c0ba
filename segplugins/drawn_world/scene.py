"""Scene: which things stand where in which landscape. Composed here, painted in paint.py."""

from dataclasses import dataclass, replace
from typing import List, Optional, Sequence, Tuple

from .classes import ClassList, ThingClass, all_stuff, all_things
from .dice import Dice
from .landscape import Landscape, lay_out, recipes_for
from .palette import light_weights, lights

Box = Tuple[int, int, int, int]

_TRIES = 12  # places tried for a thing before it is left out
_HERO = 150  # percent: the size of the one that stands out


@dataclass(frozen=True)
class Thing:
    """One thing of a scene; lengths in units, y down.

    Args:
        name: its class.
        colour: name of its colour, "" where it has its own.
        variant: which figure.
        foot: where it stands: the middle of its lower edge.
        height: of its figure.
        flip: looks to the left.
        support: the stuff under its foot; "sky" for what flies or hangs.
        speed: units to the right per frame of a clip.
    """

    name: str
    colour: str
    variant: int
    foot: Tuple[int, int]
    height: int
    flip: bool
    support: str
    speed: int = 0

    @property
    def box(self) -> Box:
        """(left, top, right, bottom) of its figure."""
        half = all_things()[self.name].span * self.height // 2000
        x, y = self.foot
        return x - half, y - self.height, x + half, y


@dataclass(frozen=True)
class Scene:
    """A landscape and its things, in the order in which they are painted."""

    land: Landscape
    things: Tuple[Thing, ...]

    def after(self, frames: int) -> "Scene":
        """Returns the scene some frames later: the same things, moved on."""
        return replace(self, things=tuple(_after(thing, frames) for thing in self.things))


def _after(thing: Thing, frames: int) -> Thing:
    x, y = thing.foot
    variant = thing.variant
    if thing.name == "bird":  # its two figures are the wings up and down
        variant = (variant + frames // 2) % 2
    return replace(thing, foot=(x + thing.speed * frames, y), variant=variant)


def compose(
    dice: Dice,
    classes: ClassList,
    *,
    high: int,
    wide: int,
    with_unseen: bool,
    required: Sequence[Tuple[str, str]],
) -> Scene:
    """Returns a new scene.

    Args:
        dice: its choices.
        classes: of the world.
        high: of the image, in units.
        wide: of the image, in units.
        with_unseen: whether unseen classes and pairs may appear.
        required: (class, colour) of things that must appear; colour "" = any. If they do not fit
            together, the later ones give way.
    """
    names = classes.names if with_unseen else classes.seen
    banned = () if with_unseen else classes.unseen_pairs
    required = list(required)
    while True:
        for _ in range(_TRIES):
            land = _land(dice, names, [name for name, _ in required], high, wide)
            things = None if land is None else _populate(dice, names, banned, land, required)
            if land is not None and things is not None:
                return Scene(land, _painting_order(things))
        required = required[:-1]  # with nothing required the first landscape does


def _land(
    dice: Dice, names: Sequence[str], required: Sequence[str], high: int, wide: int
) -> Optional[Landscape]:
    """A landscape on which all that is required can stand, or None."""
    kinds = [all_things()[name] for name in required if name in all_things()]
    needs = [kind.supports for kind in kinds] + [
        (name,) for name in required if name in all_stuff()
    ]
    times = [
        (name, weight)
        for name, weight in light_weights()
        if all(name in kind.lights for kind in kinds)
    ]
    stuff = [name for name in all_stuff() if name in names]
    recipes = recipes_for(stuff, needs)
    if not times or not recipes:
        return None
    light = lights()[dice.weighted(times)]
    recipe = dice.weighted(recipes)
    land = lay_out(dice, recipe, light=light, high=high, wide=wide, stuff=stuff)
    # A recipe with "0 to 2" ridges may have come out without any.
    return land if all(set(need) & set(land.stuff) for need in needs) else None


def _populate(
    dice: Dice,
    names: Sequence[str],
    banned: Sequence[Tuple[str, str]],
    land: Landscape,
    required: Sequence[Tuple[str, str]],
) -> Optional[List[Thing]]:
    """Required things first, then others by weight. None: a required one found no place."""
    placed: List[Thing] = []
    for name, colour in required:
        if name in all_things():
            thing = _place(
                dice, all_things()[name], colour, banned, land, placed, hero=dice.chance(40)
            )
            if thing is None:
                return None
            placed.append(thing)
    offered = [
        (kind, kind.weight)
        for kind in all_things().values()
        if kind.name in names
        and land.light.name in kind.lights
        and set(kind.supports) & set(land.stuff)
    ]
    hero = not placed and dice.chance(40)
    for _ in range(dice.between(5, 11) if offered else 0):
        kind = dice.weighted(offered)
        if sum(thing.name == kind.name for thing in placed) < kind.most:
            thing = _place(dice, kind, "", banned, land, placed, hero=hero and kind.place != "sky")
            if thing is not None:
                placed.append(thing)
                hero = hero and kind.place == "sky"
    return placed


def _place(
    dice: Dice,
    kind: ThingClass,
    colour: str,
    banned: Sequence[Tuple[str, str]],
    land: Landscape,
    placed: Sequence[Thing],
    *,
    hero: bool,
) -> Optional[Thing]:
    colours = [one for one in kind.colours if (one, kind.name) not in banned]
    if kind.colours and not colours:
        return None
    look = (
        colour or (dice.pick(colours) if colours else ""),
        dice.below(kind.variants),
        dice.chance(50),
    )
    for _ in range(_TRIES):
        spot = (
            _on_ground(dice, kind, land, hero)
            if kind.place == "ground"
            else _in_air(dice, kind, land, hero)
        )
        if spot is None:
            continue
        (x, y), height, support = spot
        speed = dice.between(*kind.speed) * (-1 if look[2] else 1) if kind.speed[1] else 0
        thing = Thing(kind.name, look[0], look[1], (x, y), height, look[2], support, speed)
        if all(_clear(thing.box, other.box) for other in placed):
            return thing
    return None


def _on_ground(
    dice: Dice, kind: ThingClass, land: Landscape, hero: bool
) -> Optional[Tuple[Tuple[int, int], int, str]]:
    stretches = land.stretches(kind.supports)
    if not stretches:
        return None
    top, bottom = dice.pick(stretches)
    if hero:
        top = max(top, (top + bottom) // 2)
    y = dice.between(top, max(top, min(bottom, land.high - 24)))
    x = dice.between(land.wide // 16, land.wide * 15 // 16)
    near = max(0, y - land.horizon) * 100 // (land.high - land.horizon)
    height = dice.between(*kind.height) * (42 + near * 58 // 100) // 100
    height = height * (_HERO if hero else 100) // 100
    half = kind.span * height // 2600
    under = {land.stuff_at(x + dx, y) for dx in (-half, 0, half)}
    if not under <= set(kind.supports) or height > land.high * 4 // 5:
        return None
    return (x, y), height, land.stuff_at(x, y)


def _in_air(
    dice: Dice, kind: ThingClass, land: Landscape, hero: bool
) -> Optional[Tuple[Tuple[int, int], int, str]]:
    percent = _HERO if hero else dice.between(70, 110)
    height = dice.between(*kind.height) * percent // 100
    half = kind.span * height // 2000
    low = land.horizon + (land.high // 12 if kind.place == "air" else 0)
    if height + 16 > low:
        return None
    y = dice.between(height + 8, low)
    x = dice.between(half * 2 // 3, land.wide - half * 2 // 3)
    return (x, y), height, "sky"


def _clear(one: Box, other: Box) -> bool:
    """Whether at most a third of the smaller box is shared."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return True
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return 3 * across * down <= smaller


def _painting_order(things: Sequence[Thing]) -> Tuple[Thing, ...]:
    """What hangs in the sky first (the sun behind the clouds), then by where it stands."""

    def rank(thing: Thing) -> Tuple[int, int]:
        place = all_things()[thing.name].place
        if place == "sky":
            return (0 if thing.name in ("sun", "moon") else 1), thing.height
        return 2, (thing.foot[1] if place == "ground" else thing.foot[1] - thing.height // 2)

    return tuple(sorted(things, key=rank))
