"""Embedders: pictures and texts to unit vectors, by a CLIP, or pictures alone by an image model.

n pictures or texts, D width of the space.
"""

import logging
from typing import Optional, Protocol, Sequence

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.clip import ClipTowers, fingerprint, load_clip
from segplugins.files.tensors import copy_tensors, read_state_dict
from segplugins.modeling.timm_backbone import PACKAGED, packaged_file, timm_names
from segplugins.text import TextEncoder

logger = logging.getLogger(__name__)

TIMM = "timm:"


class Embedder(Protocol):
    """Maps pictures, and perhaps texts, to unit vectors.

    Args:
        fingerprint: changes with the model and with any of its weights.
        width: D.
        has_text: whether `texts` answers.
    """

    fingerprint: str
    width: int
    has_text: bool

    def images(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Returns (n, D) float16 of (H, W, 3) uint8 RGB pictures of any sizes."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns (n, D) float32 of texts."""


def load_embedder(name: str, weights: str = "", device: str = "cpu") -> Embedder:
    """Returns the embedder of a name.

    Args:
        name: a model of open_clip, "convnext_drawn", or "timm:" and an image model of timm.
        weights: see `load_clip`; for timm a file, or "package" for weights that a package brings.
            "" = random ones, always the same.
        device: that the model runs on.

    Raises:
        ValueError, FileNotFoundError: see `load_clip` and `packaged_file`.
    """
    if not weights:
        logger.warning("the embedder '%s' has random weights: to see that it runs", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same in every process and after a stop
        if name.startswith(TIMM):
            return TimmEmbedder(name.removeprefix(TIMM), weights, device)
        return ClipEmbedder(load_clip(name, weights), device)


class ClipEmbedder:
    """A CLIP: the shorter side is brought to the model's size, bicubic, and the centre is cut out.

    Args:
        towers: of `load_clip`.
        device: that it runs on.
    """

    has_text = True

    def __init__(self, towers: ClipTowers, device: str = "cpu"):
        self.fingerprint = fingerprint(
            towers.name, nn.ModuleDict({"visual": towers.visual, "text": towers.text})
        )
        self.width = towers.embed_dim
        self._visual = towers.visual.to(device).eval()
        self._text = TextEncoder(towers).to(device).eval()
        self._size, self._device = towers.image_size, device
        self._mean = 255 * torch.tensor(towers.image_mean).view(3, 1, 1)
        self._std = 255 * torch.tensor(towers.image_std).view(3, 1, 1)

    @torch.no_grad()
    def images(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Returns (n, D) float16 unit rows."""
        batch = _batch(pictures, self._size, self._mean, self._std).to(self._device)
        with _half(self._device):
            embedded = self._visual(batch)
        return _stored(embedded)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns (n, D) float32 unit rows."""
        return F.normalize(self._text(list(texts)).pooled.float(), dim=1).cpu().numpy()


class TimmEmbedder:
    """An image model of timm: its pooled features. It reads no texts.

    Args:
        name: of the model.
        weights: "package", a local file, or "" for random ones.
        device: that it runs on.

    Raises:
        ValueError: timm has no such model.
    """

    has_text = False

    def __init__(self, name: str, weights: str = "", device: str = "cpu"):
        if name not in timm.list_models():
            raise ValueError(f"timm has no model '{name}', which --embedder names")
        model = timm.create_model(name, pretrained=False, num_classes=0)
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
        mean, std = ([255 * value for value in part] for part in (config.mean, config.std))
        if weights:
            path = packaged_file(name) if weights == "package" else weights
            tensors = read_state_dict(path)
            if "_conv_stem.weight" in tensors:
                tensors = timm_names(tensors, name)
                mean, std = PACKAGED[name].mean, PACKAGED[name].std
            wanted = model.state_dict()
            tensors = {key: value for key, value in tensors.items() if key in wanted}
            copy_tensors(tensors, wanted, source=path, target=f"timm's '{name}'")
        self._model = model.to(device).eval()
        self.fingerprint = fingerprint(TIMM + name, model)
        self.width = model.num_features
        self._size, self._device = tuple(config.input_size[1:]), device
        self._mean, self._std = (torch.tensor(part).view(3, 1, 1) for part in (mean, std))

    @torch.no_grad()
    def images(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Returns (n, D) float16 unit rows."""
        batch = _batch(pictures, self._size, self._mean, self._std).to(self._device)
        with _half(self._device):
            embedded = self._model(batch)
        return _stored(embedded)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Raises ValueError: an image model reads no texts."""
        raise ValueError("an embedder of timm reads no texts; choose a CLIP as --embedder")


def _half(device: str) -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.float16, enabled=kind == "cuda")


def _stored(embedded: Tensor) -> np.ndarray:
    rows = F.normalize(embedded.float(), dim=1)
    if not rows.isfinite().all():
        raise FloatingPointError("the embedder gives values that are not finite; other weights?")
    return rows.half().cpu().numpy()


def _batch(
    pictures: Sequence[np.ndarray], size: Sequence[int], mean: Tensor, std: Tensor
) -> Tensor:
    """Returns (n, 3, H, W) normalised."""
    cut = np.stack([_centre(picture, size[0], size[1]) for picture in pictures])
    return (torch.from_numpy(cut).permute(0, 3, 1, 2).float() - mean) / std


def _centre(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns (height, width, 3): the picture shrunk until it just covers that, its centre."""
    scale = max(height / picture.shape[0], width / picture.shape[1])
    tall, wide = (
        max(side, round(scale * length)) for side, length in zip((height, width), picture.shape[:2])
    )
    resized = np.asarray(Image.fromarray(picture).resize((wide, tall), Image.BICUBIC))
    top, left = (tall - height) // 2, (wide - width) // 2
    return resized[top : top + height, left : left + width]


def centred(images: np.ndarray, centre: Optional[np.ndarray]) -> np.ndarray:
    """Returns float32 unit rows: (n, D) as they are, or (n, D + 1) relative to a centre.

    Features of one sign have cosines near 1 with everything; relative to their mean they differ,
    but the ratio of Eq. 7 needs positive cosines: a constant last value makes them (1 + c) / 2.

    Args:
        images: (n, D).
        centre: (D,); None = as they are.
    """
    rows = np.asarray(images, np.float32)
    if centre is None:
        return rows
    return with_constant(rows - centre)


def with_constant(rows: np.ndarray) -> np.ndarray:
    """Returns (n, D + 1) unit rows, of which each pair has the cosine (1 + that of before) / 2."""
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    constant = np.ones((len(rows), 1), rows.dtype)
    return np.concatenate([rows, constant], axis=1) / np.float32(np.sqrt(2))
