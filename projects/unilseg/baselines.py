"""Two baselines that UniLSeg must beat, measured by the same evaluators.

    python tools/eval.py --config-file FILE MODEL.WEIGHTS FILE MODEL.META_ARCHITECTURE \\
        ShuffledPhrases
"""

import random
from typing import Any, Dict, List, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY

from segplugins.data import dataset_metadata, load_dataset
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task

from .prompts import Prompts
from .unilseg import UniLSeg


@META_ARCH_REGISTRY.register()
class ConstantForeground(UniLSeg):
    """Every pixel is what the phrase means; of several classes the first one is."""

    @torch.no_grad()
    def answer(self, records: Sequence[dict]) -> List[dict]:
        """Returns results of the form that `UniLSeg.forward` gives, foreground everywhere."""
        return [self._everywhere(record) for record in records]

    def _everywhere(self, record: dict) -> dict:
        size, device = (record["height"], record["width"]), self.normalizer.device
        if record.get("vocabulary") is None:
            shape = (len(record["texts"]), *size)
            is_salient = record.get("task") == Task.SALIENT
            kind = torch.float32 if is_salient else torch.bool
            return {"phrase_masks": torch.ones(shape, dtype=kind, device=device)}
        if self.inference.label_maps:
            return {"sem_seg": torch.zeros(size, dtype=torch.int64, device=device)}
        shape = (len(get_vocabulary(record["vocabulary"])), *size)
        return {"sem_seg": torch.ones(shape, device=device)}


@META_ARCH_REGISTRY.register()
class ShuffledPhrases(UniLSeg):
    """The same model, where each image gets the phrases of another image.

    The classes of a vocabulary exchange their phrases, differently for each image. This is the
    score of a model that ignores its phrases.

    Args:
        pool: phrases of all images.
        others: see `UniLSeg`.
    """

    @configurable
    def __init__(self, *, pool: Sequence[str], **others: Any):
        super().__init__(**others)
        self.pool = sorted(set(pool))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads what `UniLSeg.from_config` does, and the phrases of DATASETS.TEST."""
        parts = super().from_config(cfg)
        return {**parts, "pool": phrases_of(cfg.DATASETS.TEST, parts["sampling"].prompts)}

    def ask(self, record: dict) -> List[Tuple[str, ...]]:
        """Returns phrases of other images, the same ones at every call for the same image.

        Raises:
            ValueError: no other phrase is known.
        """
        own = super().ask(record)
        draw = random.Random(" ".join([record["file_name"], *(text for (text, *_) in own)]))
        if record.get("vocabulary") is not None:
            return draw.sample(own, len(own))
        others = [phrase for phrase in self.pool if (phrase,) not in own]
        if not others:
            raise ValueError(
                f"all images of DATASETS.TEST ask for {self.pool}: nothing can be shuffled; add a "
                "data set with other phrases"
            )
        return [(draw.choice(others),) for _ in own]


def phrases_of(dataset_names: Sequence[str], prompts: Prompts) -> List[str]:
    """Returns all phrases of the images of some data sets, in order, with repeats."""
    phrases: List[str] = []
    for name in dataset_names:
        vocabulary = dataset_metadata(name).vocabulary
        if vocabulary is not None:
            groups = prompts.of_vocabulary(get_vocabulary(vocabulary), Task.SEMANTIC)
            phrases.extend(phrase for group in groups for phrase in group)
            continue
        for record in load_dataset(name):
            texts = record.get("texts") or [region.text for region in record["regions"]]
            phrases.extend(texts)
    return phrases
