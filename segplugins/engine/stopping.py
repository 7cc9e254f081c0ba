"""Ctrl-C and SIGTERM in training: the step ends, the weights are saved, then the process ends."""

import signal
import threading
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

from segplugins.engine.command import Stopped

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# A terminal and the parent process may both send one: within so many seconds they are one request.
_SAME_REQUEST = 2.0


class StopRequests:
    """Notes SIGINT and SIGTERM while it is entered; a later second one stops at once.

    Attributes:
        number: the signal that came, or None.
        abandoned: a second one has stopped the work wherever it was.
    """

    def __init__(self) -> None:
        self.number: Optional[int] = None
        self.abandoned = False
        self._first = 0.0
        self._at_once = False
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "StopRequests":
        # Python lets only the main thread set handlers; elsewhere nothing is noted.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _NUMBERS}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it a request raises `Stopped` where it arrives, for work that saves nothing."""
        self._at_once = True
        try:
            if self.number is not None:
                raise Stopped(number=self.number)
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: Any) -> None:
        again = self.number is not None and time.monotonic() - self._first > _SAME_REQUEST
        if self.number is None:
            self.number, self._first = number, time.monotonic()
        if self._at_once or again:
            self.abandoned = not self._at_once
            raise Stopped(number=number)
