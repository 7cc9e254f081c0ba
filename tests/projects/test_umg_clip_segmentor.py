"""ClipSegmentor: what is trained, what is combined at test, what is refused, FC-CLIP's names."""

import dataclasses

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.config import add_shared_config
from segplugins.modeling.postprocess import MaskResizer
from segplugins.projects.umg_clip import add_config
from segplugins.projects.umg_clip.seen import SeenWords
from segplugins.projects.umg_clip.weights import _NAMES, config_file, convert, is_official
from segplugins.structures import Vocabulary, get_vocabulary, register_vocabulary
from segplugins.structures.predictions import QueryPredictions
from segplugins.structures.regions import Task

CLASSES = ("sky", "red car", "grass")
register_vocabulary(Vocabulary("test-segmentor", CLASSES, is_thing=(False, True, False)))
NODE = "MODEL.UMG_CLIP"


def build(*options, clip="eva_drawn", trained="adapters", pet=2):
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "ClipSegmentor"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.TEMPLATES = clip, "single"
    cfg.MODEL.UMG_CLIP.TOWER.TRAINED, cfg.MODEL.UMG_CLIP.PET.WIDTH = trained, pet
    dense = cfg.MODEL.UMG_CLIP.DENSE
    dense.HIDDEN_DIM, dense.NHEADS, dense.QUERIES, dense.DEC_LAYERS = 32, 4, 6, 2
    dense.DIM_FEEDFORWARD = dense.ENCODER.DIM_FEEDFORWARD = 32
    dense.ENCODER.LAYERS, dense.LOSS.POINTS = 1, 64
    dense.SEEN = ["test-segmentor"]
    cfg.merge_from_list(list(options))
    torch.manual_seed(0)
    return build_model(cfg)


def record(task=Task.PANOPTIC, count=2, size=(32, 48), **more):
    image = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
    masks = torch.zeros(count, *size, dtype=torch.bool)
    instances = Instances(size)
    for index in range(count):
        masks[index, 4 * index : 4 * index + 12, 8:24] = True
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 4, 24, 16]]).repeat(count, 1))
    instances.gt_classes = torch.arange(count) % 3
    common = {"image": image, "height": size[0], "width": size[1], "task": task}
    return {**common, "vocabulary": "test-segmentor", "instances": instances, **more}


CASES = {
    "adapters": {},
    "whole tower": {"trained": "all", "pet": 0, "outside": "none"},
    "frozen ConvNeXt": {"clip": "convnext_drawn", "trained": "none", "pet": 0},
    "whole ConvNeXt": {
        "clip": "convnext_drawn", "trained": "all", "pet": 0, "outside": "adapted",
    },
}  # fmt: skip


def case(name, *options):
    keywords = dict(CASES[name])
    outside = keywords.pop("outside", "frozen")
    return build(f"{NODE}.DENSE.OUTSIDE", outside, *options, **keywords)


@pytest.mark.parametrize("name", CASES)
def test_every_trained_parameter_gets_a_gradient_also_without_targets(name):
    model = case(name).train()
    for count in (2, 0):
        model.zero_grad(set_to_none=True)
        losses = model([record(count=count), record(count=0, size=(64, 32))])
        assert len(losses) == 3 * (2 + 1)  # of the start and after each of two layers
        sum(losses.values()).backward()
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert trained == {n for n, p in model.named_parameters() if p.grad is not None}
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_of_the_clip_adapters_alone_are_trained_and_the_rest_stays_in_evaluation_mode():
    model = case("adapters").train()
    clip = [n for n, p in model.named_parameters() if p.requires_grad]
    clip = {n for n in clip if n.startswith(("tower.", "classifier."))}
    assert clip and all(name.startswith("tower.adapters.") for name in clip)
    assert not model.tower.training and not model.classifier.text_encoder.training
    assert model.tower.adapters.training and model.decoder.training
    assert case("whole tower").train().tower.training


@torch.no_grad()
def test_the_frozen_opinion_is_of_the_tower_without_its_adapters():
    model = case("adapters", f"{NODE}.DENSE.BETA", 1.0, f"{NODE}.DENSE.ALPHA", 1.0).eval()
    one = record(Task.SEMANTIC)
    before = model([one])[0]["sem_seg"]
    calls = []
    dense = model.tower.dense
    model.tower.dense = lambda *a, **k: calls.append(k.get("adapted", True)) or dense(*a, **k)
    torch.testing.assert_close(model([one])[0]["sem_seg"], before)
    assert calls == [True, False]
    model.outside = "adapted"
    calls.clear()
    model([one])
    assert calls == [True]
    # Adapters start at zero: both opinions are one. Then they differ.
    torch.testing.assert_close(model([one])[0]["sem_seg"], before)
    for block in model.tower.adapters:
        torch.nn.init.normal_(block.mlp.up.weight)
    adapted = model([one])[0]["sem_seg"]
    model.outside = "frozen"
    assert not torch.allclose(model([one])[0]["sem_seg"], adapted)


@torch.no_grad()
def test_alpha_is_for_classes_that_were_trained_and_beta_for_others():
    register_vocabulary(Vocabulary("test-segmentor-new", ("zebra", "car"), is_thing=(True, True)))
    model = case("adapters", f"{NODE}.DENSE.ALPHA", 0.0, f"{NODE}.DENSE.BETA", 0.7).eval()
    known = record(Task.SEMANTIC)
    with_clip = model([known])[0]["sem_seg"]
    model.outside = "none"
    torch.testing.assert_close(with_clip, model([known])[0]["sem_seg"], atol=1e-5, rtol=1e-4)
    new = record(Task.SEMANTIC, vocabulary="test-segmentor-new")
    alone = model([new])[0]["sem_seg"]
    model.outside = "frozen"
    assert not torch.allclose(model([new])[0]["sem_seg"], alone)


@torch.no_grad()
@pytest.mark.parametrize("name", ["adapters", "frozen ConvNeXt"])
def test_each_task_is_answered_at_the_size_that_is_asked_for(name):
    model = case(name).eval()
    semantic, instance, panoptic = model(
        [
            record(Task.SEMANTIC, height=16, width=24),
            record(Task.INSTANCE, size=(48, 32)),
            {**record(Task.PANOPTIC), "vocabulary": None, "texts": ["a cat", "a dog"]},
        ]
    )
    assert semantic["sem_seg"].shape == (3, 16, 24)
    assert instance["instances"].image_size == (48, 32)
    assert panoptic.keys() == {"sem_seg", "panoptic_seg", "instances"}
    assert panoptic["sem_seg"].shape == (2, 32, 48)


@torch.no_grad()
def test_label_maps_are_the_best_classes_and_no_more_masks_are_enlarged_than_asked(monkeypatch):
    model = case("adapters", f"{NODE}.DENSE.TEST.MASK_CHUNK", 2).eval()
    one = record(Task.SEMANTIC, height=64, width=96)
    scores = model([one])[0]["sem_seg"]
    enlarged = []
    resized = MaskResizer.__call__
    monkeypatch.setattr(
        MaskResizer, "__call__", lambda self, m: enlarged.append(len(m)) or resized(self, m)
    )
    model.inference = dataclasses.replace(model.inference, label_maps=True)
    labels = model([one])[0]["sem_seg"]
    assert torch.equal(labels, scores.argmax(dim=0)) and labels.dtype == torch.int64
    assert enlarged == [2, 2, 2]  # six queries


@torch.no_grad()
def test_other_images_of_a_batch_do_not_change_an_answer():
    model = case("adapters").eval()
    one = record(Task.SEMANTIC)
    other = record(Task.SEMANTIC, vocabulary=None, texts=["a", "b", "c", "d", "e"])
    alone = model([one])[0]["sem_seg"]
    torch.testing.assert_close(model([one, other])[0]["sem_seg"], alone, atol=1e-5, rtol=1e-4)


def test_training_under_autocast_is_finite_and_close():
    model = case("adapters").train()
    records = [record()]
    values = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = model(records)
        values.append(sum(losses.values()))
        assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert values[1].isfinite()
    torch.testing.assert_close(values[0], values[1], rtol=0.1, atol=0.1)


def test_records_that_cannot_be_learned_from_are_told():
    model = case("adapters").train()
    without = {k: v for k, v in record().items() if k != "instances"}
    with pytest.raises(ValueError, match="has no 'instances', which all losses compare with"):
        model([without])
    boxes = record(file_name="a.jpg")
    boxes["instances"].remove("gt_masks")
    with pytest.raises(ValueError, match="image a.jpg has boxes without masks"):
        model([boxes])


def test_a_whole_tower_leaves_no_frozen_clip():
    with pytest.raises(ValueError, match="no frozen CLIP is left .*OUTSIDE 'frozen'"):
        build(trained="all", pet=0)
    with pytest.raises(ValueError, match="OUTSIDE must be one of .*, got 'both'"):
        build(f"{NODE}.DENSE.OUTSIDE", "both")
    with pytest.raises(ValueError, match="TOWER.NAME is 'dinov3'; expected timm/<name>"):
        build(f"{NODE}.TOWER.NAME", "dinov3")
    with pytest.raises(ValueError, match="TOWER.WEIGHTS is 'a.pth', but .*NAME is empty"):
        build(f"{NODE}.TOWER.WEIGHTS", "a.pth")


def test_a_tower_that_shares_no_space_with_the_texts_names_nothing():
    options = f"{NODE}.TOWER.NAME", "timm/efficientnet_lite0"
    with pytest.raises(ValueError, match="OUTSIDE is 'frozen', but the image tower 'timm/effic"):
        build(*options, clip="convnext_drawn", trained="none", pet=0)
    options += f"{NODE}.DENSE.OUTSIDE", "none"
    model = build(*options, clip="convnext_drawn", trained="none", pet=0).eval()
    assert model([record()])[0]["sem_seg"].shape == (3, 32, 48)
    with pytest.raises(ValueError, match="TOWER.NAME. shares no space with its texts"):
        model.word_similarity([record()])


def test_a_tower_of_timm_that_was_pre_trained_shares_the_space_of_the_texts(tmp_path):
    options = f"{NODE}.TOWER.NAME", "timm/efficientnet_lite0", f"{NODE}.TOWER.WEIGHTS", "package"
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "ClipPretraining", "cpu"
    cfg.merge_from_list(list(options))
    trained = build_model(cfg)
    with torch.no_grad():
        trained.encoder.head.weight.fill_(0.25)
        trained.encoder.trunk.body.conv_stem.weight.fill_(0.5)
    torch.save({"model": trained.state_dict()}, tmp_path / "clip.pth")
    options += "MODEL.CLIP.WEIGHTS", str(tmp_path / "clip.pth")
    model = build(*options, clip="convnext_drawn", trained="none", pet=0)
    for name, value in trained.encoder.state_dict().items():
        assert torch.equal(model.tower.state_dict()[name], value), name
    assert not model.tower.is_projection_new
    texts = (m.classifier.text_encoder.text.token_embedding.weight for m in (model, trained))
    assert torch.equal(*texts)
    # What loads a whole checkpoint forgets the weights that its parts began with.
    restored = options[:-2] + ("MODEL.WEIGHTS", "dense.pth")
    model = build(*restored, clip="convnext_drawn", trained="none", pet=0).eval()
    assert model.word_similarity([record()])[0].shape == (3, 32, 48)
    # The pixels of the package, which the tower was trained on.
    assert torch.equal(model.normalizer.mean.flatten(), torch.full((3,), 127.0))


def test_trained_words_of_vocabularies_and_data_sets():
    register_vocabulary(
        Vocabulary("test-seen", ("cat", "auto"), synonyms=(("cat", "kitten"), ("red car", "auto")))
    )
    seen = SeenWords(["test-segmentor"])
    vocabulary = Vocabulary("test-asked", ("bus", "automobile", "x"), synonyms=(
        ("bus",), ("automobile", "red car"), ("kitten",),
    ))  # fmt: skip
    flags = seen.of_vocabulary(vocabulary, torch.device("cpu"))
    assert flags.tolist() == [False, True, False]
    both = SeenWords(["test-segmentor", "test-seen"])
    assert both.of_vocabulary(vocabulary, torch.device("cpu")).tolist() == [False, True, True]
    # detectron2 knows the classes of COCO without a file.
    coco = SeenWords(["coco_2017_train_panoptic"])
    assert coco.of_vocabulary(vocabulary, torch.device("cpu")).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="no data set 'nowhere' .* as MODEL.UMG_CLIP.DENSE.SEEN"):
        SeenWords(["nowhere"]).of_vocabulary(vocabulary, torch.device("cpu"))
    with pytest.raises(ValueError, match="no data set 'nowhere'"):
        SeenWords(["test-segmentor", "nowhere"], check=True)
    SeenWords(["test-segmentor", "coco_2017_train_panoptic"], check=True)


def test_an_official_fc_clip_checkpoint_loads():
    model = case("frozen ConvNeXt")
    state = model.state_dict()
    official = {_NAMES.official(name): value + 1 for name, value in state.items()}
    assert all(name.startswith(("backbone.", "sem_seg_head.", "void_")) for name in official)
    assert "sem_seg_head.predictor.transformer_cross_attention_layers.1.norm.bias" in official
    official["criterion.empty_weight"] = torch.ones(4)
    assert is_official(official) and not is_official(state)
    ours, unused = convert({f"module.{name}": value for name, value in official.items()})
    assert unused == ["module.criterion.empty_weight"]
    assert ours.keys() == state.keys()
    assert all(torch.equal(ours[name], state[name] + 1) for name in state)
    stem = "backbone.clip_model.visual.trunk.stem.0.weight"
    released = {**official, stem: torch.zeros(192, 3, 4, 4)}
    assert config_file(released) == "configs/umg_clip/fc_clip_convnext_l.yaml"
    with pytest.raises(ValueError, match="no released FC-CLIP has .* begins with 16 channels"):
        config_file(official)


@torch.no_grad()
@pytest.mark.parametrize("name", ["adapters", "frozen ConvNeXt"])
def test_words_are_compared_with_the_clip_that_pools(name):
    model = case(name).eval()
    two = [record(), record(size=(64, 32), height=32, width=16)]
    maps = model.word_similarity(two)
    assert [tuple(part.shape) for part in maps] == [(3, 32, 48), (3, 32, 16)]
    assert all(part.abs().max() <= 1 + 1e-5 for part in maps)
    if name == "adapters":
        for block in model.tower.adapters:
            torch.nn.init.normal_(block.mlp.up.weight)
        torch.testing.assert_close(model.word_similarity(two)[0], maps[0])
        model.outside = "adapted"
        assert not torch.allclose(model.word_similarity(two)[0], maps[0])


def test_matching_and_losses_have_the_weights_of_the_config():
    node = f"{NODE}.DENSE.LOSS"
    model = build(
        f"{node}.CLASS", 2.5, f"{node}.MASK", 3.5, f"{node}.DICE", 4.5, f"{node}.NO_OBJECT", 0.3,
        f"{node}.OVERSAMPLE", 2.0, f"{node}.IMPORTANCE", 0.5,
    )  # fmt: skip
    criterion = model.criterion
    assert criterion.weights == {"loss_class": 2.5, "loss_mask": 3.5, "loss_dice": 4.5}
    costs = {name: weight for name, (weight, _) in criterion.matcher.costs.items()}
    assert costs == {"class": 2.5, "mask": 3.5, "dice": 4.5}
    assert [cost.__name__ for _, cost in criterion.matcher.costs.values()] == [
        "softmax_class_cost", "mask_bce_cost", "mask_dice_cost",
    ]  # fmt: skip
    classes, masks = criterion.terms
    assert classes.no_object_weight == 0.3 and criterion.matcher.num_points == 64
    assert (masks.num_points, masks.oversample, masks.importance) == (64, 2.0, 0.5)


@torch.no_grad()
@pytest.mark.parametrize("only_valid", [False, True])
def test_both_heads_are_joined_for_the_classes_of_each_image(only_valid):
    """Image 0 has one class of the batch's three; the second query of image 1 has no cell."""
    model = case("adapters").eval()
    model.alpha, model.beta, model.only_valid = 0.0, 1.0, only_valid
    inside = torch.tensor([[1.0, 2.0, 3.0, 0.5], [0.0, 1.0, -1.0, 2.0]]).expand(2, 2, 4)
    outside = torch.tensor([[5.0, 1.0, 2.0, 9.0], [2.0, 0.0, 1.0, 9.0]]).expand(2, 2, 4)
    predictions = QueryPredictions(inside, torch.zeros(2, 2, 4, 4))
    valid = torch.tensor([[True, True], [True, False]])
    one = Vocabulary("test-segmentor-one", ("unicorn",), is_thing=(True,))
    first = model.combined(predictions, (outside, valid), 0, one).exp()
    # Only the first class and "no object", the last, count: one class has all that is left.
    void = torch.tensor([[1.0, 0.5], [0.0, 2.0]]).softmax(dim=1)[:, 1]
    torch.testing.assert_close(first, torch.stack([1 - void, void], dim=1), atol=1e-6, rtol=0)
    unseen = Vocabulary("test-segmentor-unseen", ("a", "b", "c"), is_thing=(True,) * 3)
    second = model.combined(predictions, (outside, valid), 1, unseen).exp()
    heads = [outside[1, 0], inside[1, 1] if only_valid else outside[1, 1]]
    for row, head, query in zip(second, heads, inside[1]):
        void = query.softmax(dim=0)[3]
        expected = torch.cat([head[:3].softmax(dim=0) * (1 - void), void[None]])
        torch.testing.assert_close(row, expected, atol=1e-6, rtol=0)
    alone = model.combined(predictions, None, 1, unseen)
    torch.testing.assert_close(alone, inside[1].log_softmax(dim=-1))


@torch.no_grad()
def test_the_second_opinion_pools_under_the_masks_and_says_which_have_a_cell():
    model = case("adapters").eval()
    images = model.normalizer([record()]).tensor
    output = model.tower.dense(images)
    last = output.last
    grid = tuple(last.shape[-2:])
    masks = torch.full((1, 2, *grid), -1.0)
    masks[0, 0, 0, 1] = masks[0, 0, 1, 0] = 1.0
    texts = model.class_texts([get_vocabulary("test-segmentor")])
    predictions = QueryPredictions(torch.zeros(1, 2, 4), masks)
    logits, valid = model.outside_logits(images, output, predictions, texts)
    assert valid.tolist() == [[True, False]]
    pooled = (last[0, :, 0, 1] + last[0, :, 1, 0]) / 2
    vector = torch.nn.functional.normalize(model.tower.project(pooled[None]), dim=-1)
    rows = torch.cat([texts.rows[0], torch.nn.functional.normalize(model.void.weight, dim=-1)])
    expected = model.classifier.scale() * vector @ rows.T
    torch.testing.assert_close(logits[0, :1], expected, atol=1e-4, rtol=1e-4)
    model.outside = "none"
    assert model.outside_logits(images, output, predictions, texts) is None


def test_rows_and_counts_of_the_texts_follow_the_synonyms():
    model = case("adapters").eval()
    several = Vocabulary(
        "test-segmentor-several", ("cat", "bus"), synonyms=(("cat", "kitten", "kitty"), ("bus",))
    )
    texts = model.class_texts([several, get_vocabulary("test-segmentor")])
    assert texts.counts == [[3, 1], [1, 1, 1]] and [len(rows) for rows in texts.rows] == [4, 3]
    torch.testing.assert_close(texts.rows[0].norm(dim=1), torch.ones(4))


def test_what_stands_behind_the_maps_is_frozen_and_what_is_before_is_not():
    model = case("whole tower")
    frozen = {n for n, p in model.tower.named_parameters() if not p.requires_grad}
    ends = {n for n, _ in model.tower.named_parameters() if n.startswith(model.tower.ends)}
    assert frozen == ends and ends and model.tower_is_trained
    assert not case("frozen ConvNeXt").tower_is_trained and case("adapters").tower_is_trained
