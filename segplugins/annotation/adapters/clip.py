"""A CLIP of open_clip as scorer, and as tagger over a list of names."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segplugins.annotation.interfaces import Image, Phrase, View
from segplugins.annotation.model_spec import ModelSpec
from segplugins.annotation.stage import check_share
from segplugins.annotation.verify import whole_view
from segplugins.clip import ClipTowers, load_clip
from segplugins.files.digests import path_digest
from segplugins.files.vocabularies import vocabulary_of

_TEXTS = 50_000  # embeddings of texts that are kept


@dataclass(frozen=True, kw_only=True)
class OpenClipSpec(ModelSpec):
    """Describes it.

    Args:
        name: a model of open_clip, or "convnext_drawn".
        weights: a local file.
        tags: for the tagger: a list, a file or the registered name of a vocabulary.
        template: of tags, with "{}" for the name.
        most: tags of an image at most.
        batch_size: views and texts that the towers see at once.
    """

    kind: ClassVar[str] = "open_clip"
    roles: ClassVar[Tuple[str, ...]] = ("scorer", "tagger")

    name: str
    weights: str
    tags: Union[str, Sequence[str]] = ()
    template: str = "a photo of a {}."
    most: int = 10
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_share("batch_size", self.batch_size, 1, 100_000)
        if self.most < 1:
            raise ValueError(f"most is {self.most}, expected 1 or more")
        if self.template.count("{}") != 1:
            raise ValueError(f"template is {self.template!r}, expected '{{}}' once in it")

    def check(self) -> None:
        if not Path(self.weights).is_file():
            raise FileNotFoundError(
                f"no weights file '{self.weights}' of kind 'open_clip'; expected a .pt, .bin or "
                f".safetensors file of {self.name}"
            )
        self.names()

    def names(self) -> Tuple[str, ...]:
        """Returns the names that the tagger knows."""
        if not self.tags:
            return ()
        given = list(self.tags) if isinstance(self.tags, tuple) else self.tags
        return vocabulary_of(given, name="tags", source="tags", folder=Path(".")).classes

    def identity(self) -> Dict[str, Any]:
        """Returns the options and the names, with the digest of the weights."""
        options = {**super().identity(), "tags": list(self.names())}
        for key in ("weights", "batch_size"):
            options.pop(key)
        return {**options, "digest": path_digest(self.weights)}

    def build(self, device: str) -> "ClipAnnotator":
        """Loads the towers."""
        return ClipAnnotator(load_clip(self.name, self.weights), self, device)


class ClipAnnotator:
    """Compares views with texts.

    A view is brought to the size of the tower as a whole: what a mask shows at its edge counts.

    Args:
        towers: of `load_clip`.
        spec: template, names of the tagger, numbers.
        device: "cpu" or "cuda:0".
    """

    def __init__(self, towers: ClipTowers, spec: OpenClipSpec, device: str = "cpu"):
        self._towers, self._spec, self._device = towers, spec, device
        for module in (towers.visual, towers.text):
            module.to(device).eval().requires_grad_(False)
        self._scale = float(towers.logit_scale.detach().exp())
        self._names = spec.names()
        self._texts: OrderedDict[str, Tensor] = OrderedDict()

    def score(self, views: Sequence[View], texts: Sequence[Sequence[str]]) -> List[np.ndarray]:
        """Returns the cosine of each view with its texts."""
        if not views:
            return []
        images = self._image_embeddings(views)
        embeddings = self._text_embeddings([text for listed in texts for text in listed])
        answers, start = [], 0
        for image, listed in zip(images, texts):
            part = embeddings[start : start + len(listed)]
            start += len(listed)
            answers.append((part @ image).float().cpu().numpy())
        return answers

    def tag(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the names of the highest softmax share, the best first.

        Raises:
            ValueError: the recipe names no tags.
        """
        if not self._names:
            raise ValueError("a tagger of kind 'open_clip' needs the key 'tags'")
        prompts = [self._spec.template.replace("{}", name) for name in self._names]
        embeddings = self._text_embeddings(prompts)
        cosines = self._image_embeddings([whole_view(image) for image in images]) @ embeddings.T
        shares, order = (self._scale * cosines).softmax(dim=1).sort(dim=1, descending=True)
        count = min(self._spec.most, len(self._names))
        return [
            [Phrase(self._names[index], share) for index, share in zip(row, its)]
            for row, its in zip(order[:, :count].tolist(), shares[:, :count].tolist())
        ]

    def _image_embeddings(self, views: Sequence[View]) -> Tensor:
        """Returns (V, D), of length 1."""
        step, parts = self._spec.batch_size, []
        for start in range(0, len(views), step):
            pixels = torch.stack([self._resized(view) for view in views[start : start + step]])
            parts.append(F.normalize(self._towers.visual(pixels).float(), dim=1))
        return torch.cat(parts)

    def _resized(self, view: View) -> Tensor:
        part = torch.from_numpy(np.array(view.pixels())).to(self._device)
        part = part.permute(2, 0, 1)[None].float() / 255
        part = F.interpolate(
            part, self._towers.image_size, mode="bicubic", align_corners=False, antialias=True
        )[0].clamp(0, 1)
        mean, std = (
            torch.tensor(values, device=part.device)[:, None, None]
            for values in (self._towers.image_mean, self._towers.image_std)
        )
        return (part - mean) / std

    def _text_embeddings(self, texts: Sequence[str]) -> Tensor:
        """Returns (T, D), of length 1; texts that were asked before are not encoded again."""
        wanted = list(dict.fromkeys(text for text in texts if text not in self._texts))
        step = self._spec.batch_size
        for start in range(0, len(wanted), step):
            batch = wanted[start : start + step]
            pooled, _ = self._towers.text(self._towers.tokenize(batch).to(self._device))
            self._texts.update(zip(batch, F.normalize(pooled.float(), dim=1)))
        result = torch.stack([self._texts[text] for text in texts])
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return result
