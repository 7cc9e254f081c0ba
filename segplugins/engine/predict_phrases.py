"""Pictures asked by phrases: one mask per phrase, which may overlap or be empty."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from PIL import Image

from segplugins.pictures import draw_masks, save_picture
from segplugins.structures.regions import Task

_THRESHOLD = 0.5  # of a model that gives scores instead of masks


class PhraseMasks:
    """Where is what each prompt says? A `Question`; answers are (T, H, W) bool, one per prompt.

    Args:
        prompts: phrases; runs of spaces in them count as one.

    Raises:
        ValueError: there is none, one is empty, or one is given twice (in any case of letters).
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = [" ".join(prompt.split()) for prompt in prompts]
        if not self.prompts or "" in self.prompts:
            raise ValueError(
                f"prompt {self.prompts.index('') + 1 if self.prompts else 1} of "
                f'{len(self.prompts)} is empty; write one as --prompt "the red car"'
            )
        first: Dict[str, str] = {}
        for prompt in self.prompts:
            if prompt.casefold() in first:
                raise ValueError(
                    f"prompts '{first[prompt.casefold()]}' and '{prompt}' are the same; "
                    "leave one out"
                )
            first[prompt.casefold()] = prompt
        self.asked = self.prompts
        self.record: Dict[str, Any] = {
            "task": Task.REFERRING,
            "vocabulary": None,
            "texts": self.prompts,
        }

    def asked_in(self, report: Mapping[str, Any]) -> Optional[List[str]]:
        """Returns: the prompts that a report was written for."""
        return [entry["text"] for entry in report["prompts"]] if "prompts" in report else None

    def read(self, result: Mapping[str, Any]) -> np.ndarray:
        """Returns: (T, H, W) bool of "phrase_masks", masks or scores.

        Raises:
            ValueError: the model gives none.
        """
        if "phrase_masks" not in result:
            raise ValueError(
                f"this model answers prompts with {sorted(result)}, not with a mask for each "
                "('phrase_masks'); a model that parts a picture into classes is asked with "
                "--vocabulary"
            )
        masks = result["phrase_masks"]
        assert len(masks) == len(self.prompts), f"{len(masks)} masks for {len(self.prompts)} texts"
        masks = masks > _THRESHOLD if masks.is_floating_point() else masks
        return masks.cpu().numpy().astype(bool)

    def write(self, stem: Path, image: np.ndarray, answer: np.ndarray) -> Dict[str, Any]:
        """Writes `<stem>.mask0.png` and so on, 0 or 255, and `<stem>.overlay.jpg`."""
        entries = []
        for i, (text, mask) in enumerate(zip(self.prompts, answer)):
            Image.fromarray(mask.astype(np.uint8) * 255).save(f"{stem}.mask{i}.png")
            entries.append(
                {
                    "text": text,
                    "mask": f"{stem.name}.mask{i}.png",
                    "pixels": int(mask.sum()),
                    "share": round(float(mask.mean()), 6),
                }
            )
        save_picture(f"{stem}.overlay.jpg", draw_masks(image, answer, self.prompts))
        return {"overlay": f"{stem.name}.overlay.jpg", "prompts": entries}
