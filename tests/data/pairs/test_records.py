"""Image-text records: what a sample becomes, which texts stay true, faults by policy."""

import io
import json
import re
import tarfile

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from PIL import Image

from segplugins.data.check.policy import SkipFaults
from segplugins.data.exclude import ExcludedImages
from segplugins.data.hide_and_seek import HideAndSeek
from segplugins.data.pairs import PairMapper, is_pairs, register_pairs
from segplugins.data.shards import Entry, FaultySample, index_shard, tars
from segplugins.engine.loaders import build_train_loader
from segplugins.files import raster
from segplugins.structures.regions import Region, encode_mask


def records(path, *, image_root=None, skip_to=None, **options):
    """Returns the records of all samples of a shard."""
    mapper = PairMapper(
        options.pop("augmentations", ()), image_roots={"set": image_root}, **options
    )
    mapper = mapper if skip_to is None else SkipFaults(mapper, str(skip_to))
    entries, _ = index_shard(str(path))
    return [mapper({"dataset": "set", "image_id": e.key, "entry": e}) for e in entries]


def test_a_record_is_a_tensor_with_its_texts(web, tmp_path):
    data = {
        "caption": "a boat",
        "captions": [{"text": "a boat  on\nthe sea", "annotator": "x"}, "a boat"],
        "tags": ["boat", {"name": "sea", "score": 0.5}],
        "regions": [{"label": "boat", "bbox": [1, 1, 4, 5], "score": 0.9, "source": "drawn"}],
    }
    members = [
        ("a/b.c.png", web.picture(7)),
        ("a/b.txt", b"a boat\nboats at night\n"),
        ("a/b.png", web.picture(7)),
        ("a/b.json", json.dumps(data).encode()),
    ]
    (record,) = records(web.write_tar(tmp_path / "x.tar", members))
    assert record["key"] == "a/b"
    assert record["image"].shape == (3, 6, 8) and record["image"].dtype == torch.uint8
    assert record["image"][:, 0, 0].tolist() == [7, 2, 3]
    assert record["captions"] == ["a boat", "boats at night", "a boat on the sea"]
    assert record["tags"] == ["boat", "sea"]
    region = Region("boat", box=(1.0, 1.0, 4.0, 5.0), score=0.9, extra={"source": "drawn"})
    assert record["regions"] == [region]


def test_json_lines_name_their_images_below_a_folder(web, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(web.picture(1))
    lines = tmp_path / "pairs.jsonl"
    lines.write_text('{"file_name": "images/1.png", "key": "one", "captions": ["a"]}\n\n')
    (record,) = records(str(lines))
    assert record["key"] == "one" and record["captions"] == ["a"]
    lines.write_text('{"file_name": "1.png", "captions": ["a"]}\n')
    (record,) = records(str(lines), image_root=tmp_path / "images")
    assert record["image"][0, 0, 0] == 1 and record["key"] == "line 1"


def test_regions_follow_the_image(web, tmp_path):
    image = np.zeros((6, 8, 3), np.uint8)
    image[1:3, 1:4] = 255
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    regions = [
        {"text": "spot", "mask": encode_mask(image[..., 0] > 0)},
        {"text": "spot's box", "box": [1, 1, 4, 3]},
        {"text": "left behind", "box": [0, 5, 1, 6]},
        {"text": "no such thing"},
    ]
    members = [
        ("x.png", file.getvalue()),
        ("x.json", json.dumps({"regions": regions}).encode()),
    ]
    path = web.write_tar(tmp_path / "x.tar", members)
    flip_and_crop = [T.RandomFlip(prob=1.0), T.CropTransform(2, 0, 6, 4)]
    (record,) = records(path, augmentations=flip_and_crop)
    spot, box, absent = record["regions"]
    shown = record["image"][0].numpy() > 0
    assert (spot.bitmap(4, 6) == shown).all() and shown.sum() == 6
    # x -> 8 - x by the flip, then - 2 by the crop: [1, 4] becomes [2, 5]
    assert box.box == spot.box == (2.0, 1.0, 5.0, 3.0)
    assert absent.text == "no such thing" and not absent.has_target


def test_texts_of_regions_are_read_as_those_of_images_and_mirrored_with_them(web, tmp_path):
    """Where a region has one caption, several, machine-made ones, dropped ones, or none."""
    regions = [
        {"text": None, "box": [0, 0, 4, 4], "caption": "a hat on the left"},
        {"label": 7, "box": [0, 0, 4, 4], "captions": "seven"},
        {"text": "cat", "box": [0, 0, 4, 4], "extra": {"captions": ["a  cat", None, "a cat", ""]}},
        {
            "text": "dog",
            "box": [0, 0, 4, 4],
            "captions": [{"text": "a left dog", "kept": True}, {"text": "a cow", "kept": False}],
        },
        {"text": "sea", "box": [0, 0, 4, 4], "captions": [], "colour": "blue"},
    ]
    data = {"captions": ["\ud800 of \ud83d\ude00"], "regions": regions}
    members = [("x.png", web.picture()), ("x.json", json.dumps(data).encode())]
    path = web.write_tar(tmp_path / "x.tar", members)
    (record,) = records(path, augmentations=[T.RandomFlip(prob=1.0)])
    assert record["captions"] == ["\ufffd of \U0001f600"]
    assert [region.text for region in record["regions"]] == ["", "7", "cat", "dog", "sea"]
    assert [dict(region.extra) for region in record["regions"]] == [
        {"captions": ["a hat on the right"]},
        {"captions": ["seven"]},
        {"captions": ["a cat"]},
        {"captions": ["a right dog"]},
        {"colour": "blue"},
    ]


# What is wrong with a sample to its members; IMAGE stands for a picture.
IMAGE = b"image"
FAULTS = {
    "no image, only": [("x.txt", b"a")],
    "its image cannot be read": [("x.png", b"no picture"), ("x.txt", b"a")],
    "its JSON cannot be read": [("x.png", IMAGE), ("x.json", b"{")],
    "its JSON is list, expected an object": [("x.png", IMAGE), ("x.json", b"[]")],
    "neither captions nor tags nor regions": [("x.png", IMAGE)],
    "'tags' is str, expected a list": [("x.png", IMAGE), ("x.json", b'{"tags": "a"}')],
    r"\['a', 'b'\] stands where a text is expected": [
        ("x.png", IMAGE),
        ("x.json", b'{"captions": [["a", "b"]]}'),
    ],
    "True stands where a text is expected": [("x.png", IMAGE), ("x.json", b'{"tags": [true]}')],
    "it has the key 'tags' 2 times": [
        ("x.png", IMAGE),
        ("x.json", b'{"tags": ["a"], "captions": ["b"], "tags": ["c"]}'),
    ],
    r"region 0 cannot be used \(it is str, expected an object\)": [
        ("x.png", IMAGE),
        ("x.json", b'{"regions": ["a"]}'),
    ],
    r"region 0 cannot be used \('extra' is NoneType": [
        ("x.png", IMAGE),
        ("x.json", b'{"regions": [{"text": "a", "extra": null}]}'),
    ],
    "region 0 cannot be used": [
        ("x.png", IMAGE),
        ("x.json", b'{"regions": [{"text": "a", "box": [3, 3, 1, 1]}]}'),
    ],
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_faulty_sample_stops_or_is_counted(web, tmp_path, message):
    members = [(name, web.picture() if part is IMAGE else part) for name, part in FAULTS[message]]
    path = web.write_tar(
        tmp_path / "x.tar", [*members, ("good.png", web.picture()), ("good.txt", b"b")]
    )
    with pytest.raises(FaultySample, match=rf"sample 'x' of .*x\.tar.*{message}.*; mend it or"):
        records(path)
    faulty, good = records(path, skip_to=tmp_path)
    assert faulty is None and good["key"] == "good"
    (line,) = (tmp_path / "faults.jsonl").read_text().splitlines()
    assert re.search(message, json.loads(line)["message"])


def test_a_sample_that_is_cut_off_is_a_fault(web, tmp_path):
    path = web.shards(tmp_path, [4])[0]
    entries, fault = index_shard(path)
    assert len(entries) == 4 and fault is None
    with open(path, "r+b") as file:
        file.truncate(entries[2].offset + 512 + 10)
    entries, fault = index_shard(path)
    assert [entry.key for entry in entries] == ["000000", "000001", "000002"] and "cut off" in fault
    with pytest.raises(FaultySample, match="sample '000002' of .*: its png is cut off after 10 of"):
        records(path)


def test_damage_between_members_is_not_taken_for_the_end(web, tmp_path):
    path = web.shards(tmp_path, [4])[0]
    offset = index_shard(path)[0][2].offset
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"garbage" * 10)
    entries, fault = index_shard(path)
    assert len(entries) == 2
    assert f"damaged after byte {offset}" in fault or "not a plain tar" in fault


def test_a_shard_that_has_changed_since_it_was_indexed_is_a_fault(web, tmp_path):
    path = web.shards(tmp_path, [4])[0]
    entry = index_shard(path)[0][2]
    with open(path, "r+b") as file:
        file.seek(entry.offset)
        file.write(b"garbage" * 10)
    mapper = PairMapper(())
    with pytest.raises(FaultySample, match=f"byte {entry.offset} .*is not where the index has it"):
        mapper({"dataset": "set", "entry": Entry(path, entry.offset, entry.size)})


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "absent.png", ""])
def test_json_lines_cannot_leave_their_folder(web, tmp_path, name):
    (tmp_path / "secret.png").write_bytes(web.picture())
    (tmp_path / "set").mkdir()
    lines = tmp_path / "set" / "pairs.jsonl"
    lines.write_text(json.dumps({"file_name": name, "captions": ["a"]}))
    with pytest.raises(ValueError, match="leaves the folder|no image|expected the path"):
        records(str(lines))


def test_links_in_a_tar_are_not_followed(web, tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("x.txt")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"a"))
    with pytest.raises(ValueError, match="no image"):
        records(str(path))


def test_a_size_in_a_header_is_not_believed(web, tmp_path, monkeypatch):
    monkeypatch.setattr(tars, "IMAGE_BYTES", 20)
    with pytest.raises(ValueError, match="more than the 20 allowed"):
        records(web.shards(tmp_path, [1])[0])


def test_a_picture_of_too_many_pixels_is_refused(web, tmp_path, monkeypatch):
    monkeypatch.setattr(raster, "MAX_PIXELS", 47)
    with pytest.raises(ValueError, match="8x6 pixels, expected at most 47"):
        records(web.shards(tmp_path, [1])[0])


def test_texts_are_mirrored_with_the_image(web, tmp_path):
    data = {
        "captions": ["A boat left of the tree", "two boats"],
        "tags": ["leftmost boat", "tree"],
        "regions": [
            {"text": "boat on the left", "box": [1, 1, 4, 5], "sentences": ["the left one"]},
        ],
    }
    members = [("a.png", web.picture()), ("a.json", json.dumps(data).encode())]
    path = web.write_tar(tmp_path / "x.tar", members)
    (plain,) = records(path)
    assert plain["captions"] == data["captions"] and plain["tags"] == data["tags"]
    (flipped,) = records(path, augmentations=[T.RandomFlip(prob=1.0)])
    assert flipped["captions"] == ["A boat right of the tree", "two boats"]
    assert flipped["tags"] == ["rightmost boat", "tree"]
    (region,) = flipped["regions"]
    assert region.text == "boat on the right" and region.extra["sentences"] == ["the right one"]
    upside_down = [T.RandomFlip(prob=1.0, horizontal=False, vertical=True)]
    assert records(path, augmentations=upside_down)[0]["captions"] == data["captions"]


def test_hidden_cells_end_the_masks_of_regions(web, tmp_path):
    everywhere = encode_mask(np.ones((6, 8), bool))
    data = {"regions": [{"text": "all", "mask": everywhere, "score": 0.5}]}
    members = [("a.png", web.picture(200)), ("a.json", json.dumps(data).encode())]
    path = web.write_tar(tmp_path / "x.tar", members)
    torch.manual_seed(0)
    hide = HideAndSeek(0.5, 2, (0, 0, 0))
    (record,) = records(path, hide=hide)
    seen = record["image"][0].numpy() > 0
    assert 0 < seen.sum() < 48
    assert (record["regions"][0].bitmap(6, 8) == seen).all()


def jpeg(path, colour):
    Image.new("RGB", (8, 6), colour).save(path)
    return path.read_bytes()


def test_excluded_images_are_left_out(web, tmp_path):
    folder = tmp_path / "val2017"
    folder.mkdir()
    excluded = folder / "COCO_val2014_000000000007.jpg"
    content = jpeg(excluded, (200, 0, 0))
    other = jpeg(tmp_path / "other.jpg", (0, 200, 0))
    images = ExcludedImages([{"file_name": str(excluded)}])
    samples = {
        "same_bytes": (content, {}),
        "by_number": (other, {"coco_id": 7}),
        "by_name": (other, {"file_name": "000000000007.jpg"}),
        "another": (other, {"coco_id": 8}),
        "no_number": (other, {"coco_id": "unknown"}),
    }
    members = [
        part
        for key, (image, data) in samples.items()
        for part in (
            (f"{key}.jpg", image),
            (f"{key}.json", json.dumps({"captions": ["a"], **data}).encode()),
        )
    ]
    found = records(web.write_tar(tmp_path / "x.tar", members), excluded=images)
    assert [r and r["key"] for r in found] == [None, None, None, "another", "no_number"]
    lines = tmp_path / "x.jsonl"
    lines.write_text(
        "\n".join(
            json.dumps({"file_name": name, "captions": ["a"]})
            for name in ("val2017/COCO_val2014_000000000007.jpg", "other.jpg")
        )
    )
    found = records(lines, excluded=images)
    assert found[0] is None and found[1]["captions"] == ["a"]


def test_the_config_decides_how_images_are_augmented(web, tmp_path, pairs_cfg):
    web.shards(tmp_path, [6])
    cfg = pairs_cfg({"test_pairs_set": "*.tar"}, "INPUT.RESIZE", "letterbox", "INPUT.SIZE", "16")
    (*_, record) = next(iter(build_train_loader(cfg)))
    assert record["image"].shape == (3, 16, 16) and record["dataset"] == "test_pairs_set"
    mean = [round(value) for value in cfg.MODEL.PIXEL_MEAN]
    assert record["image"][:, 0, 0].tolist() == mean  # 8 x 6 leaves a border at the top


@pytest.mark.parametrize(
    "key, value",
    [
        ("FORMAT", "BGR"),
        ("MAX_TEXTS", "5"),
        ("BY_TASK", "[['referring', 'JITTER', [0.1, 1.0]]]"),
        ("CROP.SINGLE_CATEGORY_MAX_AREA", "0.75"),
    ],
)
def test_keys_that_cannot_apply_are_errors(web, tmp_path, pairs_cfg, key, value):
    web.shards(tmp_path, [6])
    cfg = pairs_cfg(
        {"test_pairs_set": "*.tar"}, "INPUT.CROP.ENABLED", "True", f"INPUT.{key}", value
    )
    with pytest.raises(ValueError, match=rf"INPUT\.{key} is .*image-text pairs, for which only"):
        build_train_loader(cfg)


def test_a_set_without_files_says_how_to_make_them(tmp_path, pairs_cfg):
    pairs_cfg({})
    register_pairs("test_pairs_gone", "gone/*.tar", prepare="make pairs")
    try:
        with pytest.raises(FileNotFoundError, match=r"gone/\*\.tar.*DETECTRON2_DATA.*make pairs"):
            DatasetCatalog.get("test_pairs_gone")
    finally:
        DatasetCatalog.remove("test_pairs_gone")
        MetadataCatalog.remove("test_pairs_gone")


def test_pairs_do_not_mix_with_other_sets(pairs_cfg):
    pairs_cfg({"test_pairs_web": "web/*.tar"})
    assert is_pairs(["test_pairs_web"])
    assert not is_pairs(["coco_2017_train"])
    with pytest.raises(ValueError, match="mixes image-text pairs .*test_pairs_web.*coco_2017"):
        is_pairs(["test_pairs_web", "coco_2017_train"])
