"""What is evaluated: a data set under a vocabulary, and how the names of both meet."""

import logging
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.evaluation.folding import ClassFold
from segplugins.files.vocabularies import parse_vocabulary
from segplugins.structures import Vocabulary, get_vocabulary
from segplugins.structures.vocabulary import folded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """A data set, the vocabulary that the model answers with, and what its answers count as.

    Args:
        dataset_name: registered.
        metadata: of the data set.
        vocabulary: P names in force: the user's (TEST.VOCABULARY) or the data set's own. None for
            sets of free text.
        is_own: whether they are the data set's own.
        classes: K evaluated names, in the words of the vocabulary in force.
        class_map: (P,) evaluated class of each of the P, K for none; None = each itself.
        unanswerable: evaluated classes for which the vocabulary has no name.
        background: evaluated class of what is none of the others, if the set has one.
        background_threshold: scores below it are background; None = no such rule.
    """

    dataset_name: str
    metadata: Dict[str, Any]
    vocabulary: Optional[Vocabulary]
    classes: Tuple[str, ...]
    is_own: bool = True
    class_map: Optional[Tuple[int, ...]] = None
    unanswerable: Tuple[int, ...] = ()
    background: Optional[int] = None
    background_threshold: Optional[float] = None

    @property
    def ignore_label(self) -> int:
        """Label of pixels that do not count."""
        return self.metadata.get("ignore_label", 255)

    def fold(self) -> ClassFold:
        """Returns: from the numbers in label maps to the evaluated classes."""
        return ClassFold(
            len(self.classes),
            class_map=self.class_map,
            ignore_label=self.ignore_label,
            unanswerable=self.unanswerable,
            background=None if self.background_threshold is None else self.background,
        )


def read_setting(cfg: CfgNode, dataset_name: str) -> Setting:
    """Returns what a config evaluates a data set on.

    With TEST.VOCABULARY the model answers with the user's names. A class of the data set is then
    measured if one of them is its name or one of its synonyms; pixels of the others are ignored,
    as pixels without a label are, and the user's other names are wrong wherever they are predicted.
    So a permuted vocabulary gives the same numbers, and more names can only make a task harder.

    Raises:
        KeyError: no such data set or vocabulary.
        ValueError: no name of TEST.VOCABULARY means a class of the data set, or one means several;
            or the data set lists its classes in another order than its vocabulary.
    """
    if dataset_name not in DatasetCatalog:
        raise KeyError(f"no data set '{dataset_name}' is registered")
    metadata = MetadataCatalog.get(dataset_name).as_dict()
    own_vocabulary = _own_vocabulary(dataset_name, metadata)
    classes = tuple(metadata.get("stuff_classes") or metadata.get("thing_classes") or ())
    if own_vocabulary is not None:
        _check_order(dataset_name, metadata, own_vocabulary)
        if metadata.get("evaluator_type") != "sem_seg":
            classes = own_vocabulary.classes
    setting = {"dataset_name": dataset_name, "metadata": metadata, "classes": classes}
    setting["class_map"] = metadata.get("class_map")
    setting.update(_background(cfg, metadata, own_vocabulary, classes))
    text = cfg.TEST.VOCABULARY
    if own_vocabulary is None:
        if text:
            logger.warning(
                "TEST.VOCABULARY does not apply to '%s', a set of free text", dataset_name
            )
        return Setting(vocabulary=None, **setting)
    vocabulary = parse_vocabulary(text) if text else own_vocabulary
    if vocabulary != own_vocabulary:
        setting.update(_meet(vocabulary, own_vocabulary, dataset_name, setting))
    return Setting(vocabulary=vocabulary, is_own=vocabulary == own_vocabulary, **setting)


def _check_order(dataset_name: str, metadata: Dict[str, Any], own: Vocabulary) -> None:
    """Raises ValueError where lists of classes contradict the vocabulary's indices.

    Models answer with indices of the vocabulary. With a class_map the evaluated classes may be any.
    """
    for key in ("stuff_classes", "thing_classes"):
        names = metadata.get(key)
        if not names or (key == "stuff_classes" and metadata.get("class_map") is not None):
            continue
        index_of = {folded(name): index for index, name in enumerate(own.classes)}
        for index, name in enumerate(names):
            expected = index_of.get(folded(name), index)
            things_alone = key == "thing_classes" and len(names) < len(own)
            if expected != index and not things_alone:
                raise ValueError(
                    f"'{dataset_name}': {key} has '{name}' at index {index}, its vocabulary "
                    f"'{own.name}' at {expected}, so that numbers would stand under wrong names; "
                    "list both in one order, or register a class_map"
                )
        if len(names) != len(own) and key == "stuff_classes" and _counts_labels(metadata):
            raise ValueError(
                f"'{dataset_name}': {len(names)} stuff_classes, but {len(own)} classes in its "
                f"vocabulary '{own.name}'; list the same ones, or register a class_map"
            )


def _counts_labels(metadata: Dict[str, Any]) -> bool:
    kinds = metadata.get("evaluator_type")
    return "sem_seg" in ([kinds] if isinstance(kinds, str) else kinds or ())


def _own_vocabulary(dataset_name: str, metadata: Dict[str, Any]) -> Optional[Vocabulary]:
    if "vocabulary" in metadata:
        name = metadata["vocabulary"]
        return None if name is None else get_vocabulary(name)
    # Sets that detectron2 registers list their classes and nothing else.
    classes = metadata.get("thing_classes") or metadata.get("stuff_classes")
    return Vocabulary(name=dataset_name, classes=tuple(classes)) if classes else None


def _background(
    cfg: CfgNode, metadata: Dict[str, Any], own: Optional[Vocabulary], classes: Sequence[str]
) -> Dict[str, Any]:
    """Returns the evaluated class that stands for "none of the others", and its threshold."""
    background = None
    if own is not None and own.none_index is not None:
        class_map = metadata.get("class_map")
        background = own.none_index if class_map is None else class_map[own.none_index]
    elif "background" in classes:
        background = classes.index("background")
    threshold = cfg.TEST.BACKGROUND_THRESHOLD
    if threshold is None:
        threshold = metadata.get("background_threshold")
    # Sets without a background class always take the best class.
    return {
        "background": background,
        "background_threshold": None if background is None else threshold,
    }


def _meet(
    vocabulary: Vocabulary, own: Vocabulary, dataset_name: str, setting: Dict[str, Any]
) -> Dict[str, Any]:
    """class_map and unanswerable of another vocabulary than the data set's own."""
    classes, own_map = setting["classes"], setting["class_map"] or range(len(own))
    matched = match_names(vocabulary, own)
    if not any(index is not None for index in matched):
        raise ValueError(
            f"none of the {len(vocabulary)} names of TEST.VOCABULARY '{vocabulary.name}' is a "
            f"class of '{dataset_name}', so nothing could be measured; its classes are "
            f"{list(own.classes[:8])}{' ...' if len(own) > 8 else ''}. To see pictures without "
            "numbers use tools/demo.py"
        )
    class_map = tuple(len(classes) if i is None else own_map[i] for i in matched)
    answerable = set(class_map)
    if setting["background_threshold"] is not None:
        answerable.add(setting["background"])
    unanswerable = tuple(i for i in range(len(classes)) if i not in answerable)
    extra = [name for name, index in zip(vocabulary.classes, matched) if index is None]
    logger.warning(
        "'%s' is evaluated with the vocabulary '%s': %d of its %d classes have a name there; "
        "pixels of the others are ignored: %s; predictions of other names count as wrong: %s",
        dataset_name,
        vocabulary.name,
        len(classes) - len(unanswerable),
        len(classes),
        [classes[i] for i in unanswerable],
        extra,
    )
    if setting["class_map"] is None:
        classes = _in_the_users_words(vocabulary, classes, class_map)
    return {"classes": classes, "class_map": class_map, "unanswerable": unanswerable}


def _in_the_users_words(
    vocabulary: Vocabulary, classes: Sequence[str], class_map: Sequence[int]
) -> Tuple[str, ...]:
    """Returns: the classes, called as the vocabulary in force calls them where it does."""
    words: List[List[str]] = [[] for _ in range(len(classes) + 1)]
    for name, index in zip(vocabulary.classes, class_map):
        words[index].append(name)
    return tuple("|".join(names) or own for names, own in zip(words, classes))


def match_names(vocabulary: Vocabulary, own: Vocabulary) -> List[Optional[int]]:
    """Finds for each class of a vocabulary the class of another one that it means.

    Names are compared without case, repeated blanks and Unicode form; first whole class names,
    then any synonym of the one with any of the other.

    Returns:
        Per class of `vocabulary` an index into `own`, or None.

    Raises:
        ValueError: a class shares synonyms with several classes of `own`.
    """
    whole = {folded(name): index for index, name in enumerate(own.classes)}
    parts: Dict[str, set] = {}
    for index, texts in enumerate(own.synonyms):
        for text in (own.classes[index], *texts):
            parts.setdefault(folded(text), set()).add(index)
    matched: List[Optional[int]] = []
    for name, texts in zip(vocabulary.classes, vocabulary.synonyms):
        found = {whole[folded(name)]} if folded(name) in whole else set()
        if not found:
            found = set().union(*(parts.get(folded(text), set()) for text in (name, *texts)))
        if len(found) > 1:
            raise ValueError(
                f"class '{name}' of vocabulary '{vocabulary.name}' could mean "
                f"{[own.classes[i] for i in sorted(found)]} of '{own.name}'; write one of them"
            )
        matched.append(next(iter(found), None))
    return matched
