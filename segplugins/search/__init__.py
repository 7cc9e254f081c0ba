"""Search of nearest vectors: which rows of a large table have the highest inner product."""

from .approximate import KINDS, FaissIndex, recall
from .exact import ExactIndex, Neighbours
from .memory import RetrievalMemory

__all__ = ["KINDS", "ExactIndex", "FaissIndex", "Neighbours", "RetrievalMemory", "recall"]
