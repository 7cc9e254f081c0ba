"""Expressions of videos and the frames that show their objects, as Ref-YouTube-VOS has them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Tuple, Union

from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.json_file import read_json
from segplugins.files.values import as_id, as_path, is_unicode

__all__ = ["VideoEntry", "VideoPhrase", "read_video_expressions", "read_video_objects"]

_LARGEST_OBJECT = 255  # label of 8 bits in the maps of a frame

# Frames that show an object, by the object's number, by video.
Shown = Dict[str, Dict[int, FrozenSet[str]]]


@dataclass(frozen=True)
class VideoPhrase:
    """One expression of a video.

    Args:
        number: key of the expression in its video.
        text: its words, stripped.
        object_id: label of the object that it means in the maps; None where the file does not say.
    """

    number: str
    text: str
    object_id: Optional[int]


@dataclass(frozen=True)
class VideoEntry:
    """A video with its expressions.

    Args:
        frames: names of its frames, without ending, in their order.
        phrases: its expressions, in the order of the file.
    """

    frames: Tuple[str, ...]
    phrases: Tuple[VideoPhrase, ...]


def read_video_expressions(
    path: Union[str, Path], policy: FaultPolicy = STRICT, *, with_objects: bool = False
) -> Dict[str, VideoEntry]:
    """Reads meta_expressions.json.

    Args:
        path: of {"videos": {video: {"frames": [...], "expressions": {number: {"exp", "obj_id"}}}}}.
        policy: receives the faults of videos and expressions, which are left out if it returns.
        with_objects: whether every expression has to name its object.

    Returns:
        Videos by name, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such JSON file; a `FaultError` of a strict policy is one too.
    """
    videos = {}
    for reader, content in _videos(path, policy):
        frames = reader.names(content.get("frames"), "frames")
        if frames is not None:
            phrases = reader.phrases(content.get("expressions"), with_objects=with_objects)
            videos[reader.video] = VideoEntry(frames, tuple(phrases))
    return videos


def read_video_objects(path: Union[str, Path], policy: FaultPolicy = STRICT) -> Shown:
    """Reads meta.json: which frames of a video show which object.

    Args:
        path: of {"videos": {video: {"objects": {number: {"frames": [...]}}}}}.
        policy: receives the faults of videos and objects, which are left out if it returns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such JSON file; a `FaultError` of a strict policy is one too.
    """
    return {
        reader.video: reader.objects(content.get("objects"))
        for reader, content in _videos(path, policy)
    }


def _videos(
    path: Union[str, Path], policy: FaultPolicy
) -> Iterator[Tuple["_Reader", Mapping[str, Any]]]:
    videos = read_json(path, "videos")["videos"]
    faults = FileFaults(str(path), policy)
    if not isinstance(videos, Mapping):
        faults.report("form", f"'videos' is {videos!r:.60}, expected a mapping by name")
        return
    for name, content in videos.items():
        reader = _Reader(name, faults)
        if reader.is_plain_name(name) and reader.is_mapping(content, "the video"):
            yield reader, content


class _Reader:
    """Reads what a file says of one video."""

    def __init__(self, video: str, faults: FileFaults):
        self.video = video
        self._faults = faults

    def _report(self, kind: str, message: str, field: str = "") -> None:
        self._faults.report(kind, message, record=self.video, field=field)

    def is_mapping(self, value: Any, what: str) -> bool:
        """Returns whether a value is a mapping; anything else is a fault."""
        if isinstance(value, Mapping):
            return True
        self._report("form", f"{what} is {value!r:.60}, expected a mapping")
        return False

    def is_plain_name(self, value: Any, field: str = "") -> bool:
        """Returns whether a value may be part of a path; anything else is a fault."""
        try:
            if as_path(value) == value and "/" not in value:
                return True
            message = f"got {value!r:.60}, expected a name without slashes"
        except ValueError as error:
            message = str(error)
        self._report("path", message, field)
        return False

    def names(self, listed: Any, field: str) -> Optional[Tuple[str, ...]]:
        """Returns names of frames; None if they are no list of names."""
        if not isinstance(listed, list) or not listed:
            self._report("form", f"{field} are {listed!r:.60}, expected a list of names")
            return None
        kept = tuple(dict.fromkeys(name for name in listed if isinstance(name, str)))
        if len(kept) < len(listed):
            example = next((name for name in listed if not isinstance(name, str)), None)
            what = "a name stands twice" if example is None else f"one is {example!r:.40}"
            self._report("form", f"{field}: {what}, expected names such as '00005'")
            return None
        return kept if all(self.is_plain_name(name, field) for name in kept) else None

    def phrases(self, listed: Any, *, with_objects: bool) -> Iterator[VideoPhrase]:
        """Yields the expressions."""
        if not self.is_mapping(listed, "'expressions'"):
            return
        for number, content in listed.items():
            field = f"expression {number}"
            if not self.is_plain_name(number, field) or not self.is_mapping(content, field):
                continue
            text = content.get("exp")
            if not isinstance(text, str) or not text.strip() or not is_unicode(text):
                self._report("sentence", f"the sentence 'exp' is {text!r:.40}", field)
                continue
            given = content.get("obj_id")
            if given is None and not with_objects:
                yield VideoPhrase(number, text.strip(), None)
                continue
            chosen = self._object(given, field)
            if chosen is not None:
                yield VideoPhrase(number, text.strip(), chosen)

    def objects(self, listed: Any) -> Dict[int, FrozenSet[str]]:
        """Returns the frames by object."""
        shown: Dict[int, FrozenSet[str]] = {}
        if not self.is_mapping(listed, "'objects'"):
            return shown
        for number, content in listed.items():
            field = f"object {number}"
            chosen = self._object(number, field)
            if chosen is None or not self.is_mapping(content, field):
                continue
            frames = self.names(content.get("frames"), f"{field}, frames")
            if frames is not None:
                shown[chosen] = frozenset(frames)
        return shown

    def _object(self, given: Any, field: str) -> Optional[int]:
        try:
            number = as_id(given)
        except ValueError:
            number = None
        if isinstance(number, int) and 0 < number <= _LARGEST_OBJECT:
            return number
        message = (
            f"obj_id is {given!r:.40}, expected the label of an object, 1 to {_LARGEST_OBJECT}"
        )
        self._report("unknown-id", message, field)
        return None


def report_unknown_objects(
    path: Union[str, Path], videos: Mapping[str, VideoEntry], shown: Shown, policy: FaultPolicy
) -> List[Tuple[str, int]]:
    """Reports the objects that expressions mean and of which no frame is known.

    Args:
        path: of the expressions.
        videos: see `read_video_expressions`.
        shown: see `read_video_objects`.
        policy: receives a fault "unknown-id" per object.

    Returns:
        (video, object) of each of them.
    """
    faults = FileFaults(str(path), policy)
    unknown = []
    for name, video in videos.items():
        for number in sorted({phrase.object_id for phrase in video.phrases}):
            frames = shown.get(name, {}).get(number, frozenset())
            if frames.isdisjoint(video.frames):
                message = f"object {number} is in no frame of the video that meta.json knows"
                faults.report("unknown-id", message, record=name, field=f"object {number}")
                unknown.append((name, number))
    return unknown
