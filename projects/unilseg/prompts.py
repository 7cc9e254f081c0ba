"""Prompts (Table 1): the phrase that a task makes of a class name."""

from typing import Dict, List, Sequence, Tuple

from segplugins.structures import Vocabulary, get_vocabulary
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import PLACEHOLDER

SYNONYMS = ("first", "mean")


class Prompts:
    """The phrases of records.

    Args:
        templates: [[task, template], ...]. A template with "{}" takes the name; one without is the
            phrase itself, whatever the name. Tasks that are not listed take names as they stand.
        synonyms: "first": the first name of a class is its phrase; "mean": all of them are, and
            their probabilities are averaged.

    Raises:
        ValueError: no such task, an empty template, or an unknown `synonyms`.
    """

    def __init__(self, templates: Sequence[Sequence[str]], synonyms: str):
        for entry in templates:
            if len(entry) != 2 or entry[0] not in list(Task) or not str(entry[1]).strip():
                raise ValueError(
                    f"MODEL.UNILSEG.PROMPTS holds {list(entry)}, expected [task, template] with a "
                    f"task of {[str(task) for task in Task]} and a template such as 'all {{}}'"
                )
        if synonyms not in SYNONYMS:
            raise ValueError(f"MODEL.UNILSEG.SYNONYMS must be one of {SYNONYMS}, got '{synonyms}'")
        self.templates: Dict[str, str] = {str(task): template for task, template in templates}
        self.synonyms = synonyms

    def phrase(self, task: str, name: str) -> str:
        """Returns what the model reads for a class name or a phrase.

        Raises:
            ValueError: the name is empty.
        """
        if not name.strip():
            raise ValueError("a phrase is empty; say in words what is to be segmented")
        return self.templates.get(str(task), PLACEHOLDER).replace(PLACEHOLDER, name)

    def of_record(self, record: dict) -> List[Tuple[str, ...]]:
        """Returns per class of a record's vocabulary, or per text, its phrases.

        A vocabulary's own templates replace the task's.

        Raises:
            ValueError: the record asks for nothing, or for an empty phrase.
        """
        task = record.get("task", Task.REFERRING)
        if record.get("vocabulary") is not None:
            return self.of_vocabulary(get_vocabulary(record["vocabulary"]), task)
        texts = record.get("texts")
        if not texts:
            raise ValueError(
                f"{record.get('file_name', 'a record')} has neither a vocabulary nor a phrase: "
                "nothing is asked for"
            )
        if isinstance(texts, str):
            raise ValueError(f"'texts' must be a list of phrases, got the single text {texts!r}")
        return [(self.phrase(task, text),) for text in texts]

    def of_vocabulary(self, vocabulary: Vocabulary, task: str) -> List[Tuple[str, ...]]:
        """Returns per class its phrases: every name that counts, in every template."""
        every = slice(None) if self.synonyms == "mean" else slice(1)
        names = [synonyms[every] for synonyms in vocabulary.synonyms]
        if vocabulary.templates is None:
            return [tuple(self.phrase(task, name) for name in synonyms) for synonyms in names]
        return [
            tuple(t.replace(PLACEHOLDER, name) for t in vocabulary.templates for name in synonyms)
            for synonyms in names
        ]
