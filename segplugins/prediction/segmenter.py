"""Segmenter: a trained model as one call, from pictures and words to results."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import detectron2.data.transforms as T
import numpy as np
import torch
from torch import nn

from segplugins.data.mapper import input_at_test
from segplugins.engine.media import Frame
from segplugins.engine.steps import autocast
from segplugins.structures.regions import Task

from .inputs import as_list, is_single, read_picture, read_pictures
from .questions import Question, ask_classes, ask_phrases, check_answered, read_output
from .result import Result
from .windows import check_windows, join_windows, place_windows, window_size
from .words import Words, read_vocabulary, warn_of_unseen_words

# Pixels of a model's answer. A larger picture gets the nearest values of an answer of this size,
# several times finer than any model's own grid, so that memory does not grow with the picture.
_ANSWER_PIXELS = 2**24
# Pixels of the pictures of one batch.
_BATCH_PIXELS = 2**26


@dataclass(frozen=True)
class Settings:
    """What a segmenter knows besides its model.

    Args:
        augmentations: of a task, that bring a picture to the size at which the model sees it.
        vocabulary: asked for where a call names no words.
        clip_name: MODEL.CLIP.NAME, for words that this text encoder has never read.
        training_names: names of the classes that the weights were trained on, as far as known.
        precision: of autocast; None = that of the weights.
        identity: what tells two models apart, as JSON: config and weights.
    """

    augmentations: Callable[[Task], Sequence[T.Augmentation]]
    vocabulary: Optional[Words] = None
    clip_name: str = ""
    training_names: Tuple[str, ...] = ()
    precision: Optional[torch.dtype] = None
    identity: Optional[Dict[str, Any]] = None


class Segmenter:
    """Segments pictures by words. `segplugins.load` builds it.

    Args:
        model: a meta-architecture; it is put into evaluation mode.
        settings: see `Settings`.

    Example:
        >>> model = segplugins.load("configs/sed/quickstart.yaml", weights="sed.pth")
        >>> result = model("street.jpg", "red car, tree|shrub, sky")
        >>> result.draw().save("out.jpg")
    """

    def __init__(self, model: nn.Module, settings: Settings):
        self.model = model.eval()
        self.settings = settings
        self._warned: set = set()

    @property
    def device(self) -> torch.device:
        """Where the model is; pictures go there by themselves."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def to(self, device: Union[str, torch.device]) -> "Segmenter":
        """Moves the model and returns this segmenter."""
        self.model.to(device)
        return self

    def ask(
        self,
        vocabulary: Optional[Words] = None,
        *,
        prompts: Optional[Sequence[str]] = None,
        task: Optional[Union[Task, str]] = None,
    ) -> Question:
        """Returns the question that words mean; see `__call__`.

        Raises:
            ValueError: both or none are given, or they ask nothing.
        """
        if vocabulary is not None and prompts is not None:
            raise ValueError("give a vocabulary or prompts, not both: they are asked differently")
        if prompts is not None:
            if task is not None and task != Task.REFERRING:
                raise ValueError(f"prompts are answered with a mask each, not by task '{task}'")
            question = ask_phrases(prompts)
            names = [(phrase,) for phrase in question.names]
        else:
            words = self.settings.vocabulary if vocabulary is None else vocabulary
            if words is None:
                raise ValueError(
                    'nothing is asked for: give names such as "red car, tree|shrub, sky", or '
                    'prompts=["the red car"]'
                )
            question = ask_classes(read_vocabulary(words), task or Task.SEMANTIC)
            names = question.vocabulary.synonyms
        if question.names not in self._warned:
            self._warned.add(question.names)
            settings = self.settings
            warn_of_unseen_words(settings.clip_name, names, settings.training_names)
        if (answers := getattr(self.model, "answers", None)) is not None:
            check_answered(question, answers)
        return question

    def __call__(
        self,
        pictures: Any,
        vocabulary: Optional[Words] = None,
        *,
        prompts: Optional[Sequence[str]] = None,
        task: Optional[Union[Task, str]] = None,
        threshold: Optional[float] = None,
        channels: str = "RGB",
        batch_size: int = 4,
        windows: bool = False,
    ) -> Union[Result, List[Result]]:
        """Segments one picture or a list of pictures.

        Args:
            pictures: a path, PIL image, array or tensor (see `read_picture`), or a list of them.
            vocabulary: names as text "red car, tree|shrub, sky", a list, a file, a registered
                name, or a `Vocabulary`. None: that of the config.
            prompts: phrases instead, which get a mask each and may overlap.
            task: "semantic" (default), "instance", "panoptic" or "part", as the model allows.
            threshold: pixels and instances of a lower score are none of the names. None = off.
            channels: order of the channels of arrays, "RGB" or "BGR".
            batch_size: pictures of a list that the model sees at once.
            windows: look at a picture that is larger than what the model sees part by part, at full
                resolution; slower. Not for instances and panoptic segments.

        Returns:
            A result, or of a list a list of results in the same order.

        Raises:
            FileNotFoundError, ValueError: a picture that cannot be read, words that ask nothing, or
                a question that this model does not answer.
        """
        question = self.ask(vocabulary, prompts=prompts, task=task)
        check_options(question, threshold=threshold, windows=windows, batch_size=batch_size)
        if is_single(pictures):
            frame = read_picture(pictures, channels=channels)
            return self.answer([frame], question, threshold=threshold, windows=windows)[0]
        frames = (
            read_picture(each, channels=channels, number=number)
            for number, each in enumerate(as_list(pictures))
        )
        options = {"threshold": threshold, "windows": windows}
        return list(self._stream(frames, question, batch_size, options))

    def stream(
        self,
        pictures: Any,
        vocabulary: Optional[Words] = None,
        *,
        prompts: Optional[Sequence[str]] = None,
        task: Optional[Union[Task, str]] = None,
        threshold: Optional[float] = None,
        channels: str = "RGB",
        batch_size: int = 4,
        windows: bool = False,
    ) -> Iterator[Result]:
        """Returns an iterator over the results of a folder, a pattern, a video or any iterable.

        At most `batch_size` pictures are in memory. Arguments and errors as in `__call__`; the
        words are checked before the first picture is read.
        """
        question = self.ask(vocabulary, prompts=prompts, task=task)
        check_options(question, threshold=threshold, windows=windows, batch_size=batch_size)
        frames = read_pictures(pictures, channels=channels)
        options = {"threshold": threshold, "windows": windows}
        return self._stream(frames, question, batch_size, options)

    def _stream(
        self,
        frames: Iterable[Frame],
        question: Question,
        batch_size: int,
        options: Dict[str, Any],
    ) -> Iterator[Result]:
        for batch in batches(frames, batch_size):
            yield from self.answer(batch, question, **options)

    @torch.inference_mode()
    def answer(
        self,
        frames: Sequence[Frame],
        question: Question,
        *,
        threshold: Optional[float] = None,
        windows: bool = False,
    ) -> List[Result]:
        """Returns the result of each frame; the model sees all of them at once.

        Where a GPU has too little memory for that, it sees half of them at a time.

        Args:
            frames: pictures.
            question: of `ask`.
            threshold: see `__call__`.
            windows: see `__call__`.

        Raises:
            ValueError: the model does not answer such a question.
        """
        check_options(question, threshold=threshold, windows=windows)
        augmentations = T.AugmentationList(list(self.settings.augmentations(question.task)))
        answer = partial(self._answer, augmentations, question, threshold)
        if not windows:
            return answer([frame.image for frame in frames], frames)
        results = []
        for name, image in frames:
            places = place_windows(image.shape[:2], window_size(image, augmentations))
            more = {"name": name, "image": image}
            results.append(
                join_windows(image, places, lambda part: answer([part])[0], question, more)
            )
        return results

    @torch.inference_mode()
    def similarity(self, frames: Sequence[Frame], question: Question) -> List[np.ndarray]:
        """Returns per frame (K, H, W) float32 cosines of its places and the words asked for.

        Args:
            frames: pictures.
            question: of `ask`, a vocabulary.

        Raises:
            ValueError: the model has no CLIP whose places and words can be compared.
        """
        if not hasattr(self.model, "word_similarity"):
            raise ValueError(
                f"{type(self.model).__name__} has no image tower whose places lie in the space of "
                "words; --similarity is for models that were trained with texts: those of sed, "
                "umg_clip and cocu"
            )
        augmentations = T.AugmentationList(list(self.settings.augmentations(question.task)))
        records = [_record(frame.image, augmentations, question) for frame in frames]
        with autocast(self.device, self.settings.precision):
            maps = self.model.word_similarity(records)
        return [part.float().cpu().numpy() for part in maps]

    @torch.inference_mode()
    def box_masks(
        self, frames: Sequence[Frame], boxes: Sequence[np.ndarray], question: Question
    ) -> List[Tuple[np.ndarray, np.ndarray]]:
        """Returns per frame the masks (N, H, W) bool of what its boxes show, and scores (N,).

        Args:
            frames: pictures.
            boxes: of each (N, 4) corners x0, y0, x1, y1 in pixels; N may be 0.
            question: of `ask`, the classes that objects may be of.

        Raises:
            ValueError: the model answers no boxes.
        """
        check_answers_boxes(type(self.model))
        augmentations = T.AugmentationList(list(self.settings.augmentations(question.task)))
        records = []
        for frame, its in zip(frames, boxes):
            record = _record(frame.image, augmentations, question)
            height, width = frame.image.shape[:2]
            scale = np.array([record["width"] / width, record["height"] / height] * 2)
            records.append({**record, "prompt_boxes": np.asarray(its, np.float64) * scale})
        with autocast(self.device, self.settings.precision):
            outputs = self.model.box_masks(records)
        results = []
        for frame, output in zip(frames, outputs):
            masks = output["masks"].cpu().numpy()
            if masks.shape[1:] != frame.image.shape[:2]:  # of a very large picture
                rows, columns = (
                    np.arange(side) * answered // side
                    for side, answered in zip(frame.image.shape[:2], masks.shape[1:])
                )
                masks = masks[:, rows[:, None], columns]
            results.append((masks, output["scores"].float().cpu().numpy()))
        return results

    def _answer(
        self,
        augmentations: T.AugmentationList,
        question: Question,
        threshold: Optional[float],
        images: Sequence[np.ndarray],
        frames: Optional[Sequence[Frame]] = None,
    ) -> List[Result]:
        records = [_record(image, augmentations, question) for image in images]
        outputs = self._outputs(records)
        more = [frame._asdict() for frame in frames] if frames else [{}] * len(images)
        return [
            read_output(question, output, size=image.shape[:2], threshold=threshold, **its)
            for image, output, its in zip(images, outputs, more)
        ]

    def _outputs(self, records: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        try:
            with autocast(self.device, self.settings.precision):
                return self.model(records)
        except torch.OutOfMemoryError:
            if len(records) == 1:
                raise
        half = len(records) // 2
        return self._outputs(records[:half]) + self._outputs(records[half:])


def check_answers_boxes(architecture: type) -> None:
    """Raises ValueError where a meta-architecture turns no boxes into masks."""
    if not hasattr(architecture, "box_masks"):
        raise ValueError(
            f"{architecture.__name__} turns no boxes into masks; that needs a model with denoising "
            "queries"
        )


def check_options(
    question: Question,
    *,
    threshold: Optional[float] = None,
    windows: bool = False,
    batch_size: int = 1,
) -> None:
    """Raises ValueError for options of `Segmenter.__call__` that can answer no picture."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if windows:
        check_windows(question)


def batches(frames: Iterable[Frame], size: int) -> Iterator[List[Frame]]:
    """Yields lists of up to `size` frames; fewer where they are large, to bound the memory."""
    batch: List[Frame] = []
    for frame in frames:
        pixels = sum(each.image.shape[0] * each.image.shape[1] for each in (*batch, frame))
        if batch and (len(batch) == size or pixels > _BATCH_PIXELS):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def answer_size(height: int, width: int) -> Tuple[int, int]:
    """Returns the size at which a model answers for a picture: its own up to 2^24 pixels."""
    factor = min(1.0, (_ANSWER_PIXELS / (height * width)) ** 0.5)
    rows = max(1, int(height * factor))
    return rows, max(1, min(int(width * factor), _ANSWER_PIXELS // rows))


def _record(
    image: np.ndarray, augmentations: T.AugmentationList, question: Question
) -> Dict[str, Any]:
    height, width = answer_size(*image.shape[:2])
    size = {"height": height, "width": width}
    return {**input_at_test(image, augmentations), **size, **question.record}
