"""The file of a claim, read with every mistake told by file and key."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Collection, Dict, Mapping, Tuple

from segplugins.claims.claim import RESULTS, Claim, Metric, Row, Step
from segplugins.files.text import read_yaml

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_KEYS = ("title", "paper", "says", "config", "options", "seeds", "needs", "rows", "evaluate")
_KEYS += ("shown", "metrics")


def read_claim(path: Path) -> Claim:
    """Reads a claim; configs are named relative to its file.

    Args:
        path: YAML file, see docs/claims.md for its keys.

    Raises:
        FaultError: no such file, or no YAML.
        ValueError: an unknown or missing key, or a wrong value; the message names file and key.
    """
    return _Reader(Path(path)).claim()


class _Reader:
    """Reads one file; every error names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = read_yaml(path, what="claim file")

    def claim(self) -> Claim:
        content = self._mapping(self.content, "the file", _KEYS)
        self._required(content, "the file", ("title", "paper", "says", "rows", "metrics"))
        self.base = content.get("config")
        self.options = self._options(content.get("options", []), "options")
        rows = {
            name: self._row(name, value)
            for name, value in self._mapping(content["rows"], "rows").items()
        }
        evaluations = self._mapping(content.get("evaluate", {}), "evaluate")
        for name, value in evaluations.items():
            if name in rows:
                raise self._error(f"'{name}' stands in rows and in evaluate; names are given once")
            rows[name] = self._evaluation(name, value, rows)
        steps: Dict[str, Step] = {}
        for name, value in self._mapping(content.get("needs", {}), "needs").items():
            steps[name] = self._step(name, value)
        shown = self._names(content.get("shown", list(rows)), "shown", rows)
        return Claim(
            name=self.path.stem,
            path=self.path,
            seeds=self._seeds(content.get("seeds", [0, 1, 2])),
            rows=rows,
            steps=steps,
            metrics=self._metrics(content["metrics"]),
            shown=shown,
            **{key: self._text(content[key], key) for key in ("title", "paper", "says")},
        )

    def _row(self, name: str, value: Any) -> Row:
        where = f"rows.{name}"
        self._check_name(name, where)
        value = {"options": value or []} if value is None or isinstance(value, list) else value
        row = self._mapping(value, where, ("config", "options", "same"))
        if "same" in row:
            if len(row) > 1 or str(row["same"]).count("/") != 1:
                raise self._error(f"{where}: same is 'claim/row' and stands alone")
            return Row(name, same=str(row["same"]))
        config = row.get("config", self.base)
        if config is None:
            raise self._error(f"{where} has no config, and the file names none for all rows")
        own = self._options(row.get("options", []), f"{where}.options")
        return Row(name, self._config(config, where), self.options + own)

    def _evaluation(self, name: str, value: Any, rows: Mapping[str, Row]) -> Row:
        where = f"evaluate.{name}"
        self._check_name(name, where)
        entry = self._mapping(value, where, ("of", "options"))
        self._required(entry, where, ("of",))
        (trained,) = self._names([entry["of"]], f"{where}.of", rows)
        if rows[trained].evaluates or rows[trained].same:
            raise self._error(f"{where}.of is '{trained}', which trains nothing itself")
        own = self._options(entry.get("options", []), f"{where}.options")
        return Row(name, rows[trained].config, rows[trained].options + own, evaluates=trained)

    def _step(self, name: str, value: Any) -> Step:
        where = f"needs.{name}"
        if not re.fullmatch(r"[a-z]\w*", name) or name in ("seed", "out"):
            raise self._error(f"{where}: a step is named by a word of its own, not seed or out")
        known = ("config", "options", "claim", "row", "command", "makes", "each_seed")
        entry = self._mapping(value, where, known)
        kinds = [kind for kind in ("config", "row", "command") if kind in entry]
        if len(kinds) != 1:
            raise self._error(f"{where}: expected one of config, row and command, got {kinds}")
        if kinds == ["command"]:
            self._required(entry, where, ("makes",))
        command = entry.get("command", [])
        if not isinstance(command, list):
            raise self._error(f"{where}.command is {command!r:.60}, expected a list of words")
        config = entry.get("config")
        return Step(
            name,
            config=None if config is None else self._config(config, where),
            options=self._options(entry.get("options", []), f"{where}.options"),
            claim=str(entry.get("claim", self.path.stem)) if "row" in entry else "",
            row=str(entry.get("row", "")),
            command=tuple(map(str, command)),
            makes=str(entry.get("makes", "")),
            each_seed=self._flag(entry.get("each_seed", False), f"{where}.each_seed"),
        )

    def _metrics(self, value: Any) -> Tuple[Metric, ...]:
        metrics = []
        for title, entry in self._mapping(value, "metrics").items():
            where = f"metrics.{title}"
            entry = {"path": entry} if isinstance(entry, str) else entry
            entry = self._mapping(entry, where, ("path", "mean", "file", "better", "scale"))
            if ("path" in entry) == ("mean" in entry):
                raise self._error(
                    f"{where} has 'path', or 'mean' with several paths; give one of them"
                )
            better = entry.get("better", "higher")
            if better not in ("higher", "lower"):
                raise self._error(f"{where}.better is {better!r}, expected higher or lower")
            scale = entry.get("scale", 1.0)
            if isinstance(scale, bool) or not isinstance(scale, (int, float)) or scale <= 0:
                raise self._error(f"{where}.scale is {scale!r}, expected a number above 0")
            metrics.append(
                Metric(
                    title,
                    self._paths(entry, where),
                    self._text(entry.get("file", RESULTS), f"{where}.file"),
                    better == "higher",
                    float(scale),
                )
            )
        return tuple(metrics)

    def _paths(self, entry: Dict[str, Any], where: str) -> Tuple[str, ...]:
        if "path" in entry:
            return (self._text(entry["path"], f"{where}.path"),)
        several = entry["mean"]
        if not isinstance(several, list) or not several:
            raise self._error(f"{where}.mean is {several!r:.60}, expected a list of paths")
        return tuple(self._text(path, f"{where}.mean") for path in several)

    def _seeds(self, value: Any) -> Tuple[int, ...]:
        whole = isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
        if not whole or not value or len(set(value)) < len(value):
            raise self._error(f"seeds is {value!r:.60}, expected different whole numbers: [0, 1]")
        return tuple(value)

    def _options(self, value: Any, where: str) -> Tuple[str, ...]:
        if not isinstance(value, list) or len(value) % 2:
            raise self._error(f"{where} is {value!r:.60}, expected pairs: [KEY, value, KEY, value]")
        return tuple(each if isinstance(each, str) else repr(each) for each in value)

    def _names(self, value: Any, where: str, rows: Collection[str]) -> Tuple[str, ...]:
        for each in value if isinstance(value, list) else [value]:
            if each not in rows:
                nearest = get_close_matches(str(each), rows, n=1, cutoff=0.0)
                raise self._error(f"{where}: no row '{each}', the nearest is '{nearest[0]}'")
        return tuple(value)

    def _config(self, value: Any, where: str) -> Path:
        path = self.path.parent / self._text(value, f"{where}.config")
        if not path.is_file():
            raise self._error(f"{where}.config: no config file '{path}'")
        return path.resolve()

    def _mapping(self, value: Any, where: str, known: Collection[str] = ()) -> Dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(f"{where} is {value!r:.60}, expected keys with values")
        for key in value:
            if known and key not in known:
                nearest = get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
                raise self._error(f"{where}: unknown key '{key}', the nearest is '{nearest}'")
        return {str(key): each for key, each in value.items()}

    def _required(self, value: Mapping[str, Any], where: str, keys: Collection[str]) -> None:
        for key in keys:
            if key not in value:
                raise self._error(f"{where} has no '{key}'")

    def _check_name(self, name: str, where: str) -> None:
        if not _NAME.fullmatch(name) or name == "needs":
            raise self._error(
                f"{where}: a row is named like its folder, by a-z, 0-9, '.', '-' and '_'; and not "
                "needs"
            )

    def _text(self, value: Any, where: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(f"{where} is {value!r:.60}, expected text")
        return " ".join(value.split())

    def _flag(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            raise self._error(f"{where} is {value!r:.60}, expected true or false")
        return value

    def _error(self, message: str) -> ValueError:
        return ValueError(f"claim file {self.path}: {message}")
