"""Grounding DINO as detector, from a folder of transformers.

The text is "dog. red car." and the model scores tokens. A box gets the name whose tokens score
highest: the strings that the processor puts together from tokens can be parts of names.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, List, Sequence, Tuple

import torch
from torch import Tensor

from segplugins.annotation.adapters.pretrained import (
    PretrainedSpec,
    corners_of_unit_boxes,
    moved,
)
from segplugins.annotation.interfaces import Detection, Image
from segplugins.annotation.stage import check_share

Span = Tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class GroundingDinoSpec(PretrainedSpec):
    """Describes it.

    Args:
        threshold: boxes whose score is not higher are left out.
        batch_size: pairs of an image and a text that the model sees at once; many names need
            several texts.
    """

    kind: ClassVar[str] = "grounding_dino"
    roles: ClassVar[Tuple[str, ...]] = ("detector",)

    threshold: float = 0.25
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)
        check_share("batch_size", self.batch_size, 1, 4096)

    def build(self, device: str) -> "GroundingDinoDetector":
        """Loads the model."""
        parts = self.parts("GroundingDinoForObjectDetection", device)
        return GroundingDinoDetector(*parts, self.threshold, self.batch_size)


class GroundingDinoDetector:
    """Detects names.

    Args:
        model: GroundingDinoForObjectDetection.
        processor: of the model.
        threshold: see `GroundingDinoSpec`.
        batch_size: see `GroundingDinoSpec`.
    """

    def __init__(self, model: Any, processor: Any, threshold: float = 0.25, batch_size: int = 8):
        self._model, self._processor = model, processor
        self._threshold, self._batch_size = threshold, batch_size

    def detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        """Returns the boxes of each image's names."""
        # Two tokens are those around a text.
        limit = self._model.config.max_text_len - 2
        pairs = [
            (number, part)
            for number, listed in enumerate(names)
            for part in parts_of_names(listed, self._lengths(listed), limit)
        ]
        found: List[List[Detection]] = [[] for _ in images]
        for start in range(0, len(pairs), self._batch_size):
            batch = pairs[start : start + self._batch_size]
            answers = self._detect(
                [images[number] for number, _ in batch], [part for _, part in batch]
            )
            for (number, _), detections in zip(batch, answers):
                found[number] += detections
        return found

    def _lengths(self, names: Sequence[str]) -> List[int]:
        tokenizer = self._processor.tokenizer
        texts = [f"{name.lower()}." for name in names]
        if not texts:
            return []
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids]

    def _detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        texts = [text_of_names(listed) for listed in names]
        offsets = self._processor.tokenizer(
            texts, return_offsets_mapping=True, padding=True
        ).offset_mapping
        inputs = self._processor(
            images=[image.pixels for image in images],
            text=texts,
            padding=True,
            return_tensors="pt",
        )
        output = self._model(**moved(inputs, self._model))
        answers = []
        for image, listed, places, logits, boxes in zip(
            images, names, offsets, output.logits, output.pred_boxes
        ):
            scores, best = best_names(logits, token_spans(listed, places))
            kept = torch.nonzero(scores > self._threshold)[:, 0]
            corners = corners_of_unit_boxes(boxes[kept], *image.size)
            answers.append(
                [
                    Detection(listed[index], tuple(box), score)
                    for index, box, score in zip(
                        best[kept].tolist(), corners.tolist(), scores[kept].tolist()
                    )
                ]
            )
        return answers


def text_of_names(names: Sequence[str]) -> str:
    """Returns names as the model reads them: "dog. red car."."""
    return " ".join(f"{name.lower()}." for name in names)


def parts_of_names(names: Sequence[str], lengths: Sequence[int], limit: int) -> List[Sequence[str]]:
    """Returns names in lists whose tokens fit one text.

    Args:
        names: in order.
        lengths: tokens of each with its full stop.
        limit: tokens of a text.

    Raises:
        ValueError: one name alone is too long.
    """
    parts: List[List[str]] = []
    left = 0
    for name, length in zip(names, lengths):
        if length > limit:
            raise ValueError(f"name '{name:.40}' has {length} tokens, expected at most {limit}")
        if length > left:
            parts.append([])
            left = limit
        parts[-1].append(name)
        left -= length
    return parts


def token_spans(names: Sequence[str], offsets: Sequence[Sequence[int]]) -> List[List[int]]:
    """Returns the positions of the tokens of each name in the text of all.

    Args:
        names: see `text_of_names`.
        offsets: per token the first character and the one behind the last; equal for tokens that
            stand for no character.
    """
    spans, start = [], 0
    for name in names:
        stop = start + len(name.lower())
        spans.append([n for n, (low, high) in enumerate(offsets) if start <= low < high <= stop])
        start = stop + 2  # full stop and blank
    return spans


def best_names(logits: Tensor, spans: Sequence[Sequence[int]]) -> Tuple[Tensor, Tensor]:
    """Returns the highest score of each query (Q,) and the index of its name (Q,).

    Args:
        logits: (Q, L) of tokens; -inf where there is none.
        spans: positions of the tokens of each name.
    """
    # Of logits: scores near 1 are equal in float32 where logits are not.
    logits = logits.float()
    columns = [
        logits[:, span].amax(dim=1) if len(span) else torch.full_like(logits[:, 0], -torch.inf)
        for span in spans
    ]
    highest, best = torch.stack(columns, dim=1).max(dim=1)
    return highest.sigmoid(), best
