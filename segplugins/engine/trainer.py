"""detectron2's trainer with our loaders, evaluators, optimizer and step."""

import inspect
import logging
import signal
import weakref
from collections import OrderedDict
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import (
    DefaultTrainer,
    HookBase,
    TrainerBase,
    create_ddp_model,
    hooks,
)
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from segplugins.data.catalog import names_of_classes
from segplugins.engine.best import KeepBest
from segplugins.engine.checkpoint import AVERAGED, SafeCheckpointer, load_weights
from segplugins.engine.command import Stopped, is_user_error
from segplugins.engine.cost import measured
from segplugins.engine.ema import WeightAverage
from segplugins.engine.groups import freeze
from segplugins.engine.loaders import build_test_loader, build_train_loader, check_datasets
from segplugins.engine.metrics_file import LateWriter
from segplugins.engine.optim import build_lr_scheduler, build_optimizer, clip_gradients
from segplugins.engine.sharding import check_sharding, is_sharded, shard
from segplugins.engine.steps import PRECISIONS, OutOfMemory, StepTrainer, autocast
from segplugins.engine.stopping import StopRequests
from segplugins.evaluation.build import build_evaluator
from segplugins.evaluation.results import results_table

logger = logging.getLogger(__name__)

Results = Dict[str, Any]


class Trainer(DefaultTrainer):
    """Trains and evaluates what a config says; the loop and most hooks are detectron2's.

    Besides detectron2's keys it reads SOLVER.{OPTIMIZER, LR_MULTIPLIERS, ACCUMULATE, EMA, AMP, ...}
    and MODEL.FREEZE. A resumed run goes on with the weights, optimizer, schedule, averages, samples
    and random draws that the uninterrupted one would have.
    """

    def __init__(self, cfg: CfgNode):
        # detectron2's own constructor cannot be told another step, nor DDP without GPUs.
        TrainerBase.__init__(self)
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.last_results: Results = {}
        self._stop = StopRequests()
        if cfg.DATASETS.TEST:  # a wrong name is told now, not after the first thousand steps
            check_datasets(cfg.DATASETS.TEST, key="DATASETS.TEST")
        check_sharding(cfg, META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE))
        model = self.build_model(cfg)
        if cfg.SOLVER.SHARDING == "full" and comm.get_world_size() > 1:
            shard(model, train_precision(cfg))
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        ema = cfg.SOLVER.EMA
        self._average = WeightAverage(model, ema.DECAY) if ema.ENABLED else None
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        self._trainer = StepTrainer(
            _distributed(model, find_unused=cfg.SOLVER.FIND_UNUSED_PARAMETERS),
            loader,
            optimizer,
            accumulate=cfg.SOLVER.ACCUMULATE,
            precision=train_precision(cfg),
            clip=_build_clip(cfg),
            seed=seed,
            max_bad_steps=cfg.SOLVER.MAX_BAD_STEPS,
            stop_requested=lambda: self._stop.number is not None,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = SafeCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            training_names=names_of_classes(cfg.DATASETS.TRAIN),
            trainer=weakref.proxy(self),
        )
        if self._average:
            self.checkpointer.add_checkpointable(AVERAGED, self._average)
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Goes on from the last checkpoint in OUTPUT_DIR, or starts from MODEL.WEIGHTS.

        Raises:
            FileNotFoundError, ValueError: as `load_weights`.
        """
        if resume and self.checkpointer.has_checkpoint():
            self.checkpointer.load(self.checkpointer.get_checkpoint_file())
            self.start_iter = self.iter + 1
        else:
            if resume:
                logger.info("No checkpoint to resume from in %s: starting", self.cfg.OUTPUT_DIR)
            load_weights(self.checkpointer.model, self.cfg.MODEL.WEIGHTS)
        self._seek()

    def _seek(self) -> None:
        dataset = getattr(self.data_loader, "dataset", None)
        if hasattr(dataset, "seek"):
            dataset.seek(self._trainer.seed, self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH)
        elif self.start_iter:
            logger.warning("This data loader cannot be continued: it starts from its beginning")

    def train(self) -> Any:
        """Runs to SOLVER.MAX_ITER.

        Before it stops early it saves the weights of the last whole step, for --resume: at SIGINT,
        SIGTERM, a loss that is not finite, or memory that is used up.

        Raises:
            Stopped: at a signal; its text says what is saved and how to go on.
            FloatingPointError, OutOfMemory: see `StepTrainer.run_step`.
        """
        quiet = logging.getLogger("detectron2.engine.train_loop")
        quiet.addFilter(_without_traceback)
        try:
            with self._stop:
                return super().train()
        except Stopped as stop:
            raise Stopped(self._how_to_go_on(), stop.number) from stop
        except (FloatingPointError, OutOfMemory) as error:
            # Of all processes only this one may have seen that memory is used up.
            alone = isinstance(error, OutOfMemory)
            self.checkpointer.save_to_disk |= alone
            saved = ""
            if not (alone and is_sharded(self.model)):  # a part of the weights is no checkpoint
                saved = self._save_after(self.iter - 1)
            if saved:
                raise type(error)(f"{error}; the step before is saved in '{saved}'") from error
            raise
        finally:
            quiet.removeFilter(_without_traceback)

    def _how_to_go_on(self) -> str:
        if self._stop.abandoned:  # in the middle of a step: the weights may be half updated
            saved = self.checkpointer.get_checkpoint_file()
        else:
            saved = self._save_after(self.iter)
        if not saved:
            return "training, before anything was saved; the same command starts again"
        return f"training, saved in '{saved}'; go on with the same command and --resume"

    def after_step(self) -> None:
        """Runs the hooks, then stops if a process was asked to; never after the last step."""
        super().after_step()
        if self._trainer.stop_agreed and self.iter + 1 < self.max_iter:
            # A process that got no signal itself stops with the others.
            raise Stopped(number=self._stop.number or signal.SIGTERM)

    def _save_after(self, iteration: int) -> str:
        """Saves the state of after an iteration, unless that has happened.

        Returns:
            The checkpoint; "" before the first iteration.
        """
        last = min(iteration, self.max_iter - 1)
        if last < self.start_iter:
            return ""
        name = "model_final" if last + 1 >= self.max_iter else f"model_{last:07d}"
        if self.checkpointer.saved_iteration != last:
            self.iter = self._trainer.iter = last  # what a resumed run goes on from
            self.checkpointer.save(name, iteration=last)
        return str(Path(self.cfg.OUTPUT_DIR, f"{name}.pth"))

    def build_hooks(self) -> List[HookBase]:
        """detectron2's hooks, with the weight average and the best checkpoint among them."""
        built = super().build_hooks()
        period = self.cfg.TEST.EVAL_PERIOD
        at = next(i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook))
        built[at] = Evaluation(period, self.evaluate) if self.cfg.DATASETS.TEST else None
        if is_sharded(self.model) and not comm.is_main_process():  # it gives its part
            saving = self.cfg.SOLVER.CHECKPOINT_PERIOD
            built.append(hooks.PeriodicCheckpointer(self.checkpointer, saving))
        samples = self.data_loader.dataset
        if comm.is_main_process():
            if hasattr(samples, "report_faults"):
                report = hooks.CallbackHook(after_train=lambda trainer: samples.report_faults())
                built.insert(-1, report)
            built[-1] = LateWriter(self.cfg.OUTPUT_DIR, self.max_iter)
            if self.cfg.TEST.BEST_METRIC:
                built.append(KeepBest(period, self.checkpointer, self.cfg.TEST.BEST_METRIC))
        if self._average:
            # Before the checkpoint of the same step.
            average = self._average
            built.insert(0, hooks.CallbackHook(after_step=lambda trainer: average.update()))
        return built

    def build_writers(self) -> List[EventWriter]:
        """None here: `LateWriter` opens detectron2's."""
        return []

    def evaluate(self) -> Results:
        """Evaluates the model as it is now, with the averaged weights if there are any."""
        with self._average.applied() if self._average else nullcontext():  # noqa: SIM117
            with self._stop.at_once():
                self.last_results = self.test(self.cfg, self.model)
        return self.last_results

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Builds MODEL.META_ARCHITECTURE and takes MODEL.FREEZE out of training."""
        model = build_model(cfg)
        freeze(model, cfg.MODEL.FREEZE)
        parameters = list(model.parameters())
        logger.info(
            "%s: %.1f M parameters, %.1f M of them trained, on %s",
            type(model).__name__,
            sum(p.numel() for p in parameters) / 1e6,
            sum(p.numel() for p in parameters if p.requires_grad) / 1e6,
            cfg.MODEL.DEVICE,
        )
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """See `segplugins.engine.optim.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
        """See `segplugins.engine.optim.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
        """See `segplugins.engine.loaders.build_train_loader`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        """See `segplugins.engine.loaders.build_test_loader`."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_dir: Optional[str] = None
    ) -> DatasetEvaluator:
        """See `segplugins.evaluation.build.build_evaluator`."""
        return build_evaluator(cfg, dataset_name, output_dir)

    @classmethod
    def _evaluator_of(cls, cfg: CfgNode, model: nn.Module, name: str) -> DatasetEvaluator:
        """Returns the evaluator of a data set, with what the model itself measures beside it.

        A meta-architecture may have `further_evaluator(dataset_name, output_dir)`, which returns an
        evaluator or None; the folder is that of the evaluation's details.
        """
        evaluator = cls.build_evaluator(cfg, name)
        further = getattr(getattr(model, "module", model), "further_evaluator", None)
        folder = str(Path(cfg.OUTPUT_DIR, "inference", name))
        more = None if further is None else further(name, folder)
        return evaluator if more is None else DatasetEvaluators([evaluator, more])

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: Optional[Sequence[DatasetEvaluator]] = None,
    ) -> Results:
        """Evaluates on DATASETS.TEST.

        Returns:
            As in detectron2: {task: {metric: value}} of the one data set, or {data set: the same}
            of several; empty but on the main process.
        """
        results = cls.test_each(cfg, model, evaluators)
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def test_each(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: Optional[Sequence[DatasetEvaluator]] = None,
    ) -> Results:
        """Like `test`, but always {data set: {task: {metric: value}}}."""
        names = check_datasets(cfg.DATASETS.TEST, key="DATASETS.TEST")
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(f"{len(evaluators)} evaluators for {len(names)} data sets {names}")
        device = torch.device(cfg.MODEL.DEVICE)
        precision = PRECISIONS[cfg.SOLVER.AMP.DTYPE] if cfg.TEST.AMP.ENABLED else None
        results: Results = OrderedDict()
        for i, name in enumerate(names):
            logger.info("Evaluating on %s", name)
            loader = cls.build_test_loader(cfg, name)
            evaluator = evaluators[i] if evaluators else cls._evaluator_of(cfg, model, name)
            folder = Path(cfg.OUTPUT_DIR, "inference", name)
            writes = evaluators is None and comm.is_main_process()
            with autocast(device, precision), measured(model, folder, write=writes):
                results[name] = inference_on_dataset(model, loader, evaluator)
        if comm.is_main_process():
            logger.info("Results\n%s", results_table(results, _groups(names)))
        return results


def _groups(names: Sequence[str]) -> Dict[str, Optional[str]]:
    """Data set to the benchmark that it is part of, if any."""
    return {name: MetadataCatalog.get(name).get("group") for name in names}


def _without_traceback(record: logging.LogRecord) -> bool:
    """Whether the log shows a record: not the traceback of an error that ends in one line."""
    return not (record.exc_info and record.exc_info[1] and is_user_error(record.exc_info[1]))


class Evaluation(hooks.EvalHook):
    """detectron2's EvalHook, which after training evaluates only if training came to its end."""

    def after_train(self) -> None:
        """Evaluates after the last iteration; a step that failed is not the last one."""
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()


def train_precision(cfg: CfgNode) -> Optional[torch.dtype]:
    """Returns what training runs in under autocast, or None.

    Raises:
        ValueError: an unknown type, or float16 without a GPU.
    """
    amp = cfg.SOLVER.AMP
    if amp.DTYPE not in PRECISIONS:
        raise ValueError(f"SOLVER.AMP.DTYPE: unknown '{amp.DTYPE}'; known are {sorted(PRECISIONS)}")
    if amp.ENABLED and amp.DTYPE == "float16" and cfg.MODEL.DEVICE == "cpu":
        raise ValueError("SOLVER.AMP.DTYPE float16 needs a GPU; on a CPU use bfloat16")
    return PRECISIONS[amp.DTYPE] if amp.ENABLED else None


def _build_clip(cfg: CfgNode) -> Optional[Callable[[Sequence[Tensor]], Optional[Tensor]]]:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    return partial(
        clip_gradients, kind=clip.CLIP_TYPE, value=clip.CLIP_VALUE, norm_type=clip.NORM_TYPE
    )


def _distributed(model: nn.Module, *, find_unused: bool) -> nn.Module:
    """DDP where there is more than one process; on CPUs it must not be told a device."""
    if is_sharded(model):
        return model
    on_gpu = next(model.parameters()).device.type == "cuda"
    # Running statistics are each process's own. torch 2.13 has renamed the argument.
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return create_ddp_model(
        model,
        find_unused_parameters=find_unused,
        device_ids=[comm.get_local_rank()] if on_gpu else None,
        **{buffers: False},
    )
