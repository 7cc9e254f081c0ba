"""Contrastive losses over embeddings of all processes, with the gradient of all processes.

A rows of the first kind (images or regions), T of the second (texts), D width, W processes.
Each process compares its own rows with the columns of all; gradients come back to the rows that
the columns were made of. Averaged over processes, as DistributedDataParallel does, loss and
gradient are those of one process with the whole batch.
"""

import hashlib
from typing import Any, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor
from torch.nn import functional as F


def contrastive(
    a: Tensor,
    b: Tensor,
    logit_scale: Tensor,
    positives: Optional[Tensor] = None,
    *,
    labels: Optional[Tensor] = None,
) -> Tensor:
    """InfoNCE in both directions, with any number of positives (CLIP's loss where there is one).

        loss = 1/2 (mean_i l(i) + mean_j l(j)),
        l(i) = logsumexp_j s_ij - mean over positives j of i of s_ij,    s = logit_scale cos(a, b)

    Rows without a positive are left out of the means; without any, the loss is 0.

    Args:
        a: (A, D), of any length: normalised here, in float32.
        b: (T, D).
        logit_scale: scalar factor on the cosine similarity: the exponential of CLIP's parameter.
        positives: (A, T) bool; None = row i belongs to row i (A = T).
        labels: (T,) int64, equal for equal texts, on other processes too: what is positive to a
            text is positive to its twins. None = all texts differ.

    Returns:
        scalar, float32.

    Raises:
        ValueError: shapes that do not fit.
    """
    if positives is None:
        if len(a) != len(b):
            raise ValueError(f"{len(a)} and {len(b)} rows are no pairs: say which are positive")
        positives = torch.eye(len(a), dtype=torch.bool, device=a.device)
    if positives.shape != (len(a), len(b)):
        raise ValueError(f"positives has shape {tuple(positives.shape)}, not {(len(a), len(b))}")
    with torch.autocast(a.device.type, enabled=False):
        a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
        of_a, of_b = _positives_everywhere(positives, labels)
        scale = logit_scale.float()
        return 0.5 * (
            _one_way(scale * a @ gather_rows(b).T, of_a)
            + _one_way(scale * b @ gather_rows(a).T, of_b)
        )


class _Gathered(torch.autograd.Function):
    """The tensors of all processes; the gradient of each is summed over the processes.

    torch's own function of this kind is deprecated since 2.14.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tuple[Tensor, ...]:
        """Returns the tensors in the order of the ranks, all of the shape of `own`."""
        parts = [torch.empty_like(own) for _ in range(comm.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Returns the sum over processes of the gradients with respect to `own`."""
        total = torch.stack(gradients)
        dist.all_reduce(total)
        return total[comm.get_rank()]


def gather_rows(rows: Tensor) -> Tensor:
    """Joins the rows of all processes; their number may differ, and some may have none.

    Args:
        rows: (N, ...), N of this process, in all processes of one type and width.

    Returns:
        (sum of N, ...), in the order of the ranks. Its gradient is the sum over processes; if the
        rows of any process have one, so has the result in all of them.
    """
    if comm.get_world_size() == 1:
        return rows
    counts, gradients = zip(*_gather_numbers([len(rows), rows.requires_grad], rows.device))
    if max(counts) == 0:
        return rows
    padded = torch.cat([rows, rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])])
    if any(gradients):
        # The gradient is gathered as well: a process without one of its own must take part, or
        # the others wait for it for ever.
        parts = _Gathered.apply(padded if padded.requires_grad else padded.requires_grad_())
    else:
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts)])


def text_labels(texts: Sequence[str], device: torch.device) -> Tensor:
    """Returns (T,) int64, the same for equal texts, in every process."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    numbers = [int.from_bytes(digest, "big", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.long, device=device)


def mean_over_processes(total: Tensor, count: int) -> Tensor:
    """Divides a sum so that the average over processes is the mean over all rows.

    Args:
        total: scalar, the sum over `count` rows of this process.
        count: may be 0.
    """
    everywhere = torch.tensor(float(count), device=total.device)
    if comm.get_world_size() > 1:
        dist.all_reduce(everywhere)
    return total * comm.get_world_size() / everywhere.clamp_min(1)


def _one_way(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean of l(i) over the rows with a positive; (N, M) logits and bool."""
    counts = positives.sum(dim=1)
    attracted = (logits * positives).sum(dim=1) / counts.clamp_min(1)
    losses = (logits.logsumexp(dim=1) - attracted) * (counts > 0)
    return mean_over_processes(losses.sum(), int((counts > 0).sum()))


def _positives_everywhere(positives: Tensor, labels: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """Returns (A, all T) and (T, all A) bool, own rows against the columns of all processes."""
    if labels is None:
        if comm.get_world_size() == 1:
            return positives, positives.T
        first = comm.get_rank() << 32
        labels = torch.arange(first, first + positives.shape[1], device=positives.device)
    blocks = _gather_blocks(positives)
    labels_of = gather_rows(labels).split([block.shape[1] for block in blocks])
    same = [(labels[:, None] == others).float() for others in labels_of]
    of_a = positives.float() @ torch.cat(same, dim=1) > 0
    of_b = torch.cat([twins @ block.float().T > 0 for twins, block in zip(same, blocks)], dim=1)
    return of_a, of_b


def _gather_blocks(block: Tensor) -> List[Tensor]:
    """Returns the (A, T) bool matrices of all processes, whose sizes may differ."""
    if comm.get_world_size() == 1:
        return [block]
    heights, widths = zip(*_gather_numbers(block.shape, block.device))
    if max(heights) == 0 or max(widths) == 0:
        return [block.new_zeros(high, wide) for high, wide in zip(heights, widths)]
    padding = (0, max(widths) - block.shape[1], 0, max(heights) - block.shape[0])
    padded = F.pad(block.to(torch.uint8), padding)
    parts = [torch.empty_like(padded) for _ in heights]
    dist.all_gather(parts, padded)
    return [part[:high, :wide].bool() for part, high, wide in zip(parts, heights, widths)]


def _gather_numbers(numbers: Sequence[int], device: torch.device) -> List[List[int]]:
    """Returns per process its numbers, in one exchange and one copy to the host."""
    own = torch.tensor([int(number) for number in numbers], device=device)
    everywhere = [torch.empty_like(own) for _ in range(comm.get_world_size())]
    dist.all_gather(everywhere, own)
    return torch.stack(everywhere).tolist()
