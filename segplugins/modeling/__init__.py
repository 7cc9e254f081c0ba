"""What models are built of; nothing here reads a file."""

from .classifier import VocabularyClassifier
from .contrastive import contrastive
from .dense_convnext import DenseConvNeXt
from .normalizer import ImageNormalizer

__all__ = [
    "DenseConvNeXt",
    "ImageNormalizer",
    "VocabularyClassifier",
    "contrastive",
]
