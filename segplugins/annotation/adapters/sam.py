"""SAM, SAM-HQ, SAM 2 and SAM 3's tracker as box segmenter, from a folder of transformers."""

from dataclasses import dataclass
from typing import Any, ClassVar, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from segplugins.annotation.adapters.pretrained import PretrainedSpec, moved
from segplugins.annotation.interfaces import Image, Masks


@dataclass(frozen=True, kw_only=True)
class SamSpec(PretrainedSpec):
    """Describes it.

    Args:
        boxes_at_once: boxes of one image that the mask decoder sees at once.
    """

    kind: ClassVar[str] = "sam"
    roles: ClassVar[Tuple[str, ...]] = ("box_segmenter",)

    boxes_at_once: int = 64

    def __post_init__(self) -> None:
        if self.boxes_at_once < 1:
            raise ValueError(f"boxes_at_once is {self.boxes_at_once}, expected 1 or more")

    def build(self, device: str) -> "SamSegmenter":
        """Loads the model."""
        return SamSegmenter(*self.parts("AutoModelForMaskGeneration", device), self.boxes_at_once)


class SamSegmenter:
    """Encodes all images at once and then decodes the boxes of each.

    The encoded images of the last call are kept: the jitter filter asks about the same again.

    Args:
        model: SamModel, SamHQModel, Sam2Model or Sam3TrackerModel.
        processor: of the model.
        boxes_at_once: see `SamSpec`.
    """

    def __init__(self, model: Any, processor: Any, boxes_at_once: int = 64):
        self._model, self._processor, self._step = model, processor, boxes_at_once
        self._last: Tuple[Sequence[Image], Any, Any] = ((), None, None)

    def segment_boxes(self, images: Sequence[Image], boxes: Sequence[np.ndarray]) -> List[Masks]:
        """Returns the single mask that the model gives for each box, with its predicted IoU."""
        if not images:
            return []
        inputs, embeddings = self._encoded(images)
        return [
            self._decode(inputs, embeddings, number, image, its)
            for number, (image, its) in enumerate(zip(images, boxes))
        ]

    def _encoded(self, images: Sequence[Image]) -> Tuple[Any, Any]:
        before = self._last[0]
        if len(before) != len(images) or any(a is not b for a, b in zip(before, images)):
            pixels = [image.pixels for image in images]
            inputs = moved(self._processor(images=pixels, return_tensors="pt"), self._model)
            embeddings = self._model.get_image_embeddings(inputs["pixel_values"])
            self._last = (tuple(images), inputs, embeddings)
        return self._last[1], self._last[2]

    def _decode(
        self, inputs: Any, embeddings: Any, number: int, image: Image, boxes: np.ndarray
    ) -> Masks:
        masks = [np.zeros((0, *image.size), bool)]
        scores = [np.zeros(0, np.float32)]
        scale = prompt_scale(inputs, number, image.size)
        for start in range(0, len(boxes), self._step):
            part = torch.as_tensor(boxes[start : start + self._step] * scale)[None]
            output = self._model(
                **_embeddings_of(embeddings, number),
                input_boxes=part.to(self._model.device, self._model.dtype),
                multimask_output=False,
            )
            masks.append(self._full_size(output.pred_masks, inputs, number))
            scores.append(output.iou_scores[0, :, 0].float().cpu().numpy())
        return Masks(np.concatenate(masks), np.concatenate(scores).clip(0, 1))

    def _full_size(self, masks: Tensor, inputs: Any, number: int) -> np.ndarray:
        sizes = [inputs["original_sizes"][number : number + 1].cpu()]
        if "reshaped_input_sizes" in inputs:
            sizes.append(inputs["reshaped_input_sizes"][number : number + 1].cpu())
        processor = getattr(self._processor, "image_processor", self._processor)
        (full,) = processor.post_process_masks(masks.float().cpu(), *sizes)
        return full[:, 0].numpy().astype(bool)


def prompt_scale(inputs: Any, number: int, size: Tuple[int, int]) -> np.ndarray:
    """Returns factors (4,) from x, y, x, y in an image to those that the model is prompted with.

    SAM keeps the shape of an image and pads it; SAM 2 and 3 stretch it to a square.

    Args:
        inputs: of the processor.
        number: of the image.
        size: (H, W) of the image.
    """
    if "reshaped_input_sizes" in inputs:
        height, width = inputs["reshaped_input_sizes"][number].tolist()
    else:
        height, width = inputs["pixel_values"].shape[-2:]
    return np.array([width / size[1], height / size[0]] * 2)


def _embeddings_of(embeddings: Any, number: int) -> dict:
    """Returns the arguments of the model that hold one image's embeddings."""
    part = slice(number, number + 1)
    if isinstance(embeddings, Tensor):
        return {"image_embeddings": embeddings[part]}
    first = embeddings[0]
    if isinstance(first, Tensor) and isinstance(embeddings[1], (list, tuple)):  # SAM-HQ
        return {
            "image_embeddings": first[part],
            "intermediate_embeddings": [each[part] for each in embeddings[1]],
        }
    return {"image_embeddings": [level[part] for level in embeddings]}
