"""Measures text encoding and the bank: `python tools/benchmark.py text`."""

import tempfile
import time
from typing import Any, Iterator, List, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segplugins.clip import ClipTowers, load_clip
from segplugins.text.bank import TextBank
from segplugins.text.encoder import TextEncoder
from segplugins.text.templates import template_set

_REAL = "convnext_base_w_320"  # the text tower of SED-B: width 640, 12 layers
_SMALL = "convnext_drawn"


def run(bench: Any) -> None:
    """Measures, with `bench` from benchmarks.harness."""
    towers = load_clip(_SMALL if bench.quick else _REAL)
    towers.text.to(bench.device)
    bench.note(f"text tower of {towers.name}, random weights, {bench.device}")
    with torch.no_grad():
        _encoding(bench, towers)
    _warm_load(bench, towers)
    for names in (50, 200) if bench.quick else (1_000, 10_000):
        row = f"bank of {names} names x 80 templates on disk (small tower)"
        bench.memory(row, _fill, names, prepare=_prepare)


def _encoding(bench: Any, towers: ClipTowers) -> None:
    """80 templates x 50 names against the loop over classes at the full context."""
    names = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    templates = template_set("imagenet80")
    baseline_names = 2  # each takes the baseline 80 texts x 77 tokens
    encoder = TextEncoder(towers, batch=256 if bench.device.type == "cpu" else 4096)
    prompts = [template.replace("{}", name) for name in names for template in templates]

    def loop_over_classes() -> Tensor:
        classes = []
        for name in names[:baseline_names]:
            tokens = towers.tokenize([template.replace("{}", name) for template in templates])
            classes.append(towers.text(tokens.to(bench.device))[0])
        return torch.cat(classes)

    def ours() -> Tensor:
        return encoder.pooled(prompts)

    def check() -> None:
        expected = loop_over_classes()
        embeddings = ours()[: len(expected)]
        difference = (F.normalize(embeddings, dim=-1) - F.normalize(expected, dim=-1)).abs().max()
        assert difference < (1e-5 if bench.device.type == "cpu" else 1e-4), difference
        bench.note(f"largest difference of a unit embedding: {difference:.1e}")

    bench.compare(
        f"{len(names)} names x 80 templates, ours against a loop over classes at 77 tokens",
        loop_over_classes,
        ours,
        check=check,
        repeats=2,
        at_least=9,
        baseline_share=baseline_names / len(names),
    )


def _warm_load(bench: Any, towers: ClipTowers) -> None:
    """A bank that another process left on disk; its content does not matter here."""
    encoder = TextEncoder(towers)
    groups = [(f"name {i}",) for i in range(50 if bench.quick else 847)]
    templates = template_set("imagenet80")

    def invented(*_: Any) -> Iterator[Tuple[List[int], Tensor]]:
        for index in range(len(groups)):
            yield [index], F.normalize(torch.randn(1, len(templates), encoder.embed_dim), dim=-1)

    with tempfile.TemporaryDirectory() as folder:
        filler = TextBank(encoder, folder)
        filler._blocks = invented
        written = filler.get(groups, templates, keep_templates=True).clone()
        start = time.perf_counter()
        warm = TextBank(TextEncoder(towers), folder)
        loaded = warm.get(groups, templates, keep_templates=True)
        seconds = time.perf_counter() - start
        assert torch.equal(loaded, written)
    size = " x ".join(map(str, loaded.shape))
    bench.rate(
        f"warm load of a bank of {size}, fingerprint of the tower included", seconds, 1, "bank"
    )
    bench.note(f"that is {seconds:.3f} s")


def _prepare(names: int) -> Tuple[TextEncoder, int]:
    return TextEncoder(load_clip(_SMALL)), names


def _fill(prepared: Tuple[TextEncoder, int]) -> None:
    """Encodes a bank to disk: what memory that takes must not grow with the bank."""
    encoder, names = prepared
    groups = [(f"name {index}",) for index in range(names)]
    with tempfile.TemporaryDirectory() as folder:
        bank = TextBank(encoder, folder)
        rows = bank.get(groups, template_set("imagenet80"), keep_templates=True)
        assert rows.shape[0] == names and rows[-1].isfinite().all()


_FIRST = ("red", "wooden", "small", "traffic", "swimming")
_SECOND = ("car", "table", "light", "pool", "tree", "dog", "building", "person", "boat", "chair")
