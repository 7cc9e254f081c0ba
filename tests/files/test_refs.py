"""Referring expressions: which refs are read, what they mean, and which faults leave them out."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from segplugins.files.faults import STRICT, Collect, FaultError
from segplugins.files.refs import load_refs, read_refs

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[1] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


@pytest.fixture
def read(tmp_path):
    """Writes refs, and an instance file of three annotations: 11 and 12 of image 1, 13 of 2."""

    def write(*refs, policy=STRICT, content=None, **options):
        (tmp_path / "instances.json").write_text(json.dumps(content or small.coco()))
        path = tmp_path / "refs.json"
        path.write_text(json.dumps(list(refs)))
        return read_refs(path, tmp_path / "instances.json", policy, **options)

    return write


def faults_of(read, *refs, **options):
    """Returns what is read, and the faults as (kind, field, message, entry)."""
    policy = Collect()
    result = read(*refs, policy=policy, **options)
    return result.refs, [(f.kind, f.field, f.message, f.entry) for f in policy.faults]


def test_a_ref_becomes_an_entry_with_the_annotations_that_it_means(read):
    result = read(small.ref(4, 11, " a cat ", "the cat"), small.ref(5, [12, 11], "both"))
    first, second = result.refs
    assert (first.ref_id, first.image_id, first.split, first.position) == (4, 1, "train", 0)
    assert first.sentences == ("a cat", "the cat")
    assert [target.id for target in first.targets] == [11]
    assert [target.id for target in second.targets] == [12, 11]  # in the order of the ref
    assert second.targets[1] is first.targets[0] and second.position == 1


@pytest.mark.parametrize("given", [[], [-1], -1, "-1", -1.0])
def test_minus_one_and_an_empty_list_mean_no_target(read, given):
    [ref] = read(small.ref(4, given, "a cow")).refs
    assert ref.targets == () and ref.image_id == 1


@pytest.mark.parametrize("given", [11, "11", 11.0, [11], ["11"]])
def test_an_annotation_is_named_by_any_form_of_its_id(read, given):
    [ref] = read(small.ref("4", given, "a cat", image="1")).refs
    assert (ref.ref_id, ref.image_id, ref.targets[0].id) == (4, 1, 11)


def test_sentences_are_mappings_or_bare_text_and_the_key_is_chosen(read):
    ref = small.ref(4, 11, "The Cat!", sentences=[{"raw": "The Cat!", "sent": "the cat"}])
    assert read(ref).refs[0].sentences == ("The Cat!",)
    assert read(ref, text="sent").refs[0].sentences == ("the cat",)
    assert read({**ref, "sentences": ["a cat", {"raw": "b"}]}).refs[0].sentences == ("a cat", "b")
    assert read({**ref, "sentences": "one text"}).refs[0].sentences == ("one text",)


def test_an_empty_sentence_is_left_out_and_the_others_stay(read):
    refs, faults = faults_of(read, small.ref(4, 11, "a cat", "  ", "the cat"))
    assert refs[0].sentences == ("a cat", "the cat")
    assert faults == [("sentence", "ref 4", "the sentence 'raw' is '  '", (0, "sentences", 1))]


@pytest.mark.parametrize("sentences", [[], None, 7, [{}], [None]])
def test_a_ref_without_a_sentence_is_a_fault_of_the_whole_ref(read, sentences):
    # The second ref keeps the file recognisable as a list of refs.
    broken = {**small.ref(4, 11), "sentences": sentences}
    refs, faults = faults_of(read, broken, small.ref(5, 11, "a cat"))
    assert [ref.ref_id for ref in refs] == [5]
    assert faults[-1] == ("sentence", "ref 4", "no sentence at all", (0,))


@pytest.mark.parametrize(
    "change, kind, field, message",
    [
        ({"ref_id": None}, "id", "refs[1]", "ref without a ref_id: None is no id"),
        ({"ref_id": True}, "id", "refs[1]", "ref without a ref_id: True is no id"),
        ({"ref_id": 4}, "id", "refs[1].ref_id", "ref_id 4 stands twice"),
        ({"image_id": 9}, "unknown-id", "ref 5", "image_id 9 is not listed"),
        ({"image_id": [1]}, "unknown-id", "ref 5", "image_id [1] is not listed"),
        ({"image_id": 2}, "unknown-id", "ref 5", "annotation 11 is of another image"),
        ({"ann_id": 99}, "unknown-id", "ref 5", "it means annotation 99, which is not listed"),
        ({"ann_id": [11, 99]}, "unknown-id", "ref 5", "it means annotation 99, which is not"),
        ({"ann_id": [11, 13]}, "unknown-id", "ref 5", "annotation [11, 13] is of another image"),
        ({"ann_id": None}, "unknown-id", "ref 5", "ann_id None: None is no id"),
        ({"ann_id": 1.5}, "unknown-id", "ref 5", "ann_id 1.5: 1.5 is no id"),
        ({"split": None}, "form", "ref 5", "split is None, expected a word"),
        ({"split": 3}, "form", "ref 5", "split is 3, expected a word"),
    ],
)
def test_a_faulty_ref_is_left_out_and_named(read, change, kind, field, message):
    good, other = small.ref(4, 11, "a cat"), small.ref(5, 11, "the cat")
    refs, faults = faults_of(read, good, {**other, **change}, small.ref(6, 12, "a dog"))
    assert [ref.ref_id for ref in refs] == [4, 6]
    [fault] = faults
    assert fault[0] == kind and fault[1] == field and fault[2].startswith(message)
    assert fault[3] == (1,)
    with pytest.raises(FaultError, match="ref"):
        read(good, {**other, **change})


def test_an_id_is_taken_only_by_a_ref_that_is_read(read):
    # The first of the two has no sentence, so that the second is no repetition.
    refs, faults = faults_of(read, small.ref(4, 11), small.ref(4, 12, "a dog"))
    assert [ref.targets[0].id for ref in refs] == [12]
    assert [fault[0] for fault in faults] == ["sentence"]


def test_an_entry_that_is_no_mapping_is_left_out(read):
    refs, faults = faults_of(read, "x", small.ref(4, 11, "a cat"))
    assert [ref.position for ref in refs] == [1]
    assert faults == [("form", "refs[0]", "got 'x', expected a mapping", (0,))]


def test_annotations_that_no_ref_means_are_neither_read_nor_checked(read):
    content = small.coco()
    content["annotations"][1]["segmentation"] = [[1, 2, 3]]  # 12: no polygon
    content["images"][2]["height"] = None  # 3
    assert [t.id for t in read(small.ref(4, 11, "a"), content=content).refs[0].targets] == [11]
    refs, faults = faults_of(read, small.ref(4, 12, "a"), content=content)
    assert refs == []
    assert [fault[0] for fault in faults] == ["polygon", "unknown-id"]


def test_categories_do_not_matter_and_a_wrong_box_is_only_a_remark(read):
    content = small.coco()
    del content["categories"]
    content["annotations"][0]["category_id"] = "none"
    content["annotations"][0]["bbox"] = [5, 5, 4, 4]  # the mask has 1, 1, 4, 4
    policy = Collect()
    result = read(small.ref(4, 11, "a cat"), policy=policy, content=content)
    assert [(fault.kind, fault.remark) for fault in policy.faults] == [("box", True)]
    assert result.refs[0].targets[0].bbox is None  # of the mask


def test_pickles_are_read_with_their_numpy_numbers_and_without_running_code(tmp_path):
    (tmp_path / "instances.json").write_text(json.dumps(small.coco()))
    path = tmp_path / "refs(unc).p"
    ref = small.ref(np.int64(4), np.array([12, 11]), "both", image=np.int32(1))
    path.write_bytes(pickle.dumps([ref], protocol=2))
    [entry] = read_refs(path, tmp_path / "instances.json").refs
    assert (entry.ref_id, entry.image_id) == (4, 1)
    assert type(entry.ref_id) is int and [target.id for target in entry.targets] == [12, 11]
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(ValueError, match="system"):
        load_refs(path)
    assert not Path("ran").exists()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b" \n"])
def test_json_is_recognised_whatever_the_ending(tmp_path, mark):
    path = tmp_path / "refs(unc).p"
    path.write_bytes(mark + json.dumps([small.ref(4, 11, "a cat")]).encode())
    assert load_refs(path)[0]["ref_id"] == 4


@pytest.mark.parametrize("content", [{"sentences": []}, [], ["x"], [{"ref_id": 1}], 3])
def test_a_file_without_refs_is_refused_by_name(tmp_path, content):
    path = tmp_path / "refs.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"refs\.json holds no list of refs with sentences"):
        load_refs(path)
