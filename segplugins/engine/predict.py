"""A trained model on a user's own pictures, under any vocabulary: label maps, overlays, JSON."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from segplugins.engine.checkpoint import load_weights
from segplugins.engine.media import Frame, count_frames, is_video, read_frames
from segplugins.pictures import labelled_picture, save_picture
from segplugins.structures import Vocabulary, register_vocabulary


class Predictor:
    """Segments images by the names of one vocabulary.

    Args:
        model: any meta-architecture that answers records with "sem_seg".
        vocabulary: the names; it need not be one the model was trained with.
        min_size: pixels of the short side that the model sees.
        max_size: pixels that the long side has at most.
    """

    def __init__(self, model: nn.Module, vocabulary: Vocabulary, *, min_size: int, max_size: int):
        register_vocabulary(vocabulary)
        self.model = model.eval()
        self.vocabulary = vocabulary
        self._resize = T.ResizeShortestEdge([min_size, min_size], max_size)

    @classmethod
    def from_config(cls, cfg: CfgNode, vocabulary: Vocabulary) -> "Predictor":
        """Builds the model of a config and loads MODEL.WEIGHTS."""
        model = build_model(cfg)
        load_weights(model, cfg.MODEL.WEIGHTS)
        return cls(
            model,
            vocabulary,
            min_size=cfg.INPUT.MIN_SIZE_TEST,
            max_size=cfg.INPUT.MAX_SIZE_TEST,
        )

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Segments images.

        Args:
            images: (H, W, 3) uint8 RGB each, any sizes.

        Returns:
            Per image (H, W) int64, indices into the vocabulary.
        """
        results = self.model([self._record(image) for image in images])
        return [_label_map(result["sem_seg"]) for result in results]

    def _record(self, image: np.ndarray) -> Dict[str, Any]:
        height, width = image.shape[:2]
        resized = self._resize.get_transform(image).apply_image(image)
        return {
            "image": torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1))),
            "height": height,
            "width": width,
            "task": "semantic",
            "vocabulary": self.vocabulary.name,
        }


def segment_files(
    predictor: Predictor, files: Sequence[Path], output: Path, *, batch_size: int
) -> Dict[str, int]:
    """Segments files and writes, per picture, `<name>.overlay.jpg`, `<name>.labels.png` and
    `<name>.json`. Pictures whose JSON stands already are left alone, so that a stopped run goes on
    where it was; a JSON written for another vocabulary is an error.

    Args:
        predictor: the model with its vocabulary.
        files: of `find_media`.
        output: folder of the results; a video gets one of its own in it.
        batch_size: pictures the model sees at once.

    Returns:
        {"written": pictures segmented now, "kept": those that stood already}.

    Raises:
        ValueError: results for another vocabulary stand in `output`, or a file is not readable.
    """
    done = {"written": 0, "kept": 0}
    wanted = _without_finished(files, output, predictor.vocabulary, done)
    with (
        ThreadPoolExecutor(max_workers=4) as writers,
        tqdm(total=count_frames(files), unit="picture") as progress,
    ):
        pending = []
        for batch in _batches(wanted, batch_size):
            maps = predictor([frame.image for frame in batch])
            # One batch is written while the next is segmented, and no more stand in memory.
            for write in pending:
                write.result()
            pending = [
                writers.submit(_write, output, frame, labels, predictor.vocabulary)
                for frame, labels in zip(batch, maps)
            ]
            done["written"] += len(batch)
            progress.update(done["written"] + done["kept"] - progress.n)
        for write in pending:
            write.result()
        progress.update(done["written"] + done["kept"] - progress.n)
    return done


def _label_map(sem_seg: Tensor) -> np.ndarray:
    labels = sem_seg.argmax(dim=0) if sem_seg.dim() == 3 else sem_seg
    return labels.cpu().numpy().astype(np.int64)


def _without_finished(
    files: Sequence[Path], output: Path, vocabulary: Vocabulary, done: Dict[str, int]
) -> Iterator[Frame]:
    """Yields the frames that have no result yet and counts the others in `done`."""
    for file in files:
        if not is_video(file) and _is_finished(output, file.stem, vocabulary):
            done["kept"] += 1  # an image is not even read again
            continue
        for frame in read_frames(file):
            if is_video(file) and _is_finished(output, frame.name, vocabulary):
                done["kept"] += 1
            else:
                yield frame


def _is_finished(output: Path, name: str, vocabulary: Vocabulary) -> bool:
    path = output / f"{name}.json"
    if not path.is_file():
        return False
    digest = json.loads(path.read_text())["vocabulary"]["digest"]
    if digest != vocabulary.digest():
        raise ValueError(
            f"'{path}' was written for another vocabulary ({digest}, now {vocabulary.digest()}); "
            "choose another output folder or remove it"
        )
    return True


def _write(output: Path, frame: Frame, labels: np.ndarray, vocabulary: Vocabulary) -> None:
    stem = output / frame.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if len(vocabulary) <= 256 else np.uint16
    Image.fromarray(labels.astype(kind)).save(f"{stem}.labels.png")
    save_picture(f"{stem}.overlay.jpg", labelled_picture(frame.image, labels, vocabulary.classes))
    counts = np.bincount(labels.ravel(), minlength=len(vocabulary))
    report = {
        "image": frame.name,
        "height": labels.shape[0],
        "width": labels.shape[1],
        "label_map": f"{stem.name}.labels.png",
        "overlay": f"{stem.name}.overlay.jpg",
        "vocabulary": {"name": vocabulary.name, "digest": vocabulary.digest()},
        "classes": [
            {
                "index": int(index),
                "name": vocabulary.classes[index],
                "pixels": int(counts[index]),
                "share": round(float(counts[index] / labels.size), 6),
            }
            for index in np.argsort(-counts, kind="stable")
            if counts[index]
        ],
    }
    # Last, since its presence says that the picture is finished.
    Path(f"{stem}.json").write_text(json.dumps(report, indent=1))


def _batches(frames: Iterable[Frame], size: int) -> Iterator[List[Frame]]:
    iterator = iter(frames)
    while batch := list(islice(iterator, size)):
        yield batch
