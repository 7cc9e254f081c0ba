"""UniLSeg against recordings of the official forward pass. Sizes and cases come from the files."""

import re

import numpy as np
import pytest
import torch
from open_clip.model import CLIP

from segplugins.clip import ClipTowers, TextTower
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.positions import sine_positions_1d, sine_positions_2d
from segplugins.modeling.swin import build_swin
from segplugins.projects.unilseg import UniLSeg
from segplugins.projects.unilseg.attention import tokens
from segplugins.projects.unilseg.language_path import LanguagePath
from segplugins.projects.unilseg.loss import ResponseLoss
from segplugins.projects.unilseg.pre_fusion import PreFusion
from segplugins.projects.unilseg.prompts import Prompts
from segplugins.projects.unilseg.samples import Sampling
from segplugins.projects.unilseg.unilseg import Inference
from segplugins.projects.unilseg.vision_path import VisionPath
from segplugins.projects.unilseg.weights import convert
from segplugins.text import TextEncoder

LOGITS = 1e-4  # the recordings' README
PARTS = 2e-5  # what an independent implementation reached, doubled
HEADS, RATIOS = 8, (8, 4, 2, 1)  # of the paper's model at any width


@pytest.fixture
def recorded(parity):
    with np.load(parity / "unilseg_tiny.npz") as arrays:
        return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}


@pytest.fixture
def weights(recorded):
    official = {k.removeprefix("w/"): v.float() for k, v in recorded.items() if k.startswith("w/")}
    renamed, unused = convert(official)
    assert not unused
    return renamed


def cases(recorded):
    for case in range(int(recorded["n_cases"])):
        prefix = f"c{case}/"
        yield {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}


def swin_of(state):
    """A Swin of the sizes that its weights have."""
    tables = {
        name: value
        for name, value in state.items()
        if name.endswith("relative_position_bias_table")
    }
    stages = 1 + max(int(name.split(".")[1]) for name in tables)
    of_stage = [
        [v for n, v in tables.items() if n.startswith(f"layers.{i}.")] for i in range(stages)
    ]
    return build_swin(
        patch_size=state["patch_embed.proj.weight"].shape[-1],
        embed_dim=len(state["patch_embed.proj.weight"]),
        depths=[len(tables) for tables in of_stage],
        num_heads=[tables[0].shape[1] for tables in of_stage],
        window_size=(round(len(of_stage[0][0]) ** 0.5) + 1) // 2,
        drop_path=0.0,
        weights="",
    )


def towers_of(state, heads, rows):
    """Text towers whose "texts" are the numbers of recorded token rows."""
    positions, words = state["positional_embedding"], state["token_embedding.weight"]
    text = {
        "context_length": len(positions),
        "vocab_size": len(words),
        "width": words.shape[1],
        "heads": heads,
        "layers": len({name.split(".")[2] for name in state if name.startswith("transformer.")}),
    }
    width = state["text_projection"].shape[1]
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32, "head_width": 64}
    tower = TextTower(CLIP(width, vision, text, quick_gelu=True))

    def encode(number):
        row = rows[int(number)]
        return tuple(row[: int(row.argmax()) + 1].tolist())

    return ClipTowers(
        name="recorded",
        visual=torch.nn.Identity(),
        text=tower,
        encode=encode,
        logit_scale=torch.nn.Parameter(torch.zeros(())),
        embed_dim=width,
        image_size=(32, 32),
        image_mean=(0.0,) * 3,
        image_std=(1.0,) * 3,
    )


@pytest.fixture
def build(parity, weights):
    """Builds the whole model of the recorded weights, around some token rows."""

    def under(prefix):
        return {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}

    def model(rows):
        swin = swin_of(under("image_encoder."))
        channels = [shape.channels for _, shape in sorted(swin.output_shape().items())]
        width = len(weights["vision_path.laterals.0.weight"])
        mask_dim = len(weights["vision_path.mask_features.weight"])
        layers = {n.split(".")[2] for n in weights if n.startswith("language_path.layers.")}
        heads = int(re.search(r"(\d+) heads", (parity / "README.md").read_text()).group(1))
        shared = {"heads": HEADS, "dropout": 0.1}
        length = rows.shape[1]
        towers = towers_of(under("text_encoder.text."), heads, rows)
        built = UniLSeg(
            image_encoder=swin,
            text_encoder=TextEncoder(towers, context_length=length),
            normalizer=ImageNormalizer([0.0] * 3, [1.0] * 3),
            pre_fusion=PreFusion(channels, scales=range(4), text_width=width, **shared),
            vision_path=VisionPath(
                channels,
                width=width,
                mask_dim=mask_dim,
                hidden=len(weights["vision_path.layers.0.linear1.weight"]),
                ratios=RATIOS,
                norm="BN",
                text_length=length,
                attend=True,
                **shared,
            ),
            language_path=LanguagePath(
                channels[-1],
                text_dim=towers.embed_dim,
                query_dim=mask_dim,
                layers=len(layers),
                hidden=len(weights["language_path.layers.0.linear1.weight"]),
                norm="BN",
                **shared,
            ),
            criterion=ResponseLoss(
                bce_weight=1.0, dice_weight=1.0, deep_supervision=True, at="response"
            ),
            sampling=Sampling(Prompts([], "first"), per_image=1, negative_prob=0.0),
            inference=Inference(),
        )
        misfit = built.load_state_dict(weights, strict=False)
        assert not misfit.unexpected_keys
        state = ("relative_position_index", "num_batches_tracked")
        assert [name for name in misfit.missing_keys if not name.endswith(state)] == []
        return built.eval()

    return model


def close(got, want, tolerance):
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * max(1.0, want.abs().max()))


def test_positions_are_the_official_ones(recorded):
    found = 0
    for name, want in recorded.items():
        if name.startswith("pos2d_"):
            c, h, w = map(int, re.findall(r"\d+", name.removeprefix("pos2d")))
            close(sine_positions_2d(c, h, w)[None], want, 1e-6)
        elif name.startswith("pos1d_"):
            c, length = map(int, re.findall(r"\d+", name.removeprefix("pos1d")))
            close(sine_positions_1d(c, length)[None], want, 1e-6)
        else:
            continue
        found += 1
    assert found


@torch.no_grad()
def test_every_part_and_the_response_are_the_official_ones(recorded, build):
    looked = {}
    assert int(recorded["n_cases"])
    for case in cases(recorded):
        rows = case["tokens"]
        model = build(rows)
        phrases = model.encode_phrases([str(i) for i in range(len(rows))])
        close(phrases.sentences, case["sentence"], PARTS)
        longest = phrases.words.shape[1]
        real = torch.arange(longest) <= rows.argmax(dim=1)[:, None]
        assert torch.equal(phrases.is_word, real)
        close(phrases.words, case["words"][:, :longest] * real[..., None], PARTS)

        seen = model.encode_images(case["image"])
        for i, feature in enumerate(seen.features):
            close(feature, case[f"swin_{i}"], PARTS)
        fused = model.pre_fusion(*seen, phrases.words, phrases.is_word)
        for i, feature in enumerate(fused):
            close(tokens(feature), case[f"fused_{i}"].transpose(0, 1), PARTS)
        queries = torch.stack(model.language_path(fused[-1], phrases.sentences))
        close(queries, case["queries"][:, :, 0], PARTS)

        for i, layer in enumerate(model.vision_path.layers):
            layer.register_forward_hook(lambda _, __, out, i=i: looked.update({i: out}))
        pixels = model.vision_path(fused, phrases.words, phrases.is_word)
        for i, x in looked.items():
            close(tokens(x), case[f"vl_{i + 1}"].transpose(0, 1), PARTS)
        close(pixels, case["pixel"], PARTS)
        close(model.respond(seen, phrases)[-1][:, None], case["logits"], LOGITS)


@torch.no_grad()
def test_one_image_asked_many_phrases_is_each_phrase_asked_alone(recorded, build):
    case = next(cases(recorded))
    model = build(case["tokens"])
    seen = model.encode_images(case["image"][:1])
    together = model.respond(seen, model.encode_phrases(["0", "1"]))[-1]
    for row in range(2):
        alone = model.respond(seen, model.encode_phrases([str(row)]))[-1]
        close(together[row : row + 1], alone, PARTS)
    close(together[:1][:, None], case["logits"][:1], LOGITS)
