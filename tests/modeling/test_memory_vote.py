"""MemoryVote in a classifier: what it adds, when, and the memories that are not its own."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segplugins.clip import load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.memory_vote import MemoryVote, embedder_fingerprint
from segplugins.search import RetrievalMemory
from segplugins.structures import Vocabulary
from segplugins.text import TextEncoder

WORDS = Vocabulary("two", ("sky", "sea"))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return nn.Linear(2, 2)


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return VocabularyClassifier(TextEncoder(load_clip("convnext_drawn")), temperature=0.5).eval()


def vote_of(encoder, classes=("sea", "sky"), weight=0.25, model=None):
    memory = RetrievalMemory(64, classes, model=model or embedder_fingerprint(encoder))
    memory.add(torch.eye(64)[:2], torch.tensor([0, 1]))
    return MemoryVote(memory, encoder, weight=weight, neighbours=1, temperature=0.1)


def test_votes_are_added_to_cosines_in_the_order_of_the_vocabulary(encoder, classifier):
    visual = torch.eye(64)[:2]  # the first is the memory's "sea", the second its "sky"
    classifier.memory = None
    texts = classifier(visual, WORDS)
    classifier.memory = vote_of(encoder)
    added = classifier(visual, WORDS) - texts
    # 0.25 of a cosine, divided by the temperature of 0.5; "sky" is the vocabulary's first.
    assert torch.allclose(added, torch.tensor([[0.0, 0.5], [0.5, 0.0]]), atol=1e-6)
    assert torch.equal(classifier.text_logits(visual, WORDS), texts)
    assert torch.allclose(classifier(visual, ["sea", "sky"]), (texts + added).flip(1))


def test_no_vote_in_training(encoder, classifier):
    classifier.memory = vote_of(encoder)
    classifier.train()
    assert classifier.votes(torch.eye(64)[:2], WORDS) is None
    classifier.eval()
    assert classifier.votes(torch.eye(64)[:2], WORDS) is not None


def test_a_memory_of_other_weights_or_names_is_refused(encoder, classifier):
    classifier.memory = vote_of(encoder, model="0123456789abcdef")
    with pytest.raises(ValueError, match="fingerprint 0123456789abcdef, that of this model is"):
        classifier(torch.eye(64)[:1], WORDS)
    classifier.memory = vote_of(encoder, classes=("sea", "sand"))
    with pytest.raises(ValueError, match="not in both: 'sand', 'sky'"):
        classifier(torch.eye(64)[:1], WORDS)


def test_weights_that_change_between_evaluations_are_noticed(classifier):
    encoder = nn.Linear(2, 2)
    classifier.memory = vote_of(encoder)
    classifier(torch.eye(64)[:1], WORDS)
    encoder.weight.data[0, 0] += 1e-3
    classifier.train()
    classifier.eval()
    with pytest.raises(ValueError, match="build it again with this checkpoint"):
        classifier(torch.eye(64)[:1], WORDS)


def test_the_config_switches_it_on(encoder, tmp_path):
    def cfg(**changes):
        node = {"FOLDER": "", "WEIGHT": 0.0, "NEIGHBOURS": 1, "TEMPERATURE": 0.1, **changes}
        return SimpleNamespace(MODEL=SimpleNamespace(MEMORY=SimpleNamespace(**node)))

    assert MemoryVote.from_config(cfg(FOLDER="nowhere"), encoder) is None
    with pytest.raises(ValueError, match="MODEL.MEMORY.WEIGHT is 0.1, but MODEL.MEMORY.FOLDER"):
        MemoryVote.from_config(cfg(WEIGHT=0.1), encoder)
    with pytest.raises(FileNotFoundError, match="make one by tools/build_memory.py"):
        MemoryVote.from_config(cfg(WEIGHT=0.1, FOLDER=str(tmp_path)), encoder)
    vote_of(encoder).memory.save(tmp_path / "a")
    vote = MemoryVote.from_config(cfg(WEIGHT=0.1, FOLDER=str(tmp_path / "a")), encoder)
    assert vote(torch.eye(64)[:1], ["sky", "sea"]).tolist() == [[0.0, pytest.approx(0.1)]]
