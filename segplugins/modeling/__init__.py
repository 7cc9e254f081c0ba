"""What models are built of; nothing here reads a file."""

from .classifier import VocabularyClassifier
from .normalizer import ImageNormalizer

__all__ = ["ImageNormalizer", "VocabularyClassifier"]
