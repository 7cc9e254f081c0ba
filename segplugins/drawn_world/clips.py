"""Clips: a moving scene, the visible regions of each frame, and phrases true in all frames."""

from dataclasses import dataclass, replace
from typing import Dict, List

from .canvas import UNITS
from .classes import all_things
from .dice import Dice
from .meaning import Meaning, matching_segments
from .observe import VisibleRegion, observe
from .options import WorldOptions
from .paint import FIRST_THING, Picture, paint
from .phrases import Phrase, candidate_meanings, phrase_text
from .scene import Scene, Thing
from .splits import PHRASES_STREAM, STREAMS, scene_of

FRAMES = 8
_PER_THING = 2  # phrases


@dataclass(frozen=True)
class Clip:
    """Eight frames of one scene.

    Args:
        scene: at the first frame.
        pictures: of every frame.
        visible: the visible things of every frame; the same thing has the same segment throughout.
    """

    scene: Scene
    pictures: List[Picture]
    visible: List[List[VisibleRegion]]


def draw_clip(options: WorldOptions, split: str, index: int) -> Clip:
    """Returns clip `index` of "clips_train" or "clips_valid"; both show seen classes alone."""
    scene = scene_of(options, split, index)
    scene = replace(scene, things=tuple(_stopped_at_border(thing, scene) for thing in scene.things))
    frames = [scene.after(frame) for frame in range(FRAMES)]
    pictures = [paint(frame, options.height, options.width) for frame in frames]
    visible = [observe(frame, picture)[0] for frame, picture in zip(frames, pictures)]
    return Clip(scene, pictures, visible)


def _stopped_at_border(thing: Thing, scene: Scene) -> Thing:
    """Stops what would leave its ground: no boat sails up the beach."""
    kind = all_things()[thing.name]
    if kind.place != "ground" or not thing.speed:
        return thing
    half = kind.span * thing.height // 2600
    start, end = thing.foot[0], thing.foot[0] + thing.speed * (FRAMES - 1)
    low, high = min(start, end) - half, max(start, end) + half
    path = range(max(low, 0), min(high, scene.land.wide), UNITS // 64)
    stays = all(scene.land.stuff_at(x, thing.foot[1]) in kind.supports for x in path)
    return thing if stays else replace(thing, speed=0)


def clip_phrases(
    clip: Clip, options: WorldOptions, split: str, index: int
) -> Dict[int, List[Phrase]]:
    """Returns phrases per object; an object is a segment minus that of the first thing, plus 1.

    A phrase means its object, and nothing else, in every frame in which the object can be seen,
    and nothing at all in the others.
    """
    dice = Dice(options.seed, PHRASES_STREAM + STREAMS[split], index)
    width = clip.pictures[0].image.shape[1]
    phrases = {}
    for thing in _worth_following(clip):
        verified = []
        for candidates in _candidate_meanings(thing, clip):
            for meaning in dice.shuffled(candidates):
                if _holds(meaning, thing.segment, clip, width):
                    verified.append(Phrase(phrase_text(meaning), (meaning,), (thing.segment,)))
                    break
        if verified:
            phrases[object_of(thing.segment)] = dice.shuffled(verified)[:_PER_THING]
    return phrases


def object_of(segment: int) -> int:
    """Returns the number of an object in a clip, from 1 on."""
    return segment - FIRST_THING + 1


def _worth_following(clip: Clip) -> List[VisibleRegion]:
    """Things that are big enough in the first frame and still there, however small, in the last."""
    last = {region.segment for region in clip.visible[-1]}
    return [region for region in clip.visible[0] if region.worded and region.segment in last]


def _candidate_meanings(thing: VisibleRegion, clip: Clip) -> List[List[Meaning]]:
    plain, placed, related = candidate_meanings(thing, clip.visible[0])
    moving = []
    if thing.speed:
        heading = "left" if thing.speed < 0 else "right"
        moving = [one._replace(heading=heading, support="") for one in plain if not one.support]
    return [moving, plain, placed, related]


def _holds(meaning: Meaning, segment: int, clip: Clip, width: int) -> bool:
    for regions in clip.visible:
        expected = [segment] if any(region.segment == segment for region in regions) else []
        strict, loose = matching_segments(meaning, regions, width)
        if not strict == loose == expected:
            return False
    return True
