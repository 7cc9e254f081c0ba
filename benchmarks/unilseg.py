"""What `python tools/benchmark.py unilseg` measures: phrases of one image answered together."""

from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, List, Tuple

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import Tensor

from segplugins.config import add_shared_config
from segplugins.projects.unilseg import add_config
from segplugins.projects.unilseg.unilseg import UniLSeg
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task

PHRASES = (1, 10, 150)
# 150 phrases of one image may take this share of 150 runs of one phrase each.
SHARE = 0.8
_FEW, _MANY = 10, 150  # for memory


def run(bench: Any) -> None:
    """Prints all rows.

    Args:
        bench: from benchmarks.harness.
    """
    device = str(bench.device)
    # The model is the paper's; on a CPU its 480 pixels would take a quarter of an hour.
    side = 64 if bench.quick else 480 if device == "cuda" else 192
    bench.note(f"{'a small model' if bench.quick else 'Swin-B, CLIP ViT-B/16'}, {side} pixels")
    model = build(bench.quick, device)
    counts = (1, 3, 12) if bench.quick else PHRASES
    measure_sharing(bench, model, side, counts[-1])
    measure_rates(bench, model, side, counts)
    del model
    measure_memory(bench, device)


def build(small: bool, device: str) -> UniLSeg:
    """Returns: the model of random weights, answering with label maps."""
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "UniLSeg", device
    cfg.MODEL.CLIP.NAME = "convnext_drawn" if small else "ViT-B-16-quickgelu"
    cfg.TEST.LABEL_MAPS = True
    # As many texts at a time as phrases, so that neither bound hides the other.
    cfg.MODEL.CLIP.TEXT_BATCH = cfg.MODEL.UNILSEG.TEST.PROMPT_CHUNK
    if small:
        _shrink(cfg.MODEL.UNILSEG)
    return build_model(cfg).eval()


def _shrink(node: CfgNode) -> None:
    node.SWIN.EMBED_DIM, node.SWIN.DEPTHS, node.SWIN.NUM_HEADS = 8, [1, 1, 1, 1], [1, 1, 2, 2]
    node.CONV_DIM, node.MASK_DIM, node.DIM_FEEDFORWARD, node.DEC_LAYERS = 64, 32, 64, 2


def record_of(side: int, count: int) -> dict:
    """Returns a square image with a vocabulary of so many classes."""
    words = Vocabulary(f"unilseg-{count}", tuple(f"thing number {i}" for i in range(count)))
    register_vocabulary(words)
    draw = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=draw),
        "height": side,
        "width": side,
        "task": Task.SEMANTIC,
        "vocabulary": words.name,
    }


def texts_of(record: dict, texts: List[str]) -> dict:
    """Returns the same image with some texts, whose results are probabilities."""
    return {**record, "vocabulary": None, "texts": texts, "task": Task.SALIENT}


def measure_sharing(bench: Any, model: UniLSeg, side: int, count: int) -> None:
    """Many phrases of one image against as many runs of one phrase."""
    record = record_of(side, count)
    sample = min(count, 6)
    phrases = [f"all thing number {i}" for i in range(count)]

    def alone(number: int) -> List[Tensor]:
        model.train(False)  # forgets phrases, as a new request would find it
        return [
            model([texts_of(record, [text])])[0]["phrase_masks"][0] for text in phrases[:number]
        ]

    def together(number: int) -> Tensor:
        model.train(False)
        return model([texts_of(record, phrases[:number])])[0]["phrase_masks"]

    def check() -> None:
        torch.testing.assert_close(together(sample), torch.stack(alone(sample)), rtol=0, atol=1e-4)

    bench.compare(
        f"{count} phrases of one image, alone and together",
        lambda: alone(sample),
        lambda: together(count),
        check=check,
        repeats=1 if str(bench.device) == "cpu" else 3,
        at_least=None if bench.quick else 1 / SHARE,
        baseline_share=sample / count,
    )


def measure_rates(bench: Any, model: UniLSeg, side: int, counts: Tuple[int, ...]) -> None:
    """Images per second, from pixels to a label map, phrases known."""
    for way, prepare, context in _ways(model, bench.device.type):
        prepare()
        for count in counts:
            record = record_of(side, count)
            with context():
                model([record])
                seconds = bench.time(partial(model, [record]), repeats=1 if count > 10 else 3)
            bench.rate(f"{count} phrases per image, {way}", seconds, 1, "images")


def _ways(model: UniLSeg, device: str) -> List[Tuple[str, Callable, Callable]]:
    """What to measure: a name, what is done before, and the context it runs in."""
    ways: List[Tuple[str, Callable, Callable]] = [("float32", lambda: None, nullcontext)]
    if device == "cuda":
        half = partial(torch.autocast, "cuda", torch.bfloat16)
        ways += [
            ("bfloat16", lambda: None, half),
            ("bfloat16, vision path compiled", model.vision_path.compile, half),
        ]
    return ways


def measure_memory(bench: Any, device: str) -> None:
    """Memory of a label map of few and of many classes."""
    used = [
        bench.memory(
            f"memory, label map of {count} phrases",
            _answer,
            *(bench.quick, device, count),
            prepare=_prepared,
        )
        for count in (_FEW, _MANY)
    ]
    bench.note(f"{_MANY} phrases take {used[1] / used[0]:.2f} of the memory of {_FEW}")


def _prepared(small: bool, device: str, count: int) -> Callable[[], List[dict]]:
    model = build(small, device)
    model([record_of(64, 1)])  # what is allocated once and for all
    return partial(model, [record_of(96, count)])


def _answer(answer: Callable[[], List[dict]]) -> None:
    answer()
