"""Measures the product: `python tools/benchmark.py sed`, or several parts, or all.

A part is a folder of the library or a paper with a file benchmark.py. Each row compares outputs
first and then prints ours against a named baseline measured in the same run.
"""

import argparse
import importlib
import pkgutil
from types import ModuleType
from typing import Dict

import torch

import segplugins
import segplugins.projects
from segplugins.engine.benchmark import Bench, machine


def find_benchmarks() -> Dict[str, str]:
    """Returns: part name to the module that measures it, from the library and the papers."""
    found = {}
    for package in (segplugins, segplugins.projects):
        for module in pkgutil.iter_modules(package.__path__):
            name = f"{package.__name__}.{module.name}"
            if module.ispkg and importlib.util.find_spec(f"{name}.benchmark") is not None:
                found[module.name] = f"{name}.benchmark"
    found.pop("engine", None)  # holds the measuring itself
    return found


def main() -> None:
    """Runs the parts asked for and ends with one table."""
    known = find_benchmarks()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(known)}; none = all"
    )
    parser.add_argument("--quick", action="store_true", help="smallest sizes, only to see it run")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"]
    )
    args = parser.parse_args()
    unknown = sorted(set(args.parts) - set(known))
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; known: {', '.join(known)}")
    bench = Bench(quick=args.quick, device=args.device, show=lambda line: print(line, flush=True))
    print(machine(bench.device))
    for part in args.parts or known:
        print(f"\n{part}")
        module: ModuleType = importlib.import_module(known[part])
        module.run(bench)
    print(f"\n{bench.table()}")


if __name__ == "__main__":
    main()
