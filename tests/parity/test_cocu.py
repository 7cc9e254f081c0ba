"""CoCu against recordings of GroupViT's and CoCu's released code, and of PAMR."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from torch.nn import functional as F

from segplugins.config import add_shared_config
from segplugins.engine import setup_cfg
from segplugins.engine.optim import build_lr_scheduler
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.modeling.contrastive import contrastive
from segplugins.projects.cocu import add_config
from segplugins.projects.cocu.curation.clusters import (
    cluster_archives,
    cluster_concepts,
    draw_probabilities,
)
from segplugins.projects.cocu.curation.concepts import ConceptExtractor
from segplugins.projects.cocu.curation.ranking import (
    ConceptLists,
    IndexConcepts,
    concept_cosines,
    rank_archives,
)
from segplugins.projects.cocu.curation.scores import build_archive, ranked, score_concepts
from segplugins.projects.cocu.curation.vocabulary import shared_names
from segplugins.projects.cocu.decode import class_logits, pixel_segments, segment_scores
from segplugins.projects.cocu.group_vit import GroupViT
from segplugins.projects.cocu.grouping import Assignment, GroupingBlock
from segplugins.projects.cocu.multi_label import multi_label_contrastive
from segplugins.projects.cocu.pamr import refine_masks
from segplugins.projects.cocu.texts import Projector, TextTransformer
from segplugins.structures.vocabulary import get_vocabulary
from segplugins.text import template_set

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def read(path):
    with np.load(path) as content:
        texts = {k: json.loads(str(content[k])) for k in content if k.endswith("_json")}
        arrays = {k: content[k] for k in content if content[k].dtype.kind != "U"}
    return {**{k: torch.from_numpy(v) for k, v in arrays.items()}, **texts}


def weights(recording, prefix=""):
    start = f"w/{prefix}"
    return {k.removeprefix(start): v for k, v in recording.items() if k.startswith(start)}


def encoder(recording, prefix=""):
    config = recording["config_json"]
    model = GroupViT(
        image_size=config["img_size"],
        patch=config["patch_size"],
        width=config["embed_dim"],
        depths=config["depths"],
        heads=config["num_heads"],
        group_tokens=config["num_group_tokens"],
        groups_out=config["num_output_groups"],
    )
    model.load_state_dict(weights(recording, prefix))
    return model.eval()


def test_assignment_and_its_straight_through_gradient(parity):
    recording = read(parity / "assign_attention.npz")
    query, key = recording["query"].requires_grad_(), recording["key"].requires_grad_()
    module = Assignment(query.shape[-1])
    module.load_state_dict(weights(recording))
    module.eval()
    torch.testing.assert_close(module.logits(query, key), recording["raw_logits"], **CLOSE)
    assigned = module(query, key)
    torch.testing.assert_close(assigned.hard[:, None], recording["attn_hard"], **CLOSE)
    torch.testing.assert_close(assigned.soft[:, None], recording["attn_soft"], **CLOSE)
    torch.testing.assert_close(assigned.groups, recording["out_hard"], **CLOSE)
    soft = module.gather(assigned.soft, key)
    torch.testing.assert_close(soft, recording["out_soft"], **CLOSE)
    plain_sum = module.proj(assigned.hard @ module.v_proj(key))
    torch.testing.assert_close(plain_sum, recording["out_hard_sum"], **CLOSE)
    module.train()
    module.noise = lambda logits: recording["gumbel_noise"][:, 0]
    trained = module(query, key)
    torch.testing.assert_close(trained.hard[:, None], recording["train_attn"], **CLOSE)
    torch.testing.assert_close(trained.groups, recording["train_out"], **CLOSE)
    (trained.groups * recording["upstream"]).sum().backward()
    torch.testing.assert_close(query.grad, recording["train_grad_query"], **CLOSE)
    torch.testing.assert_close(key.grad, recording["train_grad_key"], **CLOSE)
    expected = recording["train_grad_q_proj_weight"]
    torch.testing.assert_close(module.q_proj.weight.grad, expected, **CLOSE)


def test_the_grouping_block(parity):
    recording = read(parity / "grouping_block.npz")
    tokens, groups = recording["image_tokens"], recording["group_tokens"]
    block = GroupingBlock(
        tokens.shape[-1],
        heads=int(recording["num_heads"]),
        groups_in=groups.shape[1],
        groups_out=recording["out_hard"].shape[1],
        ratio=4.0,
    ).eval()
    block.load_state_dict(weights(recording))
    with torch.no_grad():
        projected = block.project_tokens(groups)
        torch.testing.assert_close(projected, recording["projected_tokens"], **CLOSE)
        normed = block.norm_x(tokens)
        chosen = block.pre_assign_attn(projected, normed)
        torch.testing.assert_close(chosen, recording["pre_assign_tokens"], **CLOSE)
        assigned = block(tokens, groups)
        soft = chosen + block.assign.gather(assigned.soft, normed)
        soft = soft + block.mlp_channels(block.norm_new_x(soft))
    torch.testing.assert_close(assigned.groups, recording["out_hard"], **CLOSE)
    torch.testing.assert_close(assigned.hard[:, None], recording["attn_hard"], **CLOSE)
    torch.testing.assert_close(assigned.soft[:, None], recording["attn_soft"], **CLOSE)
    torch.testing.assert_close(soft, recording["out_soft"], **CLOSE)


def test_the_image_encoder_on_square_and_other_pictures(parity):
    recording = read(parity / "vision_encoder.npz")
    model = encoder(recording)
    images = [key for key in recording if key.startswith("image")]
    assert images
    for index in range(len(images)):
        with torch.no_grad():
            seen = model(recording[f"image{index}"])
        torch.testing.assert_close(seen.tokens, recording[f"feat{index}"], **CLOSE)
        torch.testing.assert_close(seen.pooled, recording[f"pooled{index}"], **CLOSE)
        for stage, assigned in enumerate(seen.assignments):
            for kind in ("hard", "soft"):
                expected = recording[f"attn_{kind}{index}_stage{stage}"]
                torch.testing.assert_close(getattr(assigned, kind)[:, None], expected, **CLOSE)


def test_the_text_encoder_and_the_class_embedding(parity):
    recording = read(parity / "text_encoder.npz")
    config, tokens = recording["config_json"], recording["tokens"]
    model = TextTransformer(
        vocabulary=config["vocab_size"],
        context=config["context_length"],
        width=config["width"],
        layers=config["layers"],
    ).eval()
    model.load_state_dict(weights(recording, "text_encoder."))
    projection = weights(recording, "text_projector.")
    projector = Projector(
        config["width"],
        projection["linear_hidden.0.weight"].shape[0],
        projection["linear_out.weight"].shape[0],
    ).eval()
    projector.load_state_dict(projection)
    with torch.no_grad():
        feature = model(tokens.flatten(0, 1))
        projected = projector(feature).unflatten(0, tokens.shape[:2])
    torch.testing.assert_close(feature, recording["text_feature"], **CLOSE)
    torch.testing.assert_close(projected[:, 0], recording["text_x"], **CLOSE)
    torch.testing.assert_close(projected[:, 1:], recording["text_multi_label_x"], **CLOSE)
    embedding = F.normalize(projected.mean(dim=1), dim=-1)
    torch.testing.assert_close(embedding, recording["class_embedding"], **CLOSE)


def both_losses(recording, images, texts, labels, scales):
    """Returns the caption and the multi-label loss of one process."""
    one, other = (scale.exp().clamp(max=100) for scale in scales)
    return contrastive(images, texts, one), multi_label_contrastive(images, labels, other)


def test_losses_and_gradients_of_one_process(parity):
    recording = read(parity / "losses_world1.npz")
    names = ("image_x", "text_x", "text_multi_label_x")
    inputs = [recording[name][0].requires_grad_() for name in names]
    scale_names = ("logit_scale", "multi_label_logit_scale")
    scales = [recording[name].requires_grad_() for name in scale_names]
    caption, labels = both_losses(recording, *inputs, scales)
    assert caption.item() == pytest.approx(float(recording["loss_per_rank"][0]), rel=1e-5)
    expected = float(recording["multi_label_loss_per_rank"][0])
    assert labels.item() == pytest.approx(expected, rel=1e-5)
    total = caption + labels
    total.backward()
    assert total.item() == pytest.approx(float(recording["total_mean_over_ranks"]), rel=1e-5)
    for name, tensor in zip(names, inputs):
        torch.testing.assert_close(tensor.grad, recording[f"grad_{name}"][0], **CLOSE)
    for name, scale in zip(scale_names, scales):
        torch.testing.assert_close(scale.grad, recording[f"grad_{name}"], **CLOSE)
    half = (recording["i2t_soft_target"] + recording["t2i"]) / 2
    assert labels.item() == pytest.approx(half.item(), rel=1e-5)
    paper = multi_label_contrastive(inputs[0], inputs[2], scales[1].exp(), form="paper")
    expected = (recording["i2t_paper_eq3"] + recording["t2i"]) / 2
    assert paper.item() == pytest.approx(expected.item(), rel=1e-5)


def losses_of_a_rank(rank, world, path, file, results):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=world
    )
    recording = read(path)
    names = ("image_x", "text_x", "text_multi_label_x")
    inputs = [recording[name][rank].clone().requires_grad_() for name in names]
    scales = [recording["logit_scale"], recording["multi_label_logit_scale"]]
    caption, labels = both_losses(recording, *inputs, scales)
    (caption + labels).backward()
    # The mean over processes, as DistributedDataParallel takes it.
    results[rank] = (caption.item(), labels.item(), [t.grad / world for t in inputs])
    torch.distributed.destroy_process_group()


def test_losses_and_gradients_of_several_processes(parity, tmp_path):
    recording = read(parity / "losses_multirank.npz")
    world = len(recording["image_x"])
    context = torch.multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.dict()
        path, file = parity / "losses_multirank.npz", tmp_path / "rendezvous"
        torch.multiprocessing.start_processes(
            losses_of_a_rank, (world, path, file, results), nprocs=world, start_method="fork"
        )
        rows = [results[rank] for rank in range(world)]
    total = sum(caption + labels for caption, labels, _ in rows) / world
    assert total == pytest.approx(float(recording["total_mean_over_ranks"]), rel=1e-5)
    for rank, (caption, labels, gradients) in enumerate(rows):
        assert labels == pytest.approx(
            float(recording["multi_label_loss_per_rank"][rank]), rel=1e-5
        )
        assert caption == pytest.approx(float(recording["loss_per_rank"][rank]), rel=1e-5)
        for name, gradient in zip(("image_x", "text_x", "text_multi_label_x"), gradients):
            torch.testing.assert_close(gradient, recording[f"grad_{name}"][rank], **CLOSE)


def test_masks_are_decoded_from_segments(parity):
    recording = read(parity / "seg_decode.npz")
    model = encoder(recording, "img_encoder.")
    projection = weights(recording, "img_projector.")
    projector = Projector(
        recording["config_json"]["embed_dim"],
        projection["linear_hidden.0.weight"].shape[0],
        projection["linear_out.weight"].shape[0],
    ).eval()
    projector.load_state_dict(projection)
    scale = recording["w/logit_scale"].exp().clamp(max=100)
    image, texts = recording["image"], recording["text_embedding"]

    def decode(images, threshold):
        seen = model(images)
        segments, pooled = projector(seen.tokens), projector(seen.pooled)
        scores, kept = segment_scores(segments, pooled, texts, scale)
        pixels = pixel_segments(seen.maps(), images.shape[-2:])
        return class_logits(scores, pixels, threshold), scores, kept, segments, pooled, seen

    threshold = float(recording["bg_thresh"])
    with torch.no_grad():
        logits, scores, kept, segments, pooled, seen = decode(image, threshold)
        above, *_ = decode(image, 0.9999)
        plain, *_ = decode(image, None)
        sliding = {name: slide(image, decode, name, recording) for name in ("bg", "nobg")}
    projected = {"image_feat": segments, "image_x": pooled}
    for name, ours in projected.items():
        unit = F.normalize(recording[name], dim=-1)
        torch.testing.assert_close(F.normalize(ours, dim=-1), unit, **CLOSE)
    affinity = scale * F.normalize(segments[0], dim=-1) @ texts.T
    torch.testing.assert_close(affinity, recording["group_affinity_raw"], **CLOSE)
    assert torch.equal(kept[0], recording["kept_classes"])
    torch.testing.assert_close(scores[0], recording["group_scores"], **CLOSE)
    maps = F.interpolate(seen.maps(), image.shape[-2:], mode="bilinear")
    expected = recording["attn_map_stage1_whole"].permute(0, 3, 1, 2)
    torch.testing.assert_close(maps, expected, **CLOSE)
    margin = maps.topk(2, dim=1).values
    torch.testing.assert_close(
        margin[:, 0] - margin[:, 1], recording["onehot_margin_whole"], **CLOSE
    )
    torch.testing.assert_close(logits, recording["whole_logits_bg"], **CLOSE)
    torch.testing.assert_close(above, recording["whole_logits_bg_thresh_above_max"], **CLOSE)
    torch.testing.assert_close(plain, recording["whole_logits_nobg"], **CLOSE)
    for name, ours in sliding.items():
        torch.testing.assert_close(ours, recording[f"slide_logits_{name}"], **CLOSE)
        labels = ours.softmax(dim=1).argmax(dim=1)
        same = labels == recording[f"slide_pred_{name}"].long()
        assert same.float().mean() >= 0.999


def slide(image, decode, name, recording):
    """Mean of the windows' logits, brought to the original size."""
    (high, wide), (down, right) = recording["crop"].tolist(), recording["stride"].tolist()
    height, width = image.shape[-2:]
    threshold = float(recording["bg_thresh"]) if name == "bg" else None
    tops = sorted({min(y, height - high) for y in range(0, height - high + down, down)})
    lefts = sorted({min(x, width - wide) for x in range(0, width - wide + right, right)})
    total, counts = 0.0, torch.zeros(height, width)
    for top in tops:
        for left in lefts:
            window = image[..., top : top + high, left : left + wide]
            logits, *_ = decode(window, threshold)
            frame = (left, width - left - wide, top, height - top - high)
            total = total + F.pad(logits, frame)
            counts += F.pad(torch.ones(high, wide), frame)
    size = tuple(recording["ori_shape"].tolist())
    return F.interpolate(total / counts, size, mode="bilinear", align_corners=False)


def test_local_consistency(parity):
    recording = read(parity / "pamr.npz")
    image, mask = recording["image"], recording["mask"]
    dilations = recording["dilations"].tolist()
    ours = refine_masks(image, mask, iterations=10, dilations=dilations, chunk=2)
    torch.testing.assert_close(ours, recording["out_iter10"], **CLOSE)
    once = refine_masks(image, mask, iterations=1, dilations=(1, 2))
    torch.testing.assert_close(once, recording["out_iter1_dil12"], **CLOSE)


# --- curation


@pytest.fixture
def curation(parity):
    return read(parity / "curation.npz")


def test_concepts_are_extracted_word_by_word(curation):
    extract = ConceptExtractor(curation["vocabulary_json"])
    for kind in ("index", "query"):
        pairs = zip(curation[f"{kind}_tokens_json"], curation[f"{kind}_extracts_json"])
        for words, expected in pairs:
            assert sorted(extract(words)) == sorted(expected), words


def test_archives_scores_and_ranks(curation):
    names = curation["vocabulary_json"]
    concepts = curation["concept_embedding"].numpy().astype(np.float64)
    index = curation["index_image_embedding"].numpy().astype(np.float64)
    external = curation["query_image_embedding"].numpy().astype(np.float64)
    queries = {"self": index, "external": external}
    records = curation["records_json"]
    assert records
    for record in records:
        image = queries[record["query"]][record["query_row"]]
        similarity = index @ image
        retrieved = np.argsort(-similarity, kind="stable")[: int(curation["n_retrieve"])]
        assert retrieved.tolist() == record["retrieved"]
        np.testing.assert_allclose(similarity[retrieved], record["retrieved_sim"], atol=1e-5)
        captions = [curation["index_extracts_json"][row] for row in retrieved]
        archive = build_archive(captions)
        assert archive.names == record["archive"]
        assert [len(rows) for rows in archive.references] == record["n_ref_exact"]
        rows = concepts[[names.index(name) for name in archive.names]]
        given = (image, index[retrieved], rows)
        ours = score_concepts(*given, archive.references)
        np.testing.assert_allclose(ours.similarity, record["s_a"], atol=1e-5)
        np.testing.assert_allclose(ours.relative, record["s_b_exact"], atol=1e-5)
        np.testing.assert_allclose(ours.combined, record["score_exact_norm"], atol=1e-5)
        assert ranked(archive.names, ours.combined) == record["ranked_score_exact_norm"]
        paper = score_concepts(*given, archive.references, norm="none")
        np.testing.assert_allclose(paper.combined, record["score_paper"], atol=1e-5)
        assert ranked(archive.names, paper.combined) == record["ranked_score_paper"]
        naive = score_concepts(*given, archive.references, ranking="naive")
        np.testing.assert_allclose(naive.combined, record["score_naive"], atol=1e-5)
        assert ranked(archive.names, naive.combined) == record["ranked_score_naive"]
        # The released code finds a concept in the joined string: "cat" in "cattle".
        substring = [
            [i for i, concepts_of in enumerate(captions) if name in ",".join(concepts_of)]
            for name in archive.names
        ]
        assert [len(rows) for rows in substring] == record["n_ref_substring"]
        official = score_concepts(*given, substring)
        np.testing.assert_allclose(official.relative, record["s_b_substring"], atol=1e-5)
        np.testing.assert_allclose(official.combined, record["score_official"], atol=1e-5)
        assert ranked(archive.names, official.combined) == record["ranked_score_official"]


def test_archives_of_many_images_are_ranked_together(curation):
    names = curation["vocabulary_json"]
    order = sorted(range(len(names)), key=names.__getitem__)
    number = {names[place]: rank for rank, place in enumerate(order)}
    concepts = curation["concept_embedding"].numpy()[order]
    index = curation["index_image_embedding"].numpy()
    external = curation["query_image_embedding"].numpy()
    lists = [[number[name] for name in part] for part in curation["index_extracts_json"]]
    captions = ConceptLists.of(lists)
    rows = np.repeat(np.arange(len(lists)), [len(part) for part in lists])
    known = IndexConcepts(captions, concept_cosines(index, concepts, rows, captions.ids))
    records = curation["records_json"]
    images = [(index if r["query"] == "self" else external)[r["query_row"]] for r in records]
    neighbours = np.array([record["retrieved"] for record in records])
    for kind, options in {
        "score_exact_norm": {},
        "score_paper": {"norm": "none"},
        "score_naive": {"ranking": "naive"},
    }.items():
        ranks = rank_archives(np.stack(images), neighbours, known, concepts, **options)
        for image, record in enumerate(records):
            ours = [names[order[c]] for c in ranks.concept[ranks.image == image]]
            assert ours == record[f"ranked_{kind}"]
            scores = dict(zip(record["archive"], record[kind]))
            expected = [scores[name] for name in ours]
            np.testing.assert_allclose(ranks.score[ranks.image == image], expected, atol=1e-5)


def test_archives_are_clustered_together_as_well_as_recorded(curation):
    names = curation["vocabulary_json"]
    concepts = curation["concept_embedding"].numpy()
    records = curation["records_json"]
    members = np.full((len(records), max(len(r["archive"]) for r in records)), -1)
    for row, record in zip(members, records):
        row[: len(record["archive"])] = [names.index(name) for name in record["archive"]]
    labels = cluster_archives(concepts, members, 3, np.random.default_rng(0))
    for row, ours, record in zip(members, labels, records):
        ours, rows = ours[row >= 0], concepts[row[row >= 0]]
        expected = np.array(record["paper_cluster_of"])
        if record["paper_partition_unique"]:
            assert np.array_equal(ours[:, None] == ours, expected[:, None] == expected)
        parts = (rows[ours == cluster] for cluster in np.unique(ours))
        inertia = sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)
        assert inertia <= 1.02 * record["paper_inertia"] + 1e-6


def test_clusters_and_draws(curation):
    names = curation["vocabulary_json"]
    concepts = curation["concept_embedding"].numpy()
    for record in curation["records_json"]:
        rows = concepts[[names.index(name) for name in record["archive"]]]
        labels = cluster_concepts(rows, 3, seed=0)
        expected = np.array(record["paper_cluster_of"])
        if record["paper_partition_unique"]:
            assert np.array_equal(labels[:, None] == labels, expected[:, None] == expected)
            probability = draw_probabilities(np.array(record["score_official"]), labels)
            np.testing.assert_allclose(probability, record["paper_within_prob"], atol=1e-6)
            assert probability.sum() == pytest.approx(len(set(labels)))
        centres = [rows[labels == cluster].mean(axis=0) for cluster in np.unique(labels)]
        distance = [((row[None] - centres) ** 2).sum(axis=1).min() for row in rows]
        assert sum(distance) <= 1.02 * record["paper_inertia"] + 1e-6


def test_language_driven_expansion(curation):
    extracts = curation["index_extracts_json"]
    captions = curation["index_caption_embedding"].numpy()
    index = curation["index_image_embedding"].numpy()
    queries = curation["query_image_embedding"].numpy()
    names, concepts = curation["vocabulary_json"], curation["concept_embedding"].numpy()
    for record in curation["records_json"]:
        image = (index if record["query"] == "self" else queries)[record["query_row"]]
        retrieved = np.argsort(-(captions @ image), kind="stable")[: int(curation["n_retrieve"])]
        assert retrieved.tolist() == record["lang_retrieved"]
        archive = build_archive([extracts[row] for row in retrieved])
        assert archive.names == record["lang_archive"]
        rows = concepts[[names.index(name) for name in archive.names]]
        scores = score_concepts(image, rows[:0], rows, [[]] * len(rows), ranking="naive")
        np.testing.assert_allclose(scores.combined, record["lang_s_a"], atol=1e-5)
        assert ranked(archive.names, scores.combined)[:3] == record["lang_naive_top3"]


# --- schedule


def test_the_learning_rate_of_every_step(parity):
    recording = read(parity / "lr_schedule.npz")
    expected = recording["lr_used_at_iteration"].numpy()
    epoch = int(recording["iters_per_epoch"])
    share = int(recording["batch"]) / 4096
    cfg = get_cfg()
    cfg.SOLVER.LR_SCHEDULER_NAME = "GroupViTCosine"
    cfg.SOLVER.MAX_ITER = epoch * int(recording["epochs"])
    cfg.SOLVER.WARMUP_ITERS = epoch * int(recording["warmup_epochs"])
    cfg.SOLVER.BASE_LR, cfg.SOLVER.BASE_LR_END = 1.6e-3 * share, 4e-5 * share
    cfg.SOLVER.WARMUP_FACTOR = 4e-6 / 1.6e-3
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR)
    schedule, ours = build_lr_scheduler(cfg, optimizer), []
    for _ in expected:
        ours.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


# --- lists


def test_the_full_model_has_the_official_names_and_shapes(parity):
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "CoCu", "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    recorded = json.loads((parity / "groupvit_state_dict_keys.json").read_text())
    ours = {name: [list(value.shape), str(value.dtype)[6:]] for name, value in state.items()}
    assert ours == recorded


def test_evaluation_classes_in_the_released_list_of_concepts(parity):
    concepts = json.loads((parity / "concept_gallery.json").read_text())["concepts"]
    sets = json.loads((parity / "class_names.json").read_text())
    shared, named = {}, set()
    for name, description in sets.items():
        classes = description["names"][1 if description["with_background"] else 0 :]
        shared[name] = (len(shared_names(concepts, classes)), len(classes))
        named.update(name.strip() for name in shared_names(concepts, classes))
    assert shared == {
        "voc21": (20, 20),
        "pcontext60": (56, 59),
        "coco_object81": (75, 80),
        "imagenet_s50": (38, 50),
        "imagenet_s300": (221, 300),
        "cityscapes19": (18, 19),
        "ade150": (115, 150),
        "coco_stuff171": (127, 171),
    }
    assert len(named) == 410 and len(concepts) == 1921


def average(row):
    return round(sum(row[:-1]) / len(row[:-1]) + 1e-9, 1)


def test_the_papers_figures_hold_together(parity):
    """Averages of the tables are means of their cells but for one cell that the sheet names."""
    tables = json.loads((parity / "target_tables.json").read_text())
    assert tables["columns"][-1] == "AVG"
    rows = [row[-1] for row in tables["table1"] + tables["table2"] if None not in row[-1]]
    wrong = [row for row in rows if abs(average(row) - row[-1]) > 0.11]
    assert [(average(row), row[-1]) for row in wrong] == [(16.2, 15.0)]
    table3 = {row[0]: row[-1] for row in tables["table3"]}
    averages = {(row[0], row[1]): row[-1][-1] for row in tables["table2"]}
    assert averages["GroupViT reimpl", "C3"] == table3["baseline"]
    assert averages["CoCu", "C3"] == table3["#4"]
    assert list(table3.values()) == sorted(table3.values())


CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "cocu"
# Configs of the eight sets, in the order of the paper's columns, to their recorded names.
EVALUATED = {
    "voc": "voc21",
    "context": "pcontext60",
    "coco_object": "coco_object81",
    "imagenet_s50": "imagenet_s50",
    "imagenet_s300": "imagenet_s300",
    "cityscapes": "cityscapes19",
    "ade20k": "ade150",
    "coco_stuff": "coco_stuff171",
}


def evaluation_config(name):
    args = Namespace(config_file=str(CONFIGS / f"eval_{name}.yaml"), opts=["MODEL.DEVICE", "cpu"])
    return setup_cfg(args, [add_config])


def test_names_and_thresholds_are_the_recorded_ones_and_the_figures_those_of_the_tables(
    parity,
):
    recorded = json.loads((parity / "class_names.json").read_text())
    tables = json.loads((parity / "target_tables.json").read_text())
    rows = {(row[0], row[3]): row[-1] for row in tables["table1"] if row[1] == "C3,C12,Y14"}
    for place, (name, key) in enumerate(EVALUATED.items()):
        cfg = evaluation_config(name)
        metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
        assert list(get_vocabulary(metadata.vocabulary).classes) == recorded[key]["names"]
        assert recorded[key]["bg_thresh"] == cfg.TEST.BACKGROUND_THRESHOLD
        text = (CONFIGS / f"eval_{name}.yaml").read_text()
        figures = [rows[("CoCu", lc)][place] for lc in (False, True)]
        expected = f"CoCu {figures[0]}, with local consistency {figures[1]};"
        assert expected in text and f"{tables['columns'][place]} in" in text
        batch = [r[-1][place] for r in tables["table1"] if r[0] == "GroupViT reimpl" and not r[3]]
        assert f"GroupViT at batch 1,024 {batch[0]}." in text
    averages = {(row[0], row[1]): row[-1][-1] for row in tables["table2"]}
    for method, prefix in (("CoCu", "cocu"), ("GroupViT reimpl", "groupvit")):
        for sets, name in (("C3", "c3"), ("C12", "c12"), ("C3,C12*", "c3_c12")):
            text = (CONFIGS / f"{prefix}_{name}.yaml").read_text()
            assert f"Paper: {averages[(method, sets)]} mIoU" in text.replace("\n# ", " ")
    for row in tables["table3"][1:4]:
        text = (CONFIGS / f"table3_{row[0].lstrip('#')}.yaml").read_text()
        assert f"Paper: {row[-1]} mIoU" in text


def test_templates_are_the_released_ones(parity):
    recorded = json.loads((parity / "text_templates.json").read_text())
    assert sorted(template_set("imagenet80")) == sorted(recorded["full"])
    assert tuple(template_set("simple")) == tuple(recorded["simple"])


def test_both_averages_of_the_evaluator_are_those_of_mmsegmentation_and_detectron2(parity):
    recording = read(parity / "miou.npz")
    count = int(recording["num_classes"])
    records = [
        {"file_name": f"pred{k}", "sem_seg_file_name": f"gt{k}"}
        for k in range(sum(key.startswith("pred") for key in recording))
    ]
    name = "parity_cocu_miou"
    DatasetCatalog.register(name, lambda: records)
    try:
        evaluator = SemanticEvaluator(
            name,
            [f"c{i}" for i in range(count)],
            fold=ClassFold(count, ignore_label=int(recording["ignore"])),
            read_truth=lambda file: recording[file].numpy(),
        )
        for record in records:
            prediction = recording[record["file_name"]].long()
            evaluator.process([record], [{"sem_seg": prediction}])
        result = evaluator.evaluate()["sem_seg"]
    finally:
        DatasetCatalog.remove(name)
    assert result["mIoU"] == pytest.approx(100 * recording["miou_gt_present_only"].item())
    assert result["mIoU_union"] == pytest.approx(100 * recording["miou_nanmean"].item())
    assert result["pACC"] == pytest.approx(100 * recording["aacc"].item())
    assert evaluator.confusion.diagonal()[:count].tolist() == recording["intersect"].tolist()
    ious = [result[f"IoU-c{i}"] for i in range(count - 2)]
    assert ious == pytest.approx((100 * recording["iou"][: count - 2]).tolist())
