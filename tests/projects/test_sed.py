"""The whole model: losses, vocabularies, batches, answers and what it refuses."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from segplugins.engine import setup_cfg
from segplugins.engine.groups import freeze
from segplugins.modeling.dense_convnext import DenseConvNeXt
from segplugins.projects.sed import SED, add_config
from segplugins.projects.sed.loss import DecoderLoss, class_loss
from segplugins.projects.sed.records import (
    NO_LABEL,
    drawn_classes,
    one_vocabulary,
    relabelled,
)
from segplugins.projects.sed.sed import Inference
from segplugins.structures import Vocabulary, get_vocabulary, register_vocabulary

TINY = Path(__file__).resolve().parents[2] / "configs" / "sed" / "tiny.yaml"
NAMES = ("sky", "road", "car", "tree", "house", "sea", "bird")


@pytest.fixture(scope="module", autouse=True)
def vocabulary():
    words = Vocabulary("sed-test", NAMES)
    register_vocabulary(words)
    register_vocabulary(words.select([4, 2, 0, 6, 1, 3, 5], "sed-test-permuted"))
    register_vocabulary(Vocabulary("sed-test-other", ("cat", "dog, hound")))
    return words


def build(*options):
    args = Namespace(
        config_file=str(TINY),
        opts=["MODEL.SED.RESOLUTION", "[64, 64]", "MODEL.DEVICE", "cpu", *options],
    )
    torch.manual_seed(0)
    return build_model(setup_cfg(args, [add_config]))


@pytest.fixture(scope="module")
def shared():
    return build()


@pytest.fixture
def model(shared):
    """The tiny model, its inference as the config has it."""
    before = shared.inference, shared.train_classes
    yield shared.eval()
    shared.inference, shared.train_classes = before


def record(height=40, width=56, vocabulary="sed-test", seed=0, **extra):
    random = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (3, height, width), generator=random, dtype=torch.uint8),
        "sem_seg": torch.randint(0, 7, (height, width), generator=random),
        "height": height,
        "width": width,
        "vocabulary": vocabulary,
        **extra,
    }


def one_hot(labels, classes):
    """(B, H, W) -> (B, T, H, W), zero rows where there is no label."""
    known = (labels >= 0) & (labels < classes)
    return F.one_hot(labels * known, classes).movedim(-1, 1) * known[:, None]


def test_the_loss_is_binary_cross_entropy_with_ignored_pixels_as_negatives():
    logits = 3 * torch.randn(2, 5, 6, 6, requires_grad=True)
    labels = torch.randint(-1, 7, (2, 6, 6))  # -1, 5 and 6 are no class
    plain = F.binary_cross_entropy_with_logits(logits, one_hot(labels, 5).float())
    ours = class_loss(logits, labels, ignored="negative")
    torch.testing.assert_close(ours, plain)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, plain)]
    torch.testing.assert_close(*gradients)


def test_masked_pixels_count_neither_in_the_sum_nor_in_the_mean():
    logits, labels = torch.randn(2, 5, 6, 6), torch.randint(0, 7, (2, 6, 6))
    known = labels < 5
    each = F.binary_cross_entropy_with_logits(logits, one_hot(labels, 5).float(), reduction="none")
    expected = each.movedim(1, -1)[known].mean()
    torch.testing.assert_close(class_loss(logits, labels, ignored="mask"), expected)


def test_an_image_without_labels():
    logits, labels = torch.zeros(1, 3, 2, 2), torch.full((1, 4, 4), 255)
    assert class_loss(logits, labels, ignored="mask").item() == 0
    # Every class is denied at every pixel: -log(1 - 1/2).
    negative = class_loss(logits, labels, ignored="negative")
    torch.testing.assert_close(negative, torch.tensor(2.0).log())


def test_the_loss_is_made_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        loss = class_loss(
            torch.randn(1, 3, 2, 2).bfloat16(), torch.zeros(1, 4, 4).long(), ignored="negative"
        )
    assert loss.dtype == torch.float32


def test_four_weighted_losses_by_their_official_names():
    logits, labels = [torch.randn(1, 3, 2, 2) for _ in range(4)], torch.zeros(1, 4, 4).long()
    losses = DecoderLoss([1.0, 0.5, 0.0, 2.0], "negative")(logits, labels)
    assert list(losses) == ["loss_sem_seg_0", "loss_sem_seg_1", "loss_sem_seg_3"]
    plain = class_loss(logits[1], labels, ignored="negative")
    torch.testing.assert_close(losses["loss_sem_seg_1"], 0.5 * plain)


@pytest.mark.parametrize("weights", [[1.0] * 3, [0.0] * 4, [1.0, -1.0, 1.0, 1.0]])
def test_weights_that_are_not_four_are_refused(weights):
    with pytest.raises(ValueError, match="LOSS_WEIGHTS needs four weights"):
        DecoderLoss(weights, "negative")


def test_an_unknown_rule_for_ignored_pixels_is_refused():
    with pytest.raises(ValueError, match="must be one of .'negative', 'mask'., got 'skip'"):
        DecoderLoss([1.0] * 4, "skip")


def test_the_labels_follow_the_classes_into_the_decoders_order(model):
    # The same picture with the same classes, named in another order.
    permutation = [4, 2, 0, 6, 1, 3, 5]
    first = record()
    second = record(vocabulary="sed-test-permuted")
    second["sem_seg"] = torch.tensor(permutation).argsort()[first["sem_seg"]]
    model.train()
    with torch.no_grad():
        for one, other in zip(model([first]).values(), model([second]).values()):
            assert torch.equal(one, other)


def test_a_step_may_be_of_some_classes_but_never_without_one_that_is_shown():
    labels = torch.tensor([[[5, 5, 2, -1, 255]]])
    assert drawn_classes(labels, 8, 0).tolist() == list(range(8))
    others = set()
    for _ in range(50):
        chosen = drawn_classes(labels, 8, 4).tolist()
        assert len(chosen) == 4 and chosen == sorted(chosen) and {2, 5} <= set(chosen)
        others |= set(chosen)
    assert others == set(range(8))  # each other one has its turn
    assert drawn_classes(labels, 8, 1).tolist() == [2, 5]
    moved = relabelled(labels, torch.tensor([1, 2, 5]), 8)
    assert moved.tolist() == [[[2, 2, 1, NO_LABEL, NO_LABEL]]]


def test_the_loss_of_a_step_of_some_classes_is_that_of_a_vocabulary_of_them(model):
    labels = torch.zeros(40, 56, dtype=torch.int64)
    labels[20:] = 2
    model.train_classes = 2  # as many as are shown: nothing is left to the lot
    few = model.train()([record(sem_seg=labels)])
    register_vocabulary(get_vocabulary("sed-test").select([0, 2], "sed-two"))
    model.train_classes = 0
    both = model([record(vocabulary="sed-two", sem_seg=labels // 2)])
    assert few.keys() == both.keys()
    for name, loss in both.items():
        torch.testing.assert_close(few[name], loss)


def test_ignored_labels_of_any_number_are_ignored(model):
    losses = []
    for ignored in (255, 7, 65535, -1):
        labelled = record()
        labelled["sem_seg"][:20] = ignored
        with torch.no_grad():
            losses.append(model.train()([labelled])["loss_sem_seg_0"])
    assert all(torch.equal(loss, losses[0]) for loss in losses)


def test_images_of_two_sizes_are_padded_without_labels(model):
    model.train()
    with torch.no_grad():
        together = model([record(40, 56), record(64, 32)])["loss_sem_seg_0"]
        padded = record(40, 56)
        image = torch.zeros(3, 64, 64) + model.normalizer.mean  # zero once it is normalised
        image[:, :40, :56] = padded["image"]
        labels = torch.full((64, 64), 255)
        labels[:40, :56] = padded["sem_seg"]
        other = record(64, 32)
        image_2 = torch.zeros(3, 64, 64) + model.normalizer.mean
        image_2[:, :, :32] = other["image"]
        labels_2 = torch.full((64, 64), 255)
        labels_2[:, :32] = other["sem_seg"]
        by_hand = model(
            [
                {"image": image, "sem_seg": labels, "vocabulary": "sed-test"},
                {"image": image_2, "sem_seg": labels_2, "vocabulary": "sed-test"},
            ]
        )["loss_sem_seg_0"]
    torch.testing.assert_close(together, by_hand)


def test_a_label_map_of_another_size_is_refused_by_file(model):
    wrong = record(file_name="a/b.png")
    wrong["sem_seg"] = wrong["sem_seg"][:-1]
    with pytest.raises(ValueError, match=r"a/b.png: image of \(40, 56\).*label map of \(39, 56\)"):
        model.train()([wrong])
    del wrong["sem_seg"]
    with pytest.raises(ValueError, match=r"label map of none.*INPUT.TARGETS \['sem_seg'\]"):
        model.train()([wrong])


def test_a_training_batch_of_two_vocabularies_is_refused(model):
    with pytest.raises(ValueError, match="'sed-test', 'sed-test-other'.*ONE_SET_PER_BATCH True"):
        model.train()([record(), record(vocabulary="sed-test-other")])
    assert one_vocabulary([record(), record()]) == get_vocabulary("sed-test")


def test_a_batch_at_test_may_hold_two_sizes_and_two_vocabularies(model):
    records = [record(40, 56), {**record(30, 20, "sed-test-other"), "height": 15, "width": 60}]
    together = model(records)
    for one, answer in zip(records, together):
        alone = model([one])[0]["sem_seg"]
        torch.testing.assert_close(answer["sem_seg"], alone, rtol=0, atol=1e-5)
    assert [tuple(answer["sem_seg"].shape) for answer in together] == [(7, 40, 56), (2, 15, 60)]


def test_a_permuted_vocabulary_gives_exactly_permuted_scores(model):
    for top_k, chunk in ((None, 0), (2, 0), (None, 3), (2, 3)):
        model.inference = Inference(top_k=top_k, class_chunk=chunk)
        plain = model([record()])[0]["sem_seg"]
        permuted = model([record(vocabulary="sed-test-permuted")])[0]["sem_seg"]
        assert torch.equal(permuted, plain[[4, 2, 0, 6, 1, 3, 5]])


def test_one_vocabulary_after_another_gives_what_each_gives_alone(model):
    first = model([record()])[0]["sem_seg"]
    model([record(vocabulary="sed-test-other")])
    assert torch.equal(model([record()])[0]["sem_seg"], first)


def test_texts_of_a_record_are_its_vocabulary(model):
    phrase = "dog, hound"  # encoded as it stands, not split into synonyms
    named = model([record(vocabulary=None, texts=["sky", phrase])])[0]["sem_seg"]
    register_vocabulary(Vocabulary("sed-test-texts", ("sky", "x"), synonyms=(("sky",), (phrase,))))
    assert named.shape[0] == 2
    assert torch.equal(named, model([record(vocabulary="sed-test-texts")])[0]["sem_seg"])


def test_one_class_is_answered(model):
    register_vocabulary(Vocabulary("sed-test-one", ("sky",)))
    scores = model([record(vocabulary="sed-test-one")])[0]["sem_seg"]
    assert scores.shape == (1, 40, 56) and scores.min() > 0 and scores.max() < 1


@pytest.mark.parametrize("overlap", [None, 1 / 3])
@pytest.mark.parametrize(("top_k", "chunk"), [(None, 0), (2, 0), (None, 3), (2, 3)])
def test_label_maps_are_the_argmax_of_the_scores(model, top_k, chunk, overlap):
    large = record(70, 100)
    model.inference = Inference(top_k=top_k, class_chunk=chunk, overlap=overlap)
    scores = model([large])[0]["sem_seg"]
    model.inference = Inference(top_k, chunk, overlap, label_maps=True)
    labels = model([large])[0]["sem_seg"]
    assert labels.dtype == torch.int64
    # In the vocabulary's order argmax takes the first of equals, in the decoder's perhaps another.
    at_label = scores.gather(0, labels[None])[0]
    assert torch.equal(at_label, scores.max(dim=0).values)


def test_sliding_over_an_image_no_larger_than_a_window_is_one_look(model):
    small = record(64, 64)
    plain = model([small])[0]["sem_seg"]
    model.inference = Inference(model.inference.top_k, overlap=0.5)
    torch.testing.assert_close(model([small])[0]["sem_seg"], plain)


def test_a_thin_image_is_not_cropped(model):
    # 8 pixels high: the decoder's map (32 x 32) is larger than the image, and all of it counts.
    thin = record(8, 64)
    decoding = next(
        model.decode(
            model.resized(model.normalizer.normalize(thin["image"])[None]),
            [get_vocabulary("sed-test")],
        )
    )
    maps = decoding.probabilities(slice(None))
    expected = F.interpolate(maps[None], (8, 64), mode="bilinear", align_corners=False)[0]
    order = model.order(get_vocabulary("sed-test"))
    torch.testing.assert_close(model([thin])[0]["sem_seg"][order[decoding.classes]], expected)


def test_evaluation_under_autocast_is_evaluation_but_for_rounding(model):
    model.inference = Inference()
    precise = model([record()])[0]["sem_seg"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model([record()])[0]["sem_seg"]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, precise, rtol=0, atol=0.05)


def test_only_encoder_and_decoder_are_trained(model):
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"encoder", "decoder"}
    for loss in model.train()([record()]).values():
        loss.backward(retain_graph=True)
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    model.zero_grad()


def test_the_rejection_heads_can_be_trained_alone():
    model = build("MODEL.SED.REJECTION_HEADS_ONLY", "True").train()
    losses = model([record()])
    assert list(losses) == ["loss_sem_seg_1", "loss_sem_seg_2", "loss_sem_seg_3"]
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("decoder.rejection_heads"), name


def test_the_encoder_is_frozen_by_prefixes():
    # "full_res5" of the official code: only the last stage is trained, not the head behind it.
    model = build()
    names = [name for name, _ in model.named_parameters() if name.startswith("encoder.")]
    parts = {".".join(name.split(".")[:4]) if ".stages." in name else name for name in names}
    freeze(model, sorted(part for part in parts if part != "encoder.trunk.stages.3"))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(name.startswith(("encoder.trunk.stages.3.", "decoder.")) for name in trained)
    assert any(name.startswith("encoder") for name in trained)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.SED.RESOLUTION", "[64, 60]", "two multiples of the encoder's stride 16"),
        ("MODEL.SED.RESOLUTION", "[64]", "expected 2 whole numbers|two multiples of the encoder's"),
        ("MODEL.SED.REJECTION.TOP_K", "0", "TOP_K is 0, expected a number"),
        ("MODEL.SED.REJECTION.TOP_K", "-3", "TOP_K is -3, expected a number"),
        ("MODEL.SED.CLASS_CHUNK", "-1", "CLASS_CHUNK is -1, expected a number"),
        ("MODEL.SED.TRAIN_CLASSES", "-1", "TRAIN_CLASSES is -1, expected a number"),
        ("MODEL.SED.IGNORED_PIXELS", "skip", "IGNORED_PIXELS is 'skip', expected one of"),
        ("MODEL.SED.DECODER.HEADS", "5", "5 attention heads do not divide"),
    ],
)
def test_settings_outside_their_range_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        build(key, value)


def test_an_overlap_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"OVERLAP is 1.0, expected a number in \[0, 1\)"):
        build("MODEL.SED.SLIDING.ENABLED", "True", "MODEL.SED.SLIDING.OVERLAP", "1.0")


def test_a_vocabulary_with_other_templates_than_the_model_is_refused(model):
    register_vocabulary(Vocabulary("sed-test-templates", ("a", "b"), templates=("{}", "my {}")))
    with pytest.raises(ValueError, match="has 2 templates, the decoder was made for 1"):
        model([record(vocabulary="sed-test-templates")])


def test_the_encoder_tells_the_shapes_that_it_gives(model):
    dense, features = model.encoder(torch.zeros(1, 3, 64, 96))
    for name, spec in model.encoder.output_shape().items():
        size = (spec.channels, 64 // spec.stride, 96 // spec.stride)
        assert tuple(features[name].shape[1:]) == size, name
    stride = model.encoder.size_divisibility
    assert tuple(dense.shape[2:]) == (64 // stride, 96 // stride)


def test_an_encoder_takes_only_inputs_of_its_stride(model):
    with pytest.raises(ValueError, match="40x64 pixels.*multiples of 16"):
        model.encoder(torch.zeros(1, 3, 40, 64))


def test_a_clip_whose_image_tower_is_no_convnext_is_refused():
    with pytest.raises(ValueError, match="ConvNeXt of 4 stages, got Linear.*MODEL.CLIP.NAME"):
        DenseConvNeXt(torch.nn.Linear(2, 2))


def test_the_model_is_found_by_its_name(model):
    assert isinstance(model, SED)
