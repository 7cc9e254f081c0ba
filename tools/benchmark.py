"""Measures the product against named baselines.

    python tools/benchmark.py sed
    python tools/benchmark.py text evaluation --device cpu
    python tools/benchmark.py --quick              all parts at their smallest, to see them run

A part is a module of benchmarks/. Each row compares outputs first and then prints ours against a
baseline measured in the same run.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import List

from segplugins.engine.command import command_parser, run_command

_FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def load_benchmarks() -> ModuleType:
    """Imports the folder benchmarks/ of this checkout, which no installed package holds."""
    spec = importlib.util.spec_from_file_location("benchmarks", _FOLDER / "__init__.py")
    package = sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


# Here, not in main(): a process that measures memory runs this file before it looks for functions.
load_benchmarks()


def benchmark_parts() -> List[str]:
    """Returns: the names of the parts that can be measured."""
    return sorted({m.name for m in pkgutil.iter_modules([str(_FOLDER)])} - {"harness"})


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    available = ", ".join(benchmark_parts())
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {available}; none = all")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, only to see it run")
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="where to measure (default: cuda where there is a GPU, else cpu)",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Runs the parts asked for and ends with one table."""
    available = benchmark_parts()
    unknown = sorted(set(args.parts) - set(available))
    if unknown:
        raise ValueError(f"unknown part {unknown[0]!r}; known: {', '.join(available)}")
    # After the command line is read, so that --help takes no second.
    import torch

    from benchmarks.harness import Bench, machine

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device is cuda, but no GPU is visible to torch; leave it out, or say cpu"
        )
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(quick=args.quick, device=device, show=lambda line: print(line, flush=True))
    print(machine(bench.device))
    for part in args.parts or available:
        print(f"\n{part}")
        module: ModuleType = importlib.import_module(f"benchmarks.{part}")
        module.run(bench)
    print(f"\n{bench.table()}")


if __name__ == "__main__":
    run_command(main, build_parser())
