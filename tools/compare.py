"""Compares two runs on the same data sets, image by image.

    python tools/compare.py output/a/results.json output/b/results.json

It prints every metric of both runs with the 95 % interval of the change, over images drawn again
with replacement (the same for both runs), and what differs between the protocols. Data sets,
classes and images must be the same.
"""

import argparse
import sys

from segplugins.evaluation.compare import compare_results, comparison_table
from segplugins.evaluation.intervals import RESAMPLES, SEED


def main() -> None:
    """Prints the comparison; ends with status 2 and one line where the runs are unlike."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", help="results.json of a run, or its folder")
    parser.add_argument("second", help="results.json of another run, or its folder")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=SEED, help="of the bootstrap")
    args = parser.parse_args()
    if args.resamples < 1:
        parser.error(f"--resamples must be at least 1, got {args.resamples}")
    try:
        comparison = compare_results(
            args.first, args.second, resamples=args.resamples, seed=args.seed
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(comparison_table(comparison))


if __name__ == "__main__":
    main()
