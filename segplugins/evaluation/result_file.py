"""The file of predictions that servers read, written while an evaluation runs.

Each process keeps its part on disk, and the first one puts the parts together a piece at a time:
masks of a large data set fit in no memory.
"""

import json
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any, Dict, Hashable, Iterable, Iterator, List, Sequence, Tuple

import detectron2.utils.comm as comm
import numpy as np

from segplugins.evaluation.detections import Detections
from segplugins.files.write import replacing

# Bytes that a process sends in one go.
_PIECE = 2**25


def result_text(image_id: Any, category_ids: Sequence[int], detections: Detections) -> str:
    """Returns the predictions of an image in COCO's result format: "{...}, {...}".

    Args:
        image_id: as the annotations have it.
        category_ids: of the K categories.
        detections: of the image.
    """
    results = []
    for i, (label, score) in enumerate(zip(detections.classes, detections.scores)):
        result = {"image_id": image_id, "category_id": category_ids[label]}
        if detections.boxes is not None:
            result["bbox"] = detections.boxes[i].tolist()
        if detections.masks is not None:
            rle = detections.masks[i]
            result["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
        results.append(json.dumps({**result, "score": float(score)}, default=_number))
    return ", ".join(results)


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is no JSON value")


class ResultFile:
    """Texts of samples, kept on disk until they are written in the order of the data set.

    Args:
        folder: where the parts are kept and the file is written; made if need be.
        name: of the file.
        distributed: other processes keep parts too.
    """

    def __init__(self, folder: str, name: str, *, distributed: bool = True):
        self.path = Path(folder, name)
        self._distributed = distributed and comm.get_world_size() > 1
        os.makedirs(folder, exist_ok=True)
        self.reset()

    def reset(self) -> None:
        """Forgets all texts."""
        if hasattr(self, "_close"):
            self._close()
        # It stays open from image to image, and closes with this object.
        self._file = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
        self._close = weakref.finalize(self, self._file.close)
        self._places: Dict[Hashable, Tuple[int, int]] = {}
        self._ranks: Dict[Hashable, int] = {}  # of texts that came from other processes

    def add(self, key: Hashable, text: str) -> None:
        """Keeps the text of a sample, in place of an earlier one."""
        self._append(key, text.encode("utf-8"))

    def _append(self, key: Hashable, octets: bytes) -> None:
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(octets)
        self._places[key] = start, len(octets)

    def _read(self, key: Hashable) -> bytes:
        start, length = self._places[key]
        self._file.seek(start)
        return self._file.read(length)

    def join(self) -> None:
        """Brings the texts of all processes to the first; all processes must call it.

        Of a sample that several have, the lowest rank's counts.
        """
        if not self._distributed:
            return
        pieces = self._pieces() if comm.get_rank() else iter(())
        while True:
            piece = next(pieces, [])
            if not any(comm.all_gather(bool(piece))):
                return
            for rank, part in enumerate(comm.gather(piece)):
                for key, octets in part:
                    if key not in self._places or rank < self._ranks.get(key, 0):
                        self._append(key, octets)
                        self._ranks[key] = rank

    def _pieces(self) -> Iterator[List[Tuple[Hashable, bytes]]]:
        piece: List[Tuple[Hashable, bytes]] = []
        size = 0
        for key in self._places:
            piece.append((key, self._read(key)))
            size += len(piece[-1][1])
            if size > _PIECE:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece

    def write(self, keys: Iterable[Hashable]) -> None:
        """Writes the texts of samples as one JSON list, in that order."""
        before = b""
        with replacing(self.path) as partial, open(partial, "wb") as file:
            file.write(b"[")
            for octets in filter(None, map(self._read, keys)):
                file.write(before + octets)
                before = b", "
            file.write(b"]")
