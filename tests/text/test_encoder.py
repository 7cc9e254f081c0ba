"""TextEncoder: what the plain tower gives, however many texts, in whatever order."""

import logging

import pytest
import torch

from segplugins.clip import load_clip
from segplugins.text import TextEncoder, template_set

TEXTS = [
    "a photo of a cat.",
    "sky",
    "a photo of a traffic light.",
    "a photo of a cat.",
    "A PHOTO of a cat.",
    "!!",
    "",
    "a long winding road that leads to nowhere in particular, but through a forest",
]


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return load_clip("convnext_drawn")


@pytest.fixture
def encoder(towers):
    return TextEncoder(towers)


@torch.no_grad()
def plain(towers, texts):
    """Pooled (T, D) and tokens (T, 77, W) of the tower at its full length, text by text."""
    rows = [towers.text(towers.tokenize([text])) for text in texts]
    return torch.cat([pooled for pooled, _ in rows]), torch.cat([tokens for _, tokens in rows])


@pytest.mark.parametrize("batch", [1, 3, 256])
def test_features_are_those_of_the_plain_tower(towers, batch):
    with torch.no_grad():
        features = TextEncoder(towers, batch=batch)(TEXTS)
    pooled, tokens = plain(towers, TEXTS)
    lengths = [len(towers.encode(text)) for text in TEXTS]
    assert features.tokens.shape == (len(TEXTS), max(lengths), 64)
    assert features.is_token.sum(dim=1).tolist() == lengths
    torch.testing.assert_close(features.pooled, pooled, atol=1e-5, rtol=1e-5)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            features.tokens[row, :length], tokens[row, :length], atol=1e-5, rtol=1e-5
        )
        assert features.is_token[row, :length].all() and not features.is_token[row, length:].any()
        assert (features.tokens[row, length:] == 0).all()


@torch.no_grad()
def test_pooled_alone_is_the_same(encoder):
    assert torch.equal(encoder.pooled(TEXTS), encoder(TEXTS).pooled)


@torch.no_grad()
def test_many_prompts_are_exact_to_1e_5(towers, encoder):
    names = ["cat", "traffic light", "sky", "hot air balloon", "o"]
    prompts = [t.replace("{}", n) for n in names for t in template_set("imagenet80")]
    torch.testing.assert_close(
        encoder.pooled(prompts), plain(towers, prompts)[0], atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_the_order_of_the_texts_changes_nothing_but_the_order(encoder):
    encoder.batch = 3
    order = torch.randperm(len(TEXTS)).tolist()
    assert torch.equal(encoder.pooled([TEXTS[i] for i in order]), encoder.pooled(TEXTS)[order])


def test_equal_prompts_are_encoded_once(towers, encoder, monkeypatch):
    seen = []
    walk = towers.text.walk
    monkeypatch.setattr(
        type(towers.text),
        "walk",
        lambda self, tokens, positions, reach: (
            seen.append(tokens.numel()) or walk(tokens, positions, reach)
        ),
    )
    # Upper case is lowered by the tokenizer, so these are one text: start, a, cat, end.
    encoder.pooled(["a cat", "a cat", "A Cat"] * 40)
    assert seen == [4]


def test_gradients_are_those_of_the_plain_tower(towers, encoder):
    texts, weights = TEXTS[:4], torch.randn(4, 64)
    parameters = list(towers.text.parameters())
    plain_loss = (towers.text(towers.tokenize(texts))[0] * weights).sum()
    expected = torch.autograd.grad(plain_loss, parameters)
    found = torch.autograd.grad((encoder.pooled(texts) * weights).sum(), parameters)
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_no_texts_give_no_rows(encoder):
    features = encoder([])
    assert features.pooled.shape == (0, 64) and features.tokens.shape == (0, 0, 64)
    assert features.is_token.shape == (0, 0)


@torch.no_grad()
def test_a_long_text_is_cut_with_a_warning_that_tells_the_policy(towers, caplog):
    encoder = TextEncoder(towers, context_length=6)
    with caplog.at_level(logging.WARNING):
        features = encoder(["a photo of cats", "one two three four five", "cat"])
    assert "1 of 3 texts are longer than 6 tokens" in caplog.text
    assert "the end token is kept" in caplog.text and "'one two three four five'" in caplog.text
    assert features.is_token.sum(dim=1).tolist() == [6, 6, 3]
    # start, four words, end
    torch.testing.assert_close(features.pooled[1:2], encoder.pooled(["one two three four"]))


@torch.no_grad()
def test_the_warning_does_not_flood_the_log(towers, caplog):
    encoder = TextEncoder(towers, context_length=3)
    for _ in range(30):
        encoder.pooled(["a b c"])
    assert caplog.text.count("longer than 3 tokens") == 10
    assert caplog.text.count("not said again") == 1


def test_wrong_use_is_refused(towers):
    with pytest.raises(ValueError, match="expected a list of texts, got the single text 'a cat'"):
        TextEncoder(towers).pooled("a cat")
    with pytest.raises(ValueError, match=r"context_length must lie in 2\.\.77.*got 78"):
        TextEncoder(towers, context_length=78)
    with pytest.raises(ValueError, match="batch must be at least 1 text, got 0"):
        TextEncoder(towers, batch=0)


@torch.no_grad()
def test_autocast_is_followed(encoder):
    exact = encoder.pooled(TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.pooled(TEXTS)
    assert rough.dtype == torch.bfloat16
    similarity = torch.cosine_similarity(rough.float(), exact)
    assert (similarity > 0.999).all()


def test_the_fingerprint_follows_weights_name_and_context(towers):
    encoder = TextEncoder(towers)
    before = encoder.fingerprint()
    assert before == TextEncoder(towers).fingerprint()
    assert before != TextEncoder(towers, context_length=17).fingerprint()
    with torch.no_grad():
        towers.text.ln_final.bias[0] += 0.5
        assert encoder.fingerprint() != before
        towers.text.ln_final.bias[0] -= 0.5
    assert encoder.fingerprint() == before


@pytest.mark.gpu
@torch.no_grad()
def test_a_gpu_gives_the_same(towers):
    expected = TextEncoder(towers)(TEXTS)
    features = TextEncoder(load_like(towers, "cuda"))(TEXTS)
    assert features.pooled.device.type == features.is_token.device.type == "cuda"
    torch.testing.assert_close(features.pooled.cpu(), expected.pooled, atol=1e-3, rtol=1e-3)


def load_like(towers, device):
    import copy
    import dataclasses

    return dataclasses.replace(towers, text=copy.deepcopy(towers.text).to(device))


@torch.no_grad()
@pytest.mark.parametrize("words", [2, 3, 4, 5])
def test_texts_around_the_context_keep_their_words_and_one_end(towers, words):
    # At six tokens four words fit between start and end; of a longer text the first four stay.
    listed = ["one", "two", "three", "four", "five"][:words]
    features = TextEncoder(towers, context_length=6)([" ".join(listed)])
    assert features.is_token.sum().item() == min(words, 4) + 2
    kept = " ".join(listed[:4])
    torch.testing.assert_close(features.pooled, plain(towers, [kept])[0], atol=1e-5, rtol=1e-5)
