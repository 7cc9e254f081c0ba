"""The drawn world: pictures with exact truth for every task, drawn on the spot.

Reading order: classes and landscapes (the facts), scene (what stands where), paint (picture and
truth), observe and words (what can be said about it), writers (formats), generate (the folder).
"""

from .classes import ClassList, choose_classes
from .generate import write_drawn_world
from .options import WorldOptions
from .splits import draw

__all__ = ["ClassList", "WorldOptions", "choose_classes", "draw", "write_drawn_world"]
