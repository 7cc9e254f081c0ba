"""OpenVocabEvaluator: all that is measured on one data set, under the vocabulary in use."""

from collections import OrderedDict
from typing import Any, Dict, FrozenSet, Mapping, Optional, Sequence

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from segplugins.evaluation.details import write_details
from segplugins.evaluation.groups import seen_unseen
from segplugins.evaluation.image_statistics import write_statistics
from segplugins.evaluation.sample_evaluator import full_precision
from segplugins.evaluation.sample_identity import describe
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
        output_dir: folder for what a report shows besides numbers, and for the statistics of
            images. None: nothing is written.

    Raises:
        ValueError: no parts; `seen` without classes, or outside of them.

    Example:
        >>> records = [{"file_name": "image.jpg", "sem_seg_file_name": "labels.png"}]
        >>> DatasetCatalog.register("open_classes", lambda: records)
        >>> classes, truth = ("cat", "dog"), np.array([[0, 0, 1, 1]])
        >>> semantic = SemanticEvaluator("open_classes", classes, read_truth=lambda file: truth)
        >>> evaluator = OpenVocabEvaluator("open_classes", [semantic], [0], classes=classes)
        >>> evaluator.process(records, [{"sem_seg": torch.tensor([[0, 0, 1, 0]])}])
        >>> scores = evaluator.evaluate()["sem_seg"]
        >>> {name: round(scores[name], 1) for name in ("mIoU_seen", "mIoU_unseen", "hIoU")}
        {'mIoU_seen': 66.7, 'mIoU_unseen': 50.0, 'hIoU': 57.1}
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

    def check_truth(self) -> None:
        """Reads the truth of the first record, before a model is asked for anything.

        Raises:
            FileNotFoundError, ValueError: it cannot be read, or is none for this evaluation.
        """
        for part in self.parts:
            if hasattr(part, "check_truth"):
                part.check_truth()

    def reset(self) -> None:
        """Forgets everything that was measured."""
        for part in self.parts:
            part.reset()

    @full_precision
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

    @full_precision
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
            statistics = [getattr(part, "image_statistics", None) for part in self.parts]
            write_statistics(self._output_dir, [of for of in statistics if of is not None])
        return results

    def _split(self, result: Dict[str, float]) -> Dict[str, float]:
        """The means of seen and unseen classes stand right behind the mean over all."""
        head = dict(list(result.items())[:1])
        return {**head, **seen_unseen(result, self.classes, self._seen), **result}
