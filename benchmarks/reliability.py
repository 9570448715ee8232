"""Does the product keep its promises where everything goes wrong?

    python benchmarks/reliability.py                                              # all parts, about an hour
    python benchmarks/reliability.py --parts=service --requests=10000 --seed=0

Each part makes rows of one table, with what was measured and the bound that it must not exceed; the exit code is 1
where one does. The same seed makes the same trials. What a part does is said in its module.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from measuring import print_machine, print_table

COLUMNS = ("trials", "number", "measured", "measure", "bound")
PARTS = ("shards", "service", "kills")  # of each the function of that name in reliability_NAME.py makes the rows


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    print_machine()
    rows = []
    for part in arguments.parts.split(","):
        rows += getattr(importlib.import_module(f"reliability_{part}"), part)(arguments)
    print_table(COLUMNS, [cells(*row) for row in rows])
    return 1 if any(measured > bound for _, _, measured, _, bound in rows) else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=0, help="decides all trials")
    parser.add_argument("--shards", type=int, default=10_000, help="shards: damaged ones")
    parser.add_argument("--kills", type=int, default=200, help="kills: of all commands together")
    parser.add_argument("--requests", type=int, default=10_000, help="service: hostile ones")
    parser.add_argument("--connections", type=int, default=32, help="service: that attack at a time")
    parser.add_argument("--clients", type=int, default=2, help="service: processes that have these connections")
    parser.add_argument("--model_dir", help="service: an export, instead of a small model of random weights")
    return parser.parse_args(argv)


def cells(trials: str, number: int, measured: float, measure: str, bound: float) -> tuple[str, ...]:
    """A row of the table as texts."""
    return trials, f"{number:,}", f"{measured:.4g}", measure, f"{bound:g}"


if __name__ == "__main__":
    sys.exit(main())
