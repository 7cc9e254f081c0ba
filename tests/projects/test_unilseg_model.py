"""The whole UniLSeg on a small model: sharing, chunks, results, training, bad input."""

import logging

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from segplugins.clip import load_clip
from segplugins.config import add_shared_config
from segplugins.engine.groups import freeze
from segplugins.projects.unilseg import UniLSeg, add_config
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "UniLSeg"
    cfg.MODEL.DEVICE = "cpu"
    node = cfg.MODEL.UNILSEG
    node.SWIN.EMBED_DIM, node.SWIN.DEPTHS, node.SWIN.NUM_HEADS = 8, [1, 1, 1, 1], [1, 1, 2, 2]
    node.SWIN.WINDOW_SIZE, node.SWIN.DROP_PATH = 4, 0.0
    node.CONV_DIM, node.MASK_DIM, node.NHEADS, node.DIM_FEEDFORWARD = 64, 16, 4, 32
    node.DROPOUT, node.DEC_LAYERS, node.NORM = 0.0, 2, "LN"
    return cfg


@pytest.fixture
def words():
    vocabulary = Vocabulary("unilseg_words", ("sky", "car, auto", "a red house", "tree", "sea"))
    register_vocabulary(vocabulary)
    return vocabulary


def record(height=40, width=56, **fields):
    return {
        "image": torch.randint(0, 256, (3, height, width), dtype=torch.uint8),
        "height": height,
        "width": width,
        "vocabulary": None,
        "task": Task.REFERRING,
        **fields,
    }


def training_record(phrases=("the car",), **fields):
    made = record(texts=list(phrases), **fields)
    instances = Instances((40, 56), gt_classes=torch.arange(len(phrases)))
    instances.gt_masks = BitMasks(torch.rand(len(phrases), 40, 56) > 0.6)
    return {**made, "instances": instances}


def answers(cfg, records, *opts, like=None):
    cfg = cfg.clone()
    cfg.merge_from_list(list(opts))
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    if like is not None:
        model.load_state_dict(like.state_dict())
    return model(records)


def test_chunks_of_phrases_give_what_all_at_once_give(cfg, words):
    asked = record(vocabulary=words.name, task=Task.SEMANTIC)
    whole = answers(cfg, [asked], "MODEL.UNILSEG.TEST.PROMPT_CHUNK", 99)[0]["sem_seg"]
    for chunk in (1, 2, 3):
        parts = answers(cfg, [asked], "MODEL.UNILSEG.TEST.PROMPT_CHUNK", chunk)[0]["sem_seg"]
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    labels = answers(cfg, [asked], "TEST.LABEL_MAPS", True)[0]["sem_seg"]
    assert labels.dtype == torch.int64 and labels.shape == (40, 56)
    best = whole.gather(0, labels[None])[0]
    torch.testing.assert_close(best, whole.max(dim=0).values, atol=1e-5, rtol=0)


def test_phrases_that_do_not_fit_into_memory_are_answered_in_halves(cfg, words, monkeypatch):
    model = build_model(cfg).eval()
    asked = record(vocabulary=words.name, task=Task.SEMANTIC)
    whole = model([asked])[0]["sem_seg"]
    respond, tried = model.respond, []

    def small(encoded, phrases):
        tried.append(len(phrases.sentences))
        if len(phrases.sentences) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return respond(encoded, phrases)

    monkeypatch.setattr(model, "respond", small)
    torch.testing.assert_close(model([asked])[0]["sem_seg"], whole, atol=1e-5, rtol=0)
    assert tried == [5, 2, 2, 1]


def test_the_image_and_the_text_encoder_run_once_whatever_is_asked(cfg, words, monkeypatch):
    model = build_model(cfg).eval()
    calls = {"images": 0, "texts": []}
    encode, read = model.image_encoder.forward, model.text_encoder.forward

    def counted(images):
        calls["images"] += 1
        return encode(images)

    def noted(texts):
        calls["texts"].append(list(texts))
        return read(texts)

    monkeypatch.setattr(model.image_encoder, "forward", counted)
    monkeypatch.setattr(model.text_encoder, "forward", noted)
    asked = record(vocabulary=words.name, task=Task.SEMANTIC)
    model([asked])
    model([asked, asked])
    assert calls["images"] == 2
    assert calls["texts"] == [["all a red house", "all car", "all sea", "all sky", "all tree"]]


def test_what_is_known_of_phrases_goes_when_the_weights_change(cfg):
    model = build_model(cfg).eval()
    asked = record(texts=["the car"], task=Task.SALIENT)
    before = model([asked])[0]["phrase_masks"]
    other = {name: value + 0.1 for name, value in model.text_encoder.state_dict().items()}
    model.text_encoder.load_state_dict(other)
    after = model([asked])[0]["phrase_masks"]
    assert not torch.equal(before, after)
    fresh = build_model(cfg).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh([asked])[0]["phrase_masks"], after)
    model.train()
    assert len(model._encoded) == 0


def test_a_record_in_a_batch_is_answered_as_if_it_were_alone(cfg, words):
    model = build_model(cfg).eval()
    first = record(40, 56, texts=["the car", "a tree"])
    second = record(40, 56, vocabulary=words.name, task=Task.SEMANTIC)
    together = model([first, second])
    masks, scores = model([first])[0]["phrase_masks"], model([second])[0]["sem_seg"]
    assert masks.shape == (2, 40, 56) and masks.dtype == torch.bool
    assert torch.equal(together[0]["phrase_masks"], masks)
    torch.testing.assert_close(together[1]["sem_seg"], scores, atol=1e-5, rtol=0)


def test_salient_objects_stay_grey_and_masks_are_cut_at_the_threshold(cfg):
    grey = record(texts=["the most salient object"], task=Task.SALIENT)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    scores = model([grey])[0]["phrase_masks"]
    assert scores.dtype == torch.float32 and 0 <= scores.min() < scores.max() <= 1
    middle = float(scores.median())
    masks = answers(
        cfg,
        [{**grey, "task": Task.REFERRING}],
        *("MODEL.UNILSEG.TEST.THRESHOLD", middle),
        like=model,
    )
    assert torch.equal(masks[0]["phrase_masks"], scores > middle)


def test_one_pixel_is_answered(cfg):
    tiny = record(1, 1, texts=["the car"])
    assert build_model(cfg).eval()([tiny])[0]["phrase_masks"].shape == (1, 1, 1)


def test_the_result_has_the_size_that_is_asked_for_and_leaves_the_border_out(cfg):
    model = build_model(cfg).eval()
    asked = record(64, 64, texts=["the car"], task=Task.SALIENT)
    whole = model([asked])[0]["phrase_masks"]
    part = model([{**asked, "image_box": (0, 16, 64, 48), "height": 32}])[0]["phrase_masks"]
    torch.testing.assert_close(part, whole[:, 16:48], atol=1e-5, rtol=0)


def test_synonyms_are_averaged_where_the_config_says_so(cfg, words):
    asked = record(vocabulary=words.name, task=Task.SEMANTIC)
    mean = answers(cfg, [asked], "MODEL.UNILSEG.SYNONYMS", "mean")[0]["sem_seg"]
    each = [
        answers(
            cfg, [{**asked, "vocabulary": None, "task": Task.SALIENT, "texts": [f"all {name}"]}]
        )
        for name in ("car", "auto")
    ]
    want = (each[0][0]["phrase_masks"][0] + each[1][0]["phrase_masks"][0]) / 2
    torch.testing.assert_close(mean[1], want, atol=1e-5, rtol=0)


# --- training


def test_the_gradient_reaches_both_encoders_and_every_decoder_layer(cfg):
    model = build_model(cfg).train()
    losses = model([training_record(("the car", "a tree")), training_record(("the sea",))])
    sum(losses.values()).backward()
    missing = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all()
    ]
    assert missing == []
    for part in ("image_encoder.patch_embed", "text_encoder.text.transformer"):
        of_part = [p for name, p in model.named_parameters() if name.startswith(part)]
        assert any(p.grad.abs().sum() > 0 for p in of_part)
    for layer in model.language_path.layers:
        assert layer.linear1.weight.grad.abs().sum() > 0


def test_a_batch_without_any_phrase_still_gives_every_parameter_a_gradient_of_zero(cfg, words):
    model = build_model(cfg).train()
    empty = training_record()
    empty.update(vocabulary=words.name, task=Task.SEMANTIC, instances=empty["instances"][:0])
    losses = model([empty])
    sum(losses.values()).backward()
    assert all(loss.item() == 0 for loss in losses.values())
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_under_autocast_losses_and_answers_are_those_of_float32_but_for_rounding(cfg):
    model = build_model(cfg).train()
    batch = [training_record(("the car", "a tree"))]
    found = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            torch.manual_seed(0)  # the samples are drawn
            found.append(model(batch))
    for name, loss in found[0].items():
        assert found[1][name].dtype == torch.float32
        torch.testing.assert_close(found[1][name], loss, rtol=0.05, atol=0.02)
    asked = record(texts=["the car"], task=Task.SALIENT)
    scores = model.eval()([asked])[0]["phrase_masks"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model([asked])[0]["phrase_masks"]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, scores, rtol=0, atol=0.05)


@pytest.mark.parametrize("switch", ["PREFUSION", "VISION_PATH", "LANGUAGE_PATH"])
def test_each_part_of_table_8_can_be_left_out(cfg, switch):
    whole = {name for name, _ in build_model(cfg).named_parameters()}
    setattr(cfg.MODEL.UNILSEG, switch, False)
    model = build_model(cfg)
    gone = whole - {name for name, _ in model.named_parameters()}
    prefix = {
        "PREFUSION": "pre_fusion.",
        "VISION_PATH": "vision_path.layers.",
        "LANGUAGE_PATH": "language_path.",
    }[switch]
    assert gone and all(name.startswith(prefix) for name in gone)
    assert all(loss.isfinite() for loss in model.train()([training_record()]).values())
    assert model.eval()([record(texts=["the car"])])[0]["phrase_masks"].shape == (1, 40, 56)


# --- bad settings and bad input


def test_the_vision_path_must_be_as_wide_as_the_words(cfg):
    cfg.MODEL.UNILSEG.CONV_DIM = 32
    with pytest.raises(
        ValueError, match="CONV_DIM is 32, but the words of 'convnext_drawn' have 64"
    ):
        build_model(cfg)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("THRESHOLD", 1.0, r"THRESHOLD must lie in \[0, 1\), got 1.0"),
        ("PROMPT_CHUNK", 0, "PROMPT_CHUNK must be at least 1, got 0"),
        ("RESIZE", "cubic", "RESIZE must be one of .*'cubic'"),
    ],
)
def test_bad_settings_of_the_answers(cfg, key, value, message):
    setattr(cfg.MODEL.UNILSEG.TEST, key, value)
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_a_record_that_asks_for_nothing_is_refused(cfg):
    model = build_model(cfg).eval()
    with pytest.raises(ValueError, match="neither a vocabulary nor a phrase"):
        model([record(texts=[])])
    with pytest.raises(ValueError, match="a phrase is empty"):
        model([record(texts=[""])])


def test_a_phrase_over_17_tokens_is_cut_and_said_so(cfg, caplog):
    model = build_model(cfg).eval()
    assert isinstance(model, UniLSeg)
    long = "the " + "very " * 20 + "red car"
    with caplog.at_level(logging.WARNING):
        cut = model([record(texts=[long], task=Task.SALIENT)])
    assert "longer than 17 tokens" in caplog.text
    assert cut[0]["phrase_masks"].shape == (1, 40, 56)


# --- a backbone of timm


@pytest.fixture
def timm_cfg(cfg):
    cfg.MODEL.UNILSEG.BACKBONE.NAME = "timm/resnet10t"
    return cfg


def test_a_timm_backbone_is_normalised_by_its_own_statistics(timm_cfg):
    model = build_model(timm_cfg)
    mean = [value * 255 for value in (0.485, 0.456, 0.406)]
    assert model.normalizer.mean.flatten().tolist() == pytest.approx(mean, rel=1e-4)
    assert mean != pytest.approx(timm_cfg.MODEL.PIXEL_MEAN, rel=1e-2)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
@pytest.mark.parametrize("size", [(40, 56), (33, 61), (1, 1)])
def test_a_timm_backbone_answers_pictures_of_any_size(timm_cfg, words, name, size):
    timm_cfg.MODEL.UNILSEG.BACKBONE.NAME = f"timm/{name}"
    asked = record(*size, vocabulary=words.name, task=Task.SEMANTIC)
    scores = build_model(timm_cfg).eval()([asked])[0]["sem_seg"]
    assert scores.shape == (5, *size) and scores.isfinite().all()


def test_a_timm_backbone_learns_with_the_paths(timm_cfg):
    torch.manual_seed(0)
    model = build_model(timm_cfg).train()
    sum(model([training_record(("the car", "the sky"))]).values()).backward()
    for part in ("image_encoder", "vision_path", "language_path", "pre_fusion"):
        gradients = [p.grad for p in getattr(model, part).parameters() if p.grad is not None]
        assert any(gradient.abs().sum() > 0 for gradient in gradients), part


@pytest.mark.parametrize("size", [(40, 56), (1, 1)])
def test_the_clip_s_own_tower_answers_pictures_of_any_size(cfg, words, size):
    cfg.MODEL.UNILSEG.BACKBONE.NAME = "clip"
    model = build_model(cfg).eval()
    expected = 255 * torch.tensor(load_clip(cfg.MODEL.CLIP.NAME).image_mean)
    torch.testing.assert_close(model.normalizer.mean.flatten(), expected)
    asked = record(*size, vocabulary=words.name, task=Task.SEMANTIC)
    scores = model([asked])[0]["sem_seg"]
    assert scores.shape == (5, *size) and scores.isfinite().all()


def test_the_clip_s_own_tower_is_reached_by_every_gradient(cfg):
    cfg.MODEL.UNILSEG.BACKBONE.NAME = "clip"
    model = build_model(cfg).train()
    sum(model([training_record(("the car", "the sky"))]).values()).backward()
    assert all(p.grad is not None for p in model.image_encoder.parameters())


def test_a_frozen_clip_stays_as_it_is_while_the_paths_learn(cfg):
    cfg.MODEL.UNILSEG.BACKBONE.NAME = "clip"
    cfg.MODEL.FREEZE = ["image_encoder.", "text_encoder."]
    torch.manual_seed(0)
    model = build_model(cfg).train()
    freeze(model, cfg.MODEL.FREEZE)
    sum(model([training_record(("the car", "the sky"))]).values()).backward()
    for part in ("image_encoder", "text_encoder"):
        assert all(p.grad is None for p in getattr(model, part).parameters()), part
    for part in ("vision_path", "language_path", "pre_fusion"):
        gradients = [p.grad for p in getattr(model, part).parameters() if p.grad is not None]
        assert any(gradient.abs().sum() > 0 for gradient in gradients), part


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("BACKBONE.NAME", "resnet10t", "is 'resnet10t'; known are 'swin'.*and timm/<name>"),
        ("BACKBONE.WEIGHTS", "a.pth", "BACKBONE.WEIGHTS is 'a.pth', but the backbone is 'swin'"),
    ],
)
def test_a_backbone_that_is_not_built_is_named(cfg, key, value, message):
    cfg.merge_from_list([f"MODEL.UNILSEG.{key}", value])
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_weights_of_a_swin_are_refused_beside_a_timm_backbone(timm_cfg):
    timm_cfg.MODEL.UNILSEG.SWIN.WEIGHTS = "swin.pth"
    with pytest.raises(ValueError, match="SWIN.WEIGHTS is 'swin.pth'.*UNILSEG.BACKBONE.WEIGHTS"):
        build_model(timm_cfg)


@torch.no_grad()
@pytest.mark.parametrize(
    "name, channels",
    [("resnet10t", [64, 128, 256, 512]), ("convnext_atto", [40, 80, 160, 320])],
)
def test_maps_of_a_timm_backbone_are_finest_first_and_show_the_whole_batch(
    timm_cfg, name, channels
):
    timm_cfg.MODEL.UNILSEG.BACKBONE.NAME = f"timm/{name}"
    model = build_model(timm_cfg).eval()
    # 40 x 72 pixels are padded to 64 x 96, multiples of the last stride.
    images = model.normalizer([record(40, 72)]).tensor
    assert images.shape == (1, 3, 64, 96) and not images[..., 40:, :].any()
    features = model.encode_images(images).features
    grids = [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [tuple(part.shape[1:]) for part in features] == [
        (width, *grid) for width, grid in zip(channels, grids)
    ]
    assert [lateral.weight.shape[1] for lateral in model.vision_path.laterals] == channels
    assert model.language_path.memory.weight.shape[1] == channels[-1]
    fused = [scale.projection.out_features for scale in model.pre_fusion.scales.values()]
    assert fused == [channels[int(index)] for index in model.pre_fusion.scales]


def test_a_swin_pads_odd_grids_itself_and_a_batch_to_patches_alone(cfg):
    model = build_model(cfg).eval()
    assert model.normalizer.divisibility == 4
    assert model.normalizer.mean.flatten().tolist() == pytest.approx(list(cfg.MODEL.PIXEL_MEAN))
    grids = [tuple(f.shape[-2:]) for f in model.encode_images(torch.zeros(1, 3, 36, 44)).features]
    assert grids == [(9, 11), (5, 6), (3, 3), (2, 2)]


def test_the_scores_of_a_padded_picture_lie_where_the_picture_lies(timm_cfg, words):
    """Responses of a batch of 64 x 64 whose picture takes the left half: nothing of the rest."""
    model = build_model(timm_cfg).eval()
    row = torch.tensor([-4.0] * 8 + [4.0] * 8)  # 4 pixels each: the right half would say yes
    model.respond = lambda features, phrases: row.expand(1, len(phrases.words), 16, 16)
    batch = [record(64, width, vocabulary=words.name, task=Task.SEMANTIC) for width in (32, 64)]
    scores = model(batch)[0]["sem_seg"]
    assert scores.shape == (5, 64, 32) and scores.max() < 0.5
    right = record(64, 64, vocabulary=words.name, task=Task.SEMANTIC, image_box=(32, 0, 64, 64))
    scores = model([{**right, "width": 32}])[0]["sem_seg"]
    assert scores.shape == (5, 64, 32) and scores.min() > 0.5
