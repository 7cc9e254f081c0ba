"""The words of a question: a vocabulary from what a user writes; words that a model never saw."""

import logging
import re
from dataclasses import replace
from functools import cache
from typing import Any, Collection, Dict, FrozenSet, List, Sequence, Union

from detectron2.data import MetadataCatalog

from segplugins.drawn_world.classes import all_stuff, all_things
from segplugins.files.vocabularies import parse_vocabulary
from segplugins.structures import Vocabulary, register_vocabulary

logger = logging.getLogger(__name__)

Words = Union[str, Sequence[str], Vocabulary]

# Text encoders that have read nothing but the drawn world's words.
_DRAWN_CLIPS = ("convnext_drawn", "eva_drawn")
_FUNCTION_WORDS = (
    "a an the of in on at to and with left right middle side picture all one two three"
)


def read_vocabulary(words: Words) -> Vocabulary:
    """Returns the vocabulary that a user means, registered.

    Args:
        words: a `Vocabulary`; a list of names, with synonyms after "|"; or what
            `parse_vocabulary` reads: names in a text, a file, or the name of a registered one; or
            the name of a registered data set, which stands for its classes.

    Raises:
        FileNotFoundError, ValueError: see `parse_vocabulary`.
    """
    if isinstance(words, Vocabulary):
        return _registered(words)
    if isinstance(words, str):
        of_data_set = _metadata(words).get("vocabulary", words)
        return _registered(parse_vocabulary(of_data_set))
    names = [str(each) for each in words]
    synonyms = [tuple(part.strip() for part in name.split("|")) for name in names]
    classes = tuple(texts[0] for texts in synonyms)
    return _registered(Vocabulary(", ".join(names), classes, synonyms=tuple(synonyms)))


def _metadata(name: str) -> Dict[str, Any]:
    return MetadataCatalog.get(name).as_dict() if name in MetadataCatalog else {}


def _registered(vocabulary: Vocabulary) -> Vocabulary:
    """Registers a vocabulary, under a name of its own where its name has another one."""
    try:
        register_vocabulary(vocabulary)
    except ValueError:  # as after editing classes.txt while a notebook runs
        vocabulary = replace(vocabulary, name=f"{vocabulary.name} ({vocabulary.digest()[:8]})")
        register_vocabulary(vocabulary)
    return vocabulary


def unseen_words(
    clip_name: str, names: Sequence[Sequence[str]], training_names: Collection[str] = ()
) -> List[str]:
    """Returns the names that neither a text encoder nor the model on it has ever read.

    Args:
        clip_name: MODEL.CLIP.NAME. Only of the drawn world's tiny CLIP are its words known.
        names: per class its synonyms; one that was read is enough.
        training_names: classes that the model was trained on, where its checkpoint tells.
    """
    if clip_name not in _DRAWN_CLIPS:
        return []
    trained = {name.casefold() for name in training_names}
    return [
        synonyms[0]
        for synonyms in names
        if not any(
            text.casefold() in trained or set(_words(text)) <= _drawn_words() for text in synonyms
        )
    ]


def warn_of_unseen_words(
    clip_name: str, names: Sequence[Sequence[str]], training_names: Collection[str] = ()
) -> None:
    """Logs one line where a model is asked for words that it has never read; see `unseen_words`."""
    unseen = unseen_words(clip_name, names, training_names)
    if unseen:
        listed = ", ".join(f"'{name}'" for name in unseen[:5])
        more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
        logger.warning(
            "The text encoder of this model, %s, has read the words of the drawn world only and "
            "does not know %s%s: %s",
            clip_name,
            listed,
            more,
            "the training had no such class either, so their masks mean nothing"
            if training_names
            else "unless this checkpoint was trained on those very names, their masks mean nothing",
        )


def _words(text: str) -> List[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())


@cache
def _drawn_words() -> FrozenSet[str]:
    texts = [_FUNCTION_WORDS, *all_stuff()]
    for name, thing in all_things().items():
        texts += [name, thing.plural, thing.worn.format(""), *thing.colours, *thing.parts]
    return frozenset(word for text in texts for word in _words(text))
