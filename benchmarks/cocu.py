"""Measures CoCu's retrieval: `python tools/benchmark.py cocu`."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segplugins.search import ExactIndex

_WIDTH, _NEIGHBOURS = 512, 8


def run(bench: Any) -> None:
    """Measures, with `bench` from benchmarks.harness."""
    rows, count = (2_000, 16) if bench.quick else (200_000, 256)
    draw = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(rows, _WIDTH, generator=draw), dim=1).to(bench.device)
    queries = F.normalize(torch.randn(count, _WIDTH, generator=draw), dim=1).to(bench.device)
    index = ExactIndex(_WIDTH)
    index.add(vectors)
    some = max(count // 16, 1)

    def one_by_one(number: int) -> Tensor:
        return torch.stack(
            [(vectors @ query).topk(_NEIGHBOURS).indices for query in queries[:number]]
        )

    def check() -> None:
        assert torch.equal(index.query(queries, _NEIGHBOURS).rows[:some], one_by_one(some))

    bench.compare(
        f"{_NEIGHBOURS} neighbours of {count} queries in {rows} x {_WIDTH}, alone and in blocks",
        lambda: one_by_one(some),
        lambda: index.query(queries, _NEIGHBOURS),
        check=check,
        at_least=None if bench.quick else 10.0,
        baseline_share=some / count,
    )
