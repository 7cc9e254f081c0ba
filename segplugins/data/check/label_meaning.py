"""Label maps that can be read and still mean something else than their vocabulary says."""

from typing import Iterator, List, Mapping, Sequence

from segplugins.files.faults import Fault
from segplugins.files.label_coding import LabelCoding
from segplugins.structures.vocabulary import Vocabulary, vocabulary_doubts


def label_remarks(
    labels: Mapping[int, int], coding: LabelCoding, names: Sequence[str]
) -> List[Fault]:
    """Returns what is suspicious in the labels of a whole set, with the key that puts it right.

    Args:
        labels: pixels by the value that they have in the files of the set.
        coding: what the values mean.
        names: of the classes.
    """
    return [
        Fault("label-meaning", message, remark=True) for message in _doubts(labels, coding, names)
    ]


def name_remarks(vocabulary: Vocabulary) -> List[Fault]:
    """Returns the doubts about a vocabulary."""
    return [Fault("name", doubt, remark=True) for doubt in vocabulary_doubts(vocabulary)]


def _doubts(labels: Mapping[int, int], coding: LabelCoding, names: Sequence[str]) -> Iterator[str]:
    present = {value for value, pixels in labels.items() if pixels}
    if not present or coding.colours:
        return
    if not present - set(coding.ignored):
        listed = ", ".join(map(str, sorted(present)))
        yield f"no pixel carries a class: the maps hold only {listed}, which is ignored"
    if not coding.is_plain or not names:
        return
    (ignored,) = coding.ignored
    if 0 <= ignored < len(names):
        step = "name another ignore_label"
        if ignored == 0:
            step = "if labels start at 1, say `first_label: 1`, and leave the name of label 0 out"
        yield (
            f"ignore_label {ignored} is class '{names[ignored]}' too, which no pixel can then be "
            f"of; {step}"
        )
    elif present == {0, 255} and ignored == 255 and len(names) > 1:
        yield (
            f"the maps hold only 0 ('{names[0]}') and the ignored 255; class '{names[1]}' is never "
            f"shown. If 255 is '{names[1]}', say `label_values: {{0: {names[0]}, 255: {names[1]}}}`"
        )
    elif len(names) > 1 and 0 not in present and 1 in present:
        yield (
            f"no pixel holds 0 ('{names[0]}'), the lowest label is 1. If label 1 is "
            f"'{names[0]}', say `first_label: 1`"
        )
