"""Splits: which images of a world may show what, and the drawing of one of them."""

from dataclasses import dataclass
from typing import Dict, List, Tuple

from .canvas import UNITS
from .dice import Dice
from .observe import VisibleRegion, observe
from .options import WorldOptions
from .paint import Picture, paint
from .scene import Scene, compose

# Numbers of the random streams: never reuse one, or two splits would share scenes.
STREAMS: Dict[str, int] = {
    "train": 0,
    "val": 1,
    "val_unseen": 2,
    "pairs": 3,
    "clips_train": 4,
    "clips_valid": 5,
}
MASK_SPLITS = ("train", "val", "val_unseen")
WORDS_STREAM, PHRASES_STREAM = 16, 32  # + that of the split: words do not disturb shapes


@dataclass(frozen=True)
class Drawing:
    """One image with its scene and its visible regions."""

    split: str
    index: int
    scene: Scene
    picture: Picture
    things: List[VisibleRegion]
    stuff: List[VisibleRegion]

    @property
    def stem(self) -> str:
        """File name without extension."""
        return f"{self.index:06d}"

    @property
    def image_id(self) -> int:
        """Number that no other image of any split has."""
        return STREAMS[self.split] * 10_000_000 + self.index + 1


def draw(options: WorldOptions, split: str, index: int) -> Drawing:
    """Returns image `index` of a split; it depends on the options' seed, size and classes alone."""
    scene = scene_of(options, split, index)
    picture = paint(scene, options.height, options.width)
    things, stuff = observe(scene, picture)
    return Drawing(split, index, scene, picture, things, stuff)


def scene_of(options: WorldOptions, split: str, index: int) -> Scene:
    """Returns the scene of an image before it is painted."""
    dice = Dice(options.seed, STREAMS[split], index)
    short = min(options.height, options.width)
    return compose(
        dice,
        options.class_list,
        high=options.height * UNITS // short,
        wide=options.width * UNITS // short,
        with_unseen=split in ("val_unseen", "pairs"),
        required=_required(dice, options, split),
    )


def _required(dice: Dice, options: WorldOptions, split: str) -> List[Tuple[str, str]]:
    """What the image must show, so that rare classes are not left to chance."""
    classes = options.class_list
    hidden = [(name, "") for name in classes.unseen]
    hidden += [(name, colour) for colour, name in classes.unseen_pairs]
    seen = [(name, "") for name in classes.seen if classes.is_thing(name)]
    if split == "val_unseen":
        return [dice.pick(hidden) for _ in range(2 if dice.chance(40) else 1)]
    if split == "pairs":
        return [dice.pick(seen + hidden)]
    return [dice.pick(seen)]
