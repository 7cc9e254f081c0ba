"""OWLv2 as detector, from a folder of transformers."""

from dataclasses import dataclass
from typing import Any, ClassVar, List, Sequence, Tuple

import torch

from segplugins.annotation.adapters.pretrained import (
    PretrainedSpec,
    corners_of_unit_boxes,
    moved,
)
from segplugins.annotation.interfaces import Detection, Image
from segplugins.annotation.stage import check_share


@dataclass(frozen=True, kw_only=True)
class Owlv2Spec(PretrainedSpec):
    """Describes it.

    Args:
        threshold: boxes whose score is not higher are left out.
        template: with "{}" for the name.
    """

    kind: ClassVar[str] = "owlv2"
    roles: ClassVar[Tuple[str, ...]] = ("detector",)

    threshold: float = 0.1
    template: str = "a photo of a {}"

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)
        if self.template.count("{}") != 1:
            raise ValueError(f"template is {self.template!r}, expected '{{}}' once in it")

    def build(self, device: str) -> "Owlv2Detector":
        """Loads the model."""
        parts = self.parts("Owlv2ForObjectDetection", device)
        return Owlv2Detector(*parts, self.threshold, self.template)


class Owlv2Detector:
    """Detects names.

    Args:
        model: Owlv2ForObjectDetection.
        processor: of the model.
        threshold: see `Owlv2Spec`.
        template: see `Owlv2Spec`.
    """

    def __init__(
        self, model: Any, processor: Any, threshold: float = 0.1, template: str = "a photo of a {}"
    ):
        self._model, self._processor = model, processor
        self._threshold, self._template = threshold, template

    def detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        """Returns the boxes of each image's names; a box has the name that scores highest."""
        most = max(map(len, names), default=0)
        if not most:
            return [[] for _ in images]
        # Every image is asked as many texts; the answers to the added ones are passed over.
        texts = [
            [self._template.replace("{}", name) for name in listed] + [""] * (most - len(listed))
            for listed in names
        ]
        tokens = self._processor.tokenizer(
            [text for listed in texts for text in listed],
            padding="max_length",
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        inputs = self._processor.image_processor(
            [image.pixels for image in images], return_tensors="pt"
        )
        given = {k: tokens[k] for k in ("input_ids", "attention_mask")}
        output = self._model(**moved({**given, **inputs}, self._model))
        return [
            self._detections(image, listed, output.logits[row], output.pred_boxes[row])
            for row, (image, listed) in enumerate(zip(images, names))
        ]

    def _detections(
        self, image: Image, names: Sequence[str], logits: torch.Tensor, boxes: torch.Tensor
    ) -> List[Detection]:
        if not names:
            return []
        # Of logits: scores near 1 are equal in float32 where logits are not.
        highest, best = logits[:, : len(names)].float().max(dim=1)
        scores = highest.sigmoid()
        kept = torch.nonzero(scores > self._threshold)[:, 0]
        # Images are padded to squares at the right and at the bottom.
        side = max(image.size)
        corners = corners_of_unit_boxes(boxes[kept], side, side)
        return [
            Detection(names[index], tuple(box), score)
            for index, box, score in zip(
                best[kept].tolist(), corners.tolist(), scores[kept].tolist()
            )
        ]
