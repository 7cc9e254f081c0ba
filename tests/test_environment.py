"""What the code relies on in the packages around it, whichever builds of them are installed."""

import random
import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image

OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-python-headless")


def test_python_is_one_that_was_tried():
    assert sys.version_info >= (3, 11)


def test_every_declared_requirement_is_met():
    for line in metadata.requires("segplugins"):
        requirement = Requirement(line)
        if requirement.marker is None:  # extras carry one
            version = metadata.version(requirement.name)
            assert requirement.specifier.contains(version, prereleases=True), line


def test_exactly_one_opencv_is_installed():
    import cv2

    installed = [d.metadata["Name"] for d in metadata.distributions()]
    assert len(set(OPENCV).intersection(installed)) == 1, "two would share one folder"
    assert cv2.resize(np.zeros((2, 2), np.uint8), (4, 4)).shape == (4, 4)


def test_the_operators_of_torchvision_fit_this_torch():
    from torchvision.ops import nms

    # Boxes 0 and 1 are the same: the one with the lower score goes.
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [20, 20, 29, 29]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist() == [1, 2]


def test_lvis_imports_without_the_opencv_it_asks_for():
    import lvis

    assert lvis.LVIS


def test_the_model_zoo_of_detectron2_finds_its_files():
    from detectron2 import model_zoo

    assert "MODEL" in model_zoo.get_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml")


def test_detectron2_tries_another_sample_where_the_mapper_gives_none():
    from detectron2.data import MapDataset

    samples = MapDataset(list(range(10)), lambda number: number if number != 3 else None)
    assert samples[4] == 4
    random.seed(0)
    assert samples[3] in set(range(10)) - {3}


def test_detectron2_reads_a_label_map_under_this_numpy(tmp_path):
    from detectron2.evaluation.sem_seg_evaluation import load_image_into_numpy_array

    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    read = load_image_into_numpy_array(str(tmp_path / "labels.png"), dtype=int)
    np.testing.assert_array_equal(read, labels)


def test_detectron2_pastes_a_mask_under_this_numpy():
    from detectron2.layers.mask_ops import paste_mask_in_image_old

    box = torch.tensor([1.0, 1.0, 3.0, 3.0])
    pasted = paste_mask_in_image_old(torch.ones(2, 2), box, 4, 5, 0.5)
    assert pasted.shape == (4, 5)
    assert pasted[1:3, 1:3].all()


@pytest.mark.gpu
def test_a_gpu_multiplies():
    ones = torch.ones(2, 2, device="cuda")
    assert (ones @ ones).tolist() == [[2.0, 2.0], [2.0, 2.0]]
