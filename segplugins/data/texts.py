"""Texts of an image: phrases as they are true of the augmented image, class names with negatives.

K texts of an image, N regions.
"""

import random
import re
from dataclasses import dataclass
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch

from segplugins.structures.regions import Region

_SIDES = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
_SIDE = re.compile(r"\b(left|right|leftmost|rightmost)\b", re.IGNORECASE)


def mirrored(sentence: str) -> str:
    """Returns a sentence with left and right exchanged, as it is true of the mirrored image."""

    def other(match: re.Match) -> str:
        word = match.group()
        side = _SIDES[word.lower()]
        return side.capitalize() if word[0].isupper() else side

    return _SIDE.sub(other, sentence)


def drawn_text(sentences: Sequence[str], flipped: bool) -> str:
    """Returns one of the sentences at random, as it is true of the augmented image."""
    text = random.choice(sentences)
    return mirrored(text) if flipped else text


def phrase_texts(regions: Sequence[Region], flipped: bool) -> List[str]:
    """Returns per region its text: one of extra["sentences"] at random, or the text itself.

    Regions of one text keep one text: several targets of a phrase stay together.
    """
    chosen: Dict[str, str] = {}
    for region in regions:
        if region.text not in chosen:
            sentences = region.extra.get("sentences") or [region.text]
            chosen[region.text] = drawn_text(sentences, flipped)
    return [chosen[region.text] for region in regions]


@dataclass(frozen=True)
class ClassTexts:
    """The class names that an image is asked for.

    Args:
        texts: K names, in random order; None: the whole vocabulary is asked for.
        positions: class of the vocabulary to its place in the texts (or to itself).
        ignore_negative: (K,) bool, True where an object of that text may stand unannotated; None:
            nowhere.
    """

    texts: Optional[List[str]]
    positions: Mapping[int, int]
    ignore_negative: Optional[torch.Tensor]


def class_texts(
    classes: Sequence[str],
    present: Sequence[int],
    record: Mapping[str, Any],
    limit: int,
    never: Collection[int] = (),
) -> ClassTexts:
    """Chooses the class names that an image is asked for.

    Some sets (LVIS) look for only a part of their classes in each image. Their records say which
    were looked for in vain ("negative_classes"); of those that are neither there nor present
    nothing is known. Any record may say of which classes not every object is annotated
    ("not_exhaustive_classes"), such as those whose regions a filter dropped.

    Args:
        classes: the vocabulary.
        present: classes of the regions.
        record: of the catalog.
        limit: the image gets at most that many names: those present, and others at random of which
            it is known that they are not; 0: all names.
        never: classes that are not drawn as others.

    Returns:
        See `ClassTexts`. With a limit, no name whose absence is unknown is asked for, unless it is
        present.
    """
    present = list(dict.fromkeys(present))
    federated = "negative_classes" in record
    absent = set(record["negative_classes"]) if federated else set(range(len(classes)))
    partly = set(record.get("not_exhaustive_classes", ()))
    absent -= {*present, *never, *partly}
    if limit <= 0:
        unknown = None
        if federated or partly:
            labelled = (set(present) - partly) | absent
            unknown = torch.ones(len(classes), dtype=torch.bool)
            unknown[list(labelled)] = False
        return ClassTexts(None, {k: k for k in present}, unknown)
    number = min(max(limit - len(present), 0), len(absent))
    chosen = present + np.random.permutation(sorted(absent))[:number].tolist()
    chosen = [chosen[place] for place in np.random.permutation(len(chosen))]
    return ClassTexts(
        texts=[classes[k] for k in chosen],
        positions={k: place for place, k in enumerate(chosen)},
        ignore_negative=(
            torch.tensor([k in partly for k in chosen]) if federated or partly else None
        ),
    )


class NamePool:
    """Names of a set without a closed list of classes, to draw those that an image does not show.

    Names are drawn by the root of their frequency: common ones are good examples, but not the only
    ones. What a draw needs of all names is computed once.

    Args:
        counts: name to its frequency, any unit.

    Raises:
        ValueError: a frequency below 0, or none above.
    """

    def __init__(self, counts: Mapping[str, float]) -> None:
        self.names = list(counts)
        weights = np.sqrt(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)))
        if not len(counts) or not np.isfinite(weights).all() or weights.sum() <= 0:
            raise ValueError("names need frequencies of at least 0, and one above")
        self._ends = np.cumsum(weights) / weights.sum()

    def draw(self, present: Sequence[str], number: int) -> List[str]:
        """Draws names that an image does not show.

        Names that contain a present one, or are contained in one, are left out: what is called
        "man" is no example of what "old man" is not.

        Args:
            present: names that the image shows.
            number: how many are wanted.

        Returns:
            At most `number` different names.
        """
        if number <= 0:
            return []
        # Drawn with room to spare, since some fall away.
        draws = np.random.random(2 * number + 10)
        places = np.searchsorted(self._ends, draws, side="right")
        names = dict.fromkeys(self.names[min(p, len(self.names) - 1)] for p in places.tolist())
        apart = [n for n in names if not any(n in shown or shown in n for shown in present)]
        return apart[:number]
