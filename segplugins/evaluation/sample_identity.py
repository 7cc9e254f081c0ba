"""Which record of a data set a prediction belongs to, and how messages name it."""

import contextlib
from typing import Any, Hashable, Mapping, Tuple

# The keys that distinguish two records. One image can be several samples (an object with its
# expressions, a frame with one expression); sets without these keys are distinguished by file.
IDENTITY = ("image_id", "ref_id", "video_id", "expression_id", "frame")


def sample_key(record: Mapping[str, Any]) -> Tuple:
    """Returns the identity of a record within its data set.

    Args:
        record: of the catalog or of the mapper. The key holds those of "image_id", "ref_id",
            "video_id", "expression_id", "frame" that the record has; without any, "file_name".

    Raises:
        ValueError: it has none of them, or one that is neither a number nor text.
    """
    key = tuple((name, _plain_id(record, name)) for name in IDENTITY if name in record)
    if not key and "file_name" not in record:
        raise ValueError(f"a record has neither file_name nor any of {IDENTITY}: {list(record)}")
    return key or (("file_name", record["file_name"]),)


def _plain_id(record: Mapping[str, Any], name: str) -> Hashable:
    """Returns an id as a number or text: two tensors of one value are not equal as keys."""
    value = record[name]
    if hasattr(value, "item"):
        with contextlib.suppress(ValueError, RuntimeError):  # more than one number
            value = value.item()
    if not isinstance(value, (int, float, str, tuple)) or value != value:
        raise ValueError(f"{describe(record)}: {name} must be a number or text, got {value!r:.60}")
    return value


def describe(record: Mapping[str, Any]) -> str:
    """Returns the name of a record in messages: its file and its identity."""
    parts = [f"{name} {record[name]}" for name in IDENTITY if name in record]
    file = record.get("file_name")
    if file is None:
        return ", ".join(parts)
    return f"{file} ({', '.join(parts)})" if parts else str(file)
