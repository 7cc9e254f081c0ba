"""The catalog: folders, counts, names in order, records told apart, metadata of foreign sets."""

import logging
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.catalog import (
    PARTIAL_VARIABLE,
    PolicyLoader,
    as_vocabulary,
    check_count,
    check_order,
    dataset_metadata,
    dataset_root,
    existing_file,
    existing_folder,
    load_dataset,
    register,
    update_metadata,
)
from segplugins.files.faults import STRICT, FaultError, Skip
from segplugins.structures.vocabulary import Vocabulary, get_vocabulary, register_vocabulary


def test_without_the_variable_or_with_an_empty_one_data_stand_in_datasets(monkeypatch):
    for value in (None, ""):
        monkeypatch.setenv("DETECTRON2_DATASETS", value or "")
        if value is None:
            monkeypatch.delenv("DETECTRON2_DATASETS")
        assert dataset_root() == Path("datasets")


def test_of_several_folders_the_first_that_exists_is_taken(root):
    (root / "b").mkdir()
    (root / "c").mkdir()
    assert existing_folder(["a", "b", "c"], "pets") == root / "b"
    assert existing_folder(str(root / "c"), "pets") == root / "c"  # an absolute one as it is
    (root / "a").write_text("a file is no folder")
    assert existing_folder(["a", "c"], "pets") == root / "c"


def test_a_missing_folder_names_all_candidates_and_the_command(root):
    with pytest.raises(FileNotFoundError) as error:
        existing_folder(["a", "b"], "pets", "python prepare.py")
    assert "data set 'pets': no folder " + str(root / "a") in str(error.value)
    assert "'a or b', or make it with `python prepare.py`" in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        existing_folder("a", "pets")
    assert "make it" not in str(error.value)


def test_a_file_must_be_a_file(root):
    (root / "a.json").mkdir()
    with pytest.raises(FileNotFoundError, match=r"'pets': no file .*a\.json.*with `make pets`"):
        existing_file("a.json", "pets", "make pets")
    (root / "b.json").write_text("{}")
    assert existing_file("b.json", "pets") == root / "b.json"


@pytest.mark.parametrize("expected", [None, (), 5, (4, 5), [5]])
def test_an_expected_number_of_records_passes(expected):
    check_count("pets", 5, expected)


@pytest.mark.parametrize(
    "expected, message",
    [
        (6, "'pets' has 5 records, expected 6:"),
        (4, "expected 4:"),
        ((4, 6), "expected 4 or 6:"),
        (0, "expected 0:"),
    ],
)
def test_another_number_of_records_is_a_fault(expected, message, monkeypatch, caplog):
    with pytest.raises(FaultError, match=f"{message}.*set {PARTIAL_VARIABLE}=1"):
        check_count("pets", 5, expected)
    check_count("pets", 5, expected, policy=(policy := Skip()))
    assert policy.counts == {"count": 1}
    monkeypatch.setenv(PARTIAL_VARIABLE, "0")  # only 1 lets it pass
    with pytest.raises(FaultError):
        check_count("pets", 5, expected)
    monkeypatch.setenv(PARTIAL_VARIABLE, "1")
    check_count("pets", 5, expected)
    assert message in caplog.text


NAMES = [f"class {number}" for number in range(20)]


def renamed(*places):
    return [f"other {k}" if k in places else name for k, name in enumerate(NAMES)]


def test_a_tenth_of_the_names_may_differ_and_no_more(caplog):
    with caplog.at_level(logging.INFO):
        check_order(NAMES, renamed(3, 4), Path("list.txt"))
    assert "class 3 is 'class 3' here and 'other 3' in list.txt" in caplog.text
    with pytest.raises(
        ValueError, match="list.txt: 3 of 20 class names.*class 7, 'class 7' here and 'other 7'"
    ):
        check_order(NAMES, renamed(7, 9, 8), Path("list.txt"))


def test_spelling_and_any_common_synonym_make_names_equal():
    check_order(["Traffic-Light, signal", "cat"], ["stop_light, traffic light", " CAT "], Path("x"))


def test_a_shifted_list_and_one_of_another_length_are_refused():
    with pytest.raises(ValueError, match="20 of 20 class names"):
        check_order(NAMES, [*NAMES[1:], "class 20"], Path("list.txt"))
    with pytest.raises(ValueError, match="list.txt names 19 classes, expected 20"):
        check_order(NAMES, NAMES[:19], Path("list.txt"))


def test_a_record_that_no_evaluator_can_tell_from_one_before_is_left_out():
    records = [
        {"file_name": "a.jpg", "image_id": 1},
        {"file_name": "b.jpg", "image_id": 2},
        {"file_name": "c.jpg", "image_id": 1},
        {"file_name": "a.jpg", "image_id": 1, "ref_id": 1},
        {"file_name": "a.jpg", "image_id": 1, "ref_id": 2},
        {"file_name": "a.jpg"},
        {"file_name": "a.jpg"},
    ]
    load = PolicyLoader("pets", lambda policy: [dict(record) for record in records])
    policy = Skip()
    kept = load(policy)
    for record in kept:
        assert record.pop("dataset") == "pets"
    assert kept == [records[i] for i in (0, 1, 3, 4, 5)]
    assert policy.counts == {"id": 2}
    with pytest.raises(FaultError, match=r"record 0 of the set has the same \{'image_id': 1\}"):
        load(STRICT)


def test_a_record_that_names_another_set_keeps_that_name():
    load = PolicyLoader("pets", lambda policy: [{"file_name": "a", "dataset": "cats"}])
    assert load()[0]["dataset"] == "cats"


def test_a_set_registered_again_is_compared_by_its_metadata():
    register("test_pets", lambda policy: [], group="a", vocabulary=None)
    register("test_pets", lambda policy: [], group="a", vocabulary=None)
    with pytest.raises(ValueError, match="'test_pets' is registered already; choose another"):
        register("test_pets", lambda policy: [], group="b", vocabulary=None)
    assert MetadataCatalog.get("test_pets").group == "a"


def test_metadata_of_files_may_change_when_folders_move():
    register("test_pets", lambda policy: [], vocabulary=None)
    for folder in ("one", "two"):
        update_metadata("test_pets", image_root=folder, more=1)
        assert MetadataCatalog.get("test_pets").image_root == folder


def test_a_vocabulary_that_only_the_files_know_is_looked_up_once():
    calls = []

    def load(policy):
        calls.append(policy)
        register_vocabulary(Vocabulary("test_in_files", ("a", "b")))
        update_metadata("test_in_files", vocabulary="test_in_files")
        return [{"file_name": "a.jpg"}]

    register("test_in_files", load)
    assert dataset_metadata("test_in_files").vocabulary == "test_in_files"
    assert dataset_metadata("test_in_files").ignore_label == 255
    assert len(calls) == 1


def foreign(name, **metadata):
    """A set as detectron2 registers its own."""
    DatasetCatalog.register(name, lambda: [{"file_name": "a.jpg"}])
    MetadataCatalog.get(name).set(**metadata)
    return dataset_metadata(name)


def test_things_of_a_foreign_set_come_before_its_stuff():
    metadata = foreign("test_foreign", thing_classes=["cat", "dog"], stuff_classes=["sky"])
    vocabulary = get_vocabulary(metadata.vocabulary)
    assert vocabulary.classes == ("cat", "dog") and vocabulary.is_thing == (True, True)


def test_stuff_of_a_foreign_set_is_not_counted_apart():
    metadata = foreign("test_foreign", stuff_classes=["sky", "sea"], ignore_label=7)
    assert get_vocabulary(metadata.vocabulary).is_thing == (False, False)
    assert metadata.ignore_label == 7


def test_the_table_of_a_foreign_set_says_which_classes_are_things():
    metadata = foreign(
        "test_foreign",
        stuff_classes=["sky", "cat", "dog"],
        thing_dataset_id_to_contiguous_id={18: 2, 17: 1},
    )
    assert get_vocabulary(metadata.vocabulary).is_thing == (False, True, True)


def test_a_foreign_set_without_classes_is_asked_by_free_text():
    assert foreign("test_foreign").vocabulary is None
    (record,) = load_dataset("test_foreign")
    assert record == {"file_name": "a.jpg", "dataset": "test_foreign", "vocabulary": None}


def test_a_record_keeps_a_vocabulary_of_its_own():
    DatasetCatalog.register("test_own", lambda: [{"vocabulary": "pets"}, {"vocabulary": None}])
    MetadataCatalog.get("test_own").set(vocabulary="cats")
    assert [record["vocabulary"] for record in load_dataset("test_own")] == ["pets", None]


def test_an_unknown_set_names_those_most_alike():
    foreign("test_foreign_pets")
    for ask in (load_dataset, dataset_metadata):
        with pytest.raises(KeyError, match="no data set 'test_foreign_pet' .*'test_foreign_pets'"):
            ask("test_foreign_pet")


def test_the_policy_reaches_the_reader_of_our_sets_alone():
    received = []
    register("test_ours", lambda policy: received.append(policy) or [], vocabulary=None)
    policy = Skip()
    assert load_dataset("test_ours", policy) == [] and received == [policy]
    foreign("test_foreign")
    assert len(load_dataset("test_foreign", policy)) == 1


def test_class_names_become_things_only_if_asked():
    assert as_vocabulary(["a", "b"], "test_stuff").is_thing == (False, False)
    things = as_vocabulary(("a", "b"), "test_things", things=True)
    assert things.is_thing == (True, True) and get_vocabulary("test_things") is things
    assert as_vocabulary("test_things", "another name") is things
    own = Vocabulary("test_own", ("x",))
    assert as_vocabulary(own, "another name", things=True) is own
    assert get_vocabulary("test_own") is own
