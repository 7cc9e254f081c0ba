"""SED against recordings of the official code. Sizes, names and cases come from the files.

Tolerance, as the recordings' README has it: 5e-5 of the largest value (at least of 1) for forward
values and 2e-5 for gradients, in float32; sets of indices and label maps exact.
"""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from detectron2.config import get_cfg
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from timm.layers import Mlp
from torch import nn

from segplugins.config import add_shared_config
from segplugins.data import SegMapper, dataset_metadata
from segplugins.data.augmentations import build_augmentations
from segplugins.data.label_maps import (
    ade_class_ids,
    remap_ade150,
    remap_ade847,
    remap_coco_stuff,
    remap_pc59,
    remap_voc,
)
from segplugins.engine.optim import build_optimizer
from segplugins.engine.read_config import apply_settings, read_settings
from segplugins.evaluation.confusion import confusion_matrix
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.semantic_scores import semantic_metrics
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.dense_convnext import DenseConvNeXt
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.projects.sed import SED, add_config
from segplugins.projects.sed.aggregation import ClassLayer, SpatialBlock
from segplugins.projects.sed.chunks import Decoding
from segplugins.projects.sed.class_attention import (
    ClassTokens,
    class_sums,
    linear_attention,
    softmax_attention,
)
from segplugins.projects.sed.cost_map import cost_map
from segplugins.projects.sed.decoder import GradualFusionDecoder, Rows
from segplugins.projects.sed.loss import DecoderLoss
from segplugins.projects.sed.maps import score_map
from segplugins.projects.sed.rejection import FirstScores
from segplugins.projects.sed.sed import Inference
from segplugins.projects.sed.weights import PREDICTOR, official_name, our_name
from segplugins.structures import Vocabulary, register_vocabulary

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "sed"
FORWARD, GRADIENT = 5e-5, 2e-5


def read(folder, name):
    """Arrays of a recording as tensors, by name; texts stay arrays."""
    with np.load(folder / f"{name}.npz") as arrays:
        return {
            key: value if value.dtype.kind == "U" else torch.from_numpy(value)
            for key, value in arrays.items()
        }


def read_state(folder, name):
    """A state dict and the sizes that it was made with."""
    path = folder / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["config"])


def assert_close(got, want, tolerance=FORWARD):
    assert got.shape == want.shape
    error = (got.double() - want.double()).abs().max().item()
    assert error <= tolerance * max(1.0, want.double().abs().max().item())


def assert_losses_close(got, want):
    for key, value in want.items():
        assert_close(got[key].detach(), value)


def renamed(state, prefix="", ours=""):
    """An official state dict under our names; `prefix` is what the recording stripped."""
    return {our_name(f"{prefix}{key}").removeprefix(ours): value for key, value in state.items()}


def build_decoder(sizes):
    return GradualFusionDecoder(
        templates=sizes["P"],
        widths=[sizes["hidden"], *sizes["dd"]],
        skip_channels=sizes["gd"],
        skip_widths=sizes["gp"],
        kernel_sizes=sizes["ks"],
        heads=sizes["heads"],
        attention="linear",
        pooling=(2, 2),
        test_pooling=(1, 1),
    )


def load_decoder(folder, name="decoder_state"):
    state, sizes = read_state(folder, name)
    decoder = build_decoder(sizes)
    decoder.load_state_dict(renamed(state, f"{PREDICTOR}transformer.", "decoder."))
    return decoder.eval()


def build_visual(dims, depths, embed_dim, proj="linear"):
    """The recordings' image tower: a timm trunk and open_clip's head."""
    trunk = timm.create_model(
        "convnext_base", dims=tuple(dims), depths=tuple(depths), num_classes=0
    )
    if proj == "linear":
        head = nn.Sequential()
        head.add_module("proj", nn.Linear(dims[-1], embed_dim, bias=False))
    else:
        head = nn.Sequential()
        head.add_module("mlp", Mlp(dims[-1], 2 * embed_dim, embed_dim, bias=(True, False)))
    return SimpleNamespace(trunk=trunk, head=head)


@pytest.mark.parametrize("name", ["encoder_linear", "encoder_mlp"])
def test_the_encoder_gives_the_stages_and_the_dense_embedding(parity, name):
    state, sizes = read_state(parity, f"{name}_state")
    recorded = read(parity, name)
    encoder = DenseConvNeXt(build_visual(**sizes)).eval()
    encoder.load_state_dict(renamed(state, f"{PREDICTOR}clip_model.", "encoder."))
    with torch.no_grad():
        dense, features = encoder(recorded["image"])
        assert_close(encoder.trunk.stem(recorded["image"]), recorded["stem"])
    for stage, feature in features.items():
        assert_close(feature, recorded[stage])
    assert_close(dense, recorded["clip_vis_dense"])


def test_the_cost_map_is_the_cosine_with_every_prompt(parity):
    recorded = read(parity, "cost_map")
    decoder = load_decoder(parity)
    guidance = []
    with torch.no_grad():
        for b, text in enumerate(recorded["text_feats"]):  # every image has its own text here
            cost = cost_map(recorded["img_feats"][b : b + 1], text)
            assert_close(cost[0].transpose(0, 1), recorded["cost"][b])
            rows = decoder.start(cost)
            assert_close(rows.features[0].transpose(0, 1), recorded["cost_embed"][b])
            chain = [rows.guidance[0]]
            for stage in decoder.stages:
                chain.append(stage.guide(chain[-1]))
            guidance.append(chain[1:])
    for i in range(len(decoder.stages)):
        assert_close(torch.cat([image[i] for image in guidance]), recorded[f"corr_guidance_{i}"])


def test_linear_and_softmax_attention(parity):
    recorded = read(parity, "attention_core")
    q, k, v = (recorded[name].transpose(1, 2)[None] for name in "qkv")
    linear = linear_attention(q, class_sums(k, v))[0].transpose(1, 2)
    assert_close(linear, recorded["linear_out"])
    full = softmax_attention(q, ClassTokens(k, v))[0].transpose(1, 2)
    assert_close(full, recorded["full_out"])


def test_the_class_layer_with_and_without_pooling(parity):
    state, sizes = read_state(parity, "class_layer_state")
    recorded = read(parity, "class_layer")
    layer = ClassLayer(sizes["hidden_dim"], sizes["heads"], "linear")
    prefix = f"{PREDICTOR}transformer.decoder1.attention."
    layer.load_state_dict(renamed(state, prefix, "decoder.stages.0.classes."))
    with torch.no_grad():
        assert_close(layer.attend(recorded["tokens"][None])[0], recorded["tokens_attn"])
        for grid, out in (("x", "out"), ("x_other_size", "out_other_size")):
            x = recorded[grid].transpose(1, 2)
            for pooling in (1, 2):
                y = layer(x, (pooling, pooling))
                assert_close(y.transpose(1, 2), recorded[f"{out}_pool{pooling}"])


def test_the_spatial_block(parity):
    recorded = read(parity, "spatial_block")
    block = SpatialBlock(recorded["x"].shape[1], int(recorded["kernel_size"]))
    state = {k.removeprefix("state."): v for k, v in recorded.items() if k.startswith("state.")}
    prefix = f"{PREDICTOR}transformer.decoder1.cnext."
    block.load_state_dict(renamed(state, prefix, "decoder.stages.0.spatial."))
    with torch.no_grad():
        assert_close(block(recorded["x"]), recorded["out"])


def test_one_decoder_stage_step_by_step(parity):
    recorded = read(parity, "decoder_stage")
    stage = load_decoder(parity).stages[1]
    batch = (len(recorded["guidance"]), -1)
    x, guidance = (recorded[name].unflatten(0, batch) for name in ("x", "corr_guidance"))
    with torch.no_grad():
        terms = stage.fusion.image_terms(recorded["guidance"])
        spatial = stage.aggregate_space(Rows(x, guidance))
        assert_close(spatial.flatten(0, 1), recorded["after_spatial"])
        classes = stage.classes(spatial, (1, 1))
        assert_close(classes.flatten(0, 1), recorded["after_class"])
        assert_close(stage.fusion.up(classes.flatten(0, 1)), recorded["after_up"])
        for pooling in (1, 2):
            fused = stage.fusion(stage.classes(spatial, (pooling, pooling)), guidance, terms)
            assert_close(fused.flatten(0, 1), recorded[f"out_pool{pooling}"])


@pytest.mark.parametrize("pooling", [1, 2])
def test_the_whole_decoder(parity, pooling):
    recorded = read(parity, "decoder_full")
    decoder = load_decoder(parity).train(pooling == 2)
    names = [f"pool{pooling}_{name}" for name in ("final", *(f"aux_head{i}" for i in range(3)))]
    with torch.no_grad():
        for b, text in enumerate(recorded["text_feats"]):
            skips = [recorded[f"guide_res{i}"][b : b + 1] for i in (4, 3, 2)]
            logits = decoder(cost_map(recorded["img_feats"][b : b + 1], text), skips)
            for name, got in zip(names, logits):
                assert_close(got[0], recorded[name][b])


def test_early_rejection_keeps_the_same_classes_and_scores_them_the_same(parity):
    recorded = read(parity, "decoder_cer")
    decoder = load_decoder(parity, "decoder_cer_state")
    skips = [recorded[f"guide_res{i}"] for i in (4, 3, 2)]
    image, text = recorded["img_feats"], recorded["text_feats"][0]
    k, classes = int(recorded["topk"]), len(text)

    with torch.no_grad():
        full, *aux = decoder(cost_map(image, text), skips)
        first = FirstScores(decoder)(cost_map(image, text)[0])
    assert_close(full, recorded["full_logits"])
    for i, scores in enumerate(aux):
        assert_close(scores, recorded[f"full_aux_head{i}"])
    assert_close(first, recorded["score0"][0])

    for chunk in (0, 1, 4, classes):  # any chunk, before or after the classes fit in one
        decoding = Decoding(decoder, image, skips, text, chunk=chunk, top_k=k)
        assert decoding.rejections == [len(recorded[f"kept{i}"]) for i in range(3)]
        assert decoding.classes.tolist() == recorded["kept2"].tolist()
        grid = recorded["prob_out"].shape[-2:]
        probabilities = score_map(decoding, torch.arange(classes), grid)
        assert_close(probabilities, recorded["prob_out"][0])
        rejected = sorted(set(range(classes)) - set(decoding.classes.tolist()))
        assert probabilities[rejected].eq(0).all()  # exactly

    one = Decoding(decoder, image, skips, text, chunk=0, top_k=1)
    assert one.classes.tolist() == recorded["kept_k1"].tolist()
    everything = Decoding(decoder, image, skips, text, chunk=0, top_k=classes)
    assert everything.rejections == []
    assert_close(everything.probabilities(slice(None)), recorded["full_logits"][0].sigmoid())


def test_loss_and_gradients_of_the_decoder(parity):
    recorded = read(parity, "loss")
    decoder = load_decoder(parity).train()
    image = recorded["img_feats"].requires_grad_()
    skips = [recorded[f"guide_res{i}"] for i in (4, 3, 2)]
    cost = torch.cat(
        [cost_map(image[b : b + 1], text) for b, text in enumerate(recorded["text_feats"])]
    )
    logits = decoder(cost, skips)
    for i, scores in enumerate(logits):
        assert_close(scores.detach(), recorded[f"logits_{i}"])
    losses = DecoderLoss([1.0] * 4, "negative")(logits, recorded["targets"])
    assert_losses_close(losses, {k: v for k, v in recorded.items() if k.startswith("loss_sem")})
    sum(losses.values()).backward()
    assert_close(image.grad, recorded["grad_img_feats"], GRADIENT)
    assert_gradients_close(decoder, recorded, f"{PREDICTOR}transformer.", "decoder.")


def assert_gradients_close(model, recorded, prefix="", ours=""):
    parameters = dict(model.named_parameters())
    gradients = {k.removeprefix("grad."): v for k, v in recorded.items() if k.startswith("grad.")}
    assert gradients
    for name, want in gradients.items():
        parameter = parameters[our_name(f"{prefix}{name}").removeprefix(ours)]
        assert_close(parameter.grad, want, GRADIENT)


class GivenText(nn.Module):
    """Stands in for the classifier: the recorded text features of classes called by number."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def embed(self, names, keep_templates):
        assert keep_templates
        return self.features[[int(name) for name in names.classes]]

    def votes(self, visual, vocabulary):
        return None  # there is no memory


def build_model(folder, text_features, top_k=None):
    state, sizes = read_state(folder, "e2e_state")
    visual = build_visual(sizes["encoder_dims"], sizes["encoder_depths"], sizes["embed_dim"])
    model = SED(
        encoder=DenseConvNeXt(visual),
        normalizer=ImageNormalizer(
            mean=[122.7709383, 116.7460125, 104.09373615],
            std=[68.5005327, 66.6321579, 70.3231630],
            divisibility=32,
        ),
        classifier=GivenText(text_features),
        decoder=GradualFusionDecoder(
            templates=sizes["num_templates"],
            widths=[sizes["c_hidden"], *sizes["decoder_dims"]],
            skip_channels=sizes["guidance_dims"],
            skip_widths=sizes["guidance_proj"],
            kernel_sizes=sizes["kernel"],
            heads=sizes["heads"],
            attention="linear",
            pooling=(2, 2),
            test_pooling=(1, 1),
        ),
        criterion=DecoderLoss([1.0] * 4, "negative"),
        resolution=sizes["clip_resolution"],
        rejection_heads_only=False,
        train_classes=0,
        inference=Inference(top_k=top_k),
    )
    model.load_state_dict(renamed(state))
    return model


def number_vocabulary(count):
    """Classes "0" to "count - 1"; as many templates as the recording has are the stub's affair."""
    vocabulary = Vocabulary(f"sed-parity-{count}", tuple(map(str, range(count))))
    register_vocabulary(vocabulary)
    return vocabulary.name


def test_an_image_from_its_pixels_to_its_map(parity):
    recorded = read(parity, "e2e_eval")
    model = build_model(parity, recorded["text_features"]).eval()
    classes = len(recorded["text_features"])
    height, width = recorded["out_hw"].tolist()
    record = {
        "image": recorded["image"],
        "height": height,
        "width": width,
        "vocabulary": number_vocabulary(classes),
    }
    network_input = model.resized(model.normalizer.normalize(record["image"])[None])
    assert_close(network_input, recorded["clip_images"])
    scores = model([record])[0]["sem_seg"]
    assert_close(scores, recorded["sem_seg"])
    assert scores.argmax(dim=0).tolist() == recorded["argmax"].tolist()

    model.inference = Inference(label_maps=True)
    assert model([record])[0]["sem_seg"].tolist() == recorded["argmax"].tolist()

    model.inference = Inference(top_k=int(recorded["topk"]))
    fast = model([record])[0]["sem_seg"]
    assert_close(fast, recorded["sem_seg_cer"])
    assert fast.flatten(1).any(dim=1).tolist() == recorded["kept"].tolist()


def test_a_training_step_from_pixels_to_gradients(parity):
    recorded = read(parity, "e2e_train")
    model = build_model(parity, recorded["text_features"]).train()
    vocabulary = number_vocabulary(len(recorded["text_features"]))
    losses = model(
        [
            {"image": image, "sem_seg": labels, "vocabulary": vocabulary}
            for image, labels in zip(recorded["images"], recorded["targets"])
        ]
    )
    assert_losses_close(losses, {k: v for k, v in recorded.items() if k.startswith("loss_sem")})
    sum(losses.values()).backward()
    assert_gradients_close(model, recorded)
    norms = [p.grad.norm() for p in model.parameters() if p.requires_grad]
    assert_close(torch.stack(norms).norm(), recorded["total_grad_norm"], GRADIENT)


class GivenPrompts(nn.Module):
    """Stands in for the text encoder: the recorded embedding of each prompt."""

    def __init__(self, prompts, embeddings):
        super().__init__()
        self.rows = dict(zip(prompts, embeddings))
        self.embed_dim = embeddings.shape[1]
        self.device = embeddings.device

    def fingerprint(self):
        return "recorded"

    def pooled(self, texts):
        return torch.stack([self.rows[text] for text in texts])


def test_synonyms_are_averaged_within_each_template(parity):
    recorded = read(parity, "text_ensemble")
    names, templates, prompts = (
        json.loads(str(recorded[key])) for key in ("class_names", "templates", "prompts")
    )
    flat = [prompt for of_class in prompts for prompt in of_class]
    assert [len(of_class) for of_class in prompts] == recorded["rows_per_class"].tolist()
    classifier = VocabularyClassifier(
        GivenPrompts(flat, recorded["raw_embeddings"]),
        temperature=1.0,
        templates=templates,
        synonyms="mean",
    )
    text = classifier.embed(Vocabulary("recorded", tuple(names)), keep_templates=True)
    assert_close(text, recorded["text_features_T_P_C"])
    assert_close(text.transpose(0, 1), recorded["embeddings_P_T_C"])


def test_the_released_config_groups_parameters_like_the_official_optimizer(parity):
    recorded = json.loads((parity / "optimizer_groups.json").read_text())
    cfg = released_config()
    model = build_model(parity, torch.zeros(1, 3, 16))
    optimizer = build_optimizer(cfg, model)
    assert type(optimizer).__name__ == recorded["optimizer"]
    for key, value in recorded["defaults"].items():
        assert np.allclose(optimizer.defaults[key], value)
    assert cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
    assert recorded["grad_clip_norm"] == cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE

    settings = {
        parameter: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    ours = {official_name(name): settings[p] for name, p in model.named_parameters()}
    theirs = {name: (lr, decay) for name, lr, decay in recorded["groups"]}
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        assert ours[name] == pytest.approx(want, rel=1e-12), name


def released_config():
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    apply_settings(cfg, read_settings(CONFIGS / "convnext_b.yaml"))
    return cfg


def test_the_training_mapper_resizes_and_pads(parity, tmp_path):
    recorded = read(parity, "mapper")
    image, labels = tmp_path / "image.png", tmp_path / "labels.png"
    Image.fromarray(recorded["in_image"].numpy()).save(image)
    Image.fromarray(recorded["in_label"].numpy()).save(labels)
    cfg = released_config()
    cfg.INPUT.MIN_SIZE_TRAIN = [int(recorded["short_edge"])]
    cfg.INPUT.MAX_SIZE_TRAIN = int(recorded["max_size"])
    cfg.INPUT.PAD_TO = int(recorded["size_divisibility"])
    cfg.INPUT.CROP.ENABLED = cfg.INPUT.COLOR_AUG_SSD = False
    cfg.INPUT.RANDOM_FLIP = "none"
    resize, *_ = augmentations = build_augmentations(cfg, True)
    mapper = SegMapper(
        True,
        augmentations=augmentations,
        targets=cfg.INPUT.TARGETS,
        metadata={"recorded": SimpleNamespace(ignore_label=255)},
    )
    record = mapper({"file_name": str(image), "sem_seg_file_name": str(labels), "vocabulary": None})
    assert torch.equal(record["image"], recorded["image"])
    assert torch.equal(record["sem_seg"], recorded["sem_seg"].long())
    # "ori_size" is that of the image between resizing and padding.
    before_padding = resize.get_transform(recorded["in_image"].numpy())
    assert [before_padding.new_h, before_padding.new_w] == recorded["ori_size"].tolist()
    classes, areas = record["sem_seg"].unique(return_counts=True)
    assert classes[classes != 255].tolist() == recorded["gt_classes"].tolist()
    assert areas[classes != 255].tolist() == recorded["mask_areas"].tolist()


def test_labels_of_the_sources_become_classes(parity):
    recorded = {key: value.numpy() for key, value in read(parity, "label_remap").items()}
    for raw, out, remap in (
        ("pc59_raw", "pc59_out", remap_pc59),
        ("voc_raw", "voc20_out", partial(remap_voc, background=False)),
        ("voc_raw", "voc20b_out", partial(remap_voc, background=True)),
        ("ade847_seg_rgb", "ade847_class_mask", ade_class_ids),
        ("ade847_class_mask", "ade847_out", remap_ade847),
        ("coco_raw", "coco_out", remap_coco_stuff),
        ("ade150_raw", "ade150_out", remap_ade150),
    ):
        got = remap(recorded[raw])
        assert got.dtype == recorded[out].dtype, out
        assert np.array_equal(got, recorded[out]), out


def test_voc_with_background_is_folded_and_measured_by_both_rules(parity):
    recorded = {key: value.numpy() for key, value in read(parity, "voc20b_eval").items()}
    metadata = dataset_metadata("voc_2012_test_background_sem_seg")
    classes = len(recorded["iou"])
    fold = ClassFold(classes, class_map=metadata.class_map, ignore_label=metadata.ignore_label)
    count = sum(key.startswith("pred") for key in recorded)
    pairs = [(recorded[f"pred{i}"], recorded[f"gt{i}"]) for i in range(count)]
    confusion = confusion_matrix(pairs, fold)
    assert np.array_equal(confusion, recorded["conf_matrix"])
    names = [str(i) for i in range(classes)]
    metrics = semantic_metrics(confusion, names)
    assert metrics["mIoU"] == pytest.approx(float(recorded["miou_gt_present"]), rel=1e-12)
    assert metrics["mIoU_union"] == pytest.approx(float(recorded["miou_union_present"]), rel=1e-12)
    assert len(metadata.stuff_classes) == classes
