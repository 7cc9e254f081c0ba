"""Image-text pairs that lie in folders and in CSV and TSV lists, and their YAML."""

import json
import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data import load_dataset
from segplugins.data.catalog import check_present
from segplugins.data.check import check_dataset
from segplugins.data.check.samples import samples
from segplugins.data.export import export_dataset
from segplugins.data.pairs import PairMapper, load_pairs, read_pair
from segplugins.data.register_yaml import register_from_yaml
from segplugins.data.shards import FaultySample, index_shard, lists, read_sample, sample_folders
from segplugins.data.sources.pairs import shard_files
from segplugins.files.faults import STRICT


@pytest.fixture
def album(web, tmp_path):
    """Two folders: pictures 1 and 2 with a text each, picture 3 with a JSON, and other files."""
    one, two = tmp_path / "album" / "one", tmp_path / "album" / "two"
    for folder in (one, two):
        folder.mkdir(parents=True)
    (one / "a.x.png").write_bytes(web.picture(1))
    (one / "a.x.txt").write_text("a dog\nan animal\n")
    (one / "b.PNG").write_bytes(web.picture(2))
    (one / "b.txt").write_text("a cat")
    (one / "._b.png").write_bytes(b"of another system")
    (two / "c.png").write_bytes(web.picture(3))
    region = {"text": "a cow", "box": [1, 2, 4, 6], "captions": ["it grazes"]}
    content = {"captions": ["a cow"], "tags": ["cow"], "regions": [region]}
    (two / "c.json").write_text(json.dumps(content))
    return tmp_path / "album"


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Registers the sets of a YAML text in tmp_path until the test ends; returns their names."""
    names = []
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "elsewhere"))

    def call(text):
        path = tmp_path / "pairs.yaml"
        path.write_text(f"kind: pairs\nsets:\n{text}")
        names.extend(register_from_yaml(path))
        return names

    yield call
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def numbers_and_captions(names, folder, mapper=None):
    """Returns the number that the picture of each sample tells, with its captions."""
    mapper = mapper or PairMapper(())
    records = [mapper(record) for record in load_pairs(names, folder, STRICT)]
    return [(int(record["image"][0, 0, 0]), record["captions"]) for record in records]


def test_folders_lists_tars_and_lines_need_no_python(web, tmp_path, album, register):
    web.write_tar(tmp_path / "t.tar", [("9.png", web.picture(9)), ("9.txt", b"nine")])
    (tmp_path / "l.csv").write_text('title,filepath\n"a dog, ""Rex""",one/a.x.png\n')
    (tmp_path / "l.tsv").write_text('a cow\ttwo/c.png\n"moo" it says\ttwo\\c.png\n')
    line = {"file_name": "one/b.PNG", "captions": ["a cat"], "tags": ["cat"]}
    (tmp_path / "l.jsonl").write_text(json.dumps(line) + "\n")
    names = register(
        "  p_tar: {shards: t.tar}\n"
        "  p_album: {shards: album}\n"
        "  p_csv: {shards: l.csv, images: album}\n"
        "  p_tsv: {shards: [l.tsv], images: album}\n"
        "  p_lines: {shards: '*.jsonl', images: album}\n"
    )
    for name in names:
        check_present(name)
    roots = dict.fromkeys(names[2:], album)
    assert numbers_and_captions(names, tmp_path / "index", PairMapper((), image_roots=roots)) == [
        (9, ["nine"]),
        (1, ["a dog", "an animal"]),
        (2, ["a cat"]),
        (3, ["a cow"]),
        (1, ['a dog, "Rex"']),
        (3, ["a cow"]),
        (3, ['"moo" it says']),
        (2, ["a cat"]),
    ]


def test_what_a_json_says_besides_captions_is_read_or_left_aside(tmp_path, album, register):
    (name, alone) = register(
        "  p_all: {shards: album/two}\n  p_alone: {shards: album/one, captions_only: true}\n"
    )
    (entry,), _ = index_shard(str(album / "two"))
    pair = read_pair(entry)
    assert (pair.key, pair.tags, pair.regions[0].box) == ("c", ["cow"], (1, 2, 4, 6))
    assert pair.regions[0].extra == {"captions": ["it grazes"]}
    with pytest.raises(FaultySample, match="sample 'c' of .*/two has neither captions nor tags"):
        read_pair(entry, captions_only=True)
    assert MetadataCatalog.get(alone).captions_only and not MetadataCatalog.get(name).captions_only
    line = {"file_name": "one/b.PNG", "caption": "a cat", "tags": ["cat"]}
    (album / "l.jsonl").write_text(json.dumps(line))
    (entry,), _ = index_shard(str(album / "l.jsonl"))
    pair = read_pair(entry, captions_only=True)
    assert (pair.captions, pair.tags) == (["a cat"], [])


def test_the_checker_reads_and_paints_pairs(album, register):
    (name,) = register("  p_checked: {shards: album}\n")
    (album / "one" / "b.txt").write_text(" \n")
    checked = check_dataset(name)
    assert [(fault.kind, fault.record) for fault in checked.faults] == [("sample", "b")]
    assert "has neither captions nor tags nor regions" in checked.faults[0].message
    region = {"text": "cow", "box": [1, 2, 4, 6]}
    (album / "two" / "c.json").write_text(json.dumps({"tags": ["cow"], "regions": [region]}))
    shown = list(samples(check_dataset(name), 9))
    assert [sample.title for sample in shown] == ["a.x  8 x 6  a dog", "c  8 x 6  cow"]
    assert shown[0].names == [] and (shown[0].labels == -1).all()
    assert shown[1].names == ["cow"] and (shown[1].labels == 0).any()
    told = {"box": [1, 2, 4, 6], "caption": "a cow"}
    (album / "two" / "c.json").write_text(json.dumps({"regions": [told, {"box": [1, 2, 4, 6]}]}))
    checked = check_dataset(name)
    assert [fault.kind for fault in checked.faults] == ["sample"]
    (remark,) = checked.remarks
    assert remark.field == "regions[1]" and "neither name nor caption" in remark.message


def test_pictures_that_come_or_go_after_the_index_are_no_others(web, album):
    entries, fault = index_shard(str(album / "one"))
    assert fault is None and [entry.key for entry in entries] == ["a.x", "b"]
    (album / "one" / "0.png").write_bytes(web.picture(7))
    os.utime(album / "one", ns=(1, 1))  # a folder of the same second has another version
    for entry in entries:
        with pytest.raises(FaultySample, match="pictures have come or gone since the run began"):
            read_sample(entry)
    (album / "one" / "b.jpg").write_bytes(web.picture(7))
    os.utime(album / "one", ns=(2, 2))
    assert "'b.PNG' and 'b.jpg' would share one text" in index_shard(str(album / "one"))[1]


def test_a_folder_of_shards_stands_for_these(web, album, tmp_path):
    assert sample_folders(album) == [str(album / "one"), str(album / "two")]
    web.write_tar(album / "one" / "0.tar", [])
    assert sample_folders(album) == [str(album / "one" / "0.tar"), str(album / "two")]
    (album / ".cache").mkdir()
    (album / ".cache" / "x.png").touch()
    (album / "all.jsonl").touch()
    assert sample_folders(album) == [str(album / "all.jsonl")]
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="none holds neither shards .*nor pictures"):
        shard_files([str(tmp_path / "none")], "data set 'x'")


@pytest.mark.parametrize(
    "text, message",
    [
        ("caption\turl\nx\thttp://a.org/1.jpg\n", "tells neither columns"),
        ("a cat\thttps://a.org/1.jpg\n", "lists addresses of the web, first 'https://a.org/1.jpg'"),
        ("image\tcaption\nhttp://a\tx\n", "img2dataset writes tars"),
        ("a.jpg\tb.jpg\n", "'a.jpg b.jpg', tells neither columns"),
        ("", "the first line, '', tells neither"),
    ],
)
def test_a_list_that_names_no_pictures_is_one_fault(tmp_path, text, message):
    path = tmp_path / "l.tsv"
    path.write_text(text)
    entries, fault = index_shard(str(path))
    assert entries == [] and fault.startswith(str(path)) and message in fault


def test_rows_of_a_list(web, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(web.picture(1))
    path = tmp_path / "l.csv"
    rows = ["\ufeffimage;id;caption", 'a.png;1;"two', 'lines"', "", "a.png;2", "../x.png;3;c", ""]
    path.write_bytes("\r\n".join(rows).encode())
    entries, fault = index_shard(str(path))
    assert fault is None and [entry.key for entry in entries] == ["row 1", "row 3", "row 4"]
    assert read_sample(entries[0]).text == "two lines"
    with pytest.raises(FaultySample, match="'row 3' of .*l.csv has 2 columns, expected 3"):
        read_sample(entries[1])
    with pytest.raises(FaultySample, match="leaves the folder"):
        read_sample(entries[2])
    path.write_text('image,caption\na.png,"never closed\nb.png,c\n')
    assert "row at byte 14 is never closed" in index_shard(str(path))[1]
    monkeypatch.setattr(lists, "TEXT_BYTES", 20)
    path.write_text('image,caption\na.png,"never closed\nb.png,"c\n')
    assert "row at byte 14 is never closed" in index_shard(str(path))[1]
    path.write_bytes("image,caption\n".encode("utf-16"))
    assert "UTF-16; save it in UTF-8" in index_shard(str(path))[1]


@pytest.mark.parametrize(
    "keys, message",
    [
        ("", "key 'shards' is missing"),
        ("shards: 3", "key 'shards': got 3, expected a path"),
        ("shards: []", r"key 'shards': got \[\], expected a path"),
        ("shard: a.tar", "unknown key 'shard', the nearest is 'shards'"),
        ("shards: a.tar, captions_only: 1", "expected true or false"),
    ],
)
def test_keys_of_pairs_are_checked(register, keys, message):
    with pytest.raises(ValueError, match=message):
        register(f"  p_keys: {{{keys}}}\n")


@pytest.mark.parametrize(
    "file, keys, error, message",
    [
        ("a.tar.gz", "shards: '*.gz'", ValueError, "a.tar.gz is no shard; .* unpack it"),
        ("a.parquet", "shards: '*'", ValueError, "is no shard; .* narrow the pattern"),
        (
            "a.tar",
            "shards: 'b/*.tar'",
            FileNotFoundError,
            r"no file \['.*b/\*.tar'\]; corr",
        ),
        ("a.tar", "shards: a.tar, images: gone", FileNotFoundError, "no folder .*/gone"),
        ("a.tar", "shards: a.tar, expected: 2", ValueError, "'p_files' has 1 records, expected 2"),
    ],
)
def test_files_of_pairs_are_checked(tmp_path, register, file, keys, error, message):
    (tmp_path / file).touch()
    with pytest.raises(error, match=message):
        load_dataset(*register(f"  p_files: {{{keys}}}\n"))


def test_brackets_in_the_folder_of_the_file_are_no_pattern(web, tmp_path, monkeypatch):
    folder = tmp_path / "[old] a*"
    folder.mkdir()
    web.write_tar(folder / "7.tar", [])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    assert shard_files(["*.tar"], "data set 'x'") == [str(folder / "7.tar")]
    (folder / "p.yaml").write_text("kind: pairs\nsets: {p_brackets: {shards: '*.tar'}}")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    try:
        register_from_yaml(folder / "p.yaml")
        assert [r["file_name"] for r in load_dataset("p_brackets")] == [str(folder / "7.tar")]
    finally:
        DatasetCatalog.remove("p_brackets")
        MetadataCatalog.remove("p_brackets")


def test_pairs_are_no_regions_to_export(tmp_path, album, register):
    with pytest.raises(ValueError, match="'p_export' holds image-text pairs, for which these form"):
        export_dataset(*register("  p_export: {shards: album}\n"), "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()
