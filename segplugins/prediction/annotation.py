"""What annotation gets from above it: data sets of the catalog and this project's models."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from segplugins.annotation.inputs import RecordInputs
from segplugins.annotation.interfaces import Detection, Image, Masks, Segment
from segplugins.annotation.model_spec import ModelSpec
from segplugins.data import load_dataset, read_regions
from segplugins.engine.media import Frame
from segplugins.files.digests import path_digest
from segplugins.structures.regions import Task, box_of_mask
from segplugins.structures.vocabulary import get_vocabulary

from .loading import load, read_config
from .result import Result
from .segmenter import Segmenter, check_answers_boxes

_METADATA = ("thing_classes", "stuff_classes", "ignore_label", "label_coding", "none_class")


def dataset_inputs(name: str) -> RecordInputs:
    """Returns the images and regions of a registered data set.

    Raises:
        KeyError: no such data set.
        FileNotFoundError, ValueError: its files are missing or faulty.
    """
    records = load_dataset(name)
    known = MetadataCatalog.get(name).as_dict()
    metadata = SimpleNamespace(**{key: known[key] for key in _METADATA if key in known})
    vocabulary = known.get("vocabulary")
    classes = get_vocabulary(vocabulary).classes if vocabulary else ()
    for record in records:
        if "not_exhaustive_classes" in record:
            partly = record.pop("not_exhaustive_classes")
            record["not_exhaustive"] = [classes[index] for index in partly]
    return RecordInputs(name, records, partial(read_regions, metadata=metadata))


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec(ModelSpec):
    """One of this project's models, loaded by `segplugins.load`.

    Args:
        config: its config file.
        weights: checkpoint.
        task: how a vocabulary is answered by a detector: "instance" or "panoptic".
        threshold: instances of a lower score are left out by the model.
        classes: names asked for as stuff; for a box segmenter those that objects may be of, by
            default the classes that the weights were trained on.
        options: config changes, "KEY", "VALUE", ...
    """

    kind: ClassVar[str] = "segplugins"
    roles: ClassVar[Tuple[str, ...]] = (
        "phrase_segmenter",
        "detector",
        "box_segmenter",
        "stuff_segmenter",
    )

    config: str
    weights: str
    task: str = "instance"
    threshold: float = 0.0
    classes: Sequence[str] = ()
    options: Sequence[str] = ()

    def check(self) -> None:
        if not Path(self.weights).is_file():
            raise FileNotFoundError(
                f"no checkpoint '{self.weights}' of kind 'segplugins'; expected the weights that "
                f"were trained with {self.config}"
            )
        read_config(self.config, self.options)

    def check_role(self, role: str) -> None:
        """Raises ValueError where the model cannot play a role."""
        if role == "box_segmenter":
            name = read_config(self.config, self.options).MODEL.META_ARCHITECTURE
            check_answers_boxes(META_ARCH_REGISTRY.get(name))
        if role == "stuff_segmenter" and not self.classes:
            raise ValueError("a stuff segmenter of kind 'segplugins' needs the key 'classes'")

    def identity(self) -> Dict[str, Any]:
        """Returns the options and the config, with the digest of the weights instead of a path."""
        options = {**super().identity(), "config": read_config(self.config, self.options).dump()}
        options.pop("weights")
        return {**options, "digest": path_digest(self.weights)}

    def build(self, device: str) -> "SegmenterAnnotator":
        """Loads the model."""
        model = load(self.config, self.weights, device=device, options=self.options)
        return SegmenterAnnotator(model, self)


class SegmenterAnnotator:
    """A segmenter of this project as phrase segmenter, detector and stuff segmenter.

    Args:
        model: of `segplugins.load`.
        spec: task, threshold and classes.
    """

    def __init__(self, model: Segmenter, spec: SegmenterSpec):
        self._model, self._spec = model, spec

    def segment_phrases(
        self, images: Sequence[Image], phrases: Sequence[Sequence[str]]
    ) -> List[Masks]:
        """Returns a mask per phrase; images that are asked the same go through together."""
        answers: Dict[int, Result] = {}
        for same, positions in _grouped(phrases).items():
            batch = [images[i].pixels for i in positions]
            results = self._model(batch, prompts=list(same), batch_size=len(batch))
            answers.update(zip(positions, results))
        return [_masks(answers[i], images[i]) for i in range(len(images))]

    def detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        """Returns the instances of the names that are asked for."""
        answers: Dict[int, Result] = {}
        for same, positions in _grouped(names).items():
            batch = [images[i].pixels for i in positions]
            results = self._model(
                batch,
                list(same),
                task=self._spec.task,
                threshold=self._spec.threshold or None,
                batch_size=len(batch),
            )
            answers.update(zip(positions, results))
        return [_detections(answers[i]) for i in range(len(images))]

    def segment_boxes(self, images: Sequence[Image], boxes: Sequence[np.ndarray]) -> List[Masks]:
        """Returns the mask of what each box shows, with the mean probability inside of it."""
        names = self._spec.classes or self._model.settings.training_names
        if not names:
            raise ValueError(
                "a box segmenter of kind 'segplugins' needs the key 'classes': its weights do not "
                "say which classes they were trained on"
            )
        question = self._model.ask(list(names), task=Task.INSTANCE)
        frames = [Frame(image.file_name, image.pixels) for image in images]
        return [Masks(*answer) for answer in self._model.box_masks(frames, boxes, question)]

    def segment_stuff(self, images: Sequence[Image]) -> List[List[Segment]]:
        """Returns the semantic segments of the classes that the spec names."""
        batch = [image.pixels for image in images]
        results = self._model(
            batch, list(self._spec.classes), task=Task.SEMANTIC, batch_size=len(batch)
        )
        return [
            [
                Segment(result.names[result.classes[n]], result.mask(n), _score(result, n))
                for n in range(len(result))
            ]
            for result in results
        ]


def _grouped(texts: Sequence[Sequence[str]]) -> Dict[Tuple[str, ...], List[int]]:
    groups: Dict[Tuple[str, ...], List[int]] = {}
    for position, listed in enumerate(texts):
        groups.setdefault(tuple(listed), []).append(position)
    return groups


def _masks(result: Result, image: Image) -> Masks:
    """Returns a mask per prompt; a prompt may be answered with none."""
    masks = np.zeros((len(result.names), *image.size), bool)
    scores = np.zeros(len(result.names), np.float32)
    for number in range(len(result)):
        index = int(result.classes[number])
        masks[index] |= result.mask(number)
        scores[index] = max(scores[index], _score(result, number))
    return Masks(masks, scores)


def _detections(result: Result) -> List[Detection]:
    found = []
    for number in range(len(result)):
        box = box_of_mask(result.mask(number))
        if box is not None:
            name = result.names[result.classes[number]]
            found.append(Detection(name, box, _score(result, number)))
    return found


def _score(result: Result, number: int) -> float:
    return 1.0 if result.scores is None else float(result.scores[number])


KINDS: Mapping[str, type] = {SegmenterSpec.kind: SegmenterSpec}
