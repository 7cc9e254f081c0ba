"""VocabularyClassifier: any vocabulary at any call, the same numbers whatever came before."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from segplugins.clip import load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.structures import Vocabulary
from segplugins.text import TextEncoder, template_set

PETS = Vocabulary("pets", ("cat", "dog, hound", "fish", "bird, parrot, owl"))
ROOMS = Vocabulary("rooms", ("wall", "floor"))


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return load_clip("convnext_drawn")


@pytest.fixture
def build(towers):
    """Builds a classifier on a text tower of its own."""

    def build(**options):
        encoder = TextEncoder(copy.deepcopy(towers))
        return VocabularyClassifier(encoder, **{"temperature": 0.1, **options})

    return build


def unit(encoder, texts):
    return F.normalize(encoder.pooled(texts).detach(), dim=-1)


def test_a_logit_is_the_cosine_divided_by_the_temperature(build):
    classifier = build(temperature=0.25, templates=("a {}.",))
    visual = torch.randn(2, 3, 64)
    rows = unit(classifier.text_encoder, ["a wall.", "a floor."])
    expected = F.cosine_similarity(visual[..., None, :], rows, dim=-1) / 0.25
    torch.testing.assert_close(classifier(visual, ROOMS), expected)
    torch.testing.assert_close(classifier(7 * visual, ROOMS), expected)


def test_the_best_synonym_counts(build):
    classifier = build(synonyms="max")
    assert classifier.embed(PETS).shape == (7, 64)
    visual = torch.randn(5, 64)
    texts = [text for texts in PETS.synonyms for text in texts]
    logits = F.normalize(visual, dim=-1) @ unit(classifier.text_encoder, texts).T / 0.1
    best = [logits[:, rows].max(dim=1).values for rows in ([0], [1, 2], [3], [4, 5, 6])]
    torch.testing.assert_close(classifier(visual, PETS), torch.stack(best, dim=1))


def test_or_their_mean(build):
    classifier = build(synonyms="mean")
    assert classifier.embed(PETS).shape == (4, 64)
    assert classifier.embed(PETS, keep_templates=True).shape == (4, 1, 64)
    pair = F.normalize(unit(classifier.text_encoder, ["dog", "hound"]).mean(dim=0), dim=0)
    torch.testing.assert_close(classifier.embed(PETS)[1], pair)


def test_templates_are_averaged_after_or_before_they_are_normalised(build):
    for normalize in ("each_prompt", "mean"):
        classifier = build(templates=("a {}.", "two {}s"), normalize=normalize)
        raw = classifier.text_encoder.pooled(["a wall.", "two walls"]).detach()
        rows = F.normalize(raw, dim=-1) if normalize == "each_prompt" else raw
        expected = F.normalize(rows.mean(dim=0), dim=0)
        torch.testing.assert_close(classifier.embed(ROOMS)[0], expected)
        kept = classifier.embed(ROOMS, keep_templates=True)
        torch.testing.assert_close(kept[0], F.normalize(raw, dim=-1))


def test_templates_of_the_vocabulary_win(build):
    classifier = build(templates=("a {}.",))
    own = Vocabulary("rooms", ROOMS.classes, templates=("all {}",))
    rows = unit(classifier.text_encoder, ["all wall", "all floor"])
    torch.testing.assert_close(classifier.embed(own), rows)


def test_phrases_are_encoded_as_they_stand(build):
    classifier = build(templates=("a photo of a {}.",), synonyms="mean")
    phrases = ["the man, who smiles", "the man, who smiles", "left"]
    rows = unit(classifier.text_encoder, phrases)
    torch.testing.assert_close(classifier.embed(phrases), rows)
    assert classifier(torch.randn(6, 64), phrases).shape == (6, 3)


@pytest.mark.parametrize("synonyms", ["max", "mean"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 23, 41])
def test_a_permuted_vocabulary_permutes_the_logits_exactly(build, count, synonyms):
    names = tuple(f"name {i}, synonym {i}" if i % 3 == 1 else f"name {i}" for i in range(count))
    vocabulary = Vocabulary("v", names)
    order = torch.randperm(count).tolist()
    classifier = build(synonyms=synonyms, templates=("a {}.", "{}"))
    visual = torch.randn(11, 64)
    assert torch.equal(
        classifier(visual, vocabulary.select(order)), classifier(visual, vocabulary)[:, order]
    )


def test_one_vocabulary_leaves_no_trace_in_the_next(build):
    visual = torch.randn(3, 64)
    one = build()
    found = [one(visual, vocabulary) for vocabulary in (PETS, ROOMS, PETS)]
    fresh = [build()(visual, vocabulary) for vocabulary in (PETS, ROOMS, PETS)]
    assert all(torch.equal(a, b) for a, b in zip(found, fresh))


def test_ten_thousand_names(build):
    vocabulary = Vocabulary("many", tuple(f"name {i}" for i in range(10_000)))
    classifier = build()
    logits = classifier(torch.randn(4, 64), vocabulary)
    assert logits.shape == (4, 10_000)
    some = classifier.embed([f"name {i}" for i in (0, 77, 9_999)])
    torch.testing.assert_close(classifier.embed(vocabulary)[[0, 77, 9_999]], some)


# Training


def test_a_frozen_text_encoder_gets_no_gradient_and_stays_in_evaluation_mode(build):
    classifier = build().train()
    assert not any(p.requires_grad for p in classifier.parameters())
    assert not classifier.text_encoder.training
    visual = torch.randn(2, 64, requires_grad=True)
    classifier(visual, PETS).sum().backward()
    assert visual.grad.abs().sum() > 0


def test_a_trained_one_gets_it_through_every_call(build):
    classifier = build(frozen_text=False, templates=("a {}.", "{}")).train()
    assert classifier.text_encoder.training
    for _ in range(2):
        classifier.zero_grad()
        classifier(torch.randn(2, 64), PETS).sum().backward()
        assert classifier.text_encoder.text.text_projection.grad.abs().sum() > 0


def count_calls(classifier, monkeypatch):
    encoder, calls = classifier.text_encoder, []
    pooled = encoder.pooled
    monkeypatch.setattr(encoder, "pooled", lambda texts: calls.append(len(texts)) or pooled(texts))
    return calls


def test_a_frozen_encoder_is_asked_once_whatever_the_mode(build, monkeypatch):
    classifier = build()
    calls = count_calls(classifier, monkeypatch)
    for mode in (True, False, True):
        classifier.train(mode)
        classifier.embed(PETS)
    assert len(calls) == 1


def test_a_trained_encoder_is_asked_again_after_each_training(build, monkeypatch):
    classifier = build(frozen_text=False).eval()
    calls = count_calls(classifier, monkeypatch)
    classifier.embed(PETS)
    classifier.embed(PETS)
    assert len(calls) == 1
    classifier.train()
    classifier.embed(PETS)
    classifier.embed(PETS)
    assert len(calls) == 3
    classifier.eval()
    classifier.embed(PETS)
    assert len(calls) == 4


def test_loaded_weights_are_used_at_once(build, towers):
    classifier = build()
    before = classifier.embed(PETS)
    state = {k: v + 0.1 * torch.randn_like(v) for k, v in classifier.state_dict().items()}
    holder = torch.nn.ModuleDict({"classifier": classifier})  # as part of a model
    holder.load_state_dict({f"classifier.{k}": v for k, v in state.items()})
    after = classifier.embed(PETS)
    other = build()
    other.load_state_dict(state)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.equal(after, other.embed(PETS))


def test_the_folder_is_for_frozen_text_alone(build, tmp_path):
    build(cache_dir=str(tmp_path / "frozen")).embed(PETS)
    assert len(list((tmp_path / "frozen").iterdir())) == 1
    build(cache_dir=str(tmp_path / "trained"), frozen_text=False).eval().embed(PETS)
    assert not (tmp_path / "trained").exists()


def test_a_learned_temperature_starts_where_it_is_told_and_stops_at_100(build):
    classifier = build(temperature=0.07, learn_temperature=True, bias=-4.0)
    assert classifier.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    visual = torch.randn(3, 64)
    plain = build(temperature=0.07)(visual, ROOMS)
    torch.testing.assert_close(classifier(visual, ROOMS), plain - 4.0)
    classifier(visual, ROOMS).sum().backward()
    assert classifier.logit_scale.grad is not None and classifier.bias.grad == 6.0
    with torch.no_grad():
        classifier.logit_scale.fill_(9.0)
    assert classifier.scale() == 100.0


def test_only_what_is_learned_is_in_the_checkpoint(build):
    names = {key for key in build().state_dict() if not key.startswith("text_encoder.text.")}
    assert names == set()
    learned = build(learn_temperature=True, bias=0.0).state_dict()
    assert {"logit_scale", "bias"} < set(learned)


# Wrong use


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": 0.0}, "temperature divides and must be above 0, got 0.0"),
        ({"synonyms": "first"}, r"synonyms must be one of \('max', 'mean'\), got 'first'"),
        ({"normalize": "never"}, "normalize must be one of .*got 'never'"),
        ({"templates": ()}, "templates of the model: expected a list of at least one"),
        ({"templates": ("a photo",)}, "'a photo' must hold the placeholder"),
    ],
)
def test_wrong_options_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_embeddings_of_two_spaces_are_refused(build):
    with pytest.raises(ValueError, match="32 channels, text embeddings 64.*in one space"):
        build()(torch.randn(2, 32), PETS)


def test_a_single_phrase_is_no_vocabulary(build):
    with pytest.raises(ValueError, match="a vocabulary or a list of phrases, got 'cat'"):
        build().embed("cat")


def test_80_templates_of_the_set(build):
    embedded = build(templates=template_set("imagenet80")).embed(ROOMS, keep_templates=True)
    assert embedded.shape == (2, 80, 64)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, 80))
