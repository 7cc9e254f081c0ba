"""Nouns by a tagger; nltk and spaCy stand in as far as they are called."""

import sys
from types import SimpleNamespace

import pytest

from segplugins.projects.cocu.curation.nouns import build_tagged_vocabulary, load_tagger
from segplugins.projects.cocu.curation.vocabulary import VocabularyRules

NOUNS = {"dog", "traffic", "light", "cats"}


def tag(caption):
    return [(word, word in NOUNS) for word in caption.lower().split()]


def test_nouns_and_pairs_of_nouns_by_the_number_of_captions():
    captions = ["a dog at a traffic light", "a dog dog", "the traffic light", "the dog runs"]
    rules = VocabularyRules(min_count=2, min_evidence=1)
    names = build_tagged_vocabulary(captions, rules, tag)
    assert names == ["dog", "light", "traffic", "traffic light"]
    fewer = build_tagged_vocabulary(captions, rules._replace(size=1), tag)
    assert fewer == ["dog"]
    stopped = build_tagged_vocabulary(captions, rules._replace(stop=("traffic",)), tag)
    assert stopped == ["dog", "light"]
    with pytest.raises(ValueError, match="4 captions hold no name in 9 of them"):
        build_tagged_vocabulary(captions, rules._replace(min_count=9), tag)


def test_packages_that_are_not_installed(monkeypatch):
    for kind in ("nltk", "spacy"):
        monkeypatch.setitem(sys.modules, kind, None)
        with pytest.raises(ImportError, match="'rule' needs none"):
            load_tagger(kind)


def test_nltk_with_and_without_its_data(monkeypatch):
    def missing(text):
        raise LookupError(text)

    nltk = SimpleNamespace(
        word_tokenize=str.split,
        pos_tag=lambda words: [(w, "NNS" if w.lower() in NOUNS else "VB") for w in words],
    )
    monkeypatch.setitem(sys.modules, "nltk", nltk)
    assert load_tagger("nltk")("Dog runs") == [("dog", True), ("runs", False)]
    nltk.word_tokenize = missing
    with pytest.raises(FileNotFoundError, match="python -m nltk.downloader"):
        load_tagger("nltk")


def test_spacy_with_and_without_its_model(monkeypatch):
    def load(name, disable):
        return lambda text: [
            SimpleNamespace(text=w, pos_="NOUN" if w.lower() in NOUNS else "VERB")
            for w in text.split()
        ]

    def missing(name, disable):
        raise OSError(name)

    spacy = SimpleNamespace(load=load)
    monkeypatch.setitem(sys.modules, "spacy", spacy)
    assert load_tagger("spacy")("Dog runs") == [("dog", True), ("runs", False)]
    spacy.load = missing
    with pytest.raises(FileNotFoundError, match="python -m spacy download en_core_web_sm"):
        load_tagger("spacy")
