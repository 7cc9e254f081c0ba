"""What models are to annotation: one protocol a role, each asked about many images at once.

H and W are the height and width of an image in pixels, N the boxes or masks of one image. Every
method gets lists with one entry per image and returns a list of the same length. Adapters over real
models stand in `annotation.adapters`; a stage takes anything that has the method.
"""

from dataclasses import dataclass
from typing import List, Optional, Protocol, Sequence, Tuple, runtime_checkable

import numpy as np

Box = Tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        file_name: path below the folder of images: for models that look answers up.
    """

    pixels: np.ndarray
    file_name: str = ""

    @property
    def size(self) -> Tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[:2]


@dataclass(frozen=True)
class Phrase:
    """A tag or a caption.

    Args:
        text: what the model says.
        score: 0-1; None where the model gives none.
        prompt_id: number of the prompt that it answers, None where there is one prompt alone.
    """

    text: str
    score: Optional[float] = None
    prompt_id: Optional[int] = None


@dataclass(frozen=True)
class Detection:
    """A box with its name; `box` is (x0, y0, x1, y1) in pixels, `score` 0-1."""

    text: str
    box: Box
    score: float


@dataclass(frozen=True, eq=False)
class Masks:
    """Answers to N boxes or phrases.

    Args:
        masks: (N, H, W) bool; all False where the model sees no target.
        scores: (N,) what the model thinks of them, 0-1.
    """

    masks: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Segment:
    """A region of stuff: its name, its mask (H, W) bool and a score 0-1."""

    text: str
    mask: np.ndarray
    score: float


@dataclass(frozen=True, eq=False)
class View:
    """A part of an image, as a scorer is to see it.

    Args:
        image: the whole image.
        box: the part, whole pixels x0, y0, x1, y1.
        shown: (H, W) bool, pixels that stay as they are; None = all.
        fade: 0-1, how far the others go to the mean colour of the image.
    """

    image: Image
    box: Tuple[int, int, int, int]
    shown: Optional[np.ndarray] = None
    fade: float = 0.0

    def pixels(self) -> np.ndarray:
        """Returns the part as (h, w, 3) uint8 RGB."""
        x0, y0, x1, y1 = self.box
        part = self.image.pixels[y0:y1, x0:x1]
        if self.shown is None or self.fade == 0:
            return part
        mean = self.image.pixels.reshape(-1, 3).mean(axis=0)
        faded = np.rint((1 - self.fade) * part + self.fade * mean).astype(np.uint8)
        return np.where(self.shown[y0:y1, x0:x1, None], part, faded)


@runtime_checkable
class Captioner(Protocol):
    """Says what an image shows."""

    def caption(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the captions of each image."""
        ...


@runtime_checkable
class Tagger(Protocol):
    """Names what is in an image."""

    def tag(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the tags of each image, with scores."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds the boxes of names."""

    def detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        """Returns the detections of each image.

        Args:
            images: B of them.
            names: of each image; a detector of fixed classes passes over them.
        """
        ...


@runtime_checkable
class BoxSegmenter(Protocol):
    """Turns boxes into masks."""

    def segment_boxes(self, images: Sequence[Image], boxes: Sequence[np.ndarray]) -> List[Masks]:
        """Returns a mask per box.

        Args:
            images: B of them.
            boxes: of each image (N, 4) float64 x0, y0, x1, y1 in pixels; N may be 0.
        """
        ...


@runtime_checkable
class RegionCaptioner(Protocol):
    """Describes boxes."""

    def caption_boxes(
        self, images: Sequence[Image], boxes: Sequence[np.ndarray], count: int
    ) -> List[List[List[Phrase]]]:
        """Returns up to `count` captions per box, the best first; boxes as for `BoxSegmenter`."""
        ...


@runtime_checkable
class PhraseSegmenter(Protocol):
    """Segments what a phrase means."""

    def segment_phrases(
        self, images: Sequence[Image], phrases: Sequence[Sequence[str]]
    ) -> List[Masks]:
        """Returns a mask per phrase of each image."""
        ...


@runtime_checkable
class StuffSegmenter(Protocol):
    """Segments background without being asked for names."""

    def segment_stuff(self, images: Sequence[Image]) -> List[List[Segment]]:
        """Returns the segments of each image."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Says how well texts fit parts of images."""

    def score(self, views: Sequence[View], texts: Sequence[Sequence[str]]) -> List[np.ndarray]:
        """Returns (T,) float per view: the cosine with each of its T texts."""
        ...


ROLES = {
    "captioner": Captioner,
    "tagger": Tagger,
    "detector": Detector,
    "box_segmenter": BoxSegmenter,
    "region_captioner": RegionCaptioner,
    "phrase_segmenter": PhraseSegmenter,
    "stuff_segmenter": StuffSegmenter,
    "scorer": Scorer,
}
