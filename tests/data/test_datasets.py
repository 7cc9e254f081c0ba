import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.datasets import shipped_vocabulary
from segplugins.structures.vocabulary import get_vocabulary

SETS = {
    "coco_2017_train_stuff_all_sem_seg": ("coco_stuff_171", 171, 255),
    "coco_2017_test_stuff_all_sem_seg": ("coco_stuff_171", 171, 255),
    "ade20k_150_test_sem_seg": ("ade20k_150", 150, 255),
    "ade20k_full_sem_seg_freq_val_all": ("ade20k_847", 847, 65535),
    "context_59_test_sem_seg": ("pascal_context_59", 59, 255),
    "context_459_test_sem_seg": ("pascal_context_459", 459, 459),
    "voc_2012_test_sem_seg": ("voc_20", 20, 255),
    "camvid_train_sem_seg": ("camvid", 11, 255),
    "camvid_val_sem_seg": ("camvid", 11, 255),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_registered_with_vocabulary_ignore_label_and_licence(name):
    vocabulary, classes, ignored = SETS[name]
    assert name in DatasetCatalog
    metadata = MetadataCatalog.get(name)
    assert (metadata.vocabulary, metadata.ignore_label) == (vocabulary, ignored)
    assert len(get_vocabulary(vocabulary)) == len(metadata.stuff_classes) == classes
    assert metadata.evaluator_type == "sem_seg"
    assert metadata.licence


def test_voc_with_background_asks_59_names_and_counts_21_classes():
    metadata = MetadataCatalog.get("voc_2012_test_background_sem_seg")
    names = get_vocabulary(metadata.vocabulary).classes
    assert names[:20] == get_vocabulary("voc_20").classes
    assert set(names) == set(get_vocabulary("pascal_context_59").classes)
    assert metadata.stuff_classes[20] == "background" and len(metadata.stuff_classes) == 21
    assert metadata.class_map == (*range(20), *[20] * 39)


def test_the_first_80_classes_of_coco_stuff_are_things():
    assert shipped_vocabulary("coco_stuff_171").is_thing == (True,) * 80 + (False,) * 91


def test_names_stand_as_the_source_writes_them():
    # The 8th of the challenge's names ends with a blank, which reaches the prompt.
    assert shipped_vocabulary("ade20k_150").classes[7] == "bed "
    assert shipped_vocabulary("ade20k_847").synonyms[1] == ("building", "edifice")
    rich = shipped_vocabulary("ade20k_847_synonyms")
    assert rich.classes == shipped_vocabulary("ade20k_847").classes
    assert "brick wall" in rich.synonyms[0]
