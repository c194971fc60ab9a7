"""A process that makes transfers for a while: a TransferJob in, Transfers out, as JSON."""

import sys
import time
from collections.abc import Sequence

import msgspec

from bench import machine
from bench.load.client import Failed, FtpClient, Progress, pull
from bench.load.jobs import TransferJob, Transfers, Way
from bench.load.scheduler import Scheduler, Steps

# Until every connection has made some transfers and every process has warmed up.
_WARM_UP_SECONDS = 0.2

# A gateway that lets nothing through shows within this.
_PATIENCE_SECONDS = 10.0

# After so many failures in a row a conversation gives up: a gateway that refuses everything would
# otherwise be asked again as fast as we can.
_MAX_FAILURES = 20


def make_transfers(job: TransferJob) -> Transfers:
    """Do the job."""
    scheduler, progress = Scheduler(), Progress()
    sources = job.sources or ("",)
    for number in range(job.connections):
        source = sources[number % len(sources)]
        scheduler.start(_again_and_again(scheduler, job, source, progress))
    _until_all_move(scheduler, progress, job.connections)
    progress.reset()
    before = _processors(job.watched)
    progress.reset()
    end = progress.since + job.seconds
    while (now := time.perf_counter()) < end:
        scheduler.turn(end - now)
    seconds = time.perf_counter() - progress.since
    after = _processors(job.watched)
    return Transfers(
        count=len(progress.transfers),
        octets=progress.octets,
        seconds=seconds,
        failures=len(progress.failures),
        reply_us=sorted(spent / 1000 for spent in progress.replies),
        transfer_us=sorted(spent / 1000 for spent in progress.transfers),
        processor_seconds=[b - a for a, b in zip(before[1:], after[1:], strict=True)],
        busy_seconds=after[0] - before[0],
        first_failure=progress.failures[0] if progress.failures else "",
    )


def _until_all_move(scheduler: Scheduler, progress: Progress, connections: int) -> None:
    """Return after the warm-up, or raise Failed when not a byte came within our patience."""
    start = time.perf_counter()
    while True:
        scheduler.turn(0.05)
        now = time.perf_counter()
        if progress.octets and now > start + _WARM_UP_SECONDS:
            return
        if now > start + _PATIENCE_SECONDS or len(progress.failures) >= connections * _MAX_FAILURES:
            why = progress.failures[0] if progress.failures else "nothing comes"
            raise Failed(f"no transfer in {now - start:.1f} s: {why}")


def _processors(namespaces: Sequence[str]) -> list[float]:
    return [machine.busy_seconds(), *map(machine.processor_seconds, namespaces)]


def _again_and_again(
    scheduler: Scheduler, job: TransferJob, source: str, progress: Progress
) -> Steps[None]:
    failed = 0
    while failed < _MAX_FAILURES:
        try:
            if job.route.way is Way.PULL:
                yield from pull(scheduler, job.route, job.size, progress)
            else:
                yield from _converse(scheduler, job, source, progress)
            failed = 0
        except (Failed, OSError) as error:
            progress.failures.append(str(error))
            failed += 1


def _converse(
    scheduler: Scheduler, job: TransferJob, source: str, progress: Progress
) -> Steps[None]:
    client = FtpClient(scheduler, job.route, source)
    try:
        yield from client.log_in()
        yield from client.fetch(job.size, progress)
        while not job.whole_sessions:
            yield from client.fetch(job.size, progress)
        yield from client.quit()
    finally:
        client.close()


if __name__ == "__main__":
    try:
        outcome = make_transfers(msgspec.json.decode(sys.argv[1], type=TransferJob))
    except Failed as error:
        sys.exit(str(error))
    sys.stdout.write(msgspec.json.encode(outcome).decode())
