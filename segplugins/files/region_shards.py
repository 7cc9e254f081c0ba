"""Shards of region lines: a folder of JSON lines or Parquet files, written whole and read alike.

A Parquet row has the columns that a line has: "image_id", "source", "file_name", "height", "width",
"task", "error", "tags", "captions" and "regions"; what is open in a line ("extra" of a region, and
every other key) is JSON text in it, so that nothing is lost.
"""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple, Union

from pycocotools import mask as coco_mask

from segplugins.files.json_file import dump_json, read_text
from segplugins.files.write import is_temporary, replacing
from segplugins.structures.regions import Region

__all__ = ["ENDINGS", "numbered_records", "region_data", "shard_files", "writing_records"]

ENDINGS = (".jsonl", ".parquet")
_ROWS = 500  # of a Parquet file in memory at a time
_TEXTS = ("image_id", "source", "file_name", "task", "error")
_NUMBERS = ("height", "width")
_TAG = {"name": "text", "score": "number", "annotator": "text"}
_CAPTION = {**_TAG, "text": "text", "prompt_id": "whole", "kept": "flag"}
_CAPTION.pop("name")


def shard_files(path: Union[str, Path]) -> List[Path]:
    """Returns the shards of a folder in the order of their names, or the file itself.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    shards = sorted(
        each
        for each in path.iterdir()
        if each.suffix in ENDINGS and not each.name.startswith(".") and not is_temporary(each)
    )
    if not shards:
        raise FileNotFoundError(
            f"folder {path} holds no shard of region lines (*.jsonl, *.parquet)"
        )
    return shards


def numbered_records(path: Union[str, Path]) -> Iterator[Tuple[int, Union[str, Dict[str, Any]]]]:
    """Yields (number from 1, JSON text of a line or a row's record) of one shard.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, one JSON list instead of lines, or no Parquet file of this form.
        ImportError: a Parquet file, and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        yield from enumerate(_rows(path), 1)
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder of shards; name one of its files")
    text = read_text(path)
    if text.lstrip().startswith("["):
        first = text.lstrip().splitlines()[0].strip()
        if not first.endswith("]") or first == "[":
            raise ValueError(f"{path} is one JSON list; write one record a line, without brackets")
    # Not splitlines(), which also cuts at characters that stand inside of a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line


def region_data(region: Region) -> Dict[str, Any]:
    """Returns a region as JSON data, as `read_region_lines` reads it.

    Boxes are rounded to hundredths of a pixel, scores to four digits.
    """
    data: Dict[str, Any] = {"text": region.text}
    if region.box is not None:
        data["box"] = [round(float(value), 2) for value in region.box]
    if region.mask is not None:
        data["mask"] = region.mask
    data["is_thing"] = bool(region.is_thing)
    data["score"] = round(float(region.score), 4)
    if region.extra:
        data["extra"] = dict(region.extra)
    return data


@contextmanager
def writing_records(path: Union[str, Path]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives a function that adds a record to a new shard, which is whole or absent at the end.

    Args:
        path: ends in .jsonl or .parquet.

    Raises:
        ImportError: Parquet, and pyarrow is not installed.
        ValueError: another ending.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: a shard ends in one of {', '.join(ENDINGS)}")
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            with _writing_rows(temporary) as add:
                yield add
            return
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield lambda record: file.write(dump_json(record) + "\n") and None


def pyarrow_parts() -> Tuple[Any, Any]:
    """Returns pyarrow and pyarrow.parquet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet shards need pyarrow: pip install pyarrow; or write JSON lines (jsonl)"
        ) from error
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:
    kinds = {
        "text": arrow.string(),
        "number": arrow.float64(),
        "whole": arrow.int64(),
        "flag": arrow.bool_(),
    }

    def entries(fields: Mapping[str, str]) -> Any:
        return arrow.list_(arrow.struct([(name, kinds[kind]) for name, kind in fields.items()]))

    numbers = arrow.list_(arrow.float64())
    region = arrow.struct(
        [
            ("text", arrow.string()),
            ("box", numbers),
            ("size", arrow.list_(arrow.int64())),
            ("counts", arrow.string()),
            ("polygons", arrow.list_(numbers)),
            ("is_thing", arrow.bool_()),
            ("score", arrow.float64()),
            ("extra", arrow.string()),
        ]
    )
    return arrow.schema(
        [(name, arrow.string()) for name in _TEXTS]
        + [(name, arrow.int64()) for name in _NUMBERS]
        + [("tags", entries(_TAG)), ("captions", entries(_CAPTION))]
        + [("regions", arrow.list_(region)), ("more", arrow.string())]
    )


@contextmanager
def _writing_rows(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    arrow, parquet = pyarrow_parts()
    schema = _schema(arrow)
    rows: List[Dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write() -> None:
            writer.write_table(arrow.Table.from_pylist(rows, schema))
            rows.clear()

        def add(record: Mapping[str, Any]) -> None:
            rows.append(_row(record))
            if len(rows) == _ROWS:
                write()

        yield add
        write()


def _row(record: Mapping[str, Any]) -> Dict[str, Any]:
    row, more = {}, dict(record)
    for name in (*_TEXTS, *_NUMBERS):
        row[name] = more.pop(name, None)
    row["image_id"] = None if row["image_id"] is None else str(row["image_id"])
    for name, fields in (("tags", _TAG), ("captions", _CAPTION)):
        if _fits(record.get(name), fields):
            row[name] = more.pop(name)
    if "regions" in more:
        row["regions"] = [_region_row(region) for region in more.pop("regions")]
    row["more"] = dump_json(more)
    return row


def _fits(entries: Any, fields: Mapping[str, str]) -> bool:
    return isinstance(entries, list) and all(
        isinstance(entry, Mapping) and entry.keys() <= fields.keys() for entry in entries
    )


def _region_row(region: Mapping[str, Any]) -> Dict[str, Any]:
    row = {key: region.get(key) for key in ("text", "box", "is_thing", "score")}
    mask = region.get("mask")
    if isinstance(mask, Mapping):
        if not isinstance(mask["counts"], str):
            mask = coco_mask.frPyObjects(dict(mask), *mask["size"])
            mask["counts"] = mask["counts"].decode("ascii")
        row["size"], row["counts"] = mask["size"], mask["counts"]
    elif mask is not None:
        row["polygons"] = mask
    row["extra"] = dump_json(region.get("extra", {}))
    return row


def _rows(path: Path) -> Iterator[Dict[str, Any]]:
    arrow, parquet = pyarrow_parts()
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with parquet.ParquetFile(path) as file:
            missing = {"file_name", "regions", "more"} - set(file.schema_arrow.names)
            if missing:
                raise ValueError(f"column '{sorted(missing)[0]}' is missing")
            for batch in file.iter_batches(_ROWS):
                yield from map(_record, batch.to_pylist())
    except LookupError as error:
        message = f"{path} is no Parquet file of region lines: {error} is missing"
        raise ValueError(message) from error
    except (arrow.ArrowException, ValueError, OSError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no Parquet file of region lines: {reason}") from error


def _record(row: Mapping[str, Any]) -> Dict[str, Any]:
    record = {name: row[name] for name in (*_TEXTS, *_NUMBERS) if row.get(name) is not None}
    for name in ("tags", "captions"):
        if row.get(name) is not None:
            record[name] = [_given(entry) for entry in row[name]]
    if row.get("regions") is not None:
        record["regions"] = [_region_record(region) for region in row["regions"]]
    return {**record, **json.loads(row["more"] or "{}")}


def _given(entry: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def _region_record(row: Mapping[str, Any]) -> Dict[str, Any]:
    region = _given({key: row[key] for key in ("text", "box", "is_thing", "score")})
    if row["counts"] is not None:
        region["mask"] = {"size": row["size"], "counts": row["counts"]}
    elif row["polygons"] is not None:
        region["mask"] = row["polygons"]
    extra: Union[Dict[str, Any], Sequence] = json.loads(row["extra"] or "{}")
    return {**region, "extra": extra} if extra else region
