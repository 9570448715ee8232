"""Runs all fuzz targets for long: `python -m tests.fuzz --examples=100000`."""

import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.fuzz.targets import TARGETS, run


def main() -> int:
    """Returns the exit code: 1 where a target failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000, help="inputs of all targets together")
    parser.add_argument("--targets", nargs="*", choices=sorted(TARGETS), default=list(TARGETS), help="only these")
    parser.add_argument("--seed", type=int, default=None, help="of the inputs [other ones each time]")
    arguments = parser.parse_args()
    shares = sum(TARGETS[name].share for name in arguments.targets)
    failed = []
    for name in arguments.targets:
        examples, begin = -(-arguments.examples * TARGETS[name].share // shares), time.monotonic()
        try:
            run(name, examples, arguments.seed)
        except Exception as error:  # all other targets shall run, too
            failed.append(name)
            print(f"{name}: {type(error).__name__}", *getattr(error, "__notes__", [str(error)]), sep="\n", flush=True)
        else:
            print(f"{name}: {examples:,} inputs in {time.monotonic() - begin:.0f} s", flush=True)
    print(f"Failed: {', '.join(failed)}" if failed else "No failure.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
