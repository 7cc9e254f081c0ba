"""Packing: shared beginnings once, each token reaching its own text alone."""

import random

import pytest
import torch

from segplugins.text.packing import pack


def test_two_texts_share_their_beginning():
    packed = pack([(1, 2, 3), (1, 2, 4, 5)], size=8)
    assert packed.tokens.tolist() == [[1, 2, 3, 4, 5]]
    assert packed.positions.tolist() == [[0, 1, 2, 2, 3]]
    assert packed.node.tolist() == [[0, 1, 2, -1], [0, 1, 3, 4]]
    reach = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert packed.reach[0].int().tolist() == reach


@pytest.mark.parametrize("size", [1, 5, 7, 30, 1000])
def test_any_texts_can_be_read_back_along_what_they_reach(size):
    draw = random.Random(size)
    texts = sorted({tuple(draw.randrange(3) for _ in range(draw.randint(1, 6))) for _ in range(60)})
    packed = pack(texts, size)
    assert packed.tokens.shape[1] <= max(size, 6)
    for text, row, node in zip(texts, packed.row, packed.node):
        node = node[node >= 0]
        assert packed.tokens[row, node].tolist() == list(text)
        assert packed.positions[row, node].tolist() == list(range(len(text)))
        # The end sees its text and nothing else, and each token what lies before it.
        assert packed.reach[row, node[-1]].nonzero()[:, 0].tolist() == sorted(node.tolist())
        for place in range(len(node)):
            seen = packed.reach[row, node[place]].nonzero()[:, 0]
            assert sorted(seen.tolist()) == sorted(node[: place + 1].tolist())


def test_what_fills_a_row_up_reaches_itself():
    packed = pack([(1, 2, 3), (2, 2)], size=3)
    assert packed.tokens.tolist() == [[1, 2, 3], [2, 2, 0]]
    assert packed.reach[1, 2].tolist() == [False, False, True]
    assert packed.reach.any(dim=2).all()  # softmax over nothing would be nan


def test_sorted_prompts_need_few_nodes():
    # 10 beginnings of 8 tokens, each before 20 names of 2 tokens: 10 * (8 + 20 * 2) nodes at best.
    texts = sorted((100, *[t] * 7, 50 + n, 200) for t in range(10) for n in range(20))
    packed = pack(texts, size=48)
    # All begin alike with token 100, but a row holds one template.
    assert packed.tokens.numel() == 10 * (8 + 20 * 2)
    torch.testing.assert_close(packed.row, torch.arange(10).repeat_interleave(20))
