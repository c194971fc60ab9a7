"""What is known of a running gateway from outside: whether it is ready, and its metrics."""

import asyncio
import json
import subprocess
from collections.abc import Mapping

import msgspec

from sallyport.errors import KERNEL_ERRORS
from sallyport.kernel.base_table import BASE_TABLE
from sallyport.ops.control.schema import Health, Measured
from sallyport.ops.logs import EventJournal
from sallyport.ops.processes.fleet import Fleet
from sallyport.ops.processes.ground import Ground
from sallyport.ops.reload import Reloader


class Observer:
    """Looks at one gateway; changes nothing."""

    def __init__(
        self, fleet: Fleet, ground: Ground, reloader: Reloader, journal: EventJournal
    ) -> None:
        self._fleet = fleet
        self._ground = ground
        self._reloader = reloader
        self._journal = journal

    async def health(self) -> Health:
        """Return whether clients can be served."""
        return self._health(await self._measure())

    async def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        # Only a gateway that is asked pays for it.
        from sallyport.ops.exposition import (  # noqa: PLC0415 - see above
            GatewayFacts,
            WorkerFacts,
            exposition,
        )

        measured, dropped = await asyncio.gather(
            self._measure(), asyncio.to_thread(_dropped, is_kernel=self._fleet.plan.lack is None)
        )
        health = self._health(measured)
        return exposition(
            GatewayFacts(
                is_ready=health.ready,
                is_degraded=self._ground.trouble is not None or not health.ready,
                repairs=self._ground.repairs,
                reloads=self._reloader.counts,
                last_reload_succeeded=self._reloader.has_succeeded,
                configured_at=self._reloader.succeeded_at,
                dropped=dropped,
                log_records_lost=self._journal.lost,
                kernel_errors=KERNEL_ERRORS,
                workers=[
                    WorkerFacts(
                        number=member.number,
                        is_up=member.is_serving and member.number in measured,
                        restarts=member.restarts,
                        measured=measured.get(member.number),
                    )
                    for member in self._fleet.members()
                ],
            )
        )

    async def _measure(self) -> Mapping[int, Measured]:
        answers = await self._fleet.ask_each("measure", {})
        return {
            number: msgspec.json.decode(answer, type=Measured) for number, answer in answers.items()
        }

    def _health(self, measured: Mapping[int, Measured]) -> Health:
        why = [] if self._ground.trouble is None else [self._ground.trouble]
        if not measured:
            why.append("no worker answers")
        full = {
            transport
            for one in measured.values()
            for transport, free in one.ports_free.items()
            if free == 0
        }
        why += [f"a worker has no free {transport} port" for transport in sorted(full)]
        return Health(ready=not why, why=why)


def _dropped(*, is_kernel: bool) -> Mapping[str, int]:
    """Return how many packets the base table has dropped, by the names of its counters."""
    if not is_kernel:
        return {}
    argv = ["nft", "--json", "list", "counters", "table", "inet", BASE_TABLE]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:  # it is being repaired
        return {}
    found = [one["counter"] for one in json.loads(done.stdout)["nftables"] if "counter" in one]
    return {one["name"]: one["packets"] for one in found}
