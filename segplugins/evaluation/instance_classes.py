"""Which true category each class of a model stands for, and what it is called in results."""

from typing import Dict, Optional, Sequence, Tuple

from detectron2.data import MetadataCatalog

from segplugins.evaluation.instance_truth import InstanceTruth
from segplugins.structures import Vocabulary, get_vocabulary

_IDS = "thing_dataset_id_to_contiguous_id"


def class_mapping(dataset_name: str, truth: InstanceTruth) -> Dict[int, int]:
    """Returns the true category of each class that a model may predict.

    The classes are those of the metadata's "thing_dataset_id_to_contiguous_id" where it has one
    (a panoptic vocabulary counts its stuff too); else class k is the k-th category by id.

    Raises:
        ValueError: a category of the truth has no class or shares one with another, or without
            that mapping a category is called like a class at another place.
    """
    contiguous = MetadataCatalog.get(dataset_name).get(_IDS)
    index = {identity: i for i, identity in enumerate(truth.category_ids)}
    if not contiguous:
        _check_order(dataset_name, truth)
        return {i: i for i in range(len(truth.names))}
    unknown = sorted(set(index) - set(contiguous))
    if unknown:
        raise ValueError(
            f"data set '{dataset_name}': categories {unknown[:5]} of its annotations are not in "
            f"{_IDS}"
        )
    mapping = {contiguous[identity]: i for identity, i in index.items()}
    if len(mapping) < len(index):
        raise ValueError(
            f"data set '{dataset_name}': {len(index)} categories of its annotations stand for "
            f"{len(mapping)} classes in {_IDS}; give each its own"
        )
    return mapping


def category_names(
    dataset_name: str, truth: InstanceTruth, mapping: Dict[int, int]
) -> Tuple[str, ...]:
    """Returns how results call each true category: as the vocabulary calls its class.

    Seen and unseen classes are told apart by these names, so that a file which writes "Wild_cat"
    for the class "wild cat" moves nothing. A class that the vocabulary lacks keeps the name of
    the file.
    """
    vocabulary = _vocabulary(dataset_name)
    names = list(truth.names)
    for label, category in mapping.items():
        if vocabulary is not None and 0 <= label < len(vocabulary):
            names[category] = vocabulary.classes[label]
    return tuple(names)


def _vocabulary(dataset_name: str) -> Optional[Vocabulary]:
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("vocabulary"):
        return get_vocabulary(metadata.vocabulary)
    classes = metadata.get("thing_classes") or metadata.get("stuff_classes")
    return Vocabulary(name=dataset_name, classes=tuple(classes)) if classes else None


def _check_order(dataset_name: str, truth: InstanceTruth) -> None:
    vocabulary = _vocabulary(dataset_name)
    if vocabulary is None:
        return
    if len(vocabulary) != len(truth.names):
        raise ValueError(
            f"data set '{dataset_name}': {len(truth.names)} categories in its annotations, "
            f"{len(vocabulary)} classes in its vocabulary; say in the metadata's {_IDS} which "
            "category is which class"
        )
    places = _places(vocabulary)
    for position, name in enumerate(truth.names):
        place = places.get(_plain(name), position)
        if place != position:
            raise ValueError(
                f"data set '{dataset_name}': category '{name}' of its annotations is number "
                f"{position} by id, but class {place} of its vocabulary; say in the metadata's "
                f"{_IDS} which category is which class"
            )


def _places(vocabulary: Vocabulary) -> Dict[str, int]:
    """Returns the index of each name and synonym that belongs to one class only."""
    places: Dict[str, Optional[int]] = {}
    texts: Sequence[Tuple[int, str]] = [
        (label, text)
        for label, (name, synonyms) in enumerate(zip(vocabulary.classes, vocabulary.synonyms))
        for text in {_plain(name), *map(_plain, synonyms)}
    ]
    for label, text in texts:
        places[text] = None if text in places else label
    return {text: label for text, label in places.items() if label is not None}


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
