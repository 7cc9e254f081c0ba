"""Two processes train where one has nothing to learn from, and where a loss has the weight 0."""

import multiprocessing
import warnings

import pytest
import torch
import torch.distributed as dist
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch.nn.parallel import DistributedDataParallel

from segplugins.config import add_shared_config
from segplugins.projects import sed, umg_clip
from segplugins.structures import Vocabulary, register_vocabulary

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


# Name to model and records of a process; the second process has nothing to learn from.
CASES = {
    "pairs": (lambda: umg_model(1.0, 1.0, 1.0), pairs),
    "captions": (lambda: umg_model(1.0, 0.0, 0.0), pairs),
    "names": (lambda: umg_model(0.0, 1.0, 0.0), pairs),
    "sed": (lambda: sed_model(1.0, 0.0, 1.0, 0.0), lambda rank: labelled(rank, 255 * rank)),
}


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
        results[name] = model.state_dict()
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
    start = CASES[name][0]().state_dict()
    assert any(not torch.equal(first[key], start[key]) for key in first)


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
