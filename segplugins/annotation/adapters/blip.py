"""BLIP and BLIP-2 as captioner of images and of boxes, from a folder of transformers."""

from dataclasses import dataclass
from typing import Any, ClassVar, List, Optional, Sequence, Tuple

import numpy as np
import torch

from segplugins.annotation.adapters.pretrained import PretrainedSpec, crops, moved
from segplugins.annotation.interfaces import Image, Phrase
from segplugins.structures.vocabulary import folded


@dataclass(frozen=True, kw_only=True)
class BlipSpec(PretrainedSpec):
    """Describes it.

    Args:
        prompts: texts that captions go on from, each gives captions of its own; none = without.
        count: captions per image and prompt.
        beams: of the search; at least as many as captions are asked for.
        max_tokens: that a caption may have.
        batch_size: crops that the model sees at once.
    """

    kind: ClassVar[str] = "blip"
    roles: ClassVar[Tuple[str, ...]] = ("captioner", "region_captioner")

    prompts: Sequence[str] = ()
    count: int = 1
    beams: int = 3
    max_tokens: int = 30
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("count", "beams", "max_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")

    def build(self, device: str) -> "BlipCaptioner":
        """Loads the model."""
        return BlipCaptioner(*self.parts("AutoModelForImageTextToText", device), self)


class BlipCaptioner:
    """Describes images and boxes.

    Args:
        model: BlipForConditionalGeneration or Blip2ForConditionalGeneration.
        processor: of the model.
        spec: prompts and numbers.
    """

    def __init__(self, model: Any, processor: Any, spec: BlipSpec):
        self._model, self._processor, self._spec = model, processor, spec

    def caption(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the captions of whole images, those of one prompt after the other."""
        return self._describe([image.pixels for image in images], self._spec.count)

    def caption_boxes(
        self, images: Sequence[Image], boxes: Sequence[np.ndarray], count: int
    ) -> List[List[List[Phrase]]]:
        """Returns up to `count` captions of each box, distinct, the best first."""
        parts = [part for image, its in zip(images, boxes) for part in crops(image, its)]
        listed = iter(self._describe(parts, count))
        return [[distinct_phrases(next(listed), count) for _ in range(len(its))] for its in boxes]

    def _describe(self, parts: Sequence[np.ndarray], count: int) -> List[List[Phrase]]:
        found: List[List[Phrase]] = [[] for _ in parts]
        prompts: Sequence[Tuple[Optional[int], Optional[str]]] = [
            *enumerate(self._spec.prompts)
        ] or [(None, None)]
        for number, prompt in prompts:
            for start in range(0, len(parts), self._spec.batch_size):
                batch = parts[start : start + self._spec.batch_size]
                for place, phrases in enumerate(self._generate(batch, prompt, number, count)):
                    found[start + place] += phrases
        return found

    def _generate(
        self, parts: Sequence[np.ndarray], prompt: Optional[str], number: Optional[int], count: int
    ) -> List[List[Phrase]]:
        texts = {} if prompt is None else {"text": [prompt] * len(parts)}
        inputs = self._processor(images=list(parts), return_tensors="pt", padding=True, **texts)
        beams = max(self._spec.beams, count)
        output = self._model.generate(
            **moved(inputs, self._model),
            num_beams=beams,
            num_return_sequences=count,
            max_new_tokens=self._spec.max_tokens,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
        )
        words = self._processor.batch_decode(output.sequences, skip_special_tokens=True)
        # Without beams there is no score of a sequence.
        scores = getattr(output, "sequences_scores", None)
        chances = [None] * len(words) if scores is None else torch.exp(scores.float()).tolist()
        phrases = [
            Phrase(without_prompt(text, prompt), chance, number)
            for text, chance in zip(words, chances)
        ]
        return [phrases[start : start + count] for start in range(0, len(phrases), count)]


def without_prompt(text: str, prompt: Optional[str]) -> str:
    """Returns a caption without the prompt in front, which BLIP repeats and BLIP-2 does not."""
    words, start = text.split(), folded(prompt or "").split()
    repeats = [folded(word) for word in words[: len(start)]] == start
    return " ".join(words[len(start) :] if repeats else words)


def distinct_phrases(phrases: Sequence[Phrase], count: int) -> List[Phrase]:
    """Returns the phrases of the highest scores, each text once but for case and blanks."""
    order = sorted(phrases, key=lambda phrase: -(phrase.score or 0.0))
    unique = {}
    for phrase in order:
        if phrase.text:
            unique.setdefault(folded(phrase.text), phrase)
    return list(unique.values())[:count]
