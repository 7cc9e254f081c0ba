"""What models are built of; nothing here reads a file."""

from .classifier import VocabularyClassifier
from .clip_pretraining import ClipPretraining, clip_state_dict
from .contrastive import contrastive
from .dense_convnext import DenseConvNeXt
from .normalizer import ImageNormalizer

__all__ = [
    "ClipPretraining",
    "DenseConvNeXt",
    "ImageNormalizer",
    "VocabularyClassifier",
    "clip_state_dict",
    "contrastive",
]
