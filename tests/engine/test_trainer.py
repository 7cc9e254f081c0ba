from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase

from segplugins.engine import Trainer, evaluate, train
from tests.support.commands import run_process

TOY = Path(__file__).resolve().parents[1] / "support" / "toy.py"


class Stop(Exception):
    """What a power cut is to these tests."""


class StopAfter(HookBase):
    def __init__(self, iteration):
        self.iteration = iteration

    def after_step(self):
        if self.trainer.iter == self.iteration:
            raise Stop


def trained(cfg, *, resume=False, stop_after=None):
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    if stop_after is not None:
        trainer.register_hooks([StopAfter(stop_after)])
    trainer.train()
    return trainer


def saved(cfg, name="model_final"):
    return torch.load(Path(cfg.OUTPUT_DIR) / f"{name}.pth", weights_only=True)


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )


def test_a_short_training_learns_the_toy_world(toy_cfg):
    results = train(toy_cfg("SOLVER.MAX_ITER 40"))
    assert results["sem_seg"]["mIoU"] > 95  # three colours: one convolution would do


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(toy_cfg):
    options = "MODEL.TOY.DROPOUT 0.3 SOLVER.EMA.ENABLED True SOLVER.EMA.DECAY 0.5"
    whole = toy_cfg(options, output="whole")
    trained(whole)
    parts = toy_cfg(options, output="parts")
    with pytest.raises(Stop):
        trained(parts, stop_after=3)  # the last checkpoint is of iteration 2
    trainer = trained(parts, resume=True)
    assert trainer.start_iter == 3
    one, other = saved(whole), saved(parts)
    assert_same(one["model"], other["model"], rtol=0, atol=0)
    assert_same(one["averaged"]["weights"], other["averaged"]["weights"], rtol=0, atol=0)
    assert one["trainer"]["iteration"] == other["trainer"]["iteration"] == 5


def test_a_drawn_seed_travels_with_the_checkpoint(toy_cfg):
    cfg = toy_cfg("SEED -1 SOLVER.MAX_ITER 3")
    seed = trained(cfg)._trainer.seed
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    assert again._trainer.seed == seed
    assert again.data_loader.dataset._seed == seed


def test_resuming_a_finished_run_evaluates_it(toy_cfg):
    cfg = toy_cfg("SOLVER.MAX_ITER 3")
    results = train(cfg)
    before = saved(cfg)["model"]
    assert train(cfg, resume=True) == results
    assert_same(before, saved(cfg)["model"], rtol=0, atol=0)


def test_accumulated_micro_batches_are_the_large_batch(toy_cfg):
    large = trained(toy_cfg(output="large")).checkpointer.model.state_dict()
    small = trained(toy_cfg("SOLVER.ACCUMULATE 4", output="small")).checkpointer.model.state_dict()
    assert_same(large, small, rtol=1e-4, atol=1e-6)  # other order of sums, six times over


@pytest.fixture(scope="module")
def two_processes(toy_world, tmp_path_factory):
    """What two gloo processes on the CPU wrote."""
    output = tmp_path_factory.mktemp("two_processes")
    start = output / "start.pth"
    torch.save({"model": toy_start()}, start)
    done = run_process(
        TOY, "--world", toy_world, "--num-gpus", "0", "--num-processes", "2",
        "OUTPUT_DIR", output, "SOLVER.ACCUMULATE", "2", "SOLVER.EMA.ENABLED", "True",
        "MODEL.WEIGHTS", start,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return output


def toy_start():
    from detectron2.modeling import META_ARCH_REGISTRY

    torch.manual_seed(3)
    return META_ARCH_REGISTRY.get("ToySegmentor")(dropout=0.0).state_dict()


def test_two_processes_train_to_the_weights_of_one(toy_cfg, two_processes):
    one = toy_cfg(f"SOLVER.EMA.ENABLED True MODEL.WEIGHTS {two_processes / 'start.pth'}")
    results = train(one)
    two = torch.load(two_processes / "outcome.pth", weights_only=True)
    assert_same(saved(one)["model"], two["weights"], rtol=1e-4, atol=1e-6)
    assert {k: pytest.approx(v, abs=1e-9) for k, v in results["sem_seg"].items()} == (
        two["results"]["sem_seg"]
    )


def test_frozen_prefixes_do_not_train(toy_cfg):
    cfg = toy_cfg("MODEL.FREEZE ['stem.','norm.'] SOLVER.MAX_ITER 2")
    torch.manual_seed(0)
    start = Trainer(cfg).checkpointer.model.state_dict()
    start = {name: weight.clone() for name, weight in start.items()}
    end = trained(cfg).checkpointer.model.state_dict()
    changed = {name for name in end if not torch.equal(start[name], end[name])}
    assert changed == {"head.weight", "head.bias"}


def test_the_averaged_weights_are_evaluated_and_loaded_afterwards(toy_cfg):
    # A decay of 1 keeps the weights of the first step whatever follows.
    options = "SOLVER.EMA.ENABLED True SOLVER.EMA.DECAY 1.0 SOLVER.BASE_LR 0.1"
    cfg = toy_cfg(options, output="averaged")
    results = trained(cfg).last_results
    first = toy_cfg(
        "SOLVER.BASE_LR 0.1 SOLVER.MAX_ITER 1 SOLVER.LR_SCHEDULER_NAME WarmupMultiStepLR",
        output="first",
    )
    assert trained(first).last_results == results
    assert_same(
        saved(cfg)["averaged"]["weights"],
        {k: v for k, v in saved(first)["model"].items() if "unused" not in k},
        rtol=0,
        atol=0,
    )
    again = toy_cfg(f"MODEL.WEIGHTS {cfg.OUTPUT_DIR}/model_final.pth", output="again")
    assert evaluate(again)["toy_val"] == results


def test_training_runs_in_bfloat16_where_asked(toy_cfg):
    seen = []
    cfg = toy_cfg("SOLVER.AMP.ENABLED True SOLVER.MAX_ITER 2")
    trainer = Trainer(cfg)
    trainer.model.head.register_forward_hook(lambda m, i, output: seen.append(output.dtype))
    trainer.resume_or_load(False)
    trainer._trainer.model.train()
    trainer.train()
    assert set(seen) == {torch.bfloat16, torch.float32}  # training; evaluation stays as it was
    assert saved(cfg)["model"]["head.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "options, message",
    [
        ("SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE float16", "float16 needs a GPU"),
        (
            "SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE half",
            "AMP.DTYPE is 'half', expected one of",
        ),
        ("SOLVER.IMS_PER_BATCH 4 SOLVER.ACCUMULATE 3", "4 must be a positive multiple .*3 x 1"),
        ("DATALOADER.ASPECT_RATIO_GROUPING True", "ASPECT_RATIO_GROUPING must be False"),
        ("DATASETS.TRAIN ()", "DATASETS.TRAIN is empty"),
        ("DATASETS.TEST ('toy_vall',)", "toy_vall.*toy_val"),
        ("SOLVER.OPTIMIZER adam", "unknown 'adam'; known are .*adamw"),
        ("SOLVER.EMA.ENABLED True SOLVER.EMA.DECAY 1.5", "SOLVER.EMA.DECAY is 1.5, expected"),
        ("MODEL.FREEZE ['backbone.']", "no parameter starts with 'backbone.'; there are head"),
    ],
)
def test_what_cannot_be_trained_is_told_before_the_first_step(toy_cfg, options, message):
    with pytest.raises((ValueError, KeyError), match=message):
        Trainer(toy_cfg(options))


def test_the_best_evaluation_stays_and_a_resumed_run_knows_it(toy_cfg):
    options = "TEST.EVAL_PERIOD 2 TEST.BEST_METRIC sem_seg/mIoU SOLVER.MAX_ITER 4"
    cfg = toy_cfg(options)
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    values = iter([70.0, 50.0])  # after steps 2 and 4
    trainer.test = lambda cfg, model: {"sem_seg": {"mIoU": next(values)}}
    trainer.train()
    assert saved(cfg, "model_best")["iteration"] == 1
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_final.pth"
    longer = Trainer(toy_cfg(options.replace("MAX_ITER 4", "MAX_ITER 6")))
    longer.resume_or_load(True)
    longer.test = lambda cfg, model: {"sem_seg": {"mIoU": 60.0}}  # better than 50, not than 70
    longer.train()
    assert saved(cfg, "model_best")["iteration"] == 1


def test_a_best_metric_that_nobody_measures_is_an_error(toy_cfg):
    cfg = toy_cfg("TEST.BEST_METRIC sem_seg/IoU SOLVER.MAX_ITER 1")
    with pytest.raises(ValueError, match="no 'sem_seg/IoU'; it gave .*sem_seg/mIoU"):
        trained(cfg)


def test_a_permuted_vocabulary_gives_the_same_numbers(toy_cfg):
    trained(toy_cfg("SOLVER.MAX_ITER 3"))
    weights = f"MODEL.WEIGHTS {toy_cfg().OUTPUT_DIR}/model_final.pth"
    own = evaluate(toy_cfg(weights))["toy_val"]["sem_seg"]
    permuted = evaluate(toy_cfg(f"{weights} TEST.VOCABULARY red,dark,bright"))["toy_val"]["sem_seg"]
    assert own == permuted


def test_several_data_sets_give_a_result_each(toy_cfg):
    cfg = toy_cfg("DATASETS.TEST ('toy_val','toy_train') TEST.IMS_PER_BATCH 3")
    results = evaluate(cfg, random_weights=True)
    assert list(results) == ["toy_val", "toy_train"]
