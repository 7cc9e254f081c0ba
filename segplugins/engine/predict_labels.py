"""Pictures asked by a vocabulary: one class per pixel, as label map, overlay and shares."""

from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np
from PIL import Image

from segplugins.pictures import draw_label_map, save_picture
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task


class LabelMaps:
    """Which class is at each pixel? A `Question`; answers are (H, W) int64, indices of classes.

    Args:
        vocabulary: the names; it need not be one the model was trained with.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        register_vocabulary(vocabulary)
        self.vocabulary = vocabulary
        self.record: Dict[str, Any] = {"task": Task.SEMANTIC, "vocabulary": vocabulary.name}
        self.asked = vocabulary.digest()

    def asked_in(self, report: Mapping[str, Any]) -> Optional[str]:
        """Returns: the digest of the vocabulary that a report was written for."""
        return report.get("vocabulary", {}).get("digest")

    def read(self, result: Mapping[str, Any]) -> np.ndarray:
        """Returns: (H, W) int64 of "sem_seg", label map or scores per class.

        Raises:
            ValueError: the model gives none.
        """
        if "sem_seg" not in result:
            raise ValueError(
                f"this model answers a vocabulary with {sorted(result)}, not with label maps "
                "('sem_seg'); a model for phrases is asked with --prompt"
            )
        labels = result["sem_seg"]
        labels = labels.argmax(dim=0) if labels.dim() == 3 else labels
        return labels.cpu().numpy().astype(np.int64)

    def write(self, stem: Path, image: np.ndarray, answer: np.ndarray) -> Dict[str, Any]:
        """Writes `<stem>.labels.png`, 8 or 16 bits, and `<stem>.overlay.jpg`."""
        classes = self.vocabulary.classes
        kind = np.uint8 if len(classes) <= 256 else np.uint16
        Image.fromarray(answer.astype(kind)).save(f"{stem}.labels.png")
        save_picture(f"{stem}.overlay.jpg", draw_label_map(image, answer, classes))
        counts = np.bincount(answer.ravel(), minlength=len(classes))
        return {
            "label_map": f"{stem.name}.labels.png",
            "overlay": f"{stem.name}.overlay.jpg",
            "vocabulary": {"name": self.vocabulary.name, "digest": self.asked},
            "classes": [
                {
                    "index": int(index),
                    "name": classes[index],
                    "pixels": int(counts[index]),
                    "share": round(float(counts[index] / answer.size), 6),
                }
                for index in np.argsort(-counts, kind="stable")
                if counts[index]
            ],
        }
