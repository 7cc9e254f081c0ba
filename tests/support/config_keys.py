"""Which config keys a piece of code reads, found in its text."""

import ast
from pathlib import Path
from typing import Dict, Iterable, Iterator, Optional, Set


def keys_read(files: Iterable[Path]) -> Set[str]:
    """Returns the dotted keys that the files read from `cfg` or `self.cfg`.

    A section may have a name of its own within a function: `node = cfg.MODEL.SED`, also in a tuple.
    Code that hands a section to another function hides what is read of it: hand over the config, or
    the values.
    """
    found: Set[str] = set()
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in filter(_is_function, ast.walk(tree)):
            names = _names_of_sections(function)
            for node in ast.walk(function):
                key = _key(node, names) if isinstance(node, ast.Attribute) else None
                if key and isinstance(node.ctx, ast.Load):
                    found.add(key)
    return found


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _names_of_sections(function: ast.AST) -> Dict[str, str]:
    names: Dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name, value in _pairs(target, node.value):
                    key = _key(value, names)
                    if key is not None and isinstance(name, ast.Name):
                        names[name.id] = key
    return names


def _pairs(target: ast.expr, value: ast.expr) -> Iterator:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts)
    else:
        yield target, value


def _key(node: ast.AST, names: Dict[str, str]) -> Optional[str]:
    """The key that an expression reads; "" is the config itself, None something else."""
    if isinstance(node, ast.Name):
        return "" if node.id == "cfg" else names.get(node.id)
    if isinstance(node, ast.Attribute):
        if node.attr == "cfg":
            return ""
        above = _key(node.value, names)
        return None if above is None else f"{above}.{node.attr}".lstrip(".")
    return None
