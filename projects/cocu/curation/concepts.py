"""Concepts of a caption: the vocabulary names that it contains, word by word."""

import re
from typing import Dict, FrozenSet, List, Sequence

_WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")


def caption_words(caption: str) -> List[str]:
    """Returns the words of a caption, in lower case, without punctuation.

    >>> caption_words("A hot-dog, please: the dog's!")
    ['a', 'hot-dog', 'please', 'the', "dog's"]
    """
    return _WORD.findall(caption.lower())


class ConceptExtractor:
    """Finds the concepts of a vocabulary in captions: all runs of words that are a name.

    A name within a longer one counts too: "hot dog" also shows "dog".

    Args:
        vocabulary: names of one or more words each, in lower case.
    """

    def __init__(self, vocabulary: Sequence[str]):
        self.names: FrozenSet[str] = frozenset(vocabulary)
        self._longest = max((len(name.split()) for name in vocabulary), default=0)

    def __call__(self, words: Sequence[str]) -> List[str]:
        """Returns the distinct concepts in the words of a caption: by length, then by position.

        Args:
            words: of `caption_words`.
        """
        concepts: Dict[str, None] = {}
        for length in range(1, self._longest + 1):
            for start in range(len(words) - length + 1):
                name = " ".join(words[start : start + length])
                if name in self.names:
                    concepts.setdefault(name)
        return list(concepts)
