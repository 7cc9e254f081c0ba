"""Options: all that decides what a drawn world holds. The same options give the same world."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Dict, Optional, Tuple

from .classes import ClassList, all_things, choose_classes
from .landscape import recipes_for

MIN_SIZE, MAX_SIZE = 32, 2048


@dataclass(frozen=True)
class WorldOptions:
    """What to draw.

    Args:
        train: number of training images.
        val: number of validation images of seen classes.
        val_unseen: number of validation images with unseen classes or pairs. None = `val`.
        pairs: number of image-text pairs. None = `train`.
        clips: number of training clips.
        val_clips: number of validation clips.
        height: of every image, in pixels.
        width: of every image, in pixels.
        seed: 0 to 2**64 - 1.
        classes: the classes to draw. None = all.
        unseen: those without masks in training. None = the usual ones.
        unseen_pairs: "colour class" without masks in training. None = the usual ones.
        shard: pairs in one tar.

    Raises:
        ValueError: a number is out of range, or the classes do not make a world
            (`choose_classes`).
    """

    train: int
    val: int
    val_unseen: Optional[int] = None
    pairs: Optional[int] = None
    clips: int = 40
    val_clips: int = 10
    height: int = 128
    width: int = 128
    seed: int = 0
    classes: Optional[Tuple[str, ...]] = None
    unseen: Optional[Tuple[str, ...]] = None
    unseen_pairs: Optional[Tuple[str, ...]] = None
    shard: int = 250

    def __post_init__(self) -> None:
        chosen = choose_classes(self.classes, self.unseen, self.unseen_pairs)
        _check_places(chosen)
        hidden = bool(chosen.unseen or chosen.unseen_pairs)
        if self.val_unseen is None:
            object.__setattr__(self, "val_unseen", self.val if hidden else 0)
        if self.pairs is None:
            object.__setattr__(self, "pairs", self.train)
        for name in ("train", "val", "val_unseen", "pairs", "clips", "val_clips"):
            _in_range(name, getattr(self, name), 0, 10_000_000)
        for name in ("height", "width"):
            _in_range(name, getattr(self, name), MIN_SIZE, MAX_SIZE)
        if max(self.height, self.width) > 4 * min(self.height, self.width):
            raise ValueError(
                f"size {self.height}x{self.width}: one side is more than 4 times the other; "
                "the scenes are composed for pictures, not for strips"
            )
        _in_range("seed", self.seed, 0, 2**64 - 1)
        _in_range("shard", self.shard, 1, 100_000)
        if self.val_unseen and not hidden:
            raise ValueError(
                f"val_unseen is {self.val_unseen}, but no class or pair is unseen; "
                "name some, or set it to 0"
            )

    @cached_property
    def class_list(self) -> ClassList:
        """The classes of this world, in order."""
        return choose_classes(self.classes, self.unseen, self.unseen_pairs)

    def as_data(self) -> Dict[str, Any]:
        """Returns the options as JSON data: what tells one world from another."""
        chosen = self.class_list
        data = asdict(self)
        data["classes"] = list(chosen.names)
        data["unseen"] = list(chosen.unseen)
        data["unseen_pairs"] = [" ".join(pair) for pair in chosen.unseen_pairs]
        return data


def _check_places(classes: ClassList) -> None:
    """Checks that every class has a landscape to appear in, seen ones without unseen stuff."""
    for names, shown in ((classes.seen, classes.seen), (classes.unseen, classes.names)):
        stuff = [name for name in shown if not classes.is_thing(name)]
        if not recipes_for(stuff, []):
            raise ValueError(
                f"no landscape can be made of {stuff} alone; add one of 'grass', 'sand', 'sea'"
            )
        for name in names:
            wanted = all_things()[name].supports if classes.is_thing(name) else (name,)
            if not recipes_for(stuff, [wanted]):
                raise ValueError(
                    f"'{name}' has nowhere to appear: no landscape of {stuff} shows one of "
                    f"{list(wanted)}; add stuff, or leave '{name}' out"
                )


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected {low} to {high}")
