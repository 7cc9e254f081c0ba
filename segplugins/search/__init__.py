"""Search of nearest vectors: which rows of a large table have the highest inner product."""

from .exact import ExactIndex, Neighbours

__all__ = ["ExactIndex", "Neighbours"]
