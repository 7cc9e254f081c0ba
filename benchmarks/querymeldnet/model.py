"""The decoder by its number of queries, and the memory of training and evaluation."""

from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, List

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.config import add_shared_config
from segplugins.modeling.pixel_decoder import PixelFeatures
from segplugins.projects.querymeldnet import add_config
from segplugins.projects.querymeldnet.querymeldnet import QueryMeldNet, build_decoder
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task

QUERIES = (100, 400, 900)
_CLASSES = 80

register_vocabulary(
    Vocabulary("querymeldnet-benchmark", tuple(f"thing {i}" for i in range(_CLASSES)))
)


def run(bench: Any) -> None:
    """Prints rates of the decoder and memory of the model."""
    device = str(bench.device)
    side = 64 if bench.quick else 1024 if device == "cuda" else 256
    measure_decoder(bench, side, device)
    if device == "cuda":
        measure_rates(bench, side)
    measure_memory(bench, device)


def config_of(small: bool, device: str) -> CfgNode:
    """Returns the config of the paper's Swin-L, or of a model that a CPU runs in a second."""
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "QueryMeldNet", device
    cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.TEMPLATES = "convnext_drawn", "single"
    node = cfg.MODEL.QMN
    if device == "cpu":
        node.BACKBONE.NAME = "timm/resnet10t"
    if small:
        node.HIDDEN_DIM, node.NHEADS, node.MELD.NHEADS = 64, 4, 4
        node.ENCODER.LAYERS, node.ENCODER.DIM_FEEDFORWARD, node.ENCODER.MASK_DIM = 1, 32, 32
        node.DEC_LAYERS, node.DIM_FEEDFORWARD = 2, 32
        node.NUM_LEARNABLE, node.NUM_CONDITIONAL = 8, 12
        node.LOSS.POINTS, node.DN.NUM = 64, 8
    return cfg


def measure_decoder(bench: Any, side: int, device: str) -> None:
    """Nine layers over four levels, by the number of queries; a quarter of them is learnable."""
    cfg = config_of(bench.quick, device)
    width, mask_width = cfg.MODEL.QMN.HIDDEN_DIM, cfg.MODEL.QMN.ENCODER.MASK_DIM
    levels = [torch.randn(1, width, side // s, side // s, device=device) for s in (8, 16, 32, 64)]
    masks = torch.randn(1, mask_width, side // 4, side // 4, device=device)
    features = PixelFeatures(levels, masks)
    texts = torch.randn(width, _CLASSES, device=device)
    for count in (4, 16, 36) if bench.quick else QUERIES:
        cfg.MODEL.QMN.NUM_LEARNABLE = count // 4
        cfg.MODEL.QMN.NUM_CONDITIONAL = count - count // 4
        decoder = build_decoder(cfg).to(device).eval()
        run_once = torch.no_grad()(partial(decoder, features, lambda queries: queries @ texts))
        run_once()
        seconds = bench.time(run_once, repeats=1 if bench.quick else 3)
        bench.rate(f"decoder of {count} queries, {side} pixels", seconds, 1, "images")


def measure_rates(bench: Any, side: int) -> None:
    """Images per second of the whole model on a GPU, instances of one image."""
    model = build_model(config_of(bench.quick, "cuda")).eval()
    record = record_of(side)
    half = partial(torch.autocast, "cuda", torch.bfloat16)
    for way, prepare, context in (
        ("float32", lambda: None, nullcontext),
        ("bfloat16", lambda: None, half),
        ("bfloat16, backbone compiled", model.backbone.compile, half),
    ):
        prepare()
        with context(), torch.no_grad():
            model([record])
            seconds = bench.time(partial(model, [record]), repeats=5)
        bench.rate(f"instances of one image, {side} pixels, {way}", seconds, 1, "images")


def record_of(side: int) -> dict:
    """Returns a square image with 20 squares, for training and evaluation."""
    draw = torch.Generator().manual_seed(0)
    instances = Instances((side, side))
    x0, y0 = torch.randint(0, side // 2, (2, 20), generator=draw)
    span = side // 4
    masks = torch.zeros(20, side, side, dtype=torch.bool)
    for mask, x, y in zip(masks, x0.tolist(), y0.tolist()):
        mask[y : y + span, x : x + span] = True
    instances.gt_classes = torch.arange(20)
    instances.gt_boxes = Boxes(torch.stack([x0, y0, x0 + span, y0 + span], dim=1).float())
    instances.gt_masks = BitMasks(masks)
    return {
        "image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=draw),
        "height": side,
        "width": side,
        "task": Task.INSTANCE,
        "vocabulary": "querymeldnet-benchmark",
        "instances": instances,
    }


def measure_memory(bench: Any, device: str) -> None:
    """Memory of a training step and of the evaluation of the same image, task by task."""
    side = 64 if bench.quick else 512
    sizes = (bench.quick, device, side)
    training = bench.memory(
        "memory, training step of one image", _call, None, *sizes, prepare=_prepared
    )
    for task in (Task.INSTANCE, Task.PANOPTIC):
        used = bench.memory(
            f"memory, evaluation of one image, {task}", _call, str(task), *sizes, prepare=_prepared
        )
        bench.note(f"evaluation takes {used / training:.2f} of a training step, claimed below 1")


def _prepared(task: Any, small: bool, device: str, side: int) -> Callable[[], Any]:
    model = build_model(config_of(small, device))
    record = record_of(side)
    if task is None:
        # Gradients are part of the step; those of an earlier one would hide them.
        return partial(_step, model.train(), [record])
    answer = torch.no_grad()(model.eval())
    answer([{**record_of(side // 2), "task": Task(task)}])  # what is allocated once and for all
    return partial(answer, [{**record, "task": Task(task)}])


def _step(model: QueryMeldNet, records: List[dict]) -> None:
    sum(model(records).values()).backward()


def _call(call: Callable[[], Any]) -> None:
    call()
