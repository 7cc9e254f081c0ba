"""The files of a table: every single figure as JSON and CSV, Markdown, a picture."""

import csv
import io
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

from segplugins.claims.claim import Metric
from segplugins.claims.table import ClaimTable, lines_of, mean_and_spread
from segplugins.files.write import replacing, write_json, write_text
from segplugins.pictures.points import point_bars


def write_table(table: ClaimTable, folder: Path) -> Dict[str, Path]:
    """Writes results.json (every single figure), table.md, table.csv and picture.png.

    Args:
        table: of a claim.
        folder: made if need be.

    Returns:
        File name to path; the picture is left out while there is no figure.
    """
    written = {name: folder / name for name in ("results.json", "table.md", "table.csv")}
    write_json(written["results.json"], _as_json(table))
    write_text(written["table.md"], lines_of(table, markdown=True) + "\n")
    write_text(written["table.csv"], _csv(table))
    panels: Dict[str, Mapping[str, Sequence[float]]] = {}
    for metric in table.claim.metrics:
        bars = {name: table.numbers(name, metric.title) for name in table.rows}
        if any(bars.values()):
            panels[f"{metric.title} ({_direction(metric)} is better)"] = bars
    if panels:
        written["picture.png"] = folder / "picture.png"
        with replacing(written["picture.png"]) as temporary:
            point_bars(temporary, panels, title=table.claim.title)
    return written


def _direction(metric: Metric) -> str:
    return "higher" if metric.higher_is_better else "lower"


def _as_json(table: ClaimTable) -> Dict[str, Any]:
    claim = table.claim
    return {
        "claim": claim.name,
        "paper": claim.paper,
        "title": claim.title,
        "says": claim.says,
        "metrics": {
            m.title: {"paths": m.paths, "file": m.file, "better": _direction(m), "scale": m.scale}
            for m in claim.metrics
        },
        "rows": {
            name: {
                "runs": [
                    {
                        "seed": figures.seed,
                        "state": figures.stage.value,
                        "values": figures.values,
                        "seconds": figures.seconds,
                        "note": figures.note,
                    }
                    for figures in row
                ],
                "summary": {
                    m.title: dict(
                        zip(("mean", "std"), mean_and_spread(table.numbers(name, m.title))),
                        n=len(table.numbers(name, m.title)),
                    )
                    for m in claim.metrics
                },
            }
            for name, row in table.rows.items()
        },
    }


def _csv(table: ClaimTable) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "seed", "state", *(m.title for m in table.claim.metrics)])
    for name, row in table.rows.items():
        for figures in row:
            values = [figures.values.get(m.title) for m in table.claim.metrics]
            writer.writerow([name, figures.seed, figures.stage.value, *values])
    return buffer.getvalue()
