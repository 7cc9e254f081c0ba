"""Lists of referring expressions: refs(<split by>).p and grefs(<split by>).json.

A ref is an object (or several, or none) of COCO's instances.json with the sentences that mean it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from segplugins.files.coco import InstanceFile, Meant, read_instances
from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.json_file import read_json
from segplugins.files.plain_files import check_plain_file
from segplugins.files.plain_pickle import read_pickle
from segplugins.files.values import Id, as_id, is_unicode

_NO_TARGET = (-1,)
_JSON = (b"[", b"{", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class RefEntry:
    """One referring expression in normal form.

    Args:
        ref_id: tells it from the others.
        image_id: of its picture.
        split: "train", "val", "testA", ...
        targets: annotations that it means; none for a phrase without target.
        sentences: stripped, at least one.
        position: index in the file.
    """

    ref_id: Id
    image_id: Id
    split: str
    targets: Tuple[InstanceEntry, ...]
    sentences: Tuple[str, ...]
    position: int


@dataclass
class RefFile:
    """Referring expressions with what they refer to.

    Args:
        path: of the refs.
        refs: of all splits, in the order of the file.
        instances: the file of the annotations.
    """

    path: str
    refs: List[RefEntry]
    instances: InstanceFile


def load_refs(path: Path) -> List[Mapping[str, Any]]:
    """Returns the list that a file of refs holds, without running code from it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no list of refs with sentences.
    """
    check_plain_file(path)
    with open(path, "rb") as file:
        start = file.read(64).lstrip()
    is_json = path.suffix == ".json" or start.startswith(_JSON)
    refs = read_json(path) if is_json else read_pickle(path)
    if not isinstance(refs, (list, tuple)) or not any(
        isinstance(ref, Mapping) and "sentences" in ref for ref in refs
    ):
        raise ValueError(f"{path} holds no list of refs with sentences")
    return list(refs)


def read_refs(
    path: Union[str, Path],
    instances_path: Union[str, Path],
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    text: str = "raw",
) -> RefFile:
    """Reads refs and the annotations that they mean.

    Args:
        path: of the refs.
        instances_path: COCO file of the annotations; its categories do not matter.
        policy: receives the faults of single entries, which are left out if it returns.
        image_root: folder of the pictures, for sizes that the file lacks; None: unknown.
        text: key of a sentence's words: "raw" or "sent"; a sentence may also be bare text.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is no such file; a `FaultError` of a strict policy is one too.
    """
    listed = load_refs(Path(path))
    instances = read_instances(
        instances_path,
        policy,
        image_root=image_root,
        with_categories=False,
        only=_meant(listed),
    )
    reader = _Reader(instances, FileFaults(str(path), policy), text)
    refs = (reader.read(position, ref) for position, ref in enumerate(listed))
    return RefFile(str(path), [ref for ref in refs if ref is not None], instances)


def _meant(refs: List[Any]) -> Meant:
    """Returns the ids that stand in refs, right or wrong."""
    images, annotations = set(), set()
    for ref in refs:
        if not isinstance(ref, Mapping):
            continue
        target = ref.get("ann_id")
        target = target.tolist() if isinstance(target, (np.ndarray, np.generic)) else target
        targets = target if isinstance(target, (list, tuple)) else [target]
        for numbers, given in ((images, [ref.get("image_id")]), (annotations, targets)):
            for number in given:
                try:
                    numbers.add(as_id(number))
                except ValueError:
                    continue
    return Meant(images, annotations)


class _Reader:
    def __init__(self, instances: InstanceFile, faults: FileFaults, text: str):
        self._images = instances.images
        self._annotations = {annotation.id: annotation for annotation in instances.annotations}
        self._faults = faults
        self._text = text
        self._seen: Dict[Id, int] = {}

    def read(self, position: int, ref: Any) -> Optional[RefEntry]:
        """Returns one ref in normal form, or None if it is at fault."""
        if not isinstance(ref, Mapping):
            message = f"got {ref!r:.60}, expected a mapping"
            self._faults.report("form", message, field=f"refs[{position}]", entry=(position,))
            return None
        place = {"record": ref.get("image_id", ""), "entry": (position,)}
        try:
            number = as_id(ref.get("ref_id"))
        except ValueError as error:
            message = f"ref without a ref_id: {error}"
            self._faults.report("id", message, field=f"refs[{position}]", **place)
            return None
        place["field"] = f"ref {number}"
        try:
            image_id, targets = self._refers(ref)
            split = ref.get("split")
        except ValueError as error:
            self._faults.report("unknown-id", str(error), **place)
            return None
        if not isinstance(split, str):
            self._faults.report("form", f"split is {split!r:.40}, expected a word", **place)
            return None
        if number in self._seen:
            message = f"ref_id {number} stands twice"
            place["field"] = f"refs[{position}].ref_id"
            self._faults.report("id", message, **place)
            return None
        sentences = self._sentences(ref, position, place)
        if not sentences:
            return None
        self._seen[number] = position
        return RefEntry(number, image_id, str(split), targets, sentences, position)

    def _refers(self, ref: Mapping[str, Any]) -> Tuple[Id, Tuple[InstanceEntry, ...]]:
        try:
            image_id = as_id(ref.get("image_id"))
        except ValueError:
            image_id = None
        if image_id not in self._images:
            raise ValueError(f"image_id {ref.get('image_id')!r:.40} is not listed")
        given = ref.get("ann_id")
        target = given.tolist() if isinstance(given, (np.ndarray, np.generic)) else given
        try:
            listed = target if isinstance(target, (list, tuple)) else [target]
            numbers = tuple(as_id(number) for number in listed)
        except ValueError as error:
            raise ValueError(f"ann_id {given!r:.60}: {error}") from None
        if numbers == _NO_TARGET:
            return image_id, ()
        missing = [number for number in numbers if number not in self._annotations]
        if missing:
            raise ValueError(
                f"it means annotation {missing[0]!r:.60}, which is not listed, or was taken out"
            )
        targets = tuple(self._annotations[number] for number in numbers)
        if any(annotation.image_id not in (None, image_id) for annotation in targets):
            raise ValueError(f"annotation {given!r:.60} is of another image")
        return image_id, targets

    def _sentences(
        self, ref: Mapping[str, Any], position: int, place: Mapping[str, Any]
    ) -> Tuple[str, ...]:
        listed = ref.get("sentences")
        if isinstance(listed, str):
            listed = [listed]
        kept = []
        for index, sentence in enumerate(listed if isinstance(listed, (list, tuple)) else ()):
            words = sentence.get(self._text) if isinstance(sentence, Mapping) else sentence
            if isinstance(words, str) and words.strip() and is_unicode(words):
                kept.append(str(words).strip())
                continue
            message = f"the sentence '{self._text}' is {words!r:.40}"
            entry = (position, "sentences", index)
            self._faults.report("sentence", message, **{**place, "entry": entry})
        if not kept:
            self._faults.report("sentence", "no sentence at all", **place)
        return tuple(kept)
