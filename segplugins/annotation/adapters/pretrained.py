"""What the adapters over transformers share: the package, the device, boxes of unit images."""

import importlib.util
from dataclasses import dataclass
from typing import Any, Dict, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from segplugins.annotation.interfaces import Image
from segplugins.annotation.model_spec import FolderSpec


@dataclass(frozen=True, kw_only=True)
class PretrainedSpec(FolderSpec):
    """A folder that `save_pretrained` of transformers has written, model and processor.

    Args:
        folder: with config.json, the weights, and the files of the processor.
        half: compute in float16 on a GPU.
    """

    half: bool = False

    def check(self) -> None:
        super().check()
        if importlib.util.find_spec("transformers") is None:
            raise ImportError(
                f"kind '{self.kind}' needs transformers: pip install transformers, or install "
                "segplugins with its extra [annotation]"
            )

    def parts(self, model_class: str, device: str) -> Tuple[Any, Any]:
        """Returns the model, in evaluation mode on the device, and its processor.

        Args:
            model_class: name of a class of transformers.
            device: "cpu" or "cuda:0".

        Raises:
            ValueError: the folder does not hold such a model; the message names it.
        """
        import transformers

        options = {"local_files_only": True}
        dtype = torch.float16 if self.half and device != "cpu" else torch.float32
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.folder, **options)
            model = getattr(transformers, model_class).from_pretrained(
                self.folder, use_safetensors=None, **options
            )
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"folder '{self.folder}' does not load as kind '{self.kind}' ({model_class}): "
                f"{reason}"
            ) from error
        return model.to(device, dtype).eval().requires_grad_(False), processor


def moved(inputs: Any, model: torch.nn.Module) -> Dict[str, Any]:
    """Returns the tensors of a processor on the device of a model, numbers in its type."""
    device, dtype = model.device, model.dtype
    return {
        key: value.to(device, dtype if value.is_floating_point() else value.dtype)
        if isinstance(value, Tensor)
        else value
        for key, value in inputs.items()
    }


def corners_of_unit_boxes(boxes: Tensor, height: float, width: float) -> np.ndarray:
    """Returns x0, y0, x1, y1 in pixels (N, 4) of boxes cx, cy, w, h in [0, 1]."""
    centre, sides = boxes[:, :2].double().cpu(), boxes[:, 2:].double().cpu()
    corners = torch.cat([centre - sides / 2, centre + sides / 2], dim=1)
    return (corners * torch.tensor([width, height, width, height]).double()).numpy()


def crops(image: Image, boxes: np.ndarray) -> Sequence[np.ndarray]:
    """Returns the pixels (h, w, 3) under each box, at least one a side."""
    from segplugins.annotation.sample import whole_box

    parts = []
    for box in boxes:
        x0, y0, x1, y1 = whole_box(box, image)
        parts.append(image.pixels[y0:y1, x0:x1])
    return parts
