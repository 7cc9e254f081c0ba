"""What is asked of a picture: a vocabulary or phrases; and what a model's output says to it.

H and W are the picture's height and width in pixels, K the names asked for.
"""

from dataclasses import dataclass
from typing import Any, Collection, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch

from segplugins.structures import Vocabulary
from segplugins.structures.regions import Task, encode_mask

from .result import NOTHING, Result, mean_scores, narrow

# Of a model that gives probabilities instead of masks.
_MASK_THRESHOLD = 0.5
# Task to the key of a model's output that answers it, and what that output is.
_OUTPUTS = {
    Task.SEMANTIC: ("sem_seg", "label maps"),
    Task.PART: ("sem_seg", "label maps"),
    Task.PANOPTIC: ("panoptic_seg", "panoptic segments"),
    Task.INSTANCE: ("instances", "instances"),
    Task.REFERRING: ("phrase_masks", "a mask per prompt"),
    Task.SALIENT: ("phrase_masks", "a mask per prompt"),
}


@dataclass(frozen=True)
class Question:
    """A question that can be asked of any number of pictures.

    Args:
        task: which output of the model answers it.
        names: the K classes or prompts.
        vocabulary: registered; None = `names` are prompts, a mask each.
    """

    task: Task
    names: Tuple[str, ...]
    vocabulary: Optional[Vocabulary] = None

    @property
    def record(self) -> Dict[str, Any]:
        """What a model's record says besides the image: "task", "vocabulary", "texts"."""
        if self.vocabulary is None:
            return {"task": self.task, "vocabulary": None, "texts": list(self.names)}
        return {"task": self.task, "vocabulary": self.vocabulary.name}

    @property
    def identity(self) -> Dict[str, Any]:
        """What tells two questions apart, as JSON."""
        if self.vocabulary is None:
            return {"task": str(self.task), "prompts": list(self.names)}
        return {"task": str(self.task), "vocabulary": self.vocabulary.digest()}

    @property
    def is_thing(self) -> Tuple[bool, ...]:
        """Per name, whether its instances are counted apart."""
        return () if self.vocabulary is None else self.vocabulary.is_thing


def ask_classes(vocabulary: Vocabulary, task: Union[Task, str] = Task.SEMANTIC) -> Question:
    """Returns the question which classes are where.

    Raises:
        ValueError: a task that no vocabulary answers.
    """
    known = [str(each) for each in _OUTPUTS if each not in (Task.REFERRING, Task.SALIENT)]
    if task not in known:
        raise ValueError(f"task '{task}' is not answered by a vocabulary; tasks are {known}")
    return Question(Task(task), vocabulary.classes, vocabulary)


def ask_phrases(prompts: Sequence[str]) -> Question:
    """Returns the question where each phrase's target is.

    Args:
        prompts: phrases; runs of spaces in them count as one.

    Raises:
        ValueError: there is none, one is empty, or one is given twice (in any case of letters).
    """
    if isinstance(prompts, str):
        raise ValueError(f"prompts must be a list of phrases, got the text {prompts!r}: [it]")
    phrases = [" ".join(prompt.split()) for prompt in prompts]
    if not phrases or "" in phrases:
        number = phrases.index("") + 1 if phrases else 1
        raise ValueError(
            f"prompt {number} of {len(phrases)} is empty; write one as --prompt "
            '"the red car", from Python as prompts=["the red car"]'
        )
    first: Dict[str, str] = {}
    for phrase in phrases:
        if phrase.casefold() in first:
            raise ValueError(
                f"prompts '{first[phrase.casefold()]}' and '{phrase}' are the same; leave one out"
            )
        first[phrase.casefold()] = phrase
    return Question(Task.REFERRING, tuple(phrases))


def check_answered(question: Question, answers: Collection[str]) -> None:
    """Raises ValueError where a model does not answer a question, before it sees a picture.

    Args:
        question: of `ask_classes` or `ask_phrases`.
        answers: keys of the model's output, as its class names them.
    """
    key, what = _OUTPUTS[question.task]
    if key not in answers:
        raise ValueError(_cannot(question, sorted(answers), key, what))


def read_output(
    question: Question,
    output: Mapping[str, Any],
    *,
    size: Optional[Tuple[int, int]] = None,
    threshold: Optional[float] = None,
    **more: Any,
) -> Result:
    """Returns what a model's output says to a question.

    Args:
        question: that was asked.
        output: of the model for one record, on any device. "sem_seg": probabilities (K, h, w), or
            labels (h, w) with "sem_seg_scores" (h, w); "panoptic_seg": (map, segments) as in
            detectron2; "instances": detectron2's Instances; "phrase_masks": (K, h, w).
        size: (H, W) of the picture, where the model answered at another size.
        threshold: pixels and instances of a lower score are none of the names; None = no such
            rule. Phrases keep the threshold of their model.
        more: "name" and "image" of the picture.

    Raises:
        ValueError: the model does not answer such a question.
    """
    check_answered(question, output)
    key, _ = _OUTPUTS[question.task]
    more = {**more, "task": question.task, "is_thing": question.is_thing}
    if key == "sem_seg":
        return _read_labels(question, output, size, threshold, more)
    if key == "panoptic_seg":
        return _read_segments(question, output[key], size, threshold, more)
    if key == "instances":
        return _read_instances(question, output[key], size, threshold, more)
    masks = output[key]
    if len(masks) != len(question.names):
        raise ValueError(
            f"the model gave {len(masks)} masks for {len(question.names)} prompts; one each is due"
        )
    scores = None
    if masks.is_floating_point():
        probabilities, masks = masks, masks > _MASK_THRESHOLD
        inside = (probabilities * masks).flatten(1).sum(1)
        scores = (inside / masks.flatten(1).sum(1).clamp(min=1)).float().cpu().numpy()
    classes = range(len(question.names))
    return _read_masks(masks.bool(), classes, question, size, {**more, "scores": scores})


def _cannot(question: Question, given: Sequence[str], key: str, what: str) -> str:
    if question.vocabulary is None:
        return (
            f"this model answers prompts with {given}, not with a mask for each ('{key}'); a model "
            "that parts a picture into classes is asked with --vocabulary"
        )
    ways = {"sem_seg": "semantic", "panoptic_seg": "panoptic", "instances": "instance"}
    other = [ways[each] for each in given if each in ways]
    hint = f"; ask with task '{other[0]}'" if other else ""
    if not other and "phrase_masks" in given:
        hint = "; a model for phrases is asked with --prompt"
    return (
        f"this model answers a vocabulary with {given}, not with {what} ('{key}'), which task "
        f"'{question.task}' needs{hint}"
    )


def _read_labels(
    question: Question,
    output: Mapping[str, Any],
    size: Optional[Tuple[int, int]],
    threshold: Optional[float],
    more: Mapping[str, Any],
) -> Result:
    labels, scores = output["sem_seg"], output.get("sem_seg_scores")
    if labels.dim() == 3:
        scores, labels = labels.max(dim=0)
    if threshold is not None:
        if scores is None:
            raise ValueError(
                "this model gives label maps without scores, so no threshold can be held against "
                "them; leave the threshold out, or set TEST.LABEL_MAPS False"
            )
        labels = torch.where(scores >= threshold, labels, NOTHING)
    # Narrow and averaged before they are brought to size: a large picture has a hundred million
    # pixels, and a number of each of them would be more than the model itself.
    count = len(question.names)
    narrowed = narrow(labels, count)
    if scores is not None:
        scores = mean_scores(narrowed, scores.float().cpu().numpy(), count)
    labels = _at_size(torch.from_numpy(narrowed), size)
    return Result.from_label_map(labels, question.names, scores=scores, **more)


def _read_segments(
    question: Question,
    output: Tuple[torch.Tensor, Sequence[Mapping[str, Any]]],
    size: Optional[Tuple[int, int]],
    threshold: Optional[float],
    more: Mapping[str, Any],
) -> Result:
    segments, infos = output
    if threshold is not None:
        infos = [info for info in infos if info.get("score", 1.0) >= threshold]
    scores = [info.get("score") for info in infos]
    return Result.from_segments(
        _at_size(segments, size),
        [info["id"] for info in infos],
        [info["category_id"] for info in infos],
        question.names,
        scores=None if None in scores else scores,
        **more,
    )


def _read_instances(
    question: Question,
    instances: Any,
    size: Optional[Tuple[int, int]],
    threshold: Optional[float],
    more: Mapping[str, Any],
) -> Result:
    if not instances.has("pred_masks"):
        raise ValueError("this model gives boxes without masks; segmentation needs masks")
    if threshold is not None:
        instances = instances[instances.scores >= threshold]
    classes = instances.pred_classes.cpu().numpy()
    more = {**more, "scores": instances.scores.float().cpu().numpy()}
    return _read_masks(instances.pred_masks.bool(), classes, question, size, more)


def _read_masks(
    masks: torch.Tensor,
    classes: Sequence[int],
    question: Question,
    size: Optional[Tuple[int, int]],
    more: Mapping[str, Any],
) -> Result:
    """Returns the result of masks (N, h, w), brought to size one at a time."""
    if size is None or size == masks.shape[-2:]:
        return Result.from_masks(masks, classes, question.names, **more)
    rles = [encode_mask(_at_size(mask, size).cpu().numpy()) for mask in masks]
    return Result.from_masks(rles, classes, question.names, size=size, **more)


def _at_size(maps: torch.Tensor, size: Optional[Tuple[int, int]]) -> torch.Tensor:
    """Returns (..., H, W): the nearest values of (..., h, w)."""
    height, width = maps.shape[-2:]
    if size is None or size == (height, width):
        return maps
    rows, columns = (
        torch.from_numpy(((np.arange(to) + 0.5) * of / to).astype(np.int64)).to(maps.device)
        for to, of in zip(size, (height, width))
    )
    return maps[..., rows[:, None], columns]
