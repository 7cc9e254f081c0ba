"""ClipPretraining: from image-text records to a CLIP that load_clip reads."""

import logging

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch.nn import functional as F

from segplugins.clip import load_clip
from segplugins.config import add_shared_config
from segplugins.modeling import DenseConvNeXt
from segplugins.projects.umg_clip import ClipPretraining, add_config, clip_state_dict
from segplugins.projects.umg_clip.clip_pretraining import LOSSES
from segplugins.structures import Vocabulary, get_vocabulary, register_vocabulary
from segplugins.structures.regions import Region, Task

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
register_vocabulary(Vocabulary("test-pretraining-colours", tuple(COLOURS)))


def build(**options):
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "ClipPretraining"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.CLIP.TEMPLATES = "simple"
    for key, value in options.items():
        node, _, key = key.rpartition("__")
        section = {"": cfg.MODEL.UMG_CLIP, "TEST": cfg.TEST, "CLIP": cfg.MODEL.CLIP}[node]
        section[key] = value
    return build_model(cfg)


@pytest.fixture
def model():
    return build()


def painted(left, right, size=(48, 64)):
    """(3, H, W) uint8: two halves of one colour each, with some noise."""
    image = torch.empty(3, *size)
    half = size[1] // 2
    image[:, :, :half] = torch.tensor(COLOURS[left]).view(3, 1, 1)
    image[:, :, half:] = torch.tensor(COLOURS[right]).view(3, 1, 1)
    return (image + 10 * torch.randn(image.shape)).clamp(0, 255).to(torch.uint8)


def pair(left="red", right="blue", size=(48, 64), **more):
    record = {"image": painted(left, right, size), "key": "k"}
    record["captions"] = [f"{left} and {right}", f"something {left} beside {right}"]
    record["tags"] = list(dict.fromkeys((left, right)))
    return {**record, **more}


def question(left, right, **more):
    record = {"image": painted(left, right), "height": 96, "width": 100}
    return {**record, "vocabulary": "test-pretraining-colours", **more}


def test_a_record_is_answered_by_what_it_asks_for(model):
    model.eval()
    image = painted("red", "blue")
    class_of = {"image": image, "height": 48, "width": 64, "task": Task.CLASSIFICATION}
    class_of["vocabulary"] = "test-pretraining-colours"
    found = {"image": image, "height": 48, "width": 64, "captions": ["red", "a sea", "red"]}
    found["task"] = Task.RETRIEVAL
    with torch.no_grad():
        scores, retrieval = model([class_of, found])
    assert set(scores) == {"class_scores"} and scores["class_scores"].shape == (3,)
    assert set(retrieval) == {"image_embedding", "text_embeddings"}
    embedding, texts = retrieval["image_embedding"], retrieval["text_embeddings"]
    assert embedding.shape == (64,) and texts.shape == (3, 64)
    torch.testing.assert_close(texts[0], texts[2])
    # The class scores are the cosines of the same embedding with the classes, times the scale.
    words = get_vocabulary("test-pretraining-colours")
    expected = model.classifier(embedding[None], words)[0]
    torch.testing.assert_close(scores["class_scores"], expected)
    assert model.answers == {*scores, *retrieval, "sem_seg"}


def test_the_image_embedding_is_that_of_open_clips_tower(model):
    towers = load_clip("convnext_drawn")
    encoder = DenseConvNeXt(towers.visual)
    images = torch.randn(2, 3, 48, 64)
    cells, features = encoder(images)
    assert cells.shape == (2, 64, 3, 4)
    torch.testing.assert_close(encoder.pooled(features), towers.visual(images))


def test_every_loss_is_given_and_every_trained_parameter_gets_a_gradient(model):
    losses = model.train()([pair(), pair("green", "red"), pair("blue", "green")])
    assert set(losses) == set(LOSSES)
    assert all(loss.dim() == 0 and loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("weight", ["CAPTION_WEIGHT", "PRESENCE_WEIGHT", "ASSIGNMENT_WEIGHT"])
def test_weights_scale_their_loss_and_zero_leaves_it_out(weight):
    records = [pair(captions=["one"]), pair("green", "red", captions=["two"])]
    torch.manual_seed(0)
    plain = build().train()(records)
    torch.manual_seed(0)
    twice = build(**{weight: 2.0}).train()(records)
    name = f"loss_{weight.split('_')[0].lower()}"
    for loss in LOSSES:
        factor = 2 if loss == name else 1
        torch.testing.assert_close(twice[loss], factor * plain[loss])
    assert set(build(**{weight: 0.0}).train()(records)) == set(LOSSES) - {name}


@pytest.mark.parametrize(
    "records",
    [
        [pair(tags=[]), pair(tags=[])],
        [pair(captions=[]), pair(captions=[])],
        [pair(captions=[], tags=[])],
        [pair(tags=[]), pair(captions=[], size=(33, 70))],
        [pair()],
    ],
    ids=["no tags", "no captions", "nothing", "one of each, two sizes", "one image"],
)
def test_records_that_lack_something_give_finite_losses_and_all_gradients(model, records):
    losses = model.train()(records)
    assert set(losses) == set(LOSSES) and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters())
    if not any(record.get("tags") for record in records):
        assert losses["loss_presence"] == losses["loss_assignment"] == 0


def test_boxes_count_as_names_and_decide_their_cells(model):
    """Blue fills its box, two of four columns; red has none and takes the others: two labels."""
    record = pair(tags=["red"], regions=[Region("blue", box=(32, 0, 64, 48))])
    found = model.train()([record])
    cells = model.encoder(model.normalizer([record]).tensor)[0].permute(0, 2, 3, 1)
    logits = model.classifier(cells, ["a photo of a blue.", "a photo of a red."])
    labels = torch.tensor([1, 1, 0, 0]).expand(3, 4)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 2), labels.flatten())
    torch.testing.assert_close(found["loss_assignment"], expected, atol=1e-5, rtol=1e-4)
    without = {**record, "tags": ["red", "blue"], "regions": []}
    torch.testing.assert_close(model([without])["loss_presence"], found["loss_presence"])


def test_a_colour_is_learned_and_answered_where_it_is():
    model = build(CAPTION_WEIGHT=0.5).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    pairs = [("red", "blue"), ("green", "red"), ("blue", "green"), ("blue", "red")]
    for _ in range(25):
        optimizer.zero_grad()
        sum(model([pair(*names) for names in pairs]).values()).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        scores = model([question("green", "blue")])[0]["sem_seg"]
    assert scores.shape == (3, 96, 100)
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(96, 100))
    labels = scores.argmax(dim=0)
    assert (labels[:, :40] == 1).float().mean() > 0.9  # never seen side by side like this
    assert (labels[:, 60:] == 2).float().mean() > 0.9


@torch.no_grad()
def test_padding_is_cut_away_before_the_result_is_made(model):
    """An image of 40 x 56 pixels is padded to 48 x 64: 3 x 4 cells of 16."""
    model.eval()
    asked = question("red", "blue")
    asked = {**asked, "image": painted("red", "blue", (40, 56)), "height": 20, "width": 28}
    scores = model([asked])[0]["sem_seg"]
    cells, _ = model.encoder(model.normalizer([asked]).tensor)
    logits = model.classifier(cells[0].permute(1, 2, 0), get_vocabulary(asked["vocabulary"]))
    whole = F.interpolate(logits.permute(2, 0, 1)[None], (48, 64), mode="bilinear")
    expected = F.interpolate(whole[..., :40, :56], (20, 28), mode="bilinear")[0].softmax(dim=0)
    torch.testing.assert_close(scores, expected)


@torch.no_grad()
def test_label_maps_are_the_best_scores(model, monkeypatch):
    import segplugins.projects.umg_clip.clip_pretraining as module

    model.eval()
    records = [question("green", "blue"), question("red", "green")]
    scores = [result["sem_seg"] for result in model(records)]
    model.label_maps = True
    for classes in (1, 2, 32):
        monkeypatch.setattr(module, "_CLASSES", classes)
        for result, expected in zip(model(records), scores):
            assert torch.equal(result["sem_seg"], expected.argmax(dim=0))


@torch.no_grad()
def test_phrases_and_any_vocabulary_are_answered(model):
    model.eval()
    phrases = question("red", "blue", vocabulary=None, texts=["a", "b, c", "a", "d"])
    assert model([phrases])[0]["sem_seg"].shape == (4, 96, 100)
    assert model([question("red", "blue")])[0]["sem_seg"].shape == (3, 96, 100)


@pytest.mark.parametrize("form", ["trainer", "exported"])
def test_load_clip_reads_what_was_trained_whole(tmp_path, caplog, form):
    torch.manual_seed(5)
    model = build()
    state = model.state_dict() if form == "trainer" else clip_state_dict(model)
    torch.save({"model": state, "iteration": 7}, tmp_path / "model_final.pth")
    with caplog.at_level(logging.WARNING):
        towers = load_clip("convnext_drawn", str(tmp_path / "model_final.pth"))
    assert "tensors" not in caplog.text  # nothing missing, nothing unexpected
    images = torch.randn(1, 3, 64, 64)
    trained = model.encoder.eval()
    torch.testing.assert_close(towers.visual(images), trained.pooled(trained(images)[1]))
    text = model.classifier.text_encoder.text
    assert all(
        torch.equal(value, text.state_dict()[key])
        for key, value in towers.text.state_dict().items()
    )
    assert torch.equal(towers.logit_scale, model.classifier.logit_scale)


def test_training_goes_on_from_its_own_weights(tmp_path):
    torch.manual_seed(5)
    first = build()
    torch.save({"model": first.state_dict()}, tmp_path / "x.pth")
    second = build(CLIP__WEIGHTS=str(tmp_path / "x.pth"))
    found, expected = second.state_dict(), first.state_dict()
    for key in expected.keys() - {"classifier.logit_scale"}:
        assert torch.equal(found[key], expected[key]), key
    torch.testing.assert_close(found["classifier.logit_scale"], expected["classifier.logit_scale"])


def test_a_loss_without_a_factor_is_refused(model):
    parts = {"encoder": model.encoder, "normalizer": None, "classifier": model.classifier}
    with pytest.raises(ValueError, match="loss_weights must be .*loss_presence"):
        ClipPretraining(**parts, loss_weights={"loss_caption": 1.0}, label_maps=False)
    with pytest.raises(ValueError, match="none below 0"):
        weights = dict.fromkeys(LOSSES, -1.0)
        ClipPretraining(**parts, loss_weights=weights, label_maps=False)


def test_only_a_convnext_can_be_trained_this_way():
    with pytest.raises(ValueError, match="ConvNeXt of 4 stages, got Linear"):
        DenseConvNeXt(torch.nn.Linear(2, 2))


def test_an_adapted_clip_is_not_written_as_one_without_adapters():
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "ClipPretraining", "cpu"
    cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.TEMPLATES = "eva_drawn", "single"
    cfg.MODEL.UMG_CLIP.TOWER.TRAINED, cfg.MODEL.UMG_CLIP.PET.WIDTH = "adapters", 2
    model = build_model(cfg).train()
    # Towers stay as they are: what is frozen is in evaluation mode, adapters are not.
    assert not model.encoder.training and model.encoder.adapters.training
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith("encoder.adapters.") for name in trained)
    with pytest.raises(ValueError, match="an adapted CLIP is no CLIP of open_clip"):
        clip_state_dict(model)


def test_an_image_is_classified_as_a_whole(model):
    record = {**pair(), "vocabulary": "test-pretraining-colours", "height": 48, "width": 64}
    record["task"] = Task.CLASSIFICATION
    model.eval()
    with torch.no_grad():
        (output,) = model([record])
        _, pooled = model.encoder.encode(model.normalizer([record]).tensor)
        rows = model.classifier.embed(get_vocabulary("test-pretraining-colours"))
        expected = model.classifier.scale() * F.normalize(pooled[0], dim=0) @ rows.T
    assert output.keys() == {"class_scores"}
    torch.testing.assert_close(output["class_scores"], expected)
