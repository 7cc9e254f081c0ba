"""Nouns of captions by a part-of-speech tagger, where nltk or spaCy and its data are installed."""

from collections import Counter
from typing import Callable, Iterable, List, Tuple

from .vocabulary import VocabularyRules, chosen_names

Tagger = Callable[[str], List[Tuple[str, bool]]]

_NLTK_DATA = ("averaged_perceptron_tagger_eng", "punkt_tab")
_SPACY_MODEL = "en_core_web_sm"


def load_tagger(kind: str) -> Tagger:
    """Returns a function from a caption to its words in lower case and whether each is a noun.

    Args:
        kind: "nltk" or "spacy".

    Raises:
        ImportError: the package is not installed.
        FileNotFoundError: its data are not there.
    """
    return _nltk() if kind == "nltk" else _spacy()


def _nltk() -> Tagger:
    try:
        import nltk
    except ImportError as error:
        raise ImportError("nouns by nltk need the package nltk; 'rule' needs none") from error

    def tag(caption: str) -> List[Tuple[str, bool]]:
        tagged = nltk.pos_tag(nltk.word_tokenize(caption))
        return [(word.lower(), kind.startswith("NN")) for word, kind in tagged]

    try:
        tag("a dog")
    except LookupError as error:
        raise FileNotFoundError(
            f"nltk has no data {_NLTK_DATA}; get them by `python -m nltk.downloader "
            f"{' '.join(_NLTK_DATA)}`, or take nouns by 'rule', which needs none"
        ) from error
    return tag


def _spacy() -> Tagger:
    try:
        import spacy
    except ImportError as error:
        raise ImportError("nouns by spaCy need the package spacy; 'rule' needs none") from error
    try:
        model = spacy.load(_SPACY_MODEL, disable=["parser", "ner", "lemmatizer"])
    except OSError as error:
        raise FileNotFoundError(
            f"spaCy has no model {_SPACY_MODEL}; get it by `python -m spacy download "
            f"{_SPACY_MODEL}`, or take nouns by 'rule', which needs none"
        ) from error
    return lambda caption: [
        (token.text.lower(), token.pos_ in ("NOUN", "PROPN")) for token in model(caption)
    ]


def build_tagged_vocabulary(
    captions: Iterable[str], rules: VocabularyRules, tag: Tagger
) -> List[str]:
    """Returns nouns and pairs of nouns by falling number of captions, then by name.

    Args:
        captions: read once.
        rules: of the choice; its evidence is the number of uses as a noun.
        tag: of `load_tagger`.

    Raises:
        ValueError: captions without any name.
    """
    counts: Counter = Counter()
    evidence: Counter = Counter()
    read = 0
    for caption in captions:
        read += 1
        words = [(word, noun and word.isalpha()) for word, noun in tag(caption)]
        nouns = [word for word, noun in words if noun]
        pairs = [
            f"{first[0]} {second[0]}"
            for first, second in zip(words, words[1:])
            if first[1] and second[1] and first[0] != second[0]
        ]
        evidence.update(nouns + pairs)
        counts.update({*nouns, *pairs})
    stop = set(rules.stop)
    counts = Counter(
        {
            name: count
            for name, count in counts.items()
            if evidence[name] >= rules.min_evidence and not stop.intersection(name.split())
        }
    )
    return chosen_names(counts, rules, read)
