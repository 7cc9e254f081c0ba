"""Missing files of records, found by one look at each folder instead of one at each file."""

import os
from collections import defaultdict
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

_FILES = ("file_name", "sem_seg_file_name", "pan_seg_file_name", "mask_file_name")


def missing_files(records: Sequence[Mapping[str, Any]]) -> List[Tuple[Mapping[str, Any], str]]:
    """Returns the records whose files are not there, each with the path of the first such file.

    Args:
        records: of a catalog: "file_name" and, where they have one, the file of a map.
    """
    folders: Dict[str, Set[str]] = {}
    wanted: Dict[str, Set[str]] = defaultdict(set)
    for record in records:
        for path in _paths(record):
            folder, name = os.path.split(path)
            wanted[folder].add(name)
    for folder, names in wanted.items():
        try:
            folders[folder] = names - set(os.listdir(folder or "."))
        except OSError:
            folders[folder] = names
    absent = []
    for record in records:
        for path in _paths(record):
            folder, name = os.path.split(path)
            # A folder may be seen by another spelling of the name (case, Unicode form).
            if name in folders[folder] and not os.path.exists(path):
                absent.append((record, path))
                break
    return absent


def check_files(records: Sequence[Mapping[str, Any]]) -> None:
    """Refuses records whose files are missing.

    Raises:
        FileNotFoundError: how many, of which set, and the first of them.
    """
    missing = missing_files(records)
    if missing:
        record, path = missing[0]
        raise FileNotFoundError(
            f"data set '{record.get('dataset', '')}': {path} does not exist; files of "
            f"{len(missing)} of {len(records)} training records are missing. Complete the data "
            "set, or leave such records out with DATALOADER.FAULTS skip"
        )


def _paths(record: Mapping[str, Any]) -> List[str]:
    return [str(record[key]) for key in _FILES if record.get(key)]
