"""Small sets as users have them, each from its YAML file to the score of a perfect answer."""

import codecs

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from PIL import Image

from segplugins.config import add_shared_config
from segplugins.data import SegMapper, dataset_metadata, load_dataset
from segplugins.data.check import check_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.evaluation.build import build_evaluator

CLASSES = np.zeros((12, 16), np.uint8)
CLASSES[2:6, 1:7] = 1
CLASSES[6:11, 4:15] = 2
HOUSE = (CLASSES == 2).astype(np.uint8)
PHOTO = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
THREE = "vocabulary: [sky, grass, house]"
TWO = "vocabulary: [background, house]"


class SetOfFour:
    """Four images and label maps in a folder, with the YAML file that describes them."""

    def __init__(self, folder):
        self.folder = folder
        for part in ("images", "labels"):
            (folder / part).mkdir()

    def write(self, images=None, labels=None, image=PHOTO, label=CLASSES, **options):
        for i in range(4):
            name = (images or ["p{}.jpg"] * 4)[i].format(i)
            Image.fromarray(image).save(self.folder / "images" / name, **options)
            name = (labels or ["p{}.png"] * 4)[i].format(i)
            Image.fromarray(label).save(self.folder / "labels" / name)

    def register(self, keys):
        text = (
            f"kind: semantic\n{keys}\nimages: images\nlabels: labels\nsets: {{test_reported: {{}}}}"
        )
        (self.folder / "set.yaml").write_text(text)
        return register_from_yaml(self.folder / "set.yaml")


@pytest.fixture
def four(tmp_path):
    return SetOfFour(tmp_path)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


CASES = {
    "one-bit label maps": ({"label": HOUSE.astype(bool)}, TWO, HOUSE),
    "masks of 0 and 255": (
        {"label": HOUSE * 255},
        TWO + "\nlabel_values: {0: background, 255: house}",
        HOUSE,
    ),
    "labels from 1 with 0 unlabelled": (
        {"label": CLASSES},
        "vocabulary: [grass, house]\nignore_label: 0\nfirst_label: 1",
        np.where(CLASSES == 0, 255, CLASSES - 1),
    ),
    "several ignored labels": (
        {"label": np.where(CLASSES == 2, 254, CLASSES).astype(np.uint8)},
        THREE + "\nignore_label: [254, 255]",
        np.where(CLASSES == 2, 255, CLASSES),
    ),
    "coloured maps": (
        {"label": np.array([[0, 0, 255], [0, 255, 0], [9, 9, 9]], np.uint8)[CLASSES]},
        THREE + '\nlabel_colours: {sky: "#0000ff", grass: [0, 255, 0], house: [9, 9, 9]}',
        CLASSES,
    ),
    "label files with a suffix": (
        {"labels": ["p{}_mask.png"] * 4},
        THREE + "\nlabel_suffix: _mask",
        CLASSES,
    ),
    "images of several endings": (
        {"images": ["p{}.jpg", "p{}.png", "p{}.jpeg", "p{}.JPG"]},
        THREE + "\nimage_ext: [jpg, png, jpeg]",
        CLASSES,
    ),
    "images of any ending": (
        {"images": ["p{}.jpg", "p{}.tif", "p{}.bmp", "p{}.webp"]},
        THREE,
        CLASSES,
    ),
    "turned photos with maps as stored": ({"exif": turned()}, THREE, CLASSES),
    "turned photos with maps as shown": (
        {"exif": turned(), "label": np.ascontiguousarray(CLASSES.T)},
        THREE,
        CLASSES.T,
    ),
    "float images": (
        {"images": ["p{}.tif"] * 4, "image": (PHOTO[..., 0] / 255).astype(np.float32)},
        THREE,
        CLASSES,
    ),
    "labels of VOC": (
        {"label": np.array([0, 7, 15], np.uint8)[CLASSES]},
        "vocabulary: voc_21",
        np.array([0, 7, 15])[CLASSES],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_training_checker_and_evaluation_read_the_same(four, tmp_path, case):
    files, keys, expected = CASES[case]
    four.write(**files)
    (name,) = four.register(keys)
    checked = check_dataset(name)
    assert not checked.faults and len(checked.loaded.records) == 4
    assert {fault.kind for fault in checked.remarks} <= {"exif"}
    counts = dict(zip(*np.unique(expected[expected != 255], return_counts=True)))
    assert checked.findings.pixels == {k: 4 * n for k, n in counts.items()}

    mapper = SegMapper(
        True,
        augmentations=[],
        targets=["sem_seg"],
        metadata={name: dataset_metadata(name)},
    )
    records = load_dataset(name)
    for record in records:
        mapped = mapper(record)
        assert mapped["sem_seg"].tolist() == expected.tolist()
        assert tuple(mapped["image"].shape[1:]) == expected.shape

    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    answer = torch.from_numpy(np.where(expected == 255, 0, expected).astype(np.int64))
    evaluator.process(records, [{"sem_seg": answer}] * 4)
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100


def test_16_bit_images_are_not_white(four):
    grey = np.linspace(0, 40000, 192).reshape(12, 16).astype(np.uint16)
    four.write(images=["p{}.png"] * 4, image=grey)
    (name,) = four.register(THREE)
    mapper = SegMapper(False, augmentations=[], metadata={name: dataset_metadata(name)})
    image = mapper(load_dataset(name)[0])["image"]
    assert (image[1].numpy() == grey // 256).all() and image.max() == 156


def test_a_vocabulary_file_of_another_system_has_clean_names(four):
    four.write()
    content = codecs.BOM_UTF8 + b"sky\r\ngrass\r\nhouse\r\n"
    (four.folder / "names.txt").write_bytes(content)
    (name,) = four.register("vocabulary: names.txt")
    assert dataset_metadata(name).stuff_classes == ["sky", "grass", "house"]
