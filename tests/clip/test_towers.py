"""The text tower walked by hand: packing, reach, projection; tokens at the bound; fingerprints."""

import open_clip
import pytest
import torch
from torch import nn

from segplugins.clip import TextTower, fingerprint
from segplugins.clip.drawn import convnext_drawn, eva_drawn
from segplugins.clip.towers import ClipTowers

END = 49407


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    source = open_clip.model.TextTransformer(
        context_length=8, vocab_size=END + 1, width=32, heads=2, layers=2, output_dim=16
    )
    return TextTower(source.eval()).eval()


TEXTS = [torch.tensor([49406, 5, 6, END]), torch.tensor([49406, 9, END])]


@torch.no_grad()
def alone(tower, text):
    pooled, hidden = tower(text[None])
    return pooled[0], hidden[0]


@torch.no_grad()
def test_padding_behind_the_end_token_changes_nothing(tower):
    padded = torch.zeros(2, 8, dtype=torch.long)
    for row, text in zip(padded, TEXTS):
        row[: len(text)] = text
    pooled, hidden = tower(padded)
    for i, text in enumerate(TEXTS):
        expected, tokens = alone(tower, text)
        torch.testing.assert_close(pooled[i], expected)
        torch.testing.assert_close(hidden[i, : len(text)], tokens)


@torch.no_grad()
def test_a_token_reaches_those_before_it_and_none_behind(tower):
    first, changed = TEXTS[0], torch.tensor([49406, 5, 7, END])
    _, a = alone(tower, first)
    _, b = alone(tower, changed)
    torch.testing.assert_close(a[:2], b[:2])
    assert (a[2:] - b[2:]).abs().amax(dim=1).min() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("is_per_row", [False, True])
def test_texts_packed_in_one_row_are_those_alone(tower, is_per_row):
    """(S, S) for all rows, or (B, S, S): then each row, not each head, has its own reach."""
    order = [TEXTS, TEXTS[::-1]] if is_per_row else [TEXTS, TEXTS]
    tokens, positions, reach = [], [], []
    for texts in order:
        tokens.append(torch.cat(texts))
        positions.append(torch.cat([torch.arange(len(text)) for text in texts]))
        blocks = [torch.ones(len(text), len(text), dtype=torch.bool).tril() for text in texts]
        reach.append(torch.block_diag(*blocks).bool())
    reach = torch.stack(reach) if is_per_row else reach[0]
    hidden = tower.walk(torch.stack(tokens), torch.stack(positions), reach)
    for row, texts in zip(hidden, order):
        for part, text in zip(row.split([len(text) for text in texts]), texts):
            torch.testing.assert_close(part, alone(tower, text)[1])


@torch.no_grad()
def test_a_text_is_read_at_its_end_token_and_projected(tower):
    pooled, hidden = alone(tower, torch.tensor([49406, 5, END, 3]))
    torch.testing.assert_close(pooled, hidden[2] @ tower.text_projection)
    assert pooled.shape == (16,) and (tower.context_length, tower.width) == (8, 32)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["matrix", "layer", "none"])
def test_a_projection_is_a_matrix_a_layer_or_none(kind):
    source = open_clip.model.TextTransformer(
        context_length=4, vocab_size=8, width=32, heads=2, layers=1, output_dim=16
    )
    hidden = torch.randn(2, 3, 32)
    expected, matrix = hidden, source.text_projection
    if kind != "matrix":
        source.text_projection = None
    if kind == "layer":
        del source.text_projection
        source.text_projection = nn.Linear(32, 16)
        expected = hidden @ source.text_projection.weight.T + source.text_projection.bias
    elif kind == "matrix":
        expected = hidden @ matrix
    torch.testing.assert_close(TextTower(source).project(hidden), expected)


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (5, [49406, 0, 1, 2, 3, 4, END, 0]),
        (6, [49406, 0, 1, 2, 3, 4, 5, END]),  # fits exactly
        (7, [49406, 0, 1, 2, 3, 4, 5, END]),  # one word more: the last is cut off
    ],
)
def test_tokens_fill_the_context_and_keep_their_end(tower, words, row):
    def encode(text):
        return (49406, *range(words), END)

    scale = nn.Parameter(torch.zeros(()))
    towers = ClipTowers("a", nn.Identity(), tower, encode, scale, 16, (8, 8), (0,) * 3, (1,) * 3)
    tokens = towers.tokenize(["any"])
    assert tokens.tolist() == [row] and tokens.dtype == torch.int64
    assert towers.tokenize([]).shape == (0, 8)


def test_a_fingerprint_changes_with_names_types_shapes_and_bits():
    def module(value, key="a"):
        holder = nn.Module()
        holder.register_buffer(key, value)
        return holder

    values = torch.tensor([[1.0, 2.0, 0.0, 4.0]])
    others = [
        module(values.clone(), "b"),
        module(values.double()),
        module(values.reshape(2, 2)),
        module(values.flip(1)),
        module(torch.tensor([[1.0, 2.0, -0.0, 4.0]])),  # another bit, the same number
    ]
    digests = {fingerprint("x", each) for each in [module(values), *others]}
    assert len(digests) == 6 and all(len(each) == 16 for each in digests)
    strided = torch.stack([values, values], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert fingerprint("x", module(strided)) == fingerprint("x", module(values))


def test_the_drawn_image_towers_have_the_sizes_they_say():
    convnext, eva = convnext_drawn(num_classes=0), eva_drawn(num_classes=0)
    millions = [sum(p.numel() for p in each.parameters()) / 1e6 for each in (convnext, eva)]
    assert millions == pytest.approx([0.4, 0.2], abs=0.05)
    assert eva.patch_embed.grid_size == (16, 16)  # 128 / 8
    assert [info["reduction"] for info in convnext.feature_info] == [2, 4, 8, 16]
    with torch.no_grad():
        maps = convnext.eval().forward_features(torch.zeros(1, 3, 128, 128))
        tokens = eva.eval().forward_features(torch.zeros(1, 3, 128, 128))
    assert maps.shape == (1, 128, 8, 8) and tokens.shape == (1, 1 + 16 * 16, 64)
