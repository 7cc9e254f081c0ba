"""Image-text records: every sample once, in an order that can be continued, faults by policy."""

import io
import json
import tarfile
import threading
import time

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from PIL import Image

from segplugins.config import add_shared_config
from segplugins.data.pairs import (
    PairStream,
    build_pairs_loader,
    is_pairs,
    register_pairs,
)
from segplugins.data.shards import index_shard
from segplugins.structures.regions import Region, encode_mask


def picture(number=0, size=(8, 6)):
    """PNG bytes of one colour that tells the number."""
    file = io.BytesIO()
    Image.new("RGB", size, (number, 2, 3)).save(file, format="PNG")
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def shards(folder, counts):
    """Tars of as many samples as told, numbered through."""
    paths, number = [], 0
    for shard, count in enumerate(counts):
        members = []
        for _ in range(count):
            members.append((f"{number:06d}.png", picture(number)))
            members.append((f"{number:06d}.txt", f"caption {number}".encode()))
            number += 1
        paths.append(write_tar(folder / f"{shard}.tar", members))
    return paths


def keys(stream):
    return [record["key"] for record in stream]


def test_a_record_is_a_tensor_with_its_texts(tmp_path):
    data = {
        "caption": "a boat",
        "captions": [{"text": "a boat  on\nthe sea", "annotator": "x"}, "a boat"],
        "tags": ["boat", {"name": "sea", "score": 0.5}],
        "regions": [{"label": "boat", "bbox": [1, 1, 4, 5], "score": 0.9, "source": "drawn"}],
    }
    members = [
        ("a/b.c.png", picture(7)),
        ("a/b.txt", b"a boat\nboats at night\n"),
        ("a/b.png", picture(7)),
        ("a/b.json", json.dumps(data).encode()),
    ]
    (record,) = PairStream([write_tar(tmp_path / "x.tar", members)], seed=0, passes=1)
    assert record["key"] == "a/b"
    assert record["image"].shape == (3, 6, 8) and record["image"].dtype == torch.uint8
    assert record["image"][:, 0, 0].tolist() == [7, 2, 3]
    assert record["captions"] == ["a boat", "boats at night", "a boat on the sea"]
    assert record["tags"] == ["boat", "sea"]
    region = Region("boat", box=(1.0, 1.0, 4.0, 5.0), score=0.9, extra={"source": "drawn"})
    assert record["regions"] == [region]


def test_json_lines_name_their_images_below_a_folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(picture(1))
    lines = tmp_path / "pairs.jsonl"
    lines.write_text('{"file_name": "images/1.png", "key": "one", "captions": ["a"]}\n\n')
    (record,) = PairStream([str(lines)], seed=0, passes=1)
    assert record["key"] == "one" and record["captions"] == ["a"]
    lines.write_text('{"file_name": "1.png", "captions": ["a"]}\n')
    (record,) = PairStream([str(lines)], seed=0, passes=1, image_root=tmp_path / "images")
    assert record["image"][0, 0, 0] == 1 and record["key"] == "line 1"


@pytest.mark.parametrize("counts", [[5, 0, 3, 9], [11], [2] * 9])
@pytest.mark.parametrize("readers", [1, 2, 3, 7])
def test_a_pass_gives_each_sample_to_one_reader(tmp_path, counts, readers):
    paths = shards(tmp_path, counts)
    found = [
        key
        for rank in range(readers)
        for key in keys(
            PairStream(
                paths, seed=3, rank=rank, world_size=readers, passes=1, faults="skip", buffer=4
            )
        )
    ]
    assert sorted(found) == [f"{n:06d}" for n in range(sum(counts))]


def test_workers_of_a_loader_share_the_samples(tmp_path):
    paths = shards(tmp_path, [6, 5])
    stream = PairStream(paths, seed=3, passes=1)
    loader = torch.utils.data.DataLoader(
        stream, batch_size=1, num_workers=2, collate_fn=lambda records: records[0]["key"]
    )
    assert sorted(loader) == [f"{n:06d}" for n in range(11)]


def test_the_seed_decides_the_order_and_each_pass_has_its_own(tmp_path):
    paths = shards(tmp_path, [20, 20])
    first = keys(PairStream(paths, seed=1, passes=2, buffer=8))
    assert first == keys(PairStream(paths, seed=1, passes=2, buffer=8))
    assert first != keys(PairStream(paths, seed=2, passes=2, buffer=8))
    assert first[:40] != first[40:]
    for one_pass in (first[:40], first[40:]):
        assert sorted(one_pass) == [f"{n:06d}" for n in range(40)]


def test_without_a_buffer_a_shard_is_read_in_its_order(tmp_path):
    paths = shards(tmp_path, [9])
    assert keys(PairStream(paths, seed=1, passes=1, buffer=1)) == [f"{n:06d}" for n in range(9)]


def test_a_buffer_of_the_whole_set_shuffles_it_evenly(tmp_path):
    # The first of 4 samples is each of them in about a quarter of 400 orders: 100, and a deviation
    # of 5 standard deviations sqrt(400 * 1/4 * 3/4) = 8.7 is out of question.
    (entries, _) = index_shard(shards(tmp_path, [4])[0])
    from segplugins.data.pairs import _shuffled

    firsts = [
        next(_shuffled(iter(entries), 4, np.random.default_rng(seed))).key for seed in range(400)
    ]
    counts = [firsts.count(entry.key) for entry in entries]
    assert all(abs(count - 100) < 44 for count in counts), counts


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine's cores
@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("batches", [1, 4, 5])
def test_a_run_goes_on_where_it_was_interrupted(tmp_path, workers, batches):
    paths = shards(tmp_path, [7, 8, 4])
    augmentations = [T.RandomCrop("absolute", (3, 3)), T.RandomFlip()]

    def loader(start):
        stream = PairStream(
            paths, seed=0, batch_size=2, passes=3, augmentations=augmentations, buffer=5
        )
        stream.seek(5, start)
        return torch.utils.data.DataLoader(
            stream,
            batch_size=2,
            num_workers=workers,
            collate_fn=lambda rs: [(r["key"], r["image"].tolist()) for r in rs],
        )

    whole = [batch for batch, _ in zip(loader(0), range(12))]
    rest = [batch for batch, _ in zip(loader(2 * batches), range(12 - batches))]
    assert rest == whole[batches:]


def test_a_start_between_two_batches_is_refused(tmp_path):
    stream = PairStream(shards(tmp_path, [3]), seed=0, batch_size=4, world_size=2)
    with pytest.raises(ValueError, match="continue at sample 12: 2 processes read 4 each"):
        stream.seek(0, 12)


def test_augmentations_leave_the_global_random_state_alone(tmp_path):
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    augmentations = [T.RandomFlip()]
    keys(PairStream(shards(tmp_path, [3]), seed=0, passes=1, augmentations=augmentations))
    assert np.random.rand() == expected


def test_regions_follow_the_image(tmp_path):
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
    path = write_tar(tmp_path / "x.tar", members)
    flip_and_crop = [T.RandomFlip(prob=1.0), T.CropTransform(2, 0, 6, 4)]
    (record,) = PairStream([path], seed=0, passes=1, augmentations=flip_and_crop)
    spot, box, absent = record["regions"]
    shown = record["image"][0].numpy() > 0
    assert (spot.bitmap(4, 6) == shown).all() and shown.sum() == 6
    # x -> 8 - x by the flip, then - 2 by the crop: [1, 4] becomes [2, 5]
    assert box.box == spot.box == (2.0, 1.0, 5.0, 3.0)
    assert absent.text == "no such thing" and not absent.has_target


FAULTS = {
    "no image, only": [("x.txt", b"a")],
    "its image cannot be read": [("x.png", picture()[:40]), ("x.txt", b"a")],
    "its JSON cannot be read": [("x.png", picture()), ("x.json", b"{")],
    "its JSON is list, expected an object": [("x.png", picture()), ("x.json", b"[]")],
    "neither captions nor tags nor regions": [("x.png", picture())],
    "'tags' is str, expected a list": [("x.png", picture()), ("x.json", b'{"tags": "a"}')],
    "region 0 cannot be used": [
        ("x.png", picture()),
        ("x.json", b'{"regions": [{"text": "a", "box": [3, 3, 1, 1]}]}'),
    ],
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_faulty_sample_stops_or_is_counted(tmp_path, caplog, message):
    good = [("good.png", picture()), ("good.txt", b"b")]
    path = write_tar(tmp_path / "x.tar", FAULTS[message] + good)
    with pytest.raises(ValueError, match=rf"sample 'x' of .*x\.tar.*{message}"):
        keys(PairStream([path], seed=0, passes=1))
    stream = PairStream([path], seed=0, passes=1, faults="skip")
    assert keys(stream) == ["good"] and stream.skipped == 1
    assert message in caplog.text


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "absent.png", ""])
def test_json_lines_cannot_leave_their_folder(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(picture())
    (tmp_path / "set").mkdir()
    lines = tmp_path / "set" / "pairs.jsonl"
    lines.write_text(json.dumps({"file_name": name, "captions": ["a"]}))
    with pytest.raises(ValueError, match="leaves the folder|no image|expected the path"):
        keys(PairStream([str(lines)], seed=0, passes=1))


def test_a_shard_that_is_cut_off_gives_what_is_whole(tmp_path):
    path = shards(tmp_path, [4])[0]
    entries, fault = index_shard(path)
    assert len(entries) == 4 and fault is None
    with open(path, "r+b") as file:
        file.truncate(entries[2].members["png"][0] + 10)
    with pytest.raises(ValueError, match="cut off"):
        keys(PairStream([path], seed=0, passes=1))
    stream = PairStream([path], seed=0, passes=1, faults="skip")
    assert sorted(keys(stream)) == ["000000", "000001"]
    assert stream.skipped >= 2  # the shard, and the sample that the cut goes through


def test_damage_between_members_is_not_taken_for_the_end(tmp_path):
    path = shards(tmp_path, [4])[0]
    offset = index_shard(path)[0][2].members["png"][0] - tarfile.BLOCKSIZE
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"garbage" * 10)
    with pytest.raises(ValueError, match=f"damaged after byte {offset}|not a plain tar"):
        keys(PairStream([path], seed=0, passes=1))


def test_links_in_a_tar_are_not_followed(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("x.txt")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"a"))
    with pytest.raises(ValueError, match="no image"):
        keys(PairStream([str(path)], seed=0, passes=1))


def test_a_size_in_a_header_is_not_believed(tmp_path, monkeypatch):
    import segplugins.data.shards as module

    monkeypatch.setattr(module, "_IMAGE_BYTES", 20)
    with pytest.raises(ValueError, match="more than the 20 allowed"):
        keys(PairStream(shards(tmp_path, [1]), seed=0, passes=1))


def test_a_picture_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    import segplugins.data.pairs as module

    monkeypatch.setattr(module, "_PIXELS", 47)
    with pytest.raises(ValueError, match="8x6 pixels, over 47"):
        keys(PairStream(shards(tmp_path, [1]), seed=0, passes=1))


def ends(iterate, seconds=20):
    """Runs it in a thread, for what would hang otherwise; returns the error it ends with."""
    errors = []

    def run():
        try:
            iterate()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    start = time.monotonic()
    while thread.is_alive() and time.monotonic() - start < seconds:
        thread.join(0.05)
    assert errors, "it neither ended nor failed"
    return str(errors[0])


def test_a_set_without_one_good_sample_ends_in_an_error(tmp_path):
    bad = write_tar(tmp_path / "x.tar", [("x.txt", b"a")])
    error = ends(lambda: next(iter(PairStream([bad], seed=0, faults="skip", buffer=1))))
    assert "1000 samples in a row are faulty: sample 'x'" in error
    empty = write_tar(tmp_path / "y.tar", [])
    error = ends(lambda: next(iter(PairStream([empty], seed=0, faults="skip"))))
    assert "none of 1 shards holds a sample" in error


def test_a_reader_whose_shard_is_empty_waits_for_another_pass(tmp_path):
    paths = shards(tmp_path, [0, 3])
    for rank in range(2):
        stream = PairStream(paths, seed=0, rank=rank, world_size=2, faults="skip")
        assert next(iter(stream))["captions"]


def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no shards"):
        PairStream([], seed=0)
    with pytest.raises(ValueError, match="one of .*'strict', 'skip'.*got 'ignore'"):
        PairStream(["x.tar"], seed=0, faults="ignore")
    with pytest.raises(ValueError, match="'pairs_bad': faults must be one of"):
        register_pairs("pairs_bad", "*.tar", faults="ignore")


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Names of two registered sets, and the config that trains on the first."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "web").mkdir()
    shards(tmp_path / "web", [6, 6])
    register_pairs("test_pairs_web", "web/*.tar", licence="none")
    register_pairs("test_pairs_gone", "gone/*.tar", faults="skip", prepare="make pairs")
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.DATASETS.TRAIN = ("test_pairs_web",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (12,)
    yield cfg
    for name in ("test_pairs_web", "test_pairs_gone"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_registered_set_is_loaded_as_the_config_says(registered):
    loader = build_pairs_loader(registered, batch_size=4)
    batches = [batch for batch, _ in zip(loader, range(3))]
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert batches[0][0]["image"].shape == (3, 12, 16)  # 6 x 8, the short side made 12
    assert len({record["key"] for batch in batches for record in batch}) == 12


def test_a_set_without_files_says_how_to_make_them(registered):
    with pytest.raises(FileNotFoundError, match=r"gone/\*\.tar.*DETECTRON2_DATASETS.*make pairs"):
        DatasetCatalog.get("test_pairs_gone")


def test_pairs_do_not_mix_with_other_sets(registered):
    assert is_pairs(["test_pairs_web", "test_pairs_gone"])
    assert not is_pairs(["coco_2017_train"])
    with pytest.raises(ValueError, match="mixes image-text pairs .*test_pairs_web.*coco_2017"):
        is_pairs(["test_pairs_web", "coco_2017_train"])
    registered.DATASETS.TRAIN = ("test_pairs_web", "test_pairs_gone")
    with pytest.raises(ValueError, match="differ in"):
        build_pairs_loader(registered, batch_size=4)
