"""A process that holds idle control connections: a HoldJob in, Held out, as JSON, then silence."""

import sys
import time

import msgspec

from bench.load.client import Failed, FtpClient
from bench.load.jobs import Held, HoldJob
from bench.load.scheduler import Scheduler, Steps

# So many log in at a time: enough to keep everybody busy, too few to overflow a backlog.
_AT_ONCE = 64

# Dante makes a process for every few dozen sessions: it is the slowest to take ten thousand.
_PATIENCE_SECONDS = 90.0


def hold(job: HoldJob) -> tuple[list[FtpClient], Held]:
    """Log in as often as wanted; give the clients, which must be kept."""
    scheduler = Scheduler()
    clients: list[FtpClient] = []
    failures: list[str] = []
    wanted = iter(range(job.connections))

    def log_in() -> Steps[None]:
        for number in wanted:
            source = job.sources[number % len(job.sources)] if job.sources else ""
            client = FtpClient(scheduler, job.route, source)
            try:
                yield from client.log_in()
                clients.append(client)
            except (Failed, OSError) as error:
                client.close()
                failures.append(str(error))
                return

    for _ in range(min(_AT_ONCE, job.connections)):
        scheduler.start(log_in())
    end = time.monotonic() + _PATIENCE_SECONDS
    done = 0
    while done < job.connections and len(failures) < _AT_ONCE and time.monotonic() < end:
        scheduler.turn(0.1)
        done = len(clients)
    return clients, Held(len(clients), failures[0] if failures else "")


if __name__ == "__main__":
    _clients, _held = hold(msgspec.json.decode(sys.argv[1], type=HoldJob))
    sys.stdout.write(msgspec.json.encode(_held).decode() + "\n")
    sys.stdout.flush()
    sys.stdin.read()
