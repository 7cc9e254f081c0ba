"""build_memory: the label maps of a data set and a model's cells become a retrieval memory.

K classes, (h, w) cells of an image, D width of their embeddings.
"""

import random
from typing import Sequence, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.data.catalog import load_dataset
from segplugins.engine.loaders import build_test_loader
from segplugins.evaluation.setting import Setting, read_setting
from segplugins.files.label_coding import LabelCoding, read_truth
from segplugins.search import RetrievalMemory

KINDS = ("region", "cell")
_LEAST = 0.5  # share of a cell that its class covers


def build_memory(
    cfg: CfgNode, model: nn.Module, dataset_name: str, *, kind: str = "region", images: int = 0
) -> RetrievalMemory:
    """Returns the labelled embeddings of a semantic set under its own names.

    Args:
        cfg: of the model; INPUT says how images are brought to size, SEED which are taken.
        model: in evaluation mode, with `image_cells` and `embedder_fingerprint`.
        dataset_name: registered, with label maps.
        kind: "region": a row for each class of an image, the mean of its cells by its share of
            them; "cell": a row for each cell of which a class covers half or more.
        images: how many are taken, at random; 0 = all.

    Raises:
        ValueError: another kind, a model without such cells, or a set without label maps.
        KeyError: no such data set.
    """
    if kind not in KINDS:
        raise ValueError(f"rows of a memory are one of {KINDS}, got '{kind}'")
    if not hasattr(model, "embedder_fingerprint"):
        raise ValueError(f"{type(model).__name__} asks no memory, so none can be built for it")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.VOCABULARY = ""
    setting = read_setting(cfg, dataset_name)
    records = load_dataset(dataset_name)
    if not records or "sem_seg_file_name" not in records[0] or not setting.classes:
        raise ValueError(f"'{dataset_name}' has no label maps; name a semantic set")
    chosen = set(range(len(records)))
    if images:
        chosen = set(
            random.Random(max(cfg.SEED, 0)).sample(sorted(chosen), min(images, len(chosen)))
        )
    truths = {r["file_name"]: r["sem_seg_file_name"] for n, r in enumerate(records) if n in chosen}
    memory = None
    for batch in build_test_loader(cfg, dataset_name):
        batch = [record for record in batch if record["file_name"] in truths]
        if not batch:
            continue
        with torch.no_grad():
            cells = model.image_cells(batch)
        for own, size, record in zip(cells.embeddings.float(), cells.sizes, batch):
            if memory is None:
                memory = RetrievalMemory(
                    len(own),
                    setting.classes,
                    model=model.embedder_fingerprint,
                    source=f"{len(chosen)} of {len(records)} images of {dataset_name}, {kind}s",
                )
            labels = _labels(truths[record["file_name"]], setting)
            box = record.get("image_box", (0, 0, size[1], size[0]))
            shares = class_shares(labels, own.shape[-2:], box, cells.padded, len(setting.classes))
            memory.add(*labelled_rows(own, torch.from_numpy(shares).to(own.device), kind))
    return memory


def _labels(file: str, setting: Setting) -> np.ndarray:
    coding = setting.metadata.get("label_coding")
    if coding is None:
        coding = LabelCoding(len(setting.classes), (setting.ignore_label,))
    return read_truth(file, coding=coding, ignore_label=-1)


def class_shares(
    labels: np.ndarray,
    grid: Sequence[int],
    box: Sequence[float],
    padded: Sequence[int],
    classes: int,
) -> np.ndarray:
    """Returns (h, w, K) float32: the share of each cell's area that each class covers.

    Args:
        labels: (H, W) class indices; others are no class.
        grid: h and w.
        box: left, top, right and bottom of the image in the batch, in pixels.
        padded: height and width of the batch, which the cells cover.
        classes: K.

    Example:
        >>> class_shares(np.array([[0, 0, 1, 1]]), (1, 2), (0, 0, 8, 8), (8, 8), 2).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    places = []
    for count, cells, first, last, whole in zip(labels.shape, grid, box[1::-1], box[:1:-1], padded):
        pixels = first + (np.arange(count) + 0.5) / count * (last - first)
        places.append(np.minimum((pixels / whole * cells).astype(np.int64), cells - 1))
    numbers = places[0][:, None] * grid[1] + places[1]
    is_class = (labels >= 0) & (labels < classes)
    keys = numbers[is_class] * classes + labels[is_class].astype(np.int64)
    counts = np.bincount(keys, minlength=grid[0] * grid[1] * classes).reshape(*grid, classes)
    # What padding covers of a cell counts as no class.
    pixel = (box[2] - box[0]) * (box[3] - box[1]) / labels.size
    cell = padded[0] * padded[1] / (grid[0] * grid[1])
    return (counts * (pixel / cell)).astype(np.float32)


def labelled_rows(cells: Tensor, shares: Tensor, kind: str) -> Tuple[Tensor, Tensor]:
    """Returns (n, D) unit vectors and their (n,) classes.

    Args:
        cells: (D, h, w).
        shares: (h, w, K), of `class_shares`.
        kind: see `build_memory`.
    """
    rows = F.normalize(cells.flatten(1).T, dim=1)
    shares = shares.flatten(0, 1)
    if kind == "cell":
        most, label = shares.max(dim=1)
        kept = most >= _LEAST
        return rows[kept], label[kept]
    shown = (shares.sum(dim=0) > 0).nonzero()[:, 0]
    return F.normalize(shares[:, shown].T @ rows, dim=1), shown
