"""A trained model on a user's own pictures: what is asked of them, one at a time, to files."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Protocol, Sequence

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from tqdm import tqdm

from segplugins.data.augmentations import build_augmentations
from segplugins.data.mapper import input_at_test
from segplugins.engine.checkpoint import load_weights
from segplugins.engine.media import Frame, count_frames, is_video, read_frames


class Question(Protocol):
    """What is asked of every picture, and what becomes of the answer."""

    record: Dict[str, Any]
    """What a record has besides the picture: "task", "vocabulary", "texts"."""
    asked: Any
    """What tells two questions apart, as it stands in a report."""

    def asked_in(self, report: Mapping[str, Any]) -> Any:
        """Returns: what a report of earlier was asked, None if it was asked otherwise."""

    def read(self, result: Mapping[str, Any]) -> np.ndarray:
        """Returns: the answer in a model's result, on the CPU."""

    def write(self, stem: Path, image: np.ndarray, answer: np.ndarray) -> Dict[str, Any]:
        """Writes `<stem>.*` but the report. Returns: what the report says of it."""


class Predictor:
    """Asks a model one question of many images.

    Args:
        model: a meta-architecture that answers the question's records.
        question: what is asked; see predict_labels.py and predict_phrases.py.
        augmentations: that bring an image to the size at which the model sees it.
    """

    def __init__(
        self, model: nn.Module, question: Question, *, augmentations: Sequence[T.Augmentation]
    ):
        self.model = model.eval()
        self.question = question
        self.augmentations = T.AugmentationList(list(augmentations))

    @classmethod
    def from_config(cls, cfg: CfgNode, question: Question) -> "Predictor":
        """Builds the model of a config and loads MODEL.WEIGHTS; INPUT says the size."""
        augmentations = build_augmentations(cfg, False, question.record["task"])
        model = build_model(cfg)
        load_weights(model, cfg.MODEL.WEIGHTS)
        return cls(model, question, augmentations=augmentations)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Answers for images.

        Args:
            images: (H, W, 3) uint8 RGB each, any sizes.

        Returns:
            Per image the answer, as the question reads it.

        Raises:
            ValueError: the model does not answer such a question.
        """
        results = self.model([self._record(image) for image in images])
        return [self.question.read(result) for result in results]

    def _record(self, image: np.ndarray) -> Dict[str, Any]:
        height, width = image.shape[:2]
        size = {"height": height, "width": width}
        return {**input_at_test(image, self.augmentations), **size, **self.question.record}


def segment_files(
    predictor: Predictor, files: Sequence[Path], output: Path, *, batch_size: int
) -> Dict[str, int]:
    """Segments files and writes, per picture, what the question writes and `<name>.json`.

    Pictures whose JSON stands already are left alone, so that a stopped run goes on where it was; a
    JSON written for another question is an error.

    Args:
        predictor: the model with its question.
        files: of `find_media`.
        output: folder of the results; a video gets one of its own in it.
        batch_size: pictures the model sees at once.

    Returns:
        {"written": pictures segmented now, "kept": those that stood already}.

    Raises:
        ValueError: results for another question stand in `output`, a file is not readable, or the
            model does not answer such a question.
    """
    done = {"written": 0, "kept": 0}
    wanted = _without_finished(files, output, predictor.question, done)
    with (
        ThreadPoolExecutor(max_workers=4) as writers,
        tqdm(total=count_frames(files), unit="picture") as progress,
    ):
        pending = []
        for batch in _batches(wanted, batch_size):
            answers = predictor([frame.image for frame in batch])
            # One batch is written while the next is segmented, and no more stand in memory.
            for write in pending:
                write.result()
            pending = [
                writers.submit(_write, output, frame, answer, predictor.question)
                for frame, answer in zip(batch, answers)
            ]
            done["written"] += len(batch)
            progress.update(done["written"] + done["kept"] - progress.n)
        for write in pending:
            write.result()
        progress.update(done["written"] + done["kept"] - progress.n)
    return done


def _without_finished(
    files: Sequence[Path], output: Path, question: Question, done: Dict[str, int]
) -> Iterator[Frame]:
    """Yields the frames that have no result yet and counts the others in `done`."""
    for file in files:
        if not is_video(file) and _is_finished(output, file.stem, question):
            done["kept"] += 1  # an image is not even read again
            continue
        for frame in read_frames(file):
            if is_video(file) and _is_finished(output, frame.name, question):
                done["kept"] += 1
            else:
                yield frame


def _is_finished(output: Path, name: str, question: Question) -> bool:
    path = output / f"{name}.json"
    if not path.is_file():
        return False
    was = question.asked_in(json.loads(path.read_text()))
    if was != question.asked:
        raise ValueError(
            f"'{path}' was written for another vocabulary or other prompts ({was or 'another kind'}"
            f", now {question.asked}); choose another output folder or remove it"
        )
    return True


def _write(output: Path, frame: Frame, answer: np.ndarray, question: Question) -> None:
    stem = output / frame.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    height, width = frame.image.shape[:2]
    report = {"image": frame.name, "height": height, "width": width}
    report |= question.write(stem, frame.image, answer)
    # Last, since its presence says that the picture is finished.
    Path(f"{stem}.json").write_text(json.dumps(report, indent=1))


def _batches(frames: Iterable[Frame], size: int) -> Iterator[List[Frame]]:
    iterator = iter(frames)
    while batch := list(islice(iterator, size)):
        yield batch
