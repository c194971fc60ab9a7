"""`python -m bench`: measure, then write the report."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from bench.report import write_report
from bench.results import Run
from bench.runner import run
from bench.scale import FULL, QUICK
from bench.work import ITEMS


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: seconds, no figures")
    parser.add_argument("--only", default="", help=f"of {', '.join(ITEMS)}; separated by commas")
    parser.add_argument("--rounds", type=int, help="rounds of each case; five make a median")
    parser.add_argument("--cycles", type=int, help="open and close this often; a million")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where to write")
    parser.add_argument("--again", type=Path, help="write the report of this results.json again")
    options = parser.parse_args()
    if options.again:
        known = msgspec.json.decode(options.again.read_bytes(), type=Run)
        sys.stdout.write(f"{write_report(known, options.again.parent)}\n")
        return
    names = options.only.split(",") if options.only else list(ITEMS)
    if unknown := [name for name in names if name not in ITEMS]:
        parser.error(f"no such item: {', '.join(unknown)}; there are {', '.join(ITEMS)}")
    scale = QUICK if options.quick else FULL
    scale = replace(
        scale,
        rounds=options.rounds or scale.rounds,
        cycles=options.cycles or scale.cycles,
    )
    result = run([ITEMS[name] for name in names], scale)
    path = write_report(result, options.out)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
