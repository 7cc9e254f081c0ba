"""What training does at a faulty record: stop, or take another image and tell at the end."""

import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

from segplugins.data.check.images import record_id
from segplugins.data.check.load import READING_ERRORS, error_text

logger = logging.getLogger(__name__)

FILE = "faults.jsonl"
_NAMED = 10
_LONGEST = 1000  # characters: what is written in one go is not torn apart by other processes


class SkipFaults:
    """A mapper that leaves faulty records out instead of stopping at the first.

    Loader workers, processes and machines cannot share a counter, so each adds a line per fault to
    one file; `report` counts them.

    Args:
        mapper: catalog record to model record; its errors are faults of the record.
        folder: of the run; FILE in it gets a line for each record that was left out.
    """

    def __init__(self, mapper: Callable[[Mapping[str, Any]], dict], folder: str) -> None:
        self._mapper = mapper
        self.path = Path(folder) / FILE
        # A resumed run reports what it has met itself; the file keeps all of it.
        self._start = self.path.stat().st_size if self.path.is_file() else 0

    def __call__(self, record: Mapping[str, Any]) -> Optional[dict]:
        """Returns the mapped record, or None where it is at fault."""
        try:
            return self._mapper(record)
        except READING_ERRORS as error:
            self._note(record, error_text(error))
            return None

    def _note(self, record: Mapping[str, Any], message: str) -> None:
        line = {
            "dataset": record.get("dataset", ""),
            "record": record_id(record),
            "file": str(record.get("file_name", ""))[:_LONGEST],
            "message": message[:_LONGEST],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = (json.dumps(line) + "\n").encode()
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, data)
        finally:
            os.close(file)

    def faults(self) -> List[Dict[str, str]]:
        """Returns what was left out since this object was made, one entry a time."""
        if not self.path.is_file():
            return []
        with open(self.path, encoding="utf-8") as lines:
            lines.seek(self._start)
            return [json.loads(line) for line in lines]

    def report(self) -> None:
        """Logs how often records were left out, and which."""
        met = self.faults()
        if not met:
            logger.info("DATALOADER.FAULTS skip: no record was left out")
            return
        times = Counter((each["dataset"], each["record"], each["message"]) for each in met)
        commonest = "".join(
            f"\n  {number} x {message}" for (_, _, message), number in times.most_common(_NAMED)
        )
        more = f"\n  and {len(times) - _NAMED} more" if len(times) > _NAMED else ""
        logger.warning(
            "DATALOADER.FAULTS skip: %d times one of %d faulty records was left out for another "
            "image; %s lists them, tools/check_dataset.py tells all faults%s%s",
            len(met),
            len({key[:2] for key in times}),
            self.path,
            commonest,
            more,
        )
