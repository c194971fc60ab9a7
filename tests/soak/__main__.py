"""The long form: `scripts/soak MINUTES [SEED]`; of no minutes it is the round of the suite."""

import os
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.soak.run import long, short, soak

from sallyport.lab.network import Lab

KEEP = Path(os.environ["SOAK_LOG"]) if "SOAK_LOG" in os.environ else None


def main(arguments: list[str]) -> int:
    """Soak for so many minutes, by this seed if one is given; return the exit code."""
    minutes = float(arguments[0])
    seed = int(arguments[1]) if len(arguments) > 1 else SystemRandom().getrandbits(32)
    plan = long(seed, minutes) if minutes else short(seed)
    with (
        Lab.build(f"soak{os.getpid()}", clients=6, servers=5) as lab,
        tempfile.TemporaryDirectory() as folder,
    ):
        result = soak(lab, Path(folder), plan, lambda line: print(line, flush=True), KEEP)
    books = result.books
    print(f"{books.visits} sessions, {books.transfers} transfers, {books.bytes >> 20} MiB")
    print("kinds:", dict(books.kinds))
    print("faults:", dict(result.faults))
    print("excused:", dict(books.excused))
    print("events:", dict(books.log.events))
    print(f"records of flows that no client knows of: {books.unnoticed}")
    for line in result.wrong:
        print("WRONG:", line)
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
