"""Fully sharded training of ClipPretraining: losses of DDP, checkpoints that either resumes."""

import multiprocessing
import shutil
import warnings
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from detectron2.utils import comm

from segplugins.drawn_world import write_drawn_world
from segplugins.engine import Trainer, setup_cfg
from segplugins.engine.sharding import shard
from segplugins.projects.umg_clip import add_config

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3  # saved after the second
OPTIONS = f"""
    MODEL.UMG_CLIP.TOWER.CHECKPOINT True  MODEL.UMG_CLIP.PRESENCE_WEIGHT 1.0
    DATALOADER.NUM_WORKERS 0  DATASETS.TEST ()  SOLVER.IMS_PER_BATCH 4  SOLVER.ACCUMULATE 2
    SOLVER.MAX_ITER {STEPS}  SOLVER.CHECKPOINT_PERIOD 2  SOLVER.BASE_LR 0.02
    SOLVER.OPTIMIZER lamb  SOLVER.LR_SCHEDULER_NAME WarmupFirstStepCosineLR  SOLVER.WARMUP_ITERS 2
    SOLVER.WEIGHT_DECAY 0.05  SOLVER.WEIGHT_DECAY_1D 0.0  SOLVER.NO_WEIGHT_DECAY ['logit_scale']
    SOLVER.LR_MULTIPLIERS [['classifier.text_encoder.',0.1],['classifier.logit_scale',1.25]]
    SOLVER.LAYER_DECAY [['encoder.',0.8]]
    MODEL.FREEZE ['classifier.text_encoder.text.t']
    SOLVER.CLIP_GRADIENTS.ENABLED True  SOLVER.CLIP_GRADIENTS.CLIP_TYPE full_model
    SOLVER.CLIP_GRADIENTS.CLIP_VALUE 0.1
"""


def config(output, *options):
    opts = [*OPTIONS.split(), "OUTPUT_DIR", str(output), *options]
    file = str(ROOT / "configs" / "umg_clip" / "tiny_eva.yaml")
    return setup_cfg(Namespace(config_file=file, opts=opts, num_gpus=0), [add_config])


class Losses(HookBase):
    """Keeps the losses and the norm of every step."""

    def __init__(self):
        self.steps = []

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.steps.append({k: v for k, (v, _) in latest.items() if "loss" in k or k == "grad_norm"})


def trained(folder, name, *options, resume=False):
    """Trains in both processes; returns the main one's losses."""
    torch.manual_seed(comm.get_rank())  # processes start from other weights: rank 0's count
    trainer = Trainer(config(folder / name, *options))
    trainer.resume_or_load(resume)
    losses = Losses()
    trainer.register_hooks([losses])
    trainer.train()
    return losses.steps


def continued(folder, name, source, *options):
    """Goes on in a new folder from the first checkpoint of another run."""
    if comm.is_main_process():
        (folder / name).mkdir()
        shutil.copy(folder / source / f"model_{1:07d}.pth", folder / name)
        (folder / name / "last_checkpoint").write_text(f"model_{1:07d}.pth")
    comm.synchronize()
    return trained(folder, name, *options, resume=True)


def losses_before_and_after():
    """Losses of a CLIP with a ConvNeXt, whole and sharded, for images of colours."""
    file = str(ROOT / "configs" / "umg_clip" / "tiny.yaml")
    opts = ["DATASETS.TEST", "()", "MODEL.UMG_CLIP.CAPTION_WEIGHT", "1.0"]
    torch.manual_seed(0)
    model = build_model(setup_cfg(Namespace(config_file=file, opts=opts), [add_config])).train()
    image = torch.full((3, 64, 64), 90 + 80 * comm.get_rank(), dtype=torch.uint8)
    records = [{"image": image, "captions": [f"a {comm.get_rank()}"], "tags": ["sky"]}]
    before = model(records)
    shard(model)
    return [{k: v.item() for k, v in losses.items()} for losses in (before, model(records))]


def work(rank, folder):
    torch.set_num_threads(1)
    # Of one row the last and the first format are the same, but DDP takes note of it.
    warnings.filterwarnings("ignore", "Grad strides do not match")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    full = ("SOLVER.SHARDING", "full")
    losses = {
        "copies": trained(folder, "copies"),
        "parts": trained(folder, "parts", *full),
        "parts from parts": continued(folder, "parts from parts", "parts", *full),
        "copies from parts": continued(folder, "copies from parts", "parts"),
        "parts from copies": continued(folder, "parts from copies", "copies", *full),
    }
    losses["convnext"] = losses_before_and_after()
    if rank == 0:
        torch.save(losses, folder / "losses.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the runs of two forked processes, and the losses of each run."""
    folder = tmp_path_factory.mktemp("sharding")
    write_drawn_world(
        folder / "drawn", train=1, val=1, val_unseen=0, pairs=12, clips=1, val_clips=1, size=64
    )
    context = multiprocessing.get_context("fork")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(folder))
        processes = [context.Process(target=work, args=(rank, folder)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(200)
            assert process.exitcode == 0
    return folder, torch.load(folder / "losses.pth")


def final(runs, name):
    return torch.load(runs[0] / name / "model_final.pth")


def assert_close(one, other, **tolerance):
    """Compares weights and optimizer of two checkpoints, with names, shapes and groups."""
    state, other_state = (saved["trainer"]["_trainer"]["optimizer"] for saved in (one, other))
    assert state["param_groups"] == other_state["param_groups"]
    assert state["state"].keys() == other_state["state"].keys()
    pairs = [(one["model"], other["model"])]
    pairs += [(state["state"][i], other_state["state"][i]) for i in state["state"]]
    for tensors, others in pairs:
        assert tensors.keys() == others.keys()
        for name in tensors:
            assert type(tensors[name]) is type(others[name])
            torch.testing.assert_close(tensors[name], others[name], **tolerance)


def test_the_losses_and_norms_of_every_step_are_those_of_ddp(runs):
    copies, parts = runs[1]["copies"], runs[1]["parts"]
    assert len(copies) == len(parts) == STEPS and copies[0]["grad_norm"] > 0.1  # so it is clipped
    for one, other in zip(copies, parts):
        assert one == pytest.approx(other, rel=1e-5)
    assert copies[0]["total_loss"] != pytest.approx(copies[-1]["total_loss"], rel=1e-3)


def test_a_sharded_run_leaves_the_checkpoint_of_ddp(runs):
    copies, parts = final(runs, "copies"), final(runs, "parts")
    assert parts["model"]["classifier.logit_scale"].shape == ()
    groups = parts["trainer"]["_trainer"]["optimizer"]["param_groups"]
    assert len({group["initial_lr"] for group in groups}) > 4
    assert_close(copies, parts, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(runs):
    assert_close(final(runs, "parts"), final(runs, "parts from parts"), rtol=0, atol=0)
    assert runs[1]["parts from parts"] == runs[1]["parts"][2:]


@pytest.mark.parametrize("name", ["copies from parts", "parts from copies"])
def test_either_kind_goes_on_from_the_other(runs, name):
    assert_close(final(runs, name), final(runs, "copies"), rtol=1e-4, atol=1e-6)
    assert runs[1][name] == [pytest.approx(runs[1]["copies"][-1], rel=1e-5)]


def test_a_convnext_is_gathered_block_by_block_too(runs):
    before, after = runs[1]["convnext"]
    assert len(before) > 1 and before["loss_caption"] > 0.1
    assert after == pytest.approx(before, rel=1e-6)
