"""The figures of all classes. One file per kind of thing; `figure_of` finds and keeps them."""

from functools import cache

from ..classes import all_parts
from ..figure import Figure, FinishedFigure
from . import buildings, living, plants, sky, toys, vehicles

_SKETCHES = {
    "house": buildings.house,
    "lamp": buildings.lamp,
    "car": vehicles.car,
    "boat": vehicles.boat,
    "rocket": vehicles.rocket,
    "person": living.person,
    "sheep": living.sheep,
    "bird": living.bird,
    "tree": plants.tree,
    "flower": plants.flower,
    "kite": toys.kite,
    "balloon": toys.balloon,
    "sun": sky.sun,
    "moon": sky.moon,
    "cloud": sky.cloud,
}


@cache
def figure_of(name: str, variant: int) -> FinishedFigure:
    """Returns the figure of a class, ready for stamping.

    Args:
        name: one of the thing classes.
        variant: 0 up to the class's number of variants - 1.
    """
    figure = Figure()
    _SKETCHES[name](figure, variant)
    values = {part: 1 + i for i, (of, part) in enumerate(all_parts()) if of == name}
    return figure.finish(values)


__all__ = ["figure_of"]
