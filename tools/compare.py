"""Compares two runs on the same data sets, image by image.

    python tools/compare.py output/a/results.json output/b/results.json

It prints every metric of both runs with the 95 % interval of the change, over images drawn again
with replacement (the same for both runs), and what differs between the protocols. Data sets,
classes and images must be the same. It runs on the CPU.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse

from segplugins.engine.command import command_parser, run_command


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument("first", help="results.json of a run, or its folder")
    parser.add_argument("second", help="results.json of another run, or its folder")
    parser.add_argument(
        "--resamples", type=int, default=1000, help="of the bootstrap (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints the comparison; an error says where the runs are unlike."""
    if args.resamples < 1:
        raise ValueError(f"--resamples must be at least 1, got {args.resamples}")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    from segplugins.evaluation.compare import compare_results, comparison_table

    print(
        comparison_table(
            compare_results(args.first, args.second, resamples=args.resamples, seed=args.seed)
        )
    )


if __name__ == "__main__":
    run_command(main, parser())
