"""Measures SED: `python tools/benchmark.py sed`. What it is measured on comes from scenes.py."""

import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from segplugins.clip import load_clip
from segplugins.modeling.dense_convnext import DenseConvNeXt
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.projects.sed.loss import DecoderLoss
from segplugins.projects.sed.maps import label_map
from segplugins.projects.sed.sed import SED, SKIPS, Inference
from segplugins.structures import Vocabulary, register_vocabulary

from .plain import plain_logits, plain_rejection
from .scenes import SMALL, Scene, Sizes, draw_scene

TOP_K = 8
CHUNK = 256  # the default of MODEL.SED.CLASS_CHUNK
# What the official code gains by rejection (the lower end of what was measured on a 12 x 12 grid)
# and the MB that its fast path adds.
OFFICIAL_RATIO = {150: 5.0, 459: 9.0, 847: 10.7}
OFFICIAL_MEMORY = {150: 400, 459: 570, 847: 1220}


def run(bench: Any) -> None:
    """Prints all rows.

    Args:
        bench: from benchmarks.harness.
    """
    sizes, side = (SMALL, 4) if bench.quick else (Sizes(), 12)
    device = str(bench.device)
    measure_rejection(bench, sizes, side, device)
    measure_memory(bench, sizes, side, device)
    measure_images(bench, sizes, device)


def measure_rejection(bench: Any, sizes: Sizes, side: int, device: str) -> None:
    """Decoder time with and without rejection, beside the paper's order of computation."""
    repeats = 1 if bench.quick else 2
    bench.note(
        f"decoder on a {side} x {side} grid; the baseline is the paper's order of computation"
    )
    scene = draw_scene(min(OFFICIAL_RATIO), side, sizes, device)
    bench.compare(
        f"decoder, {len(scene.text)} classes, no rejection",
        lambda: plain_logits(scene.decoder, scene.cost(), scene.skips),
        scene.decode,
        check=partial(check_full, scene),
        repeats=repeats,
    )
    for classes, ratio in OFFICIAL_RATIO.items():
        scene = draw_scene(classes, side, sizes, device)
        fast = partial(scene.decode, TOP_K, CHUNK)
        bench.note(
            f"{classes} classes: {fast().rejections} stand after each rejection, k = {TOP_K}"
        )
        bench.compare(
            f"decoder, {classes} classes, with rejection",
            partial(_plain_fast, scene),
            fast,
            check=partial(check_rejection, scene),
            repeats=repeats,
        )
        bench.compare(
            f"decoder, {classes} classes, ours without and with rejection",
            scene.decode,
            fast,
            check=partial(check_all_kept, scene),
            repeats=repeats,
            at_least=None if bench.quick else ratio,
        )


def _plain_fast(scene: Scene) -> Tensor:
    return plain_rejection(scene.decoder, scene.cost(), scene.skips, TOP_K)[0]


def check_full(scene: Scene) -> None:
    """Ours gives what the paper's order of computation gives."""
    plain = plain_logits(scene.decoder, scene.cost(), scene.skips).sigmoid()
    torch.testing.assert_close(scene.decode().probabilities(slice(None)), plain, rtol=0, atol=1e-4)


def check_rejection(scene: Scene) -> None:
    """The same classes stand, and are scored the same."""
    plain, counts = plain_rejection(scene.decoder, scene.cost(), scene.skips, TOP_K)
    ours = scene.decode(TOP_K, CHUNK)
    assert ours.rejections == counts, (ours.rejections, counts)
    kept = ours.classes.to(plain.device)
    torch.testing.assert_close(ours.probabilities(slice(None)), plain[kept], rtol=0, atol=1e-4)
    plain[kept] = 0
    assert not plain.any()


def check_all_kept(scene: Scene) -> None:
    """Rejection that keeps every class changes nothing."""
    few = scene._replace(text=scene.text[:40])
    kept = few.decode(len(few.text)).probabilities(slice(None))
    torch.testing.assert_close(kept, few.decode().probabilities(slice(None)))


def measure_memory(bench: Any, sizes: Sizes, side: int, device: str) -> None:
    """Peak memory: of the fast path, and of a label map of few and of very many classes."""
    for classes, official in OFFICIAL_MEMORY.items():
        args = (classes, side, sizes, device)
        used = bench.memory(
            f"memory, {classes} classes, with rejection", _decode_fast, *args, prepare=draw_scene
        )
        if not bench.quick:
            bench.note(f"at most half of the official fast path's {official} MB: {official / 2:g}")
    few, many = (40, 400) if bench.quick else (500, 10_000)
    # Without rejection all classes go through all stages several times: a smaller image.
    for title, grid, fn in (
        ("with rejection", side, _label_fast),
        ("no rejection", side // 2, _label_all),
    ):
        bench.note(f"label map of a {grid} x {grid} grid, chunks of {CHUNK}, text memory-mapped")
        check_chunks(draw_scene(few, grid, sizes, device))
        with tempfile.TemporaryDirectory() as folder:
            used = [
                bench.memory(
                    f"memory, label map, {classes} classes, {title}",
                    fn,
                    *(classes, grid, sizes, device, str(Path(folder, f"{classes}.bank"))),
                    prepare=draw_scene,
                )
                for classes in (few, many)
            ]
        bench.note(f"{many} classes take {used[1] / used[0]:.2f} of the memory of {few}")


def _decode_fast(scene: Scene) -> None:
    scene.decode(TOP_K, CHUNK)


def _label_fast(scene: Scene) -> None:
    _label(scene, TOP_K)


def _label_all(scene: Scene) -> None:
    _label(scene, None)


def _label(scene: Scene, top_k: Optional[int]) -> Tensor:
    side = 32 * scene.dense.shape[-1]
    order = torch.arange(len(scene.text), device=scene.dense.device)
    return label_map(scene.decode(top_k, CHUNK), order, (side, side))


def check_chunks(scene: Scene) -> None:
    """Chunks of classes give what all classes at once give."""
    for top_k in (None, TOP_K):
        whole, parts = scene.decode(top_k), scene.decode(top_k, CHUNK)
        assert whole.classes.tolist() == parts.classes.tolist()
        for start in range(0, len(whole.classes), CHUNK):
            part = slice(start, start + CHUNK)
            torch.testing.assert_close(
                parts.probabilities(part), whole.probabilities(part), rtol=0, atol=1e-5
            )


class _GivenBank(nn.Module):
    """Stands in for the classifier: embeddings that are at hand, as a cached vocabulary's are."""

    def __init__(self, text: Tensor):
        super().__init__()
        self.text = text

    def embed(self, names: Vocabulary, keep_templates: bool) -> Tensor:
        return self.text

    def votes(self, visual: Tensor, vocabulary: Sequence[str]) -> None:
        """There is no memory."""


def build_model(sizes: Sizes, side: int, classes: int, device: str) -> SED:
    """Returns: the whole model of random weights over a vocabulary whose embeddings are there."""
    towers = load_clip(sizes.clip)
    encoder = DenseConvNeXt(towers.visual)
    pixels = side * encoder.size_divisibility
    channels = tuple(encoder.output_shape()[name].channels for name in SKIPS)
    sizes = sizes._replace(embed_dim=towers.embed_dim, skip_channels=channels)
    scene = draw_scene(classes, side, sizes, device)
    return (
        SED(
            encoder=encoder,
            normalizer=ImageNormalizer([127.5] * 3, [64.0] * 3, encoder.size_divisibility),
            classifier=_GivenBank(scene.text),
            decoder=scene.decoder,
            criterion=DecoderLoss([1.0] * 4, "negative"),
            resolution=(pixels, pixels),
            rejection_heads_only=False,
            train_classes=0,
            inference=Inference(top_k=TOP_K, class_chunk=CHUNK),
        )
        .to(device)
        .eval()
    )


def measure_images(bench: Any, sizes: Sizes, device: str) -> None:
    """Images per second from pixels to scores."""
    side, classes = (4, 40) if bench.quick else (24, 150)
    model = build_model(sizes, side, classes, device)
    names = tuple(f"class {i:03}" for i in range(classes))
    vocabulary = Vocabulary(f"benchmark-{classes}", names)
    register_vocabulary(vocabulary)
    pixels = model.resolution[0]
    image = torch.randint(0, 256, (3, pixels * 3 // 4, pixels), dtype=torch.uint8)
    record = {
        "image": image,
        "height": image.shape[1],
        "width": image.shape[2],
        "vocabulary": vocabulary.name,
    }
    records = [record] * (4 if device == "cuda" else 1)
    title = f"end to end, {pixels} pixels, {classes} classes, batch {len(records)}"
    expected = model(records)[0]["sem_seg"]
    for way, prepare, context in _ways(model, device):
        prepare()
        with context():
            scores = model(records)[0]["sem_seg"]
            seconds = bench.time(lambda: model(records), repeats=1 if bench.quick else 3)
        bench.rate(f"{title}, {way}", seconds, len(records), "images")
        bench.note(f"scores differ from float32 by at most {(scores - expected).abs().max():.2g}")


def _ways(model: SED, device: str) -> List[Tuple[str, Callable, Callable]]:
    """What to measure: a name, what is done before, and the context it runs in."""
    ways: List[Tuple[str, Callable, Callable]] = [("float32", lambda: None, nullcontext)]
    if device == "cuda":
        half = partial(torch.autocast, "cuda", torch.bfloat16)
        last = partial(model.to, memory_format=torch.channels_last)
        ways += [
            ("float32, channels_last", last, nullcontext),
            ("bfloat16, channels_last", lambda: None, half),
            ("bfloat16, channels_last, encoder compiled", model.encoder.compile, half),
        ]
    return ways
