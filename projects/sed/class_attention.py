"""Attention along the class axis, in two steps: a summary of all classes, and its readers.

B images · N positions of one image · T classes · heads of d channels.
"""

from typing import NamedTuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor


class ClassSums(NamedTuple):
    """Summary of the classes for linear attention: two sums over them, in float32.

    They add up over any split of the classes, which is what makes inference by class chunks exact.
    """

    products: Tensor  # (B, N, heads, d, d), sum over classes of phi(k) v^T
    keys: Tensor  # (B, N, heads, 1, d), sum over classes of phi(k)


class ClassTokens(NamedTuple):
    """Summary of the classes for softmax attention: their keys and values. Grows with T."""

    keys: Tensor  # (B, N, heads, T, d)
    values: Tensor  # (B, N, heads, T, d)


Summary = Union[ClassSums, ClassTokens]


def phi(x: Tensor) -> Tensor:
    """The feature map of linear attention, elu(x) + 1: above 0."""
    return F.elu(x) + 1


def linear_attention(queries: Tensor, sums: ClassSums) -> Tensor:
    """Attention whose cost is linear in the number of classes.

        out = phi(q) . sum_s phi(k_s) v_s^T / (phi(q) . sum_s phi(k_s) + 1e-6)

    There is no factor 1/sqrt(d).

    Args:
        queries: (B, N, heads, T, d), before phi.
        sums: over the classes to attend to.

    Returns:
        (B, N, heads, T, d).
    """
    queries = phi(queries)
    weights = (queries * sums.keys).sum(dim=-1, keepdim=True)
    return (queries @ sums.products) / (weights + 1e-6)


def softmax_attention(queries: Tensor, tokens: ClassTokens) -> Tensor:
    """Ordinary attention with the factor 1/sqrt(d); arguments and result as `linear_attention`."""
    return F.scaled_dot_product_attention(queries, tokens.keys, tokens.values)


def class_sums(keys: Tensor, values: Tensor) -> ClassSums:
    """Returns the sums of keys (before phi) and values, each (B, N, heads, T, d)."""
    keys = phi(keys)
    return ClassSums(keys.transpose(-1, -2) @ values, keys.sum(dim=-2, keepdim=True))


def merge(first: Summary, second: Summary) -> Summary:
    """Returns the summary of two disjoint sets of classes of the same images."""
    if isinstance(first, ClassSums):
        return ClassSums(*(a + b for a, b in zip(first, second)))
    return ClassTokens(*(torch.cat(pair, dim=3) for pair in zip(first, second)))
