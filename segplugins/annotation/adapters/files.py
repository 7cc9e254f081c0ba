"""Tags and captions that another program has written, by file name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Mapping, Sequence, Tuple

from segplugins.annotation.interfaces import Image, Phrase
from segplugins.annotation.model_spec import ModelSpec
from segplugins.files.digests import path_digest
from segplugins.files.json_file import parse_json, read_json
from segplugins.files.region_shards import numbered_records

_KEYS = ("tags", "captions")


@dataclass(frozen=True, kw_only=True)
class FileSpec(ModelSpec):
    """Describes them.

    Args:
        path: JSON {"a/x.jpg": {"tags": ["dog"], "captions": ["a dog"]}}, or JSON lines with
            "file_name", "tags" and "captions". A tag is text or {"name", "score"}, a caption text
            or {"text", "score", "prompt_id"}; tags may be one text "dog | cat", as RAM writes them.
    """

    kind: ClassVar[str] = "file"
    roles: ClassVar[Tuple[str, ...]] = ("tagger", "captioner")

    path: str

    def check(self) -> None:
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"no file '{self.path}' with tags or captions")

    def identity(self) -> Dict[str, Any]:
        """Returns the digest of the file."""
        return {"kind": self.kind, "digest": path_digest(self.path)}

    def build(self, device: str) -> "FileAnnotator":
        """Reads the file; the device plays no part."""
        return FileAnnotator(Path(self.path))


class FileAnnotator:
    """Looks answers up.

    Args:
        path: see `FileSpec`.

    Raises:
        ValueError: the file has another form; the message names the place.
    """

    def __init__(self, path: Path):
        self._path = path
        self._tags: Dict[str, List[Phrase]] = {}
        self._captions: Dict[str, List[Phrase]] = {}
        for place, name, entry in _entries(path):
            unknown = not isinstance(entry, Mapping) or not set(_KEYS) & set(entry)
            if unknown:
                raise ValueError(f"{place}: got {entry!r:.60}, expected 'tags' or 'captions'")
            if name in self._tags:
                raise ValueError(f"{place}: '{name}' stands twice")
            self._tags[name] = _phrases(entry.get("tags"), "name", f"{place}, tags")
            self._captions[name] = _phrases(entry.get("captions"), "text", f"{place}, captions")

    def tag(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the tags of each image."""
        return [self._of(image, self._tags) for image in images]

    def caption(self, images: Sequence[Image]) -> List[List[Phrase]]:
        """Returns the captions of each image."""
        return [self._of(image, self._captions) for image in images]

    def _of(self, image: Image, table: Mapping[str, List[Phrase]]) -> List[Phrase]:
        if image.file_name not in table:
            raise ValueError(f"'{self._path}' has no image '{image.file_name}'")
        return table[image.file_name]


def _entries(path: Path) -> Sequence[Tuple[str, str, Any]]:
    if path.suffix == ".json":
        content = read_json(path)
        if not isinstance(content, Mapping):
            raise ValueError(f"{path}: got {content!r:.40}, expected a mapping of file names")
        return [(f"{path}, '{name}'", name, entry) for name, entry in content.items()]
    entries = []
    for number, text in numbered_records(path):
        place = f"{path}, line {number}"
        entry = parse_json(text.encode(), place) if isinstance(text, str) else text
        if not isinstance(entry, Mapping) or not isinstance(entry.get("file_name"), str):
            raise ValueError(f"{place}: got {entry!r:.60}, expected a record with 'file_name'")
        if "error" not in entry:
            entries.append((place, entry["file_name"], entry))
    return entries


def _phrases(given: Any, key: str, place: str) -> List[Phrase]:
    if given is None:
        return []
    if isinstance(given, str):
        given = [part.strip() for part in given.split("|")] if key == "name" else [given]
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{place}: got {given!r:.60}, expected a list of texts")
    phrases = []
    for entry in given:
        fields = entry if isinstance(entry, Mapping) else {key: entry}
        text, score = fields.get(key), fields.get("score")
        is_number = score is None or (
            isinstance(score, (int, float)) and not isinstance(score, bool)
        )
        if not isinstance(text, str) or not is_number:
            raise ValueError(f"{place}: got {entry!r:.60}, expected a text or its '{key}'")
        phrases.append(Phrase(text, score, fields.get("prompt_id")))
    return phrases
