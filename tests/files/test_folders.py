import os
import unicodedata
from pathlib import Path

import pytest

from segplugins.files.faults import Collect, FaultError
from segplugins.files.folders import LABEL_ENDINGS, FileFolder, listed_pairs, pair_files


@pytest.fixture
def folders(tmp_path):
    """Makes empty files, and returns where images and label files are."""

    def make(images, labels, *, image=None, label=None):
        for folder, names in (("images", images), ("labels", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            for name in names:
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return (
            FileFolder(tmp_path / "images", **(image or {})),
            FileFolder(tmp_path / "labels", **{"default": LABEL_ENDINGS, **(label or {})}),
        )

    return make


def names(pairs):
    return {stem: tuple(map(os.path.basename, pair)) for stem, pair in pairs.items()}


def test_images_of_any_known_ending_are_found_by_default(folders):
    images = ["p0.jpg", "p1.png", "p2.jpeg", "p3.JPG", "p4.tif", "notes.txt"]
    labels = ["p0.png", "p1.png", "p2.PNG", "p3.tif", "p4.bmp"]
    assert names(pair_files(*folders(images, labels))) == {
        f"p{i}": pair for i, pair in enumerate(zip(images, labels))
    }


@pytest.mark.parametrize("endings", [["jpg", "png"], (".JPG", "PNG"), ["png", "jpg"]])
def test_endings_may_be_a_list(folders, endings):
    pair = folders(["a.jpg", "b.png", "c.bmp"], ["a.png", "b.png"], image={"endings": endings})
    assert list(pair_files(*pair)) == ["a", "b"]


def test_one_ending_may_be_a_text(folders):
    pair = folders(["a.jpg", "a.png"], ["a.png"], image={"endings": "jpg"})
    assert names(pair_files(*pair)) == {"a": ("a.jpg", "a.png")}


def test_what_is_added_to_the_stem_is_taken_off(folders):
    pair = folders(
        ["x/a_leftImg8bit.png", "x/b_leftImg8bit.png", "x/c_right.png"],
        ["x/gt_a_ids.png", "x/gt_a_color.png", "x/gt_b_ids.png", "x/a_ids.png"],
        image={"suffix": "_leftImg8bit"},
        label={"prefix": "gt_", "suffix": "_ids"},
    )
    assert names(pair_files(*pair)) == {
        "x/a": ("a_leftImg8bit.png", "gt_a_ids.png"),
        "x/b": ("b_leftImg8bit.png", "gt_b_ids.png"),
    }


def test_hidden_files_and_folders_are_passed_over(folders):
    hidden = ["._a.jpg", ".cache/b.jpg", "__MACOSX/c.jpg"]
    pair = folders(["a.jpg", *hidden], ["a.png", "._a.png", ".ipynb_checkpoints/a.png"])
    assert list(pair_files(*pair)) == ["a"]


def test_decomposed_names_are_the_same_names(folders):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert composed != decomposed
    pair = folders([f"{decomposed}.jpg"], [f"{composed}.png"])
    pairs = pair_files(*pair)
    assert list(pairs) == [composed]
    assert Path(pairs[composed][0]).exists()  # the name as it is stored
    assert list(listed_pairs(pairs, [decomposed], pair, "list")) == [composed]


def test_a_label_without_an_image_names_what_is_looked_for(folders):
    pair = folders(["a.jpg"], ["a.png", "b.png", "c.png"], image={"endings": "jpg"})
    message = "b.png: no image b.jpg in .*images; 2 label files have none"
    with pytest.raises(FileNotFoundError, match=message):
        pair_files(*pair)
    collected = Collect()
    assert list(pair_files(*pair, collected)) == ["a"]
    assert [fault.kind for fault in collected.faults] == ["missing", "missing"]


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (["a.jpg", "a.png"], ["a.png"], "2 images have the stem 'a': a.jpg, a.png; .* image_ext"),
        (["a.jpg"], ["a.png", "a.tif"], "2 label files have .*: a.png, a.tif; say which by label"),
    ],
)
def test_two_files_of_one_stem_are_told(folders, images, labels, message):
    pair = folders(images, labels)
    with pytest.raises(FaultError, match=message):
        pair_files(*pair)
    collected = Collect()
    assert pair_files(*pair, collected) == {} and collected.faults[0].kind == "ambiguous"


def test_images_and_labels_may_share_a_folder(folders, tmp_path):
    folders(["a.jpg", "a.png", "b.jpg", "b.png"], [])
    both = FileFolder(tmp_path / "images"), FileFolder(tmp_path / "images", "png")
    assert names(pair_files(*both)) == {"a": ("a.jpg", "a.png"), "b": ("b.jpg", "b.png")}
    alone = FileFolder(tmp_path / "images", "png"), FileFolder(tmp_path / "images", "png")
    with pytest.raises(FaultError, match="would be its own label file: name image_ext"):
        pair_files(*alone)


@pytest.mark.parametrize(
    "labels, options, message",
    [
        ([], {}, "no label file .*labels; it holds no file"),
        (["a.jpg"], {}, "it holds 1 files that end in .jpg, such as a.jpg; JPEG alters values"),
        (["a.tif"], {"endings": "png"}, "no label file <stem>.png .* end in .tif.*name label_ext"),
        (["a.png"], {"suffix": "_mask"}, "no label file <stem>_mask.* or label_suffix"),
    ],
)
def test_a_folder_without_label_files_says_what_it_holds(folders, labels, options, message):
    with pytest.raises(FileNotFoundError, match=message):
        pair_files(*folders(["a.jpg"], labels, label=options))


def test_links_in_a_loop_come_to_an_end(folders, tmp_path):
    pair = folders(["a.jpg"], ["a.png"])
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    assert list(pair_files(*pair)) == ["a"]


def test_a_list_chooses_and_orders(folders):
    pair = folders(
        ["x/a.jpg", "y/a.jpg", "b.c.jpg", "d e.jpg"], ["x/a.png", "y/a.png", "b.c.png", "d e.png"]
    )
    pairs = pair_files(*pair)
    listed = ["d e", "b.c", "y/a.png", "/x/a.jpg"]
    assert list(listed_pairs(pairs, listed, pair, "list")) == ["d e", "b.c", "y/a", "x/a"]
    assert list(listed_pairs(pairs, ["some/where/b.c.jpg", r"x\a"], pair, "l")) == ["b.c", "x/a"]


@pytest.mark.parametrize(
    "listed, kind, message",
    [
        (["gone"], "missing", "list.txt: 'gone' has no image and label file"),
        (["a"], "ambiguous", "'a' has 2 files, such as x/a and y/a"),
        (["b", "b.jpg"], "id", "'b.jpg' stands twice"),
    ],
)
def test_a_name_of_a_list_means_one_file(folders, listed, kind, message):
    pair = folders(["x/a.jpg", "y/a.jpg", "b.jpg"], ["x/a.png", "y/a.png", "b.png"])
    pairs = pair_files(*pair)
    with pytest.raises(FaultError, match=message):
        listed_pairs(pairs, listed, pair, "list.txt")
    collected = Collect()
    listed_pairs(pairs, listed, pair, "list.txt", collected)
    assert [fault.kind for fault in collected.faults] == [kind]


def test_label_files_named_after_the_whole_image_file_find_it(tmp_path):
    for name in ("i/a.jpg", "i/b/c.JPG", "i/d.jpg", "l/a.jpg.png", "l/b/c.JPG.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    folders = FileFolder(tmp_path / "i"), FileFolder(tmp_path / "l")
    assert pair_files(*folders) == {
        "a.jpg": (str(tmp_path / "i/a.jpg"), str(tmp_path / "l/a.jpg.png")),
        "b/c.JPG": (str(tmp_path / "i/b/c.JPG"), str(tmp_path / "l/b/c.JPG.png")),
    }
    (tmp_path / "l/e.jpg.png").touch()
    policy = Collect()
    assert len(pair_files(*folders, policy)) == 2
    assert "no image e.jpg.<ending>" in policy.faults[0].message
