"""The conversion scripts, each on a miniature in its source's own layout."""

import importlib.util
import json
import logging
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segplugins.data import SegMapper, dataset_metadata, load_dataset, prepare
from segplugins.data.catalog import PARTIAL_VARIABLE
from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import source_ids
from segplugins.files.plain_pickle import read_pickle
from segplugins.structures.regions import Task, encode_mask

SCRIPTS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.fixture
def script(root, monkeypatch):
    """Runs datasets/<name>.py as the command line does, in this process."""
    monkeypatch.setenv(PARTIAL_VARIABLE, "1")

    def run(name, *arguments):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr("sys.argv", [name, "--workers", "1", "--partial", *arguments])
        prepare.run(module.main)

    return run


def read(path):
    return np.asarray(Image.open(path)).tolist()


def photo(root, save, *path, size=(2, 3)):
    save(root.joinpath(*path), np.zeros((*size, 3), np.uint8))


def write_coco_stuff(root, save):
    (root / "coco-stuff").mkdir()
    names = dict(zip(source_ids("coco_stuff_171"), shipped_vocabulary("coco_stuff_171").classes))
    lines = ["0: unlabeled"] + [f"{v + 1}: {names.get(v, 'unused')}" for v in range(182)]
    (root / "coco-stuff/labels.txt").write_text("\n".join(lines))
    for split in ("train2017", "val2017"):
        photo(root, save, "coco", split, "000000000001.jpg")
        raw = np.array([[0, 11, 12], [91, 181, 255]], np.uint8)
        save(root / "coco-stuff/annotations" / split / "000000000001.png", raw)


def test_coco_stuff(root, save, script):
    write_coco_stuff(root, save)
    script("prepare_coco_stuff")
    for name in ("coco_2017_train_stuff_all_sem_seg", "coco_2017_test_stuff_all_sem_seg"):
        (record,) = load_dataset(name)
        assert read(record["sem_seg_file_name"]) == [[0, 255, 11], [80, 170, 255]]


def test_a_shifted_list_of_names_stops_the_conversion(root, save, script):
    write_coco_stuff(root, save)
    listing = root / "coco-stuff/labels.txt"
    names = [line.split(": ")[1] for line in listing.read_text().splitlines()]
    listing.write_text("\n".join(f"{i + 1}: {name}" for i, name in enumerate(names)))
    with pytest.raises(SystemExit, match="labels.txt: 1.. of 171 class names.*'person' here"):
        script("prepare_coco_stuff")
    assert not (root / "coco-stuff/annotations_detectron2").exists()


def test_ade20k_150(root, save, script):
    folder = root / "ADEChallengeData2016"
    for split in ("training", "validation"):
        photo(folder, save, "images", split, "ADE_1.jpg")
        save(folder / "annotations" / split / "ADE_1.png", np.array([[0, 1, 150]] * 2, np.uint8))
    names = shipped_vocabulary("ade20k_150").classes
    rows = [f"{k + 1}\t0.1\t9\t1\t{name}, other" for k, name in enumerate(names)]
    (folder / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))
    script("prepare_ade20k_150")
    (record,) = load_dataset("ade20k_150_test_sem_seg")
    assert read(record["sem_seg_file_name"]) == [[255, 0, 149]] * 2


def write_ade20k_full(root, save, size):
    release = root / "ADE20K_2021_17_01"
    wall, building = source_ids("ade20k_847")[:2]
    numbers = np.full(size, wall)
    numbers[:, size[1] // 2 :] = building
    numbers[0, 0] = 1  # a class that is none of the 847
    seg = np.stack([numbers // 256 * 10, numbers % 256, numbers * 0], axis=-1).astype(np.uint8)
    folders, files = [], []
    for split, part in (("training", "train"), ("validation", "val")):
        folder = f"ADE20K_2021_17_01/images/ADE/{split}/urban/street"
        name = f"ADE_{part}_00000001"
        photo(root / folder, save, f"{name}.jpg", size=size)
        save(root / folder / f"{name}_seg.png", seg)
        folders.append(folder)
        files.append(f"{name}.jpg")
    names = ["-"] * 3688
    for number, name in zip(source_ids("ade20k_847"), shipped_vocabulary("ade20k_847").classes):
        names[number - 1] = name
    index = {
        "folder": folders,
        "filename": files,
        "objectnames": names,
        "objectPresence": np.zeros((3688, 2), np.float32),
    }
    (release / "index_ade20k.pkl").write_bytes(pickle.dumps(index, protocol=2))


def test_ade20k_full_is_scaled_to_512_pixels(root, save, script):
    write_ade20k_full(root, save, size=(600, 768))
    script("prepare_ade20k_full")
    (record,) = load_dataset("ade20k_full_sem_seg_freq_val_all")
    labels = np.asarray(Image.open(record["sem_seg_file_name"]))
    # 768 * 512 / 600 = 655.36
    assert labels.dtype == np.uint16 and labels.shape == (512, 655)
    assert np.asarray(Image.open(record["file_name"])).shape == (512, 655, 3)
    assert labels[0, 0] == 65535 and labels[9, 9] == 0 and labels[9, -9] == 1


def test_ade20k_full_leaves_small_images_at_their_size(root, save, script):
    write_ade20k_full(root, save, size=(8, 10))
    script("prepare_ade20k_full")
    (record,) = load_dataset("ade20k_full_sem_seg_freq_val_all")
    assert np.asarray(Image.open(record["sem_seg_file_name"])).shape == (8, 10)


def write_pascal_context(folder):
    """Two images of the Detail API; the second annotation lies over the first."""
    numbers = source_ids("pascal_context_59")
    names = shipped_vocabulary("pascal_context_59").classes
    whole, corner = np.ones((2, 3), bool), np.zeros((2, 3), bool)
    corner[0, 2] = True
    data = {
        "categories": [{"category_id": i, "name": n} for i, n in zip(numbers, names)],
        "images": [
            {"image_id": 1, "file_name": "a.jpg", "phase": "val", "height": 2, "width": 3},
            {"image_id": 2, "file_name": "b.jpg", "phase": "train", "height": 2, "width": 3},
        ],
        "annos_segmentation": [
            {"image_id": 1, "category_id": numbers[58], "segmentation": encode_mask(whole)},
            {"image_id": 1, "category_id": numbers[3], "segmentation": encode_mask(corner)},
            {"image_id": 2, "category_id": numbers[0], "segmentation": encode_mask(whole)},
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainval_merged.json").write_text(json.dumps(data))


def test_pascal_context_59(root, save, script):
    folder = root / "VOCdevkit/VOC2010"
    write_pascal_context(folder)
    photo(folder, save, "JPEGImages", "a.jpg")
    script("prepare_pascal_context_59")
    (record,) = load_dataset("context_59_test_sem_seg")
    assert read(record["sem_seg_file_name"]) == [[58, 58, 3], [58, 58, 58]]


@pytest.mark.parametrize("listed", [True, False])
def test_pascal_context_459(root, save, script, listed):
    folder = root / "VOCdevkit/VOC2010"
    write_pascal_context(folder)
    photo(folder, save, "JPEGImages", "a.jpg")
    if listed:
        (folder / "pascalcontext_val.txt").write_text("a\nnever_labelled\n")
    (folder / "trainval").mkdir()
    savemat(folder / "trainval/a.mat", {"LabelMap": np.array([[1, 2, 459]] * 2, np.uint16)})
    script("prepare_pascal_context_459")
    (record,) = load_dataset("context_459_test_sem_seg")
    assert read(record["sem_seg_file_name"]) == [[0, 1, 458]] * 2


def test_pascal_voc_leaves_out_what_shows_nothing_but_border(root, save, script):
    folder = root / "VOCdevkit/VOC2012"
    for name in ("a", "b"):
        photo(folder, save, "JPEGImages", f"{name}.jpg")
    save(folder / "SegmentationClassAug/a.png", np.array([[0, 1, 255]] * 2, np.uint8))
    save(folder / "SegmentationClassAug/b.png", np.array([[0, 0, 255]] * 2, np.uint8))
    listing = folder / "ImageSets/Segmentation/val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("a\nb\n")
    script("prepare_pascal_voc")
    (record,) = load_dataset("voc_2012_test_sem_seg")
    assert read(record["sem_seg_file_name"]) == [[255, 0, 255]] * 2
    records = load_dataset("voc_2012_test_background_sem_seg")
    assert [read(r["sem_seg_file_name"])[0] for r in records] == [[20, 0, 255], [20, 20, 255]]


def write_visual_genome(root):
    folder = root / "visual_genome"
    folder.mkdir()
    urls = ("https://cs.stanford.edu/VG_100K_2/1.jpg", "https://cs.stanford.edu/VG_100K/2.jpg")
    images = [
        {"image_id": n, "url": url, "width": 8, "height": 6, "coco_id": coco, "flickr_id": None}
        for n, url, coco in zip((1, 2), urls, (None, 7))
    ]
    things = [
        {"object_id": 1, "x": 1, "y": 1, "w": 4, "h": 4, "names": ["Tree."], "synsets": []},
        {"object_id": 2, "x": 6, "y": -2, "w": 9, "h": 5, "names": ["man"], "synsets": []},
        {"object_id": 3, "x": 8, "y": 0, "w": 3, "h": 3, "names": ["sky"], "synsets": []},
    ]
    said = [{"region_id": 1, "x": 0, "y": 0, "width": 8, "height": 6, "phrase": "a  green tree"}]
    contents = {
        "image_data.json": images,
        "objects.json": [
            {"image_id": 1, "objects": things},
            {"image_id": 2, "objects": things[:1]},
        ],
        "region_descriptions.json": [{"id": 1, "regions": said}, {"id": 2, "regions": []}],
    }
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(content))
    (folder / "object_alias.txt").write_text("person,man,guy\n")


def test_visual_genome(root, save, script, caplog):
    write_visual_genome(root)
    with caplog.at_level(logging.INFO):
        script("prepare_visual_genome")
    assert "objects.jsonl: 3 regions, 1 under 1 pixel" in caplog.text
    first, second = load_dataset("vg_train")
    assert [(r.text, r.box) for r in first["regions"]] == [
        ("tree", (1, 1, 5, 5)),
        ("person", (6, 0, 8, 3)),
    ]
    assert first["file_name"].endswith("visual_genome/VG_100K_2/1.jpg")
    assert second["coco_id"] == 7 and second["task"] is Task.DETECTION
    assert dataset_metadata("vg_train").name_counts == {"tree": 2, "person": 1}
    said, empty = load_dataset("vg_regions_train")
    assert said["regions"][0].text == "a green tree" and empty["regions"] == []


def test_names_of_visual_genome_come_with_others(root, save, script):
    write_visual_genome(root)
    script("prepare_visual_genome")
    photo(root / "visual_genome", save, "VG_100K", "2.jpg", size=(6, 8))
    metadata = {"vg_train": dataset_metadata("vg_train")}
    mapper = SegMapper(True, augmentations=[], metadata=metadata, max_texts=2)
    record = mapper(load_dataset("vg_train")[1])
    assert record["texts"] == ["tree", "person"]
    assert record["instances"].gt_classes.tolist() == [0]
    assert not record["instances"].has("gt_masks")


def test_a_second_run_converts_only_what_is_missing(root, save, script, caplog):
    write_coco_stuff(root, save)
    script("prepare_coco_stuff")
    made = root / "coco-stuff/annotations_detectron2"
    first = (made / "train2017/000000000001.png").stat().st_mtime_ns
    (made / "val2017/000000000001.png").unlink()
    with caplog.at_level(logging.INFO):
        script("prepare_coco_stuff")
    assert "train2017: 1 of 1 stand already" in caplog.text
    assert (made / "train2017/000000000001.png").stat().st_mtime_ns == first
    assert (made / "val2017/000000000001.png").is_file()


def test_a_source_that_is_not_there_is_named(root, script):
    with pytest.raises(SystemExit, match="error: no .*ADEChallengeData2016.annotations.training"):
        script("prepare_ade20k_150")


def test_an_incomplete_source_is_told_by_its_count(root, save, monkeypatch, script):
    write_coco_stuff(root, save)
    monkeypatch.setattr(
        prepare.argparse.ArgumentParser,
        "parse_args",
        lambda self: prepare.argparse.Namespace(root=root / "coco-stuff", workers=1, partial=False),
    )
    with pytest.raises(SystemExit, match="train2017: 1 label maps, expected 118287"):
        script("prepare_coco_stuff")


def doubled(source, target):
    if source < 0:
        raise ValueError("negative")
    prepare.save_labels(np.full((1, 1), 2 * source, np.uint8), target)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_damaged_file_does_not_lose_the_others(tmp_path, workers):
    jobs = [(number, tmp_path / "out" / f"{number}.png") for number in (3, -1, 4)]
    with pytest.raises(ValueError, match="1 files could not be converted; first: -1.png.*negative"):
        prepare.convert_all(jobs, doubled, workers=workers, title="numbers")
    assert read(tmp_path / "out/3.png") == [[6]] and read(tmp_path / "out/4.png") == [[8]]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["3.png", "4.png"]


def test_made_labels_outside_the_classes_are_found(tmp_path, save):
    job = (None, Path(save(tmp_path / "a.png", np.array([[0, 7]], np.uint8))))
    with pytest.raises(ValueError, match="a.png holds the label 7, expected 0 to 2"):
        prepare.check_targets([job], num_classes=3, ignore=255, expected=None, title="x")
    shown = prepare.check_targets([job], num_classes=9, ignore=255, expected=[1], title="x")
    assert shown[0] == shown[7] == 1 and shown[3] == 0


def test_a_pickle_of_plain_data_is_read(tmp_path):
    data = {"a": [1, "é"], "b": np.arange(4, dtype=np.int16), "c": OrderedDict(d=np.float32(2))}
    for protocol in range(6):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, protocol=protocol))
        got = read_pickle(tmp_path / "a.pkl")
        assert got["a"] == data["a"] and got["c"] == data["c"]
        np.testing.assert_array_equal(got["b"], data["b"])


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("content", [pickle.dumps(Hostile()), b"cos\nsystem\n(S'true'\ntR.", b"?"])
def test_a_pickle_of_anything_else_is_refused_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match="a.pkl is not read"):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "harm").exists()
