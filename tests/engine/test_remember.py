"""Shares of classes in cells, rows of a memory from them, and a memory of drawn pictures."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from segplugins.engine import setup_cfg
from segplugins.engine.preflight import check_memory
from segplugins.engine.remember import build_memory, class_shares, labelled_rows
from segplugins.modeling.similarity import ImageCells
from segplugins.structures import Vocabulary, register_vocabulary

LABELS = np.array([[0, 0, 1, 1], [0, 2, 1, 255]])


def test_shares_of_a_picture_that_fills_the_batch():
    shares = class_shares(LABELS, (1, 2), (0, 0, 8, 4), (4, 8), 3)
    assert shares.tolist() == [[[0.75, 0.0, 0.25], [0.0, 0.75, 0.0]]]
    # More cells than pixels: each pixel counts in the cell of its centre, with its area.
    shares = class_shares(LABELS[:1, :1], (2, 2), (0, 0, 4, 4), (4, 4), 1)
    assert shares[..., 0].tolist() == [[0.0, 0.0], [0.0, 4.0]]


def test_padding_is_no_class():
    # The picture takes up columns 4 to 8 and rows 0 to 2 of a batch of 4 x 8 pixels.
    shares = class_shares(LABELS, (2, 2), (4, 0, 8, 2), (4, 8), 3)
    assert shares[0, 0].tolist() == shares[1, 0].tolist() == shares[1, 1].tolist() == [0, 0, 0]
    assert shares[0, 1].tolist() == [3 / 8, 3 / 8, 1 / 8]


def test_rows_of_regions_are_means_of_unit_cells_and_rows_of_cells_need_half_of_them():
    cells = torch.tensor([[[2.0, 0.0]], [[0.0, 5.0]]])  # D 2, a grid of 1 x 2
    shares = torch.tensor([[[0.75, 0.0, 0.25], [0.0, 0.4, 0.25]]])
    rows, labels = labelled_rows(cells, shares, "region")
    assert labels.tolist() == [0, 1, 2]
    assert torch.allclose(rows, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5**0.5, 0.5**0.5]]))
    rows, labels = labelled_rows(cells, shares, "cell")
    assert labels.tolist() == [0] and rows.tolist() == [[1.0, 0.0]]


class Grey:
    """A model whose cells are the mean and 1 minus the mean of 8 x 8 pixels."""

    embedder_fingerprint = "grey"

    def image_cells(self, records):
        images = torch.stack([record["image"][0].float() / 255 for record in records])
        mean = images.unflatten(1, (-1, 8)).unflatten(3, (-1, 8)).mean(dim=(2, 4))
        sizes = [image.shape for image in images]
        return ImageCells(torch.stack([mean, 1 - mean], 1), sizes, tuple(images.shape[-2:]))


@pytest.fixture
def halves(tmp_path):
    """Registers three pictures, black on the left and white on the right, that are labelled so."""
    records = []
    for number in range(3):
        picture, labels = np.zeros((16, 32, 3), np.uint8), np.zeros((16, 32), np.uint8)
        picture[:, 16:], labels[:, 16:] = 255, 1
        paths = [str(tmp_path / f"{kind}{number}.png") for kind in ("image", "labels")]
        Image.fromarray(picture).save(paths[0])
        Image.fromarray(labels).save(paths[1])
        records.append({"file_name": paths[0], "sem_seg_file_name": paths[1], "dataset": "halves"})
    register_vocabulary(Vocabulary("black_white", ("black", "white")))
    DatasetCatalog.register("halves", lambda: records)
    MetadataCatalog.get("halves").set(
        vocabulary="black_white", stuff_classes=["black", "white"], evaluator_type="sem_seg"
    )
    yield records
    DatasetCatalog.remove("halves")
    MetadataCatalog.remove("halves")


def config():
    from argparse import Namespace

    opts = ["INPUT.MIN_SIZE_TEST", "16", "DATALOADER.NUM_WORKERS", "0", "SEED", "0"]
    return setup_cfg(Namespace(config_file="", opts=opts), [])


def test_a_memory_of_pictures_has_a_row_for_each_class_of_each(halves):
    memory = build_memory(config(), Grey(), "halves")
    assert memory.labels.tolist() == [0, 1] * 3 and memory.classes == ("black", "white")
    assert (memory.model, memory.source) == ("grey", "3 of 3 images of halves, regions")
    votes = memory.votes(torch.tensor([0.0, 1.0]), neighbours=3, temperature=0.1)
    assert votes.tolist() == [1.0, 0.0]  # a dark cell is black
    cells = build_memory(config(), Grey(), "halves", kind="cell", images=2)
    assert len(cells) == 2 * 8 and cells.source == "2 of 3 images of halves, cells"


def test_what_has_no_memory_is_refused(halves):
    with pytest.raises(ValueError, match=r"one of \('region', 'cell'\), got 'pixel'"):
        build_memory(config(), Grey(), "halves", kind="pixel")
    with pytest.raises(ValueError, match="object asks no memory"):
        build_memory(config(), object(), "halves")
    del halves[0]["sem_seg_file_name"]
    with pytest.raises(ValueError, match="'halves' has no label maps"):
        build_memory(config(), Grey(), "halves")


def test_a_weight_for_a_model_that_asks_no_memory_is_refused_before_it_is_built():
    cfg = config().clone()
    cfg.defrost()
    check_memory(cfg)
    cfg.MODEL.MEMORY.WEIGHT = 0.5
    with pytest.raises(ValueError, match=r"WEIGHT is 0.5, but GeneralizedRCNN asks no memory"):
        check_memory(cfg)
