"""The base of all evaluators that keep one row per record."""

import contextlib
import functools
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

import torch
from detectron2.evaluation import DatasetEvaluator

from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.image_statistics import ImageStatistics
from segplugins.evaluation.samples import Samples

Function = TypeVar("Function", bound=Callable[..., Any])


def full_precision(function: Function) -> Function:
    """Returns the function with autocast and gradients off: scores are float32 or better."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast("cpu", enabled=False))
            if torch.cuda.is_available():  # without it this would warn
                stack.enter_context(torch.autocast("cuda", enabled=False))
            return function(*args, **kwargs)

    return wrapped


class SampleEvaluator(DatasetEvaluator):
    """Scores each record of a data set once.

    A subclass says in `_measure` what it keeps of a record and in `_scores` what follows from all
    rows. A record counts as scored only when `_measure` has returned.

    Args:
        dataset_name: registered in DatasetCatalog.
        gallery: keeps the best and the worst pictures; None = no pictures.
        distributed: gather over all processes.

    Raises:
        ValueError: two records have the same identity, or a record lacks one of `required`.
    """

    task: str  # the key of the result
    reads: frozenset = frozenset()  # keys of a model's output
    required: Tuple[str, ...] = ()  # keys of every record of the catalog

    def __init__(
        self, dataset_name: str, *, gallery: Optional[Gallery] = None, distributed: bool = True
    ):
        self._samples = Samples(
            dataset_name, distributed=distributed, gallery=gallery, required=self.required
        )
        self.gallery = gallery
        self.sample_scores: List[float] = []
        self.image_statistics: Optional[ImageStatistics] = None

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()
        self.sample_scores = []
        self.image_statistics = None

    @full_precision
    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Scores a batch; the class says what it reads.

        Args:
            inputs: records of the data set, as the model received them.
            outputs: one result per record.

        Raises:
            ValueError: an output that cannot be scored; names the image, which then does not count
                as scored.
        """
        for model_input, record, output in self._samples.pairs(inputs, outputs):
            self._samples.add(record, self._measure(model_input, record, output))

    @full_precision
    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Joins what all processes scored.

        Returns:
            {task: {metric: value}}; {} on all processes but the first. The class names the metrics.

        Raises:
            ValueError: images of the data set were not predicted.
        """
        rows = self._samples.gather()
        return {} if rows is None else {self.task: self._scores(rows)}

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> Any:
        """Returns the row of one record: small, and picklable."""
        raise NotImplementedError

    def _scores(self, rows: List[Any]) -> Dict[str, float]:
        """Returns the metrics of all rows, which are in the order of the data set."""
        raise NotImplementedError
