"""One evaluator for every data set and task."""

from .build import EVALUATORS, build_evaluator
from .open_vocab import OpenVocabEvaluator
from .semantic import SemanticEvaluator, semantic_metrics

__all__ = [
    "EVALUATORS",
    "OpenVocabEvaluator",
    "SemanticEvaluator",
    "build_evaluator",
    "semantic_metrics",
]
