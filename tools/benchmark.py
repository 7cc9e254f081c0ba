"""Measures the product: `python tools/benchmark.py sed`, or several parts, or all.

A part is a module of benchmarks/. Each row compares outputs first and then prints ours against a
named baseline measured in the same run.
"""

import argparse
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import List

import torch

_FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def load_benchmarks() -> ModuleType:
    """Imports the folder benchmarks/ of this checkout, which no installed package holds."""
    spec = importlib.util.spec_from_file_location("benchmarks", _FOLDER / "__init__.py")
    package = sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


# Here, not in main(): a process that measures memory runs this file before it looks for functions.
load_benchmarks()

from benchmarks.harness import Bench, machine  # noqa: E402


def benchmark_parts() -> List[str]:
    """Returns: the names of the parts that can be measured."""
    return sorted({m.name for m in pkgutil.iter_modules([str(_FOLDER)])} - {"harness"})


def main() -> None:
    """Runs the parts asked for and ends with one table."""
    known = benchmark_parts()
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
        module: ModuleType = importlib.import_module(f"benchmarks.{part}")
        module.run(bench)
    print(f"\n{bench.table()}")


if __name__ == "__main__":
    main()
