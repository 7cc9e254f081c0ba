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
    "openvocab_ade20k_sem_seg_val": ("ade20k_150_synonyms", 150, 255),
    "openvocab_ade20k_full_sem_seg_val": ("ade20k_847_synonyms", 847, 65535),
    "openvocab_pascal_ctx59_sem_seg_val": ("pascal_context_59_synonyms", 59, 255),
    "openvocab_pascal_ctx459_sem_seg_val": ("pascal_context_459_synonyms", 459, 459),
    "openvocab_pascal20_sem_seg_val": ("voc_20_synonyms", 20, 255),
    "openvocab_pascal21_sem_seg_val": ("voc_21_synonyms", 21, 255),
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


@pytest.mark.parametrize(
    "rich, plain",
    [
        ("pascal_context_59_synonyms", "pascal_context_59"),
        ("pascal_context_459_synonyms", "pascal_context_459"),
        ("voc_20_synonyms", "voc_20"),
    ],
)
def test_synonyms_are_of_the_same_classes_in_the_same_order(rich, plain):
    assert get_vocabulary(rich).classes == get_vocabulary(plain).classes
    assert sum(map(len, get_vocabulary(rich).synonyms)) > len(get_vocabulary(plain))


def test_coco_panoptic_with_synonyms_has_detectron2s_classes():
    metadata = MetadataCatalog.get("openvocab_coco_2017_val_panoptic")
    vocabulary = get_vocabulary("coco_panoptic_133_synonyms")
    theirs = MetadataCatalog.get("coco_2017_val_panoptic")
    assert list(vocabulary.classes) == theirs.stuff_classes and metadata.licence
    things = set(theirs.thing_dataset_id_to_contiguous_id.values())
    assert vocabulary.is_thing == tuple(k < 80 for k in range(133)) and len(things) == 80
    assert "girl" in vocabulary.synonyms[0]
    # 254 words of 133 classes, as FC-CLIP counts them.
    assert sum(map(len, vocabulary.synonyms)) == 254


def test_the_first_80_classes_of_coco_stuff_are_things():
    assert shipped_vocabulary("coco_stuff_171").is_thing == (True,) * 80 + (False,) * 91


def test_names_stand_as_the_source_writes_them():
    # The 8th of the challenge's names ends with a blank, which reaches the prompt.
    assert shipped_vocabulary("ade20k_150").classes[7] == "bed "
    assert shipped_vocabulary("ade20k_847").synonyms[1] == ("building", "edifice")
    rich = shipped_vocabulary("ade20k_847_synonyms")
    assert rich.classes == shipped_vocabulary("ade20k_847").classes
    assert "brick wall" in rich.synonyms[0]
