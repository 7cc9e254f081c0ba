"""The vocabulary of concepts, built from captions by rule and frequency, without any download.

A word is taken for a noun where captions use it as one: alone between a word that nouns follow
("a", "two", "of", "on") and the end of the phrase, as "dog" in "a dog on grass", or at that end
behind a word that is no noun itself, as "car" in "a red car". Two nouns in a row at the end of a
phrase are a name of two words ("traffic light").
"""

import logging
import re
from collections import Counter
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from segplugins.structures.vocabulary import folded, get_vocabulary

from .concepts import caption_words

# Words that stand before a noun phrase and, after one, end it.
_PREPOSITIONS = frozenset(
    [
        "of",
        "on",
        "in",
        "at",
        "with",
        "by",
        "near",
        "under",
        "over",
        "above",
        "below",
        "behind",
        "beside",
        "between",
        "into",
        "onto",
        "from",
        "through",
        "across",
        "along",
        "around",
        "against",
    ]
)
# Words that nouns follow: determiners, small numbers, prepositions.
_BEFORE = _PREPOSITIONS | frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "some",
        "any",
        "each",
        "every",
        "another",
        "no",
        "his",
        "her",
        "its",
        "their",
        "our",
        "my",
        "your",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "several",
        "many",
        "few",
        "for",
    ]
)
# Words that end a phrase after its noun. "and" does not: "red and white".
_AFTER = _PREPOSITIONS | frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "that",
        "which",
        "who",
        "while",
        "for",
        "to",
        "next",
    ]
)
# Words that are no noun of a thing, or say where it is or that there is a picture.
_STOP = (
    _BEFORE
    | _AFTER
    | frozenset(
        [
            "and",
            "or",
            "but",
            "not",
            "as",
            "it",
            "he",
            "she",
            "they",
            "we",
            "you",
            "i",
            "be",
            "been",
            "being",
            "do",
            "does",
            "did",
            "can",
            "could",
            "will",
            "would",
            "there",
            "here",
            "together",
            "away",
            "up",
            "down",
            "out",
            "off",
            "very",
            "more",
            "most",
            "other",
            "all",
            "both",
            "top",
            "bottom",
            "front",
            "back",
            "side",
            "left",
            "right",
            "middle",
            "center",
            "centre",
            "edge",
            "view",
            "background",
            "foreground",
            "image",
            "picture",
            "photo",
            "photograph",
            "lot",
            "group",
            "pair",
            "bunch",
            "set",
            "couple",
            "kind",
            "part",
            "piece",
            "number",
            "way",
            "end",
            "day",
            "time",
        ]
    )
)
_PHRASE_END = re.compile(r"[.,;:!?()\[\]\"]+")


class VocabularyRules(NamedTuple):
    """How a vocabulary is built.

    Args:
        size: most names.
        min_count: fewest captions that hold a name.
        min_evidence: fewest uses as a noun that a word needs.
        stop: words that no name may hold, beside the usual ones.
    """

    size: int = 2000
    min_count: int = 5
    min_evidence: int = 2
    stop: Tuple[str, ...] = ()


def build_concept_vocabulary(
    captions: Iterable[str],
    rules: Optional[VocabularyRules] = None,
) -> List[str]:
    """Returns names of one and two words, by falling number of captions, then by name.

    Args:
        captions: read once, so that they may come from a stream.
        rules: of the choice; None = the default ones.

    Raises:
        ValueError: a size, count or evidence below 1, or captions without any name.

    Example:
        >>> captions = ["a dog on the grass", "the dog of a boy", "a boy in the grass"]
        >>> build_concept_vocabulary(captions, VocabularyRules(min_count=2))
        ['boy', 'dog', 'grass']
    """
    rules = rules or VocabularyRules()
    if min(rules.size, rules.min_count, rules.min_evidence) < 1:
        raise ValueError(f"{rules}: size, min_count and min_evidence start at 1")
    stop = _STOP.union(rules.stop)
    evidence: Counter = Counter()
    held: Counter = Counter()
    pairs: Counter = Counter()
    read = 0
    for caption in captions:
        read += 1
        words_of_caption, pairs_of_caption = set(), set()
        for words in _phrases(caption):
            words_of_caption.update(words)
            evidence.update(_nouns(words, stop))
            pairs_of_caption.update(_closing_pairs(words, stop))
        held.update(words_of_caption)
        pairs.update(pairs_of_caption)
    _add_described(evidence, pairs, rules.min_evidence)
    nouns = {word for word, uses in evidence.items() if uses >= rules.min_evidence}
    counts = {word: held[word] for word in nouns}
    counts.update({f"{a} {b}": n for (a, b), n in pairs.items() if a in nouns and b in nouns})
    return chosen_names(counts, rules, read)


def chosen_names(counts: Mapping[str, int], rules: VocabularyRules, captions: int) -> List[str]:
    """Returns the names that enough captions hold, by falling number of captions, then by name.

    Args:
        counts: captions that hold each name.
        rules: size and least count.
        captions: read in all, for the message.

    Raises:
        ValueError: none is left.
    """
    chosen = [name for name, count in counts.items() if count >= rules.min_count]
    if not chosen:
        raise ValueError(
            f"{captions} captions hold no name in {rules.min_count} of them or more; give more "
            "captions or lower min_count"
        )
    return sorted(chosen, key=lambda name: (-counts[name], name))[: rules.size]


def _add_described(evidence: Counter, pairs: Mapping[Tuple[str, str], int], least: int) -> None:
    """Counts "car" in "a red car" as a noun: the end of a phrase behind a word that is none.

    Behind a noun it may be a verb, as in "a man sitting"; so may a word in -ing or -ed be anywhere.
    """
    nouns = {word for word, uses in evidence.items() if uses >= least}
    for (first, last), count in pairs.items():
        if first not in nouns and last.isalpha() and not last.endswith(("ing", "ed")):
            evidence[last] += count


def _phrases(caption: str) -> Iterator[List[str]]:
    for phrase in _PHRASE_END.split(caption):
        words = caption_words(phrase)
        if words:
            yield words


def _nouns(words: Sequence[str], stop: frozenset) -> Iterator[str]:
    """Yields each word that stands alone between a word that nouns follow and the phrase's end."""
    for place in range(1, len(words)):
        closes = place + 1 == len(words) or words[place + 1] in _AFTER
        word = words[place]
        if closes and words[place - 1] in _BEFORE and word not in stop and word.isalpha():
            yield word


def _closing_pairs(words: Sequence[str], stop: frozenset) -> Iterator[Tuple[str, str]]:
    """Yields each two words that stand before the end of the phrase."""
    for place in range(1, len(words)):
        closes = place + 1 == len(words) or words[place + 1] in _AFTER
        pair = (words[place - 1], words[place])
        if closes and not stop.intersection(pair) and pair[0] != pair[1]:
            yield pair


def shared_names(concepts: Sequence[str], classes: Sequence[str]) -> List[str]:
    """Returns the class names that are concepts too, case and blanks aside, in their order."""
    known = {folded(name) for name in concepts}
    return [name for name in classes if folded(name) in known]


def warn_of_shared_names(
    concepts: Sequence[str], vocabularies: Sequence[str]
) -> Dict[str, List[str]]:
    """Returns the classes of each evaluation vocabulary that are concepts, and warns of them.

    With such a concept, training has been told the name that the evaluation asks for: the figure is
    no longer that of names never told.

    Args:
        concepts: of the curation.
        vocabularies: registered names of the evaluation sets.
    """
    shared = {}
    for vocabulary in vocabularies:
        classes = get_vocabulary(vocabulary).classes
        shared[vocabulary] = shared_names(concepts, classes)
        if shared[vocabulary]:
            logging.getLogger(__name__).warning(
                f"{len(shared[vocabulary])} of the {len(classes)} classes of {vocabulary} are "
                f"concepts of the curation: {', '.join(shared[vocabulary])}"
            )
    return shared
