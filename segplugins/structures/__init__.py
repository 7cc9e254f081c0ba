"""The words that all parts share: plain data, no network."""

from .checks import check_shape
from .vocabulary import (
    Vocabulary,
    check_templates,
    get_vocabulary,
    register_vocabulary,
    vocabulary_from_data,
)

__all__ = [
    "Vocabulary",
    "check_shape",
    "check_templates",
    "get_vocabulary",
    "register_vocabulary",
    "vocabulary_from_data",
]
