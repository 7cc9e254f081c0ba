"""One evaluator for every data set and task."""

from .build import EVALUATORS, build_evaluator
from .open_vocab import OpenVocabEvaluator
from .protocol import describe_protocol
from .results import results_table, write_results
from .semantic import SemanticEvaluator, semantic_metrics

__all__ = [
    "EVALUATORS",
    "OpenVocabEvaluator",
    "SemanticEvaluator",
    "build_evaluator",
    "describe_protocol",
    "results_table",
    "semantic_metrics",
    "write_results",
]
