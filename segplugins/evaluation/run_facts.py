"""What is known of a run besides its numbers: when, by which command and config, and its curves."""

import json
import math
import shlex
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

# (iterations, values)
Curve = Tuple[List[float], List[float]]

_LOSS = "total_loss"
# Ends of the names under which training logs what is shown as a curve, in percent.
_QUALITIES = ("mIoU", "mIoU_seen", "mIoU_unseen", "AP", "PQ", "oIoU", "gIoU", "J&F", "top1")
_MOST_CURVES = 4
_MOST_POINTS = 300


@dataclass(frozen=True)
class RunFacts:
    """Facts of a run for its page.

    Args:
        date: when it was evaluated, "2026-01-31 14:05 UTC".
        command: the command line.
        config: the whole config as YAML, None where the folder has none.
        curves: of training, title to name to (iterations, values).
    """

    date: str = ""
    command: str = ""
    config: Optional[str] = None
    curves: Dict[str, Dict[str, Curve]] = field(default_factory=dict)


def read_run_facts(folder: Union[str, Path]) -> RunFacts:
    """Returns the facts of the run that is just ending and writes into a folder.

    Args:
        folder: OUTPUT_DIR; config.yaml and metrics.json are read where they are.
    """
    config = Path(folder, "config.yaml")
    return RunFacts(
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        command=shlex.join(["python", *sys.argv]),
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        curves=read_curves(Path(folder, "metrics.json")),
    )


def read_curves(path: Path) -> Dict[str, Dict[str, Curve]]:
    """Returns the curves of a training from what it logged.

    Args:
        path: detectron2's metrics.json, one JSON object a line. A line that is cut off, as a killed
            process leaves it, is left out; of an iteration that stands twice the later one counts.

    Returns:
        {"loss": {"total_loss": curve}, "quality, %": {"sem_seg/mIoU": curve, ...}}, without titles
        that have no curve; up to four curves a title, of up to 300 points.
    """
    logged: Dict[str, Dict[float, float]] = {}
    for entry in _entries(path):
        for name, value in entry.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                logged.setdefault(name, {})[entry["iteration"]] = float(value)
    loss = [name for name in logged if name == _LOSS]
    qualities = [name for name in logged if name.rsplit("/", 1)[-1] in _QUALITIES and "/" in name]
    titles = {"loss": loss, "quality, %": qualities[:_MOST_CURVES]}
    return {
        title: {name: _thinned(logged[name]) for name in names}
        for title, names in titles.items()
        if names
    }


def _entries(path: Path) -> Iterator[Dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("iteration"), (int, float)):
                yield entry


def _thinned(points: Dict[float, float]) -> Curve:
    """Every n-th point and the last one, by rising iterations."""
    places = sorted(points)
    step = -(-len(places) // _MOST_POINTS)
    kept = places[::step]
    if kept[-1] != places[-1]:
        kept.append(places[-1])
    return kept, [points[place] for place in kept]
