"""OpenVocabEvaluator: all that is measured on one data set, under the vocabulary in force."""

from collections import OrderedDict
from typing import Any, Dict, FrozenSet, Mapping, Optional, Sequence

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from segplugins.evaluation.details import write_details
from segplugins.evaluation.groups import seen_unseen
from segplugins.evaluation.samples import describe
from segplugins.structures import Vocabulary


class OpenVocabEvaluator(DatasetEvaluator):
    """Runs several evaluators over one data set and joins their results.

    Args:
        dataset_name: for messages and the report.
        parts: each measures one task and gives {task: {metric: value}}.
        seen: indices, among `classes`, of those whose masks the model may have been trained on. The
            result then also has the means of seen and unseen classes and their harmonic mean, of
            every metric that is a mean over classes. None: no such split.
        classes: the evaluated names. None: those of the vocabulary.
        vocabulary: that the model must answer with. None: not checked.
        output_dir: folder for what a report shows besides numbers. None: nothing is written.

    Raises:
        ValueError: no parts; `seen` without classes, or outside of them.
    """

    def __init__(
        self,
        dataset_name: str,
        parts: Sequence[DatasetEvaluator],
        seen: Optional[Sequence[int]] = None,
        *,
        classes: Optional[Sequence[str]] = None,
        vocabulary: Optional[Vocabulary] = None,
        output_dir: Optional[str] = None,
    ):
        if not parts:
            raise ValueError(f"no evaluator for '{dataset_name}': nothing would be measured")
        if classes is None and vocabulary is not None:
            classes = vocabulary.classes
        if seen is not None:
            seen_unseen({}, classes or (), seen)
        self.dataset_name = dataset_name
        self.parts = list(parts)
        self.classes = None if classes is None else tuple(classes)
        self.vocabulary = vocabulary
        self._seen = seen
        self._output_dir = output_dir

    @property
    def reads(self) -> FrozenSet[str]:
        """The keys of a model's output that the evaluators read, as each one declares them."""
        return frozenset().union(*(getattr(part, "reads", ()) for part in self.parts))

    def reset(self) -> None:
        """Forgets everything that was measured."""
        for part in self.parts:
            part.reset()

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Hands a batch to every part.

        Args:
            inputs: records of the data set, as the model got them.
            outputs: one result dict per record.

        Raises:
            ValueError: the model was asked with another vocabulary, or a part refuses a result.
        """
        for record in inputs:
            asked = record.get("vocabulary")
            if self.vocabulary is not None and asked not in (None, self.vocabulary.name):
                raise ValueError(
                    f"{describe(record)} was given to the model with the vocabulary '{asked}', but "
                    f"'{self.dataset_name}' is evaluated with '{self.vocabulary.name}'"
                )
        for part in self.parts:
            part.process(inputs, outputs)

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Joins the results of the parts.

        Returns:
            On the main process {task: {metric: value}}, otherwise {}.

        Raises:
            ValueError: two parts measure the same task, or a part refuses its data.
        """
        results: Dict[str, Dict[str, float]] = OrderedDict()
        for part in self.parts:
            for task, result in (part.evaluate() or {}).items():
                if task in results:
                    raise ValueError(f"two evaluators of '{self.dataset_name}' measure '{task}'")
                results[task] = dict(result)
        if not comm.is_main_process():
            return {}
        if self._seen is not None:
            results = {task: self._split(result) for task, result in results.items()}
        if self._output_dir:
            write_details(self._output_dir, self.parts)
        return results

    def _split(self, result: Dict[str, float]) -> Dict[str, float]:
        """The means of seen and unseen classes stand right behind the mean over all."""
        head = dict(list(result.items())[:1])
        return {**head, **seen_unseen(result, self.classes, self._seen), **result}
