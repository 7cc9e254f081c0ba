"""Two processes train where one has nothing to learn from, and where a loss has the weight 0."""

import multiprocessing
import warnings

import pytest
import torch
import torch.distributed as dist
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils import comm
from torch.nn.parallel import DistributedDataParallel

from segplugins.config import add_shared_config
from segplugins.projects import cocu, querymeldnet, sed, umg_clip
from segplugins.projects.cocu.multi_label import multi_label_contrastive
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task

register_vocabulary(Vocabulary("distributed-test", ("sky", "grass", "car")))


def model_of(paper, architecture, *options):
    cfg = get_cfg()
    add_shared_config(cfg)
    paper.add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.CLIP.TEMPLATES = "single"
    cfg.merge_from_list(list(options))
    torch.manual_seed(0)
    return build_model(cfg).train()


def sed_model(*weights):
    return model_of(
        sed,
        "SED",
        *("MODEL.SED.RESOLUTION", [32, 32], "MODEL.SED.DECODER.WIDTHS", [16, 16, 16, 16]),
        *("MODEL.SED.DECODER.SKIP_WIDTHS", [8, 8, 8], "MODEL.SED.LOSS_WEIGHTS", list(weights)),
    )


def pairs(rank):
    """Two described images on the first process, one of which nothing is said on the second."""
    texts = [["grass"], ["sky"]] if rank == 0 else [[]]
    return [
        {
            "image": torch.full((3, 32, 32), 40 + 90 * number, dtype=torch.uint8),
            "captions": text,
            "tags": text,
        }
        for number, text in enumerate(texts)
    ]


def labelled(rank, label):
    image = torch.full((3, 32, 32), 40 + 30 * rank, dtype=torch.uint8)
    sem_seg = torch.full((32, 32), label)
    return [{"image": image, "sem_seg": sem_seg, "vocabulary": "distributed-test"}]


def umg_model(*weights):
    keys = ("CAPTION_WEIGHT", "PRESENCE_WEIGHT", "ASSIGNMENT_WEIGHT")
    options = [part for key, w in zip(keys, weights) for part in (f"MODEL.UMG_CLIP.{key}", w)]
    return model_of(umg_clip, "ClipPretraining", *options)


def cocu_model():
    image = "MODEL.COCU.IMAGE"
    return model_of(
        cocu,
        "CoCu",
        *(f"{image}.SIZE", 32, f"{image}.PATCH", 8, f"{image}.WIDTH", 16),
        *(f"{image}.DEPTHS", [1, 1, 1], f"{image}.HEADS", [2, 2, 2]),
        *(f"{image}.GROUP_TOKENS", [4, 2, 0], f"{image}.OUTPUT_GROUPS", [4, 2]),
        *("MODEL.COCU.TEXT.WIDTH", 64, "MODEL.COCU.TEXT.LAYERS", 1),
        *("MODEL.COCU.PROJECTOR.HIDDEN", 16, "MODEL.COCU.PROJECTOR.OUT", 8),
    )


def described(rank):
    """Two images with a text on the first process, one with and one without on the second."""
    texts = [["grass"], ["sky"]] if rank == 0 else [["car"], []]
    return [
        {**pair, "captions": text, "tags": text} for pair, text in zip(pairs(0), texts, strict=True)
    ]


def query_model(queries="meld", noised=2):
    node = "MODEL.QMN"
    return model_of(
        querymeldnet,
        "QueryMeldNet",
        *(f"{node}.BACKBONE.NAME", "timm/resnet10t", f"{node}.QUERY_MODE", queries),
        *(f"{node}.ENCODER.EXTRA_LEVELS", 0, f"{node}.ENCODER.LAYERS", 1),
        *(f"{node}.ENCODER.DIM_FEEDFORWARD", 32, f"{node}.ENCODER.MASK_DIM", 16),
        *(f"{node}.HIDDEN_DIM", 32, f"{node}.NHEADS", 4, f"{node}.MELD.NHEADS", 4),
        *(f"{node}.DEC_LAYERS", 1, f"{node}.DIM_FEEDFORWARD", 32, f"{node}.LOSS.POINTS", 16),
        *(f"{node}.NUM_LEARNABLE", 2, f"{node}.NUM_CONDITIONAL", 2, f"{node}.DN.NUM", noised),
    )


def segmentor():
    node = "MODEL.UMG_CLIP"
    return model_of(
        umg_clip,
        "ClipSegmentor",
        *("MODEL.CLIP.NAME", "eva_drawn"),
        *(f"{node}.TOWER.TRAINED", "adapters", f"{node}.PET.WIDTH", 2),
        *(f"{node}.DENSE.HIDDEN_DIM", 32, f"{node}.DENSE.NHEADS", 4, f"{node}.DENSE.QUERIES", 4),
        *(f"{node}.DENSE.DEC_LAYERS", 1, f"{node}.DENSE.DIM_FEEDFORWARD", 32),
        *(f"{node}.DENSE.ENCODER.LAYERS", 1, f"{node}.DENSE.ENCODER.DIM_FEEDFORWARD", 32),
        *(f"{node}.DENSE.LOSS.POINTS", 16),
    )


def squares(rank):
    """One square on the first process, an image without targets on the second."""
    count = 1 - rank
    instances = Instances((64, 64))
    masks = torch.zeros(count, 64, 64, dtype=torch.bool)
    masks[:, 8:24, 8:24] = True
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 8, 24, 24]]).expand(count, 4).clone())
    instances.gt_classes = torch.zeros(count, dtype=torch.int64)
    image = torch.full((3, 64, 64), 40 + 90 * rank, dtype=torch.uint8)
    image[:, 8:24, 8:24] = 200
    named = {"vocabulary": "distributed-test", "task": Task.INSTANCE}
    return [{"image": image, "height": 64, "width": 64, "instances": instances, **named}]


# Name to model and records of a process; the second process has nothing, or less, to learn from.
CASES = {
    "pairs": (lambda: umg_model(1.0, 1.0, 1.0), pairs),
    "captions": (lambda: umg_model(1.0, 0.0, 0.0), pairs),
    "names": (lambda: umg_model(0.0, 1.0, 0.0), pairs),
    "concepts": (cocu_model, pairs),
    "some concepts": (cocu_model, described),
    "queries": (query_model, squares),
    "learnable queries": (lambda: query_model("learnable", noised=0), squares),
    "dense adaptation": (segmentor, squares),
    "sed": (lambda: sed_model(1.0, 0.0, 1.0, 0.0), lambda rank: labelled(rank, 255 * rank)),
}


COUNTS = [(2, 2), (3, 1), (2, 0)]  # described images of the two processes


def concept_rows(counts):
    """(sum of counts, D) images and (sum of counts, 2, D) texts, the same in every process."""
    generator = torch.Generator().manual_seed(sum(counts))
    images = torch.randn(sum(counts), 5, generator=generator)
    return images, torch.randn(sum(counts), 2, 5, generator=generator)


def multi_label(counts, rank):
    """Loss of this process and gradients of its own rows."""
    images, texts = (
        rows.split(counts)[rank].clone().requires_grad_() for rows in concept_rows(counts)
    )
    loss = multi_label_contrastive(images, texts, torch.tensor(3.0))
    return loss.detach(), *torch.autograd.grad(loss, [images, texts])


def work(rank, folder):
    torch.set_num_threads(1)
    # Of one channel the last and the first format are the same, but DDP takes note of it.
    warnings.filterwarnings("ignore", "Grad strides do not match")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    results = {}
    for name, (build, records) in CASES.items():
        model = build()
        wrapped = DistributedDataParallel(model)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
        for _ in range(2):  # DDP complains of a parameter without gradient in the second step
            optimizer.zero_grad()
            sum(wrapped(records(rank)).values()).backward()
            assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
            optimizer.step()
        # Running means of batch norms are each process's own.
        results[name] = {key: value.detach() for key, value in model.named_parameters()}
    results["multi-label"] = {counts: multi_label(counts, rank) for counts in COUNTS}
    torch.save(results, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """The weights that each of two forked processes ends with."""
    folder = tmp_path_factory.mktemp("gloo")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_both_processes_learn_the_same(outcome, name):
    first, second = (found[name] for found in outcome)
    assert all(torch.equal(first[key], second[key]) for key in first)
    start = dict(CASES[name][0]().named_parameters())
    assert any(not torch.equal(first[key], start[key]) for key in first)


@pytest.mark.parametrize("counts", COUNTS)
def test_concepts_of_two_processes_have_the_loss_and_gradient_of_one(outcome, counts):
    first, second = (results["multi-label"][counts] for results in outcome)
    images, texts = (rows.requires_grad_() for rows in concept_rows(counts))
    whole = multi_label_contrastive(images, texts, torch.tensor(3.0))
    torch.testing.assert_close((first[0] + second[0]) / 2, whole.detach())
    gradients = torch.autograd.grad(whole, [images, texts])
    for own, other, expected in zip(first[1:], second[1:], gradients):
        torch.testing.assert_close(torch.cat([own, other]) / 2, expected)


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_rejection_head_of_weight_0_is_frozen_and_the_log_says_so(caplog):
    caplog.set_level("INFO")
    whole, part = trained(sed_model(1.0, 1.0, 1.0, 1.0)), trained(sed_model(1.0, 1.0, 0.0, 1.0))
    assert whole - part == {
        "decoder.rejection_heads.1.weight",
        "decoder.rejection_heads.1.bias",
    }
    assert "rejection head 2 is not trained, since MODEL.SED.LOSS_WEIGHTS[2] is 0" in caplog.text


def test_without_the_final_loss_only_rejection_heads_are_trained(caplog):
    caplog.set_level("INFO")
    heads = trained(sed_model(0.0, 1.0, 0.0, 1.0))
    assert {name.rpartition(".")[0] for name in heads} == {
        "decoder.rejection_heads.0",
        "decoder.rejection_heads.2",
    }
    assert "SED trains its rejection heads alone" in caplog.text


def test_pre_training_without_any_loss_is_refused():
    with pytest.raises(ValueError, match="all weights of .* are 0, so nothing would be trained"):
        umg_model(0.0, 0.0, 0.0)
