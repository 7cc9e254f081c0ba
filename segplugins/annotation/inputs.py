"""Inputs: the images to annotate and what is known of them already."""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple

from segplugins.files.folders import FileFolder
from segplugins.files.lines import read_region_lines
from segplugins.files.region_shards import region_data
from segplugins.structures.regions import Region, Task


@dataclass(frozen=True)
class Item:
    """One image to annotate.

    Args:
        file_name: below the root of the images.
        regions: that the source has.
        size: (H, W) that the regions were made for; None where there is none.
        more: keys for the record, such as "source_id".
    """

    file_name: str
    regions: Tuple[Region, ...] = ()
    size: Optional[Tuple[int, int]] = None
    more: Mapping[str, Any] = field(default_factory=dict)


class Inputs(Protocol):
    """A list of items that can be sent to other processes."""

    root: str
    source: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...

    def name(self, index: int) -> str:
        """Returns the file name of an item, without reading what else there is."""
        ...

    def descriptions(self) -> Iterator[str]:
        """Yields a text per item that changes with anything known of it."""
        ...


class FolderInputs:
    """All images of a folder and the folders in it.

    Args:
        root: the folder.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: the name of a file is no UTF-8.
    """

    def __init__(self, root: Path):
        if not Path(root).is_dir():
            raise FileNotFoundError(f"no folder of images '{root}'")
        self.root, self.source = str(root), Path(root).resolve().name
        files = FileFolder(Path(root)).files().values()
        self._names = sorted(
            os.path.relpath(p, root).replace(os.sep, "/") for f in files for p in f
        )
        if not self._names:
            raise FileNotFoundError(f"folder '{root}' holds no image")
        _check_names(self._names, root)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Item:
        return Item(self._names[index])

    def name(self, index: int) -> str:
        """Returns the path below the folder."""
        return self._names[index]

    def descriptions(self) -> Iterator[str]:
        """Yields the names."""
        yield from self._names


def _check_names(names: Sequence[str], root: Path) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"folder '{root}': the file name {os.fsencode(name)!r} is no UTF-8, so no record "
                "can hold it; rename the file"
            ) from None


class LineInputs:
    """Region lines: their regions are where annotation starts from.

    Args:
        path: of the lines, or a folder of their shards.
        root: folder of the images.

    Raises:
        FileNotFoundError, ValueError: see `read_region_lines`.
    """

    def __init__(self, path: Path, root: Path):
        if not Path(root).is_dir():
            raise FileNotFoundError(f"no folder of images '{root}'")
        self.root, self.source = str(root), Path(path).stem
        self._entries = read_region_lines(path, task=Task.REFERRING, image_root=Path(root))
        if not self._entries:
            raise ValueError(f"'{path}' holds no image")

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        entry = self._entries[index]
        more = {"source_id": entry.image_id}
        more |= {key: entry.more[key] for key in ("tags", "captions") if key in entry.more}
        more |= {"not_exhaustive": entry.not_exhaustive} if entry.not_exhaustive else {}
        return Item(entry.file_name, tuple(entry.regions), (entry.height, entry.width), more)

    def name(self, index: int) -> str:
        """Returns the file name of a line."""
        return self._entries[index].file_name

    def descriptions(self) -> Iterator[str]:
        """Yields names with their regions as JSON."""
        for entry in self._entries:
            regions = [region_data(region) for region in entry.regions]
            more = [entry.not_exhaustive] if entry.not_exhaustive else []
            yield json.dumps([entry.file_name, regions, entry.more, *more], default=repr)


class RecordInputs:
    """The records of a registered data set.

    Args:
        name: of the set.
        records: its catalog records; "not_exhaustive" has texts, not classes.
        regions_of: reads the regions of a record; a function of a module, for other processes.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[Mapping[str, Any]],
        regions_of: Callable[[Mapping[str, Any]], List[Region]],
    ):
        if not records:
            raise ValueError(f"data set '{name}' holds no image")
        self.source = name
        self._records, self._regions_of = unique_files(records), regions_of
        folders = {os.path.dirname(os.path.abspath(r["file_name"])) for r in self._records}
        self.root = os.path.commonpath(sorted(folders))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Item:
        record = self._records[index]
        size = (record["height"], record["width"]) if "height" in record else None
        more = {"source_id": record["image_id"]} if "image_id" in record else {}
        partly = {t: None for each in record["records"] for t in each.get("not_exhaustive", ())}
        more |= {"not_exhaustive": tuple(partly)} if partly else {}
        regions = [r for each in record["records"] for r in self._regions_of(each)]
        return Item(self.name(index), tuple(regions), size, more)

    def name(self, index: int) -> str:
        """Returns the path below the folder that all images share."""
        path = os.path.abspath(self._records[index]["file_name"])
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def descriptions(self) -> Iterator[str]:
        """Yields the records as JSON."""
        for record in self._records:
            yield json.dumps({**record, "file_name": ""}, default=repr, sort_keys=True)


def unique_files(records: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """Returns one entry per image file: a set may have a record per phrase."""
    entries: Dict[str, Dict[str, Any]] = {}
    for record in records:
        keys = {k: record[k] for k in ("file_name", "height", "width", "image_id") if k in record}
        entry = entries.setdefault(os.path.abspath(record["file_name"]), {**keys, "records": []})
        entry["records"].append(record)
    return list(entries.values())


class PartInputs:
    """A share of other inputs, chosen by name, so that every process and machine chooses alike.

    Args:
        inputs: to choose from.
        fraction: 0-1, the share.
        seed: another seed, another choice.

    Raises:
        ValueError: nothing is chosen.
    """

    def __init__(self, inputs: Inputs, fraction: float, seed: int):
        self.root, self.source, self._inputs = inputs.root, inputs.source, inputs
        self._chosen = [
            index
            for index in range(len(inputs))
            if draw_share(f"{seed} {inputs.name(index)}") < fraction
        ]
        if not self._chosen:
            raise ValueError(f"fraction {fraction} of {len(inputs)} images chooses none; raise it")

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Item:
        return self._inputs[self._chosen[index]]

    def name(self, index: int) -> str:
        """Returns the file name of an item."""
        return self._inputs.name(self._chosen[index])

    def descriptions(self) -> Iterator[str]:
        """Yields the keys of those chosen."""
        chosen = set(self._chosen)
        yield from (key for index, key in enumerate(self._inputs.descriptions()) if index in chosen)


def draw_share(text: str) -> float:
    """Returns a number in [0, 1) that is the same for a text everywhere and always."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def start_from(item: Item, start: str) -> Item:
    """Returns an item with as much of its regions as annotation starts from.

    Args:
        item: as the source has it.
        start: "nothing", "boxes" (without their masks; crowds are left out) or "regions".
    """
    if start == "regions":
        return item
    if start == "nothing":
        return replace(item, regions=())
    shown = [r for r in item.regions if r.has_target and not r.extra.get("iscrowd")]
    return replace(item, regions=tuple(shown))


def inputs_digest(inputs: Inputs) -> str:
    """Returns 16 hex digits that change with the images, their order and what is known of them."""
    digest = hashlib.sha256()
    for text in inputs.descriptions():
        digest.update(text.encode("utf-8", errors="surrogatepass") + b"\0")
    return digest.hexdigest()[:16]
